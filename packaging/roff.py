"""Manual pages in the language of man(7): text with its escapes, paragraphs, lists, examples."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

_TEXT = {"\\": "\\e", "\u2019": "\\(cq", "\u2018": "\\(oq"}
_LITERAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "~": "\\(ti", "^": "\\(ha"}
"""What has to be typed as it is shown: a plain - is printed as a hyphen, which no shell takes."""
_MARKED = re.compile(r"`([^`]+)`|(?<![\w-])(--?[a-zA-Z][\w-]*)|\b([a-z][a-z0-9.-]*)\(([1-8])\)")


MANUAL = "vrfwire manual"
"""What all pages are together."""
WIDTH = 78
"""Longest line of running text in the source, if its words allow; `mandoc -T lint` wants 80 at most."""
_SPACE = re.compile(r"(?<!\\) ")
"""Between words; not the space that holds an option and its value together."""


class Stamp(NamedTuple):
    """What every page says of its making."""

    version: str
    day: date


class Page(NamedTuple):
    """A page as it is written. package: that brings it."""

    name: str
    section: int
    package: str
    text: str

    @property
    def path(self) -> str:
        """Below /usr/share/man."""
        return f"man{self.section}/{self.name}.{self.section}"


def text(plain: str) -> str:
    """Plain text as roff: `code`, --options and pages(1) in bold."""
    pieces, end = [], 0
    for match in _MARKED.finditer(plain):
        pieces.append(_escape(plain[end : match.start()], _TEXT))
        end = match.end()
        code, option, page, section = match.groups()
        pieces.append(f"{bold(page)}({section})" if page else bold(code or option))
    return "".join((*pieces, _escape(plain[end:], _TEXT)))


def literal(plain: str) -> str:
    """What is typed or read letter by letter."""
    return _escape(plain, _LITERAL)


def bold(plain: str) -> str:
    """Something literal, in bold: names of programs, commands, options."""
    return f"\\fB{literal(plain)}\\fR"


def italic(plain: str) -> str:
    """Something literal, in italics: what the reader puts a value for; files."""
    return f"\\fI{literal(plain)}\\fR"


def _escape(plain: str, table: dict[str, str]) -> str:
    return "".join(table.get(letter) or (letter if letter.isascii() else f"\\[u{ord(letter):04X}]") for letter in plain)


def _guarded(line: str) -> str:
    """A line that can't be taken for a request."""
    return f"\\&{line}" if line[:1] in (".", "'") else line


def _lines(source: str) -> list[str]:
    """Lines of running text, cut between words."""
    return [_guarded(line) for part in source.split("\n") for line in _cut(part)]


def _cut(line: str) -> list[str]:
    lines = [""]
    for word in _SPACE.split(line):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


@dataclass(slots=True)
class Writer:
    """Writes one page. Arguments that are called roff have their escapes already."""

    name: str
    section: int
    purpose: str
    stamp: Stamp
    _out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        day = self.stamp.day.isoformat()
        title = f'"{literal(self.name.upper())}" "{self.section}" "{day}" "vrfwire {self.stamp.version}" "{MANUAL}"'
        self._out += [f".TH {title}", ".SH NAME", *_lines(f"{literal(self.name)} \\- {text(self.purpose)}")]

    def heading(self, title: str) -> None:
        """A section."""
        self._out.append(f".SH {title}")

    def subheading(self, title: str) -> None:
        """A part of a section."""
        self._out.append(f".SS {literal(title)}")

    def paragraph(self, roff: str) -> None:
        """A paragraph."""
        if not self._out[-1].startswith((".SH", ".SS")):
            self._out.append(".PP")
        self._out += _lines(roff)

    def item(self, tag: str, *paragraphs: str) -> None:
        """A tag with its description, both roff."""
        self._out += [".TP", *_lines(tag)]
        for number, roff in enumerate(paragraphs):
            self._out += [*([".IP"] if number else []), *_lines(roff)]

    def synopsis(self, rows: Iterable[tuple[str, str]]) -> None:
        """How it is called: (what is literal, the rest in roff)."""
        for command, arguments in rows:
            self._out += [f'.SY "{literal(command)}"', *_lines(arguments), ".YS"]

    def example(self, plain: str) -> None:
        """Lines shown as they are."""
        if not self._out[-1].startswith((".SH", ".SS")):
            self._out.append(".PP")
        self._out += [".RS 4", ".nf", *(_guarded(line) for line in literal(plain).split("\n")), ".fi", ".RE"]

    def see_also(self, others: Iterable[tuple[str, int]]) -> None:
        """References to other pages, in the order of manuals: by section, then by name."""
        self.heading("SEE ALSO")
        ordered = sorted(set(others) - {(self.name, self.section)}, key=lambda other: (other[1], other[0]))
        self._out += [
            f".BR {literal(name)} ({section}){',' if number + 1 < len(ordered) else ''}"
            for number, (name, section) in enumerate(ordered)
        ]

    def page(self, package: str) -> Page:
        """What was written."""
        return Page(self.name, self.section, package, "\n".join(self._out) + "\n")
