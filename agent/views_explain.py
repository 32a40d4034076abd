"""What the commands of agent/commands_explain.py show: columns and texts."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.command import Options, Reply, items
from runtime.output import Column, Row, cell, details, printable

DROPS = (
    Column("COUNTER", "name"),
    Column("WHERE", "where"),
    Column("PACKETS", "value", right=True),
    Column("RATE/S", "rate", right=True),
    Column("SINCE", lambda row: row.get("since") or ("device made" if row.get("device") else None)),
    Column("LAST", "last"),
    Column("CAUSE", "cause"),
)
OBJECT_LIST = (
    Column("KIND", "kind"),
    Column("NAME", "name"),
    Column("STATE", "state"),
    Column("WANTED BY", lambda row: cell(row.get("wanted_by"))),
    Column("REPAIRED", "repaired", right=True),
    Column("ERROR", "error"),
)
OBJECT = (
    Column("kind", "kind"),
    Column("name", "name"),
    Column("state", "state"),
    Column("wanted", "desired"),
    Column("kernel", "kernel"),
    Column("wanted by", "wanted_by"),
    Column("error", "error"),
    Column("failed tries", "attempts"),
    Column("next try in", lambda row: _seconds(row.get("next_retry"))),
    Column("repaired", "repaired"),
    Column("last repair", "last_repair"),
)
_UNLESS_EMPTY = ("error", "failed tries", "next try in", "last repair")


def drops(options: Options, rows: Sequence[Row], colour: bool) -> str:
    """Counters, what is no cause for concern last; then what to do about the others."""
    if not rows:
        return "nothing was lost\n"
    ordered = sorted(rows, key=lambda row: row.get("usual") is True)
    shown = [
        column
        for column in DROPS
        if (column.field != "rate" or any("rate" in row for row in rows))
        and (column.field != "last" or any(row.get("last") for row in rows))
    ]
    text = options.table(ordered, shown, colour)
    for row in ordered:
        if row.get("usual") is not True and row.get("value"):
            where = "" if row.get("where") == "host" else f" at {cell(row.get('where'))}"
            text += f"hint: {cell(row.get('name'))}{where}: {cell(row.get('hint'))}\n"
    return text


def event(reply: Row) -> str:
    """One line of the monitor: when, what it is about, what happened."""
    if "lost" in reply:
        return f"{cell(reply.get('at'))}  {cell(reply.get('lost'))} events lost: they came faster than they were read\n"
    kind, text = printable(str(reply.get("kind"))), reply.get("text") or reply.get("event")
    return f"{cell(reply.get('at'))}  {kind:8}{cell(text)}\n"


def objects(options: Options, rows: Sequence[Row], colour: bool) -> str:
    """Objects; columns of trouble only where there is some."""
    seldom = {"error": any(row.get("error") for row in rows), "repaired": any(row.get("repaired") for row in rows)}
    shown = [column for column in OBJECT_LIST if not isinstance(column.field, str) or seldom.get(column.field, True)]
    return options.table(rows, shown, colour)


def object_text(options: Options, reply: Reply, colour: bool) -> str:
    """One object, and what stands on it and below it."""
    shown = [column for column in OBJECT if column.title not in _UNLESS_EMPTY or column.text(reply) not in ("-", "0")]
    text = details(reply, shown, colour=colour)
    rows = items(reply, "needs")
    if rows:
        lines = options.table(rows, (Column("NEEDS", "kind"), Column("NAME", "name"), Column("STATE", "state")), colour)
        text += "".join(f"  {line}\n" for line in lines.splitlines())
    return text


def _seconds(value: object) -> str | None:
    return f"{value:.1f} s" if isinstance(value, int | float) else None
