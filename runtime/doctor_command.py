"""The `doctor` command of every program: what it prints, and its exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from runtime.command import Group, Options, common, items, pass_options
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


def add_doctor(cli: Group, looks_at: str, examine: Callable[[str | None], Sequence[Row]]) -> None:
    """Give a command its doctor. looks_at: for the help; examine: called with the file of the configuration, or None,
    when the daemon doesn't answer."""

    @cli.command(
        "doctor",
        short_help="Check this machine, the daemon and its configuration.",
        help=f"""Check {looks_at}; exit code 7 when something fails.

        It changes nothing. Works without the daemon too: then this command looks itself, as far as its user may.
        """,
    )
    @click.option("--config", "path", metavar="FILE", help="The daemon's configuration, when it isn't running.")
    @common
    @pass_options
    def doctor(options: Options, path: str | None) -> int:
        return show_doctor(options, lambda: examine(path))


def findings_text(options: Options, rows: Sequence[Row], colour: bool) -> str:
    """A table for people, and what to do about what isn't well."""
    text = options.table(rows, COLUMNS, colour)
    for row in rows:
        if row.get("hint") and row.get("state") != "ok":
            text += f"hint: {cell(row.get('check'))}: {cell(row['hint'])}\n"
    return text
