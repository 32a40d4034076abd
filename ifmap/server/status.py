"""What the server shows of itself on its control socket, as documents; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ifmap.server.config import ClientSection
from ifmap.server.health import Finding
from ifmap.service import MapService
from ifmap.sessions import Session

Document = dict[str, object]


class Problem(NamedTuple):
    """Something an operator should look at."""

    what: str
    why: str
    hint: str = ""

    @classmethod
    def of(cls, finding: Finding) -> Problem:
        """What the health check found."""
        return cls(finding.check, finding.why, finding.hint)

    def document(self) -> Document:
        """As in the status."""
        return {"what": self.what, "why": self.why, "hint": self.hint}


def summary(service: MapService, problems: Iterable[Problem], store: str, listen: Iterable[str]) -> Document:
    """status. store: the database, without password; listen: where clients connect."""
    figures = service.figures()
    found = [problem.document() for problem in problems]
    graph = service.graph
    return {
        "state": "degraded" if found else "ok",
        "sessions": figures.sessions,
        "subscriptions": figures.subscriptions,
        "connections": figures.connections,
        "identifiers": graph.identifier_count,
        "links": figures.links,
        "metadata": figures.metadata,
        "lasting_metadata": sum(graph.lasting.values()),
        "publishers": figures.publishers,
        "undelivered_bytes": figures.results,
        "store": store.removeprefix("store "),
        "listen": list(listen),
        "problems": found,
    }


def sessions(service: MapService, now: float) -> Document:
    """session.list: who is connected. now: on the service's clock; ages are in seconds."""
    rows = sorted(service.sessions(), key=lambda row: row[0].client)
    return {"items": [_session(session, names, now) for session, names in rows]}


def _session(session: Session, subscriptions: Iterable[str], now: float) -> Document:
    # Without its id, which is half of what it takes to act for the client.
    return {
        "client": session.client,
        "address": session.peer,
        "publisher": session.publisher_id,
        "age": round(now - session.began, 1),
        "channels": [name for name, open_ in (("ssrc", session.ssrc), ("arc", session.arc)) if open_ is not None],
        "polling": session.polling,
        "subscriptions": sorted(subscriptions),
        "undelivered_bytes": session.queue.size,
        "max_poll_bytes": session.queue.limit,
    }


def clients(configured: Iterable[ClientSection], service: MapService) -> Document:
    """client.list: who may connect, how, and what each may do."""
    live: Mapping[str, Session] = {session.client: session for session, _ in service.sessions()}
    return {"items": [_client(client, live.get(client.name)) for client in configured]}


def _client(client: ClientSection, session: Session | None) -> Document:
    return {
        "name": client.name,
        "connected": session is not None,
        "address": session.peer if session is not None else "",
        "password": client.has_password,
        "certificate": client.common_name,
        "read": list(client.read),
        "write": list(client.write),
        "purge_others": client.purge_others,
    }
