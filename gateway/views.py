"""What `vrfwire-gateway-ctl` shows of each reply: columns and texts."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.command import Options, Reply, items
from runtime.output import Column, Row, cell, count, details, next_hops
from runtime.standard_commands import problems_text

HOST_LIST = (
    Column("NAME", "name"),
    Column("ADDRESS", "address"),
    Column("STATE", "state"),
    Column("SINCE", "since"),
    Column("VPNS", "vpns"),
    Column("ROUTES", "routes", right=True),
    Column("STALE", "stale_routes", right=True),
    Column("SLOWED", "slowed"),
    Column("JID", "jid"),
)
VPN_LIST = (
    Column("NAME", "name"),
    Column("SOURCE", "source"),
    Column("IMPORT", "import"),
    Column("EXPORT", "export"),
    Column("HOSTS", lambda row: count(row.get("hosts")), right=True),
    Column("ROUTES", lambda row: count(row.get("routes")), right=True),
)
VPN = (
    Column("name", "name"),
    Column("source", "source"),
    Column("import", "import"),
    Column("export", "export"),
    Column("hosts", "hosts"),
    Column("routes", "routes"),
)
ROUTE_LIST = (
    Column("VPN", "vpn"),
    Column("PREFIX", "prefix"),
    Column("NEXT HOPS", lambda row: next_hops(row.get("next_hops"))),
    Column("PREFERENCE", "local_preference", right=True),
    Column("SEQUENCE", "sequence_number", right=True),
    Column("STALE", "stale"),
    Column("SOURCE", "source"),
)
BGP_ROUTES = (
    Column("RD", "rd"),
    Column("PREFIX", "prefix"),
    Column("NEXT HOP", "next_hop"),
    Column("LABEL", "labels", right=True),
    Column("PREFERENCE", "local_preference", right=True),
    Column("AS PATH", "as_path"),
    Column("TARGETS", "route_targets"),
    Column("FROM", "from"),
    Column("PATHS", "paths", right=True),
    Column("STALE", "stale"),
    Column("IMPORTED BY", "imported_by"),
)
PEER_LIST = (
    Column("NAME", "name"),
    Column("ADDRESS", "address"),
    Column("AS", "as", right=True),
    Column("TYPE", "type"),
    Column("STATE", "state"),
    Column("SINCE", "since"),
    Column("FAMILIES", "families"),
    Column("RECEIVED", "received", right=True),
    Column("ANNOUNCED", "announced", right=True),
    Column("STALE", "stale", right=True),
    Column("PROBLEM", lambda row: _trouble(row)),
)
PEER = (
    Column("name", "name"),
    Column("address", "address"),
    Column("as", lambda row: f"{cell(row.get('as'))} ({cell(row.get('type'))}), ours {cell(row.get('local_as'))}"),
    Column("state", "state"),
    Column("since", "since"),
    Column("router id", "router_id"),
    Column("families", "families"),
    Column("hold time", lambda row: f"{cell(row.get('hold_time'))} s" if row.get("hold_time") else "none"),
    Column("transport", lambda row: _transport(row)),
    Column("connection", lambda row: _connection(row.get("connection"))),
    Column("memberships", lambda row: _memberships(row)),
    Column("times up", lambda row: _counter(row, "established")),
    Column("messages", lambda row: _messages(row)),
    Column("malformed", lambda row: _malformed(row)),
    Column("looped", lambda row: _counter(row, "looped")),
    Column("last down", lambda row: _last_down(row.get("last_down"))),
    Column("peer's text", lambda row: _peers_text(row.get("last_down"))),
    Column("last dial", "last_connect_error"),
    Column("problem", "problem"),
    Column("hint", "hint"),
)
_QUIET = (
    "malformed",
    "looped",
    "last down",
    "peer's text",
    "last dial",
    "memberships",
    "times up",
    "problem",
    "hint",
    "connection",
    "router id",
)
"""Lines that are left out where there is nothing to say."""
FAMILIES = (
    Column("FAMILY", "family"),
    Column("RECEIVED", "received", right=True),
    Column("LIMIT", "limit", right=True),
    Column("STALE", "stale", right=True),
    Column("END", "ended"),
    Column("ANNOUNCED", "announced", right=True),
    Column("WITHDRAWN", "withdrawn", right=True),
    Column("WAITING", "waiting", right=True),
)
CAPABILITIES = (
    Column("CAPABILITY", "capability"),
    Column("OURS", "ours"),
    Column("THE PEER'S", "theirs"),
    Column("USED", "used"),
    Column("WHY NOT", "why"),
)
CANDIDATES = (
    Column("SOURCE", "source"),
    Column("NEXT HOPS", lambda row: next_hops(row.get("next_hops"))),
    Column("PREFERENCE", "local_preference", right=True),
    Column("SEQUENCE", "sequence_number", right=True),
    Column("STALE", "stale"),
    Column("CHOSEN", "selected"),
    Column("LOST BY", "reason"),
)
PATHS = (
    Column("USE", lambda row: "best" if row.get("best") else "multipath" if row.get("multipath") else "-"),
    Column("FROM", "from"),
    Column("NEXT HOP", "next_hop"),
    Column("LABEL", "labels", right=True),
    Column("PREFERENCE", "local_preference", right=True),
    Column("AS PATH", "as_path"),
    Column("ORIGIN", "origin"),
    Column("MED", "med", right=True),
    Column("STALE", lambda row: "long-lived" if row.get("long_lived_stale") else row.get("stale")),
    Column("LOST BY", "reason"),
)
OTHERS = (
    Column("RD", "rd"),
    Column("PREFIX", "prefix"),
    Column("FROM", "from"),
    Column("TARGETS", "route_targets"),
    Column("IMPORTED BY", "imported_by"),
)

ATTACHMENT_LIST = (
    Column("ATTACHMENT", "attachment"),
    Column("STATE", "state"),
    Column("HOST", "host"),
    Column("ADDRESS", "address"),
    Column("ROUTES", "routes"),
)
WITHHELD_LIST = (
    Column("ATTACHMENT", "attachment"),
    Column("VPN", "vpn"),
    Column("HOST", "host"),
    Column("PREFIX", "prefix"),
    Column("REASON", "reason"),
)
MAP = (
    Column("url", "url"),
    Column("state", "state"),
    Column("since", "since"),
    Column("synchronised", "synchronised"),
    Column("known from", "source"),
    Column("as of", lambda row: _as_of(row)),
    Column("empty, not believed", "disbelieved"),
    Column("authorization", "authorization"),
    Column("VPNs", "vpns"),
    Column("attachments", "attachments"),
    Column("bindings", "bindings"),
    Column("withheld", lambda row: f"{cell(row.get('withheld_items'))} items"),
    Column("published", lambda row: _published(row)),
    Column("as gateway", "gateway"),
    Column("publisher id", "publisher_id"),
    Column("last error", "last_error"),
)
_QUIET_MAP = ("last error", "as of", "empty, not believed")


def _of(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _counter(row: Row, key: str) -> object:
    value = _of(row.get("counters"), key)
    return value or None


def _trouble(row: Row) -> object:
    """What is wrong now: what the gateway has found, else how the session ended that isn't there."""
    return row.get("problem") or (row.get("last_error") if row.get("state") != "established" else "")


