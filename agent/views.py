"""What the `vrfwire` command shows of each reply: columns and texts."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.command import Options, Reply, items
from runtime.output import Column, Row, cell, count, details, next_hops

PORT_LIST = (
    Column("NAME", "name"),
    Column("VPN", "vpn"),
    Column("STATE", "state"),
    Column("ANNOUNCED", "announced"),
    Column("CARRIER", "carrier"),
    Column("LABEL", "label", right=True),
    Column("INTERFACE", "interface"),
    Column("MAC", "mac"),
    Column("ADDRESSES", lambda row: _joined(row, "addresses", "prefixes")),
    Column("ERROR", "error"),
)
PORT = (
    Column("name", "name"),
    Column("vpn", "vpn"),
    Column("attachment", "attachment"),
    Column("state", "state"),
    Column("announced", "announced"),
    Column("blocked", "blocked"),
    Column("carrier", lambda row: "no, waiting for the VM" if row.get("carrier") is False else row.get("carrier")),
    Column("error", "error"),
    Column("hint", "hint"),
    Column("addresses", "addresses"),
    Column("prefixes", "prefixes"),
    Column("mac", "mac"),
    Column("label", "label"),
    Column("mtu", "mtu"),
    Column("kind", "kind"),
    Column("interface", "interface"),
    Column("namespace", "netns"),
    Column("guest interface", "guest_interface"),
)
VPN_LIST = (
    Column("NAME", "name"),
    Column("DEVICE", "device"),
    Column("TABLE", "table", right=True),
    Column("INSTANCE", "instance_id", right=True),
    Column("PORTS", lambda row: count(row.get("ports")), right=True),
    Column("ROUTES", lambda row: count(row.get("routes")), right=True),
    Column("GATEWAYS", lambda row: _synchronised(row.get("gateways")), right=True),
)
VPN = (
    Column("name", "name"),
    Column("device", "device"),
    Column("table", "table"),
    Column("instance id", "instance_id"),
    Column("ports", "ports"),
    Column("routes", "routes"),
)
VPN_GATEWAYS = (
    Column("GATEWAY", "address"),
    Column("STATE", "state"),
    Column("SYNCHRONISED", "synchronised"),
    Column("ROUTES", "routes", right=True),
    Column("ERROR", "error"),
)
ROUTE_LIST = (
    Column("VPN", "vpn"),
    Column("PREFIX", "prefix"),
    Column("NEXT HOPS", lambda row: next_hops(row.get("next_hops"))),
    Column("STATE", "state"),
    Column("GATEWAY", "gateway"),
    Column("ERROR", "error"),
)
GATEWAY_LIST = (
    Column("ADDRESS", "address"),
    Column("PORT", "port", right=True),
    Column("DOMAIN", "domain"),
    Column("STATE", "state"),
    Column("SINCE", "since"),
    Column("VPNS", lambda row: count(row.get("vpns")), right=True),
    Column("ROUTES", lambda row: count(row.get("routes")), right=True),
    Column("SYNCHRONISED", "synchronised"),
    Column("DRAIN", "drain"),
    Column("LAST ERROR", "last_error"),
)
DRAINED_GATEWAYS = (
    Column("GATEWAY", "address"),
    Column("STATE", "state"),
    Column("DRAIN", "drain"),
    Column("PREFIXES", "prefixes", right=True),
)


def _joined(row: Row, *fields: str) -> list[object]:
    found: list[object] = []
    for field in fields:
        value = row.get(field)
        found += value if isinstance(value, list) else []
    return found


def _synchronised(value: object) -> object:
    """Gateways that have told their whole table, of all: "1/2"."""
    if not isinstance(value, list):
        return value
    return f"{sum(isinstance(row, dict) and row.get('synchronised') is True for row in value)}/{len(value)}"


def attached(reply: Reply) -> str:
    """One line for people, with what the VM's configuration needs."""
    done = "unchanged" if reply.get("unchanged") else cell(reply.get("state"))
    elapsed = reply.get("elapsed_ms")
    time = f" in {elapsed:.1f} ms" if isinstance(elapsed, int | float) else ""
    return (
        f"port {cell(reply.get('name'))}: {done}{time}, "
        f"vpn {cell(reply.get('vpn'))}, label {cell(reply.get('label'))}, "
        f"mac {cell(reply.get('mac'))}, mtu {cell(reply.get('mtu'))}, interface {cell(reply.get('interface'))}, "
        f"announced: {cell(reply.get('announced'))}\n"
    )


