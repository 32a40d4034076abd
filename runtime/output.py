"""What a command prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TextIO

Row = Mapping[str, object]

_STYLES = {"good": "\x1b[32m", "bad": "\x1b[31m", "warn": "\x1b[33m", "bold": "\x1b[1m"}
_RESET = "\x1b[0m"
_COLOURED = {
    "programmed": "good",
    "connected": "good",
    "established": "good",
    "best": "good",
    "ok": "good",
    "yes": "good",
    "pending": "warn",
    "connecting": "warn",
    "connect": "warn",
    "active": "warn",
    "opensent": "warn",
    "openconfirm": "warn",
    "detaching": "warn",
    "degraded": "warn",
    "stale": "warn",
    "warning": "warn",
    "unknown": "warn",
    "partly": "warn",
    "error": "bad",
    "down": "bad",
    "idle": "bad",
    "failed": "bad",
    "refused": "bad",
}


MAX_WIDTH = 80
"""Characters that a column is made wide for. What is longer is printed whole, and shifts nothing but its own line."""


class Column(NamedTuple):
    """A column of a table. title: its legend; field: of the row, or a function of the row; right: numbers."""

    title: str
    field: str | Callable[[Row], object]
    right: bool = False

    def text(self, row: Row) -> str:
        return cell(self.field(row) if callable(self.field) else row.get(self.field))


def cell(value: object) -> str:
    """A value in a table or in a list of details; "-" for nothing."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(cell(element) for element in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(element)}" for key, element in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return printable(str(value))


def printable(text: str) -> str:
    """A text from elsewhere, that can't steer the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def count(value: object) -> object:
    """How many, of a list; what is a number already stays."""
    return len(value) if isinstance(value, list) else value


def next_hops(value: object) -> str:
    """Next hops in a table: "192.0.2.12/100001" (underlay address and label), or the port's device for a local one."""
    if not isinstance(value, list):
        return cell(value)
    texts = []
    for hop in value:
        if isinstance(hop, dict) and hop.get("local"):
            texts.append(f"local {cell(hop.get('interface') or hop.get('label'))}")
        elif isinstance(hop, dict):
            texts.append(f"{cell(hop.get('address'))} label {cell(hop.get('label'))}")
        else:
            texts.append(cell(hop))
    return ", ".join(texts) or "-"


class Stream:
    """An aligned table of which not all rows are there at once; a column gets wider where later rows need it."""

    def __init__(self, columns: Sequence[Column], *, legend: bool = True, colour: bool = False) -> None:
        self._columns = columns
        self._colour = colour
        self._legend = legend
        self._widths = [len(column.title) if legend else 0 for column in columns]

    def rows(self, rows: Iterable[Row]) -> str:
        """The next rows, lines ending in a line end; the first time with the legend."""
        columns, widths, colour = self._columns, self._widths, self._colour
        texts = [[column.text(row) for column in columns] for row in rows]
        for line in texts:
            for index, text in enumerate(line):
                if len(text) <= MAX_WIDTH:
                    widths[index] = max(widths[index], len(text))
        lines = []
        if self._legend:
            self._legend = False
            head = _aligned([column.title for column in columns], columns, widths)
            lines.append(_paint(head, "bold") if colour else head)
        lines += [_aligned(line, columns, widths, colour) for line in texts]
        return "".join(f"{line}\n" for line in lines)


def table(rows: Iterable[Row], columns: Sequence[Column], *, legend: bool = True, colour: bool = False) -> str:
    """An aligned table, lines ending in a line end; "" when there is nothing to print."""
    return Stream(columns, legend=legend, colour=colour).rows(rows)


def _aligned(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int], colour: bool = False) -> str:
    cells = []
    for position, (text, column, width) in enumerate(zip(texts, columns, widths, strict=True)):
        last = position == len(texts) - 1
        padded = text.rjust(width) if column.right else text if last else text.ljust(width)
        style = _COLOURED.get(text) if colour else None
        cells.append(padded.replace(text, _paint(text, style), 1) if style else padded)
    return "  ".join(cells).rstrip()


def details(row: Row, columns: Sequence[Column], *, colour: bool = False) -> str:
    """One thing, a line a field: "title: value"."""
    width = max(len(column.title) for column in columns) + 1
    lines = []
    for column in columns:
        text = column.text(row)
        style = _COLOURED.get(text) if colour else None
        lines.append(f"{column.title + ':':<{width}} {_paint(text, style) if style else text}\n")
    return "".join(lines)


def document(value: object) -> str:
    """One JSON document for programs."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def use_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream takes colours: a terminal, and NO_COLOR not set (no-color.org)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and stream.isatty()


def warn(text: str, program: str = "vrfwire") -> None:
    """A message for people, on stderr."""
    print(f"{program}: {printable(text)}", file=sys.stderr)


def _paint(text: str, style: str) -> str:
    return f"{_STYLES[style]}{text}{_RESET}"