def _transport(row: Row) -> str:
    said = row.get("transport")
    parts = [f"port {cell(_of(said, 'port'))}"]
    if row.get("passive"):
        parts.append("passive")
    if _of(said, "md5"):
        parts.append("MD5")
    if _of(said, "ttl_security"):
        parts.append(f"GTSM {cell(_of(said, 'ttl_security'))}")
    if _of(said, "multihop"):
        parts.append(f"TTL {cell(_of(said, 'multihop'))}")
    return ", ".join(parts)


def _connection(value: object) -> object:
    if not isinstance(value, dict):
        return None
    ends = f"{cell(value.get('local'))} to {cell(value.get('remote'))}, " if value.get("local") else ""
    return f"{ends}opened by the {cell(value.get('opened_by'))}, messages up to {cell(value.get('max_length'))} bytes"


def _peers_text(value: object) -> object:
    return _of(value, "text") if _of(value, "reason") == "notification received" else None


def _memberships(row: Row) -> object:
    if row.get("state") != "established":
        return None
    if row.get("memberships") is None:
        return "none negotiated: it gets all routes"
    waiting = ", their end is awaited" if row.get("waiting_for_memberships") else ""
    return f"{row['memberships']} of the peer (RTC){waiting}"


def _messages(row: Row) -> str:
    received = _of(row.get("counters"), "received")
    if not isinstance(received, dict) or not received:
        return "none received"
    return "received " + ", ".join(f"{number} {kind}" for kind, number in received.items())


def _malformed(row: Row) -> object:
    withdrawn, discarded = _counter(row, "treated_as_withdraw"), _counter(row, "attributes_discarded")
    if not (withdrawn or discarded):
        return None
    last = f"; last: {row['last_malformation']}" if row.get("last_malformation") else ""
    return f"{withdrawn or 0} UPDATEs treated as withdrawals, {discarded or 0} lost an attribute{last}"


def _last_down(value: object) -> object:
    if not isinstance(value, dict):
        return None
    texts = [": ".join(str(value[key]) for key in ("reason", "notification") if value.get(key))]
    texts += [str(value["detail"])] if value.get("detail") else []
    kept = value.get("kept")
    if isinstance(kept, list) and kept:
        texts.append(f"routes kept as stale: {cell(kept)}")
    at = f"{value['at']} " if value.get("at") else ""
    return at + "; ".join(texts)