EXPLAINED = (
    Column("address", "address"),
    Column("vpn", "vpn"),
    Column("route", "prefix"),
    Column("wanted", lambda row: _target(row.get("desired"))),
    Column("kernel", lambda row: _target(row.get("kernel"))),
    Column("state", "state"),
    Column("underlay", lambda row: [_underlay(hop) for hop in items(row, "underlay")]),
    Column("comes in by", lambda row: _here(row.get("here"))),
)
_WHERE_THERE = ("underlay", "comes in by")
"""Lines of an explanation that aren't printed when there is nothing to say."""
PER_GATEWAY = (
    Column("GATEWAY", "gateway"),
    Column("NEXT HOPS", lambda row: _target(row)),
    Column("PREFERENCE", "local_preference", right=True),
    Column("SEQUENCE", "sequence_number", right=True),
    Column("SELECTED", "selected"),
    Column("REASON", "reason"),
)


def _underlay(hop: Row) -> str:
    """How packets get to a remote host."""
    if hop.get("device") is None:
        return f"{cell(hop.get('host'))} no route"
    gateway = f" gateway {cell(hop.get('gateway'))}" if hop.get("gateway") else ""
    return f"{cell(hop.get('host'))} by {cell(hop.get('device'))}{gateway}"


def _here(value: object) -> str | None:
    """The port of this host that packets from other hosts are delivered to."""
    if not isinstance(value, dict):
        return None
    state = "blocked" if value.get("blocked") else cell(value.get("state"))
    return (
        f"label {cell(value.get('label'))} to port {cell(value.get('port'))}, {cell(value.get('interface'))} ({state}, "
        f"announced: {cell(value.get('announced'))})"
    )


def _target(value: object) -> str:
    if isinstance(value, dict) and value.get("type", "unicast") != "unicast":
        return f"{cell(value.get('prefix'))} {cell(value.get('type'))}"
    if isinstance(value, dict) and "next_hops" in value:
        return next_hops(value["next_hops"])
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(element)}" for key, element in value.items()) or "-"
    return next_hops(value)


def _gateways(rows: Sequence[Row], columns: Sequence[Column], options: Options, colour: bool) -> str:
    """A table within a text, or nothing."""
    if not rows:
        return ""
    lines = options.table(rows, columns, colour).splitlines()
    return "gateways:\n" + "".join(f"  {line}\n" for line in lines)


def vpn(reply: Reply, options: Options, colour: bool) -> str:
    """A VPN and what each gateway has told of it."""
    return details(reply, VPN, colour=colour) + _gateways(items(reply, "gateways"), VPN_GATEWAYS, options, colour)


def drained_gateways(reply: Reply, options: Options, colour: bool) -> str:
    """How far a drain is at each gateway."""
    return _gateways(items(reply, "gateways"), DRAINED_GATEWAYS, options, colour) if reply.get("step") else ""


def explained(reply: Reply, options: Options, colour: bool) -> str:
    shown = [column for column in EXPLAINED if column.title not in _WHERE_THERE or column.text(reply) != "-"]
    text = details(reply, shown, colour=colour)
    text += _gateways(items(reply, "per_gateway"), PER_GATEWAY, options, colour)
    why = reply.get("why")
    if isinstance(why, list) and why:
        text += "why:\n" + "".join(f"  - {cell(reason)}\n" for reason in why)
    return text
