"""The last known provisioning as it is kept for the next start; no I/O.

JSON, one document. Route targets and prefixes are texts; names are as orchestration gave them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.grants import Grants
from gateway.provisioning import Targets
from vpn.community import CommunityError, RouteTarget
from vpn.prefix import Prefix, PrefixError

PROGRAM = "vrfwire-gateway"
VERSION = 2
"""Of the document; grows with every change that an older version would misread."""


class Snapshot(NamedTuple):
    """VPNs and attachments by name. forfeited: what attachments have lost and not got back, the latest last. servers:
    URLs of the servers that provisioned it; time: Unix time at which it was theirs."""

    vpns: Mapping[str, Targets]
    attachments: Mapping[str, Grants]
    forfeited: Mapping[str, Grants]
    servers: tuple[str, ...]
    time: float


def encode(snapshot: Snapshot) -> bytes:
    """As it is kept."""
    document = {
        "program": PROGRAM,
        "version": VERSION,
        "servers": snapshot.servers,
        "time": snapshot.time,
        "vpns": {
            name: [sorted(map(str, targets.imports)), sorted(map(str, targets.exports))]
            for name, targets in sorted(snapshot.vpns.items())
        },
        "attachments": {name: _row(grants) for name, grants in sorted(snapshot.attachments.items())},
        "forfeited": {name: _row(grants) for name, grants in snapshot.forfeited.items()},
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _row(grants: Grants) -> tuple[list[str], list[str]]:
    return sorted(grants.vpns), sorted(map(str, grants.prefixes))


def decode(data: bytes) -> Snapshot:
    """What was kept; raises ValueError, with a text for the operator, for what encode() didn't make."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged: {error}") from None
    if not isinstance(document, dict) or document.get("program") != PROGRAM:
        raise ValueError("it is no record of provisioning")
    if document.get("version") != VERSION:
        raise ValueError(f"it has version {document.get('version')!r}, this program reads version {VERSION}")
    try:
        vpns = {
            name: Targets(frozenset(map(RouteTarget.parse, imports)), frozenset(map(RouteTarget.parse, exports)))
            for name, imports, exports in _rows(document.get("vpns"))
        }
        attachments, forfeited = (
            {
                name: Grants(frozenset(names), frozenset(map(Prefix.parse, prefixes)))
                for name, names, prefixes in _rows(document.get(table))
            }
            for table in ("attachments", "forfeited")
        )
    except (CommunityError, PrefixError) as error:
        raise ValueError(f"damaged: {error}") from None
    servers, time = document.get("servers"), document.get("time")
    if not isinstance(servers, list) or not all(isinstance(url, str) for url in servers):
        raise ValueError("damaged: it doesn't say which servers it is of")
    if not isinstance(time, int | float) or not 0 <= time < 1 << 32:
        raise ValueError("damaged: it has no time")
    return Snapshot(vpns, attachments, forfeited, tuple(servers), float(time))


def _rows(table: Any) -> list[tuple[str, list[str], list[str]]]:
    if not isinstance(table, dict):
        raise ValueError("damaged: a table is missing")
    rows = []
    for name, row in table.items():
        match row:
            case [list(one), list(other)] if all(isinstance(text, str) for text in (*one, *other)):
                rows.append((name, one, other))
            case _:
                raise ValueError(f"damaged: {name!r} is not what a gateway writes")
    return rows
