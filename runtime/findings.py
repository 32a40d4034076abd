"""What a doctor finds: one value per check, and the checks that every daemon's doctor makes.

A check is a pure function over facts, so that a test can make the facts up; gathering them is bounded in time
(runtime/bounded.py). What can't be looked at is said to be unknown, never to be well.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How a check ended. WARNING: it works, but badly, not in all cases or not for long. UNKNOWN: it couldn't be looked
    at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check: what was looked at, what was found, and what to do about it ("" if nothing)."""

    check: str
    state: Level
    detail: str
    hint: str = ""

    def document(self) -> dict[str, object]:
        """As the control socket and --json have it."""
        hint = "" if self.state is Level.OK else self.hint
        return {"check": self.check, "state": self.state.value, "detail": self.detail, "hint": hint}


def good(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, detail)


def warning(check: str, detail: str, hint: str) -> Finding:
    """It works, but badly, not in all cases or not for long."""
    return Finding(check, Level.WARNING, detail, hint)


def failed(check: str, detail: str, hint: str) -> Finding:
    """It doesn't work."""
    return Finding(check, Level.FAILED, detail, hint)


def unknown(check: str, detail: str, hint: str) -> Finding:
    """It couldn't be looked at."""
    return Finding(check, Level.UNKNOWN, detail, hint)


def documents(findings: Iterable[Finding]) -> list[dict[str, object]]:
    """Of many."""
    return [finding.document() for finding in findings]
