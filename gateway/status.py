"""What the gateway shows of itself on its control socket, as documents; no I/O."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.limits import Flow
from gateway.rib import Learnt, Source
from gateway.service import Service
from runtime.certificates import Certificate
from runtime.errors import ExitCode, OperatorError
from vpn.community import RouteTarget
from vpn.path import Path
from vpn.prefix import Prefix, format_address
from vpn.table import Candidate, preference

Document = dict[str, object]

_DIGITS = 20
"""Of a revision, at most."""


@dataclass(slots=True)
class Problem:
    """Something an operator should look at."""

    what: str
    why: str
    hint: str = ""

    def document(self) -> Document:
        """As in the status."""
        return {"what": self.what, "why": self.why, "hint": self.hint}


@dataclass(slots=True)
class HostRecord:
    """What is remembered of a host beside its session. address: where it last came from; since: Unix time, seconds;
    certificates: by the number of the session that it was shown in. flow: what it takes, None when nobody measures."""

    address: str
    jid: str
    since: float
    addresses: list[str] = field(default_factory=list)
    certificates: dict[int, Certificate] = field(default_factory=dict)
    flow: Flow | None = None


class Status:
    """Documents about a service. records: by host name, kept by the server."""

    def __init__(self, service: Service, records: Mapping[str, HostRecord]) -> None:
        self._service = service
        self._rib = service.rib
        self._records = records

    def hosts(self) -> Document:
        """host.list: hosts with a session, and those whose routes are stale."""
        sessions = {session.host: session for session in self._service.sessions.values()}
        rows = []
        for name in sorted({*sessions, *self._rib.hosts()}):
            record = self._records.get(name, HostRecord("", "", 0.0))
            session = sessions.get(name)
            joined = set(session.subscriptions) if session is not None else set()
            rows.append(
                {
                    "name": name,
                    "jid": record.jid,
                    "address": record.address,
                    "addresses": record.addresses,
                    "state": "connected" if session is not None else "stale",
                    "since": timestamp(record.since),
                    "vpns": sorted({*joined, *self._rib.vpns(name)}),
                    "routes": self._rib.count(name),
                    "stale_routes": self._rib.stale(name),
                    "slowed": record.flow.slowed_by if record.flow is not None and session is not None else "",
                }
            )
        return {"items": rows}

    def vpns(self) -> Document:
        """vpn.list."""
        return {"items": [self.vpn(name) for name in sorted(self._rib.tables)]}

    def vpn(self, name: str) -> Document:
        """vpn.show; raises OperatorError for an unknown one."""
        vpn = self._rib.policy.vpns.get(name)
        if vpn is None:
            raise OperatorError(f"vpn {name}", "no such VPN here", "`vrfwire-gateway-ctl vpn list`", ExitCode.NOT_FOUND)
        return {
            "name": name,
            "source": str(vpn.source),
            "import": _targets(vpn.imports),
            "export": _targets(vpn.exports),
            "hosts": sorted({*self._service.subscribers(name), *self._rib.publishing(name)}),
            "routes": len(self._rib.tables[name]),
        }

    def routes(self, vpn: str | None) -> Document:
        """route.list: the selected routes, of one VPN or all; raises OperatorError for an unknown one."""
        if vpn is not None:
            self.vpn(vpn)
        names = sorted(self._rib.tables) if vpn is None else [vpn]
        tables = [(name, self._rib.tables[name]) for name in names]
        return {
            "items": [
                self._route(name, prefix, path)
                for name, table in tables
                for prefix, path in sorted(table.routes(), key=_by_prefix)
            ]
        }

    def page(self, vpn: str | None, after: object, limit: int) -> Document:
        """A page of route.list: {"items", "after"}; after: what to ask for next, None at the end.

        In the order of the last change, VPN by VPN; a route that changes while somebody reads page by page comes again,
        and the later row holds.
        """
        if vpn is not None:
            self.vpn(vpn)
        name, revision = _position(after)
        names = [one for one in (sorted(self._rib.tables) if vpn is None else [vpn]) if one >= name]
        items: list[Document] = []
        looked = 0
        for one in names:
            if looked >= limit:
                return {"items": items, "after": f"0/{one}"}
            table = self._rib.tables[one]
            room = limit - looked
            found, reached = table.read(revision if one == name else 0, room)
            items += [self._route(one, prefix, path) for prefix, path in found]
            if reached < table.revision:
                return {"items": items, "after": f"{reached}/{one}"}
            looked += len(found) + 1
        return {"items": items, "after": None}

    def _route(self, vpn: str, prefix: Prefix, path: Path) -> Document:
        candidates = self._rib.tables[vpn].candidates(prefix)
        best = max(map(preference, candidates))
        return {
            "vpn": vpn,
            "prefix": str(prefix),
            "next_hops": [
                {
                    "address": format_address(hop.address),
                    "label": hop.label,
                    "encapsulations": [str(encapsulation) for encapsulation in hop.encapsulations],
                }
                for hop in path.next_hops
            ],
            "local_preference": path.local_preference,
            "sequence_number": path.sequence_number,
            "source": sorted(_source(vpn, c) for c in candidates if preference(c) == best),
            "stale": best[0] is False,
        }

    def summary(self, problems: list[Problem]) -> Document:
        """status."""
        connected = {session.host for session in self._service.sessions.values()}
        return {
            "state": "degraded" if problems else "ok",
            "sessions": len(self._service.sessions),
            "hosts": len(connected),
            "stale_hosts": len(set(self._rib.hosts()) - connected),
            "vpns": len(self._rib.tables),
            "routes": sum(len(table) for table in self._rib.tables.values()),
            "counters": dict(sorted(self._service.counters.items())),
            "problems": [problem.document() for problem in problems],
        }


def timestamp(seconds: float) -> str:
    """Unix time in ISO 8601, UTC; "" for 0."""
    if not seconds:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _position(after: object) -> tuple[str, int]:
    """VPN and revision that a page begins behind."""
    if after is None:
        return "", 0
    revision, slash, name = after.partition("/") if isinstance(after, str) else ("", "", "")
    if not (slash and revision.isdecimal() and len(revision) <= _DIGITS):
        raise OperatorError("request", '"after" is not what a page ended with', code=ExitCode.USAGE)
    return name, int(revision)


def _by_prefix(route: tuple[Prefix, Path]) -> tuple[int, Prefix]:
    return route[0].afi, route[0]


def _targets(targets: frozenset[RouteTarget]) -> list[str]:
    return sorted(map(str, targets))


def _source(vpn: str, candidate: Candidate[Source]) -> str:
    """The host, with the VPN it published in when that is another; for what came by BGP its route distinguisher."""
    publisher = candidate.source
    if isinstance(publisher, Learnt):
        return f"bgp {publisher.distinguisher}"
    return publisher.host if publisher.vpn == vpn else f"{publisher.host} ({publisher.vpn})"
