"""Lines of keys, on documents that make a scanner stumble."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.toml_lines import Location, locate

DOCUMENT = '''# comment with [table] and key = 1
title = "a # no comment [x]"

[host]   # a table
name = 'single "quoted"'
text = """
[not.a.table]
key = "\\""" still inside
"""
"quoted key" = 1
a.b = 2

[[gateway]]
address = "192.0.2.1"
lists = [ # comment ]
  "x", "]",
  [1, 2],
]
[[gateway]]
address = "192.0.2.2"
inline = { one = 1, two = { three = "}" } }
[[gateway.peer]]
as = 1
[[gateway.peer]]
as = 2
[gateway.options]
when = 2024-01-02 03:04:05
'''


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("title",), 2),
        (("host",), 4),
        (("host", "name"), 5),
        (("host", "text"), 6),
        (("host", "quoted key"), 10),
        (("host", "a"), 11),
        (("host", "a", "b"), 11),
        (("gateway", 0), 13),
        (("gateway", 0, "address"), 14),
        (("gateway", 0, "lists"), 15),
        (("gateway", 0, "lists", 2), 17),
        (("gateway", 1), 19),
        (("gateway", 1, "address"), 20),
        (("gateway", 1, "inline", "two", "three"), 21),
        (("gateway", 1, "peer", 0, "as"), 23),
        (("gateway", 1, "peer", 1), 24),
        (("gateway", 1, "peer", 1, "as"), 25),
        (("gateway", 1, "options", "when"), 27),
    ],
)
def test_lines(location: Location, line: int) -> None:
    assert locate(DOCUMENT)[location] == line


def _locations(value: Any, at: Location = ()) -> list[Location]:
    found: list[Location] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [(*at, key), *_locations(inner, (*at, key))]
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += [(*at, index), *_locations(inner, (*at, index))]
    return found


def test_every_value_has_a_line() -> None:
    lines = locate(DOCUMENT)
    assert [location for location in _locations(tomllib.loads(DOCUMENT)) if location not in lines] == []


_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.lists(st.tuples(_TEXTS, st.booleans()), min_size=1, max_size=8, unique_by=lambda pair: pair[0]))
def test_any_keys_and_texts(pairs: list[tuple[str, bool]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = "\n".join(
        f'{quoted(key)} = """\n{key.replace(chr(92), "").replace(chr(34), "")}"""' if long else f"{quoted(key)} = 1"
        for key, long in pairs
    )
    lines = locate(text)
    line = 1
    for key, long in pairs:
        assert lines[(key,)] == line
        line += 2 if long else 1
