"""The `doctor` command of every program: what it prints, and its exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.command import Options, items
from runtime.errors import ExitCode, OperatorError
from runtime.output import Column, Row, cell

COLUMNS = (Column("CHECK", "check"), Column("STATE", "state"), Column("DETAIL", "detail"))
_TIME = 60.0


def show_doctor(options: Options, examine: Callable[[], Sequence[Row]]) -> int:
    """Ask the daemon what it finds, or look for oneself (examine) when it doesn't answer. Returns the exit code:
    DEGRADED when anything fails."""
    try:
        reply = options.ask("doctor", timeout=_TIME)
    except OperatorError as error:
        if error.code is not ExitCode.UNREACHABLE:
            raise
        why: Row = {"check": "daemon", "state": "failed", "detail": f"{error.what}: {error.why}", "hint": error.hint}
        reply = {"items": [why, *examine()]}
    rows = items(reply)
    options.show(reply, lambda colour: findings_text(options, rows, colour))
    return ExitCode.DEGRADED if any(row.get("state") == "failed" for row in rows) else ExitCode.OK


def findings_text(options: Options, rows: Sequence[Row], colour: bool) -> str:
    """A table for people, and what to do about what isn't well."""
    text = options.table(rows, COLUMNS, colour)
    for row in rows:
        if row.get("hint") and row.get("state") != "ok":
            text += f"hint: {cell(row.get('check'))}: {cell(row['hint'])}\n"
    return text
