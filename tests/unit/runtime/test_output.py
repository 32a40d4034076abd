"""Tables, details, colours."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest

from runtime.output import Column, Stream, cell, details, document, table, use_colour
from runtime.version import VERSION

COLUMNS = (Column("NAME", "name"), Column("COUNT", "count", right=True), Column("STATE", "state"))
ROWS = [{"name": "web-1", "count": 5, "state": "programmed"}, {"name": "db", "count": 12345678, "state": None}]


def test_table_is_aligned() -> None:
    assert table(ROWS, COLUMNS) == (
        "NAME      COUNT  STATE\n" "web-1         5  programmed\n" "db     12345678  -\n"
    )  # fmt: skip


def test_a_table_that_comes_in_pieces() -> None:
    stream = Stream(COLUMNS)
    assert stream.rows(ROWS[:1]) == "NAME   COUNT  STATE\nweb-1      5  programmed\n"
    # Wider from here on, and narrow rows are aligned with what came.
    assert stream.rows(ROWS[1:]) == "db     12345678  -\n"
    assert stream.rows(ROWS[:1]) == "web-1         5  programmed\n"
    assert stream.rows([]) == ""


def test_without_legend() -> None:
    assert table(ROWS, COLUMNS, legend=False).splitlines()[0] == "web-1         5  programmed"
    assert table([], COLUMNS, legend=False) == ""
    assert table([], COLUMNS) == "NAME  COUNT  STATE\n"


def test_colour_changes_no_width() -> None:
    coloured = table(ROWS, COLUMNS, colour=True)
    assert "\x1b[32mprogrammed\x1b[0m" in coloured
    bare = coloured.replace("\x1b[32m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert bare == table(ROWS, COLUMNS)


def test_details() -> None:
    assert details(ROWS[0], COLUMNS) == "NAME:  web-1\nCOUNT: 5\nSTATE: programmed\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (1.25, "1.2"),
        (["a", "b"], "a,b"),
        ("evil\x1b[2Jtext\n", "evil?[2Jtext?"),
        ({"keepalive": 3, "update": None}, "keepalive 3, update -"),
        ({}, "-"),
    ],
)
def test_cell(value: object, text: str) -> None:
    assert cell(value) == text


def test_document() -> None:
    assert document({"a": "ü"}) == '{\n  "a": "ü"\n}\n'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "colour"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_use_colour(stream: io.StringIO, environ: dict[str, str], colour: bool) -> None:
    assert use_colour(stream, environ) is colour


def test_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
