"""Failures of the lab itself, as opposed to those of what runs in it."""

from __future__ import annotations

EXIT_LAB = 70
"""Exit status when the lab failed (EX_SOFTWARE of sysexits.h), told apart from the command's own."""


class LabError(Exception):
    """The lab can't do its work. hint: the next step, or ""; log: lines that show the cause, or ""."""

    def __init__(self, message: str, hint: str = "", log: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.log = log
        if log:
            self.add_note(log)  # shown by pytest and in a traceback
