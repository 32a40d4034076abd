"""Sections that pages of several kinds have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from roff import Writer, bold, italic, text
from runtime.errors import ExitCode

EXIT_CODES = {
    ExitCode.OK: "Done, or already so.",
    ExitCode.FAILURE: "Failure; the message says what, why, and what to do.",
    ExitCode.USAGE: "The command line, a name, an address or a value is wrong.",
    ExitCode.CONFLICT: "It conflicts with something that is there, or a precondition is missing.",
    ExitCode.NOT_FOUND: "There is no such thing.",
    ExitCode.UNREACHABLE: "The daemon or the server can't be reached.",
    ExitCode.TIMEOUT: "The time to wait is over: what was asked for is accepted and kept, and still converging.",
    ExitCode.DEGRADED: "Degraded: something doesn't work as it should; the output says what.",
    ExitCode.NOT_PERMITTED: "Not permitted.",
}


class Variable(NamedTuple):
    """An environment variable. meaning: plain text."""

    name: str
    meaning: str


def exit_status(writer: Writer, codes: Iterable[int]) -> None:
    """EXIT STATUS"""
    writer.heading("EXIT STATUS")
    for code in codes:
        writer.item(bold(str(int(code))), text(EXIT_CODES[ExitCode(code)]))


def environment(writer: Writer, variables: Iterable[Variable]) -> None:
    """ENVIRONMENT"""
    writer.heading("ENVIRONMENT")
    for name, meaning in variables:
        writer.item(bold(name), text(meaning))


def files(writer: Writer, rows: Iterable[tuple[str, str]]) -> None:
    """FILES, if there are any. rows: path and plain text."""
    listed = list(rows)
    if listed:
        writer.heading("FILES")
    for path, meaning in listed:
        writer.item(italic(path), text(meaning))