def section(title: str, text: str) -> str:
    """A text within a text, under a heading; nothing where there is none."""
    return f"{title}:\n" + "".join(f"  {line}\n" for line in text.splitlines()) if text else ""


def _table(title: str, rows: Sequence[Row], columns: Sequence[Column], options: Options, colour: bool) -> str:
    # Columns that say nothing anywhere are left out.
    shown = [column for column in columns if any(column.text(row) != "-" for row in rows)]
    return section(title, options.table(rows, shown, colour)) if rows else ""


def peers(reply: Reply, options: Options, colour: bool) -> str:
    """The peers; the column about trouble is there when there is some. After a start, who holds routes back."""
    rows = items(reply)
    columns = PEER_LIST if any(_trouble(row) for row in rows) else PEER_LIST[:-1]
    waiting = reply.get("waiting_for")
    note = f"peers are told no routes yet; after the start these are waited for: {cell(waiting)}\n" if waiting else ""
    return options.table(rows, columns, colour) + note


def peer(reply: Reply, options: Options, colour: bool) -> str:
    """A peer, its families, what both sides offered."""
    lines = [column for column in PEER if column.title not in _QUIET or column.text(reply) != "-"]
    return (
        details(reply, lines, colour=colour)
        + _table("routes", items(reply, "per_family"), FAMILIES, options, colour)
        + _table("capabilities", items(reply, "capabilities"), CAPABILITIES, options, colour)
    )


def map_shown(reply: Reply, options: Options, colour: bool) -> str:
    """The session with the MAP server, and what is wrong."""
    if not reply.get("configured", True):
        return ""
    lines = [column for column in MAP if column.title not in _QUIET_MAP or column.text(reply) not in ("-", "no")]
    return details(reply, lines, colour=colour) + problems_text(reply)


def _as_of(row: Row) -> object:
    """When what is in use was last the server's, while that isn't now."""
    age = row.get("age")
    if row.get("synchronised") or not isinstance(age, int):
        return None
    for seconds, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if age >= 2 * seconds:
            return f"{cell(row.get('as_of'))}, {age // seconds} {unit} ago"
    return f"{cell(row.get('as_of'))}, {age} seconds ago"


def _published(row: Row) -> str:
    found = row.get("published")
    states = [f"{number} {state}" for state, number in found.items() if number] if isinstance(found, dict) else []
    waiting = f", {cell(row['unpublished'])} metadata to go" if row.get("unpublished") else ""
    return (", ".join(states) or "nothing") + waiting


def explained(reply: Reply, options: Options, colour: bool) -> str:
    """Why a route is as it is."""
    where = f" in VPN {cell(reply['vpn'])}" if reply.get("vpn") else ""
    text = f"{cell(reply.get('query'))}{where}: "
    if reply.get("prefix") is None:
        text += "no route\n"
    elif reply.get("vpn"):
        text += f"{cell(reply['prefix'])} by {next_hops(reply.get('next_hops'))}\n"
    else:
        text += f"{cell(reply['prefix'])}\n"
    text += _table("candidates of the VPN", items(reply, "candidates"), CANDIDATES, options, colour)
    destinations = items(reply, "destinations")
    for row in destinations:
        text += section(f"BGP {cell(row.get('rd'))}:{cell(row.get('prefix'))}", _destination(row, options, colour))
    text += _rest(reply, "destinations", len(destinations))
    others = items(reply, "others")
    text += _table("not imported", others, OTHERS, options, colour) + _rest(reply, "others", len(others))
    why = reply.get("why")
    if isinstance(why, list) and why:
        text += section("why", "".join(f"- {cell(reason)}\n" for reason in why))
    return text


def _rest(reply: Reply, key: str, shown: int) -> str:
    total = reply.get(f"{key}_total")
    return f"  and {total - shown} more\n" if isinstance(total, int) and total > shown else ""


def _destination(row: Row, options: Options, colour: bool) -> str:
    text = options.table(items(row, "paths"), PATHS, colour)
    text += f"route targets: {cell(row.get('route_targets'))}\n"
    imports = items(row, "imported_by")
    if imports:
        names = [f"{cell(one.get('vpn'))} (by {cell(one.get('targets'))})" for one in imports]
        text += f"imported by: {', '.join(names)}\n"
    else:
        text += f"not imported: {cell(row.get('not_imported'))}\n"
    text += f"told to: {cell(row.get('told'))}\n"
    for one in items(row, "not_told"):
        text += f"not told to {cell(one.get('peer'))}: {cell(one.get('reason'))}\n"
    return text
