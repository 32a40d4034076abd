"""Errors meant for an operator: one line that says what and why, and a hint with the next step."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of every vrfwire command (docs: interfaces)."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFLICT = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    TIMEOUT = 6
    DEGRADED = 7
    NOT_PERMITTED = 77


class OperatorError(Exception):
    """WHAT: WHY, with a hint; carried over the control socket and printed by the CLI.

    what: the thing concerned ("port web-1"); why: one line; hint: the next step or ""; code: exit code of the command.
    """

    def __init__(self, what: str, why: str, hint: str = "", code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
        self.hint = hint
        self.code = code
