"""What a server remembers of hosts whose sessions are suspended: their certificates, and how long their items stay."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.connection import Connection
from gateway.server import Server
from gateway.session import Session
from gateway.trust import Trust
from tests.unit.gateway.harness import DOMAIN, Bench, Peer, entry
from vpn.prefix import parse_address
from xmpp import namespaces as ns
from xmpp.errors import StreamCondition
from xmpp.events import Event, StanzaReceived, StreamClosed, StreamConfig
from xmpp.jid import Jid
from xmpp.stanza import Kind, Stanza
from xmpp.stream_management import EnableWish


class Credentials:
    """revoked_ones: certificates that are revoked, each of them a plain name here."""

    def __init__(self) -> None:
        self.revoked_ones: set[str] = set()

    def is_distrusted(self, certificate: str) -> bool:
        return certificate in self.revoked_ones


class Site(Bench):
    """A server; connections are made up, and a certificate is a name."""

    def __init__(self) -> None:
        super().__init__()
        ids = itertools.count(1)
        config = StreamConfig(domain=DOMAIN, random=lambda size: next(ids).to_bytes(size, "big"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server = Server(self.service, self.hosts, config, context, resume_time=60.0)
        self.credentials = Credentials()
        self.server.trust = Trust(self.credentials, self.service, self.server.records.by_host)  # type: ignore[arg-type]

    def log_in(self, host: str, certificate: str, resource: str = "vrfwire") -> tuple[Any, Peer]:
        """A session that can be resumed, and its connection."""
        now = self.server._loop.time()
        permit = self.hosts.permit(host, frozenset(), parse_address("192.0.2.11"))
        session = self.service.open(Jid.of(host, DOMAIN, resource), permit, now)
        self.server.resumption.enable(session, EnableWish(True, None))
        connection = SimpleNamespace(peer=("192.0.2.11", 1), flow=None, certificate=certificate, session=session)
        self.server.started(connection, session)  # type: ignore[arg-type]
        return connection, Peer(self, session)

    def lose(self, connection: Any) -> Session:
        """A connection is lost, and its session waits."""
        session: Session = connection.session
        self.server.ended(connection, session, lost=True)
        return session


def within_loop(test: Callable[[Site], None]) -> None:
    """A server is made, and used, within a loop."""

    async def main() -> None:
        site = Site()
        test(site)
        await site.server.stop()

    asyncio.run(main())


def test_a_suspended_session_without_items_ends_with_its_certificate() -> None:
    """It may have items withheld, which the map may let in later."""

    def test(site: Site) -> None:
        connection, peer = site.log_in("hv1", "old")
        peer.subscribe("blue")
        site.lose(connection)
        assert len(site.server.resumption) == 1
        site.credentials.revoked_ones.add("old")
        site.server.end_revoked()
        assert len(site.server.resumption) == 0
        assert not site.server.records.by_host, "nothing is left of the host"

    within_loop(test)


def test_what_a_suspended_session_has_published_goes_with_its_certificate() -> None:
    def test(site: Site) -> None:
        connection, peer = site.log_in("hv1", "old")
        peer.announce("blue", "10.1.1.1/32")
        site.lose(connection)
        _, other = site.log_in("hv1", "new", "other")
        other.announce("blue", "10.1.1.2/32")
        site.credentials.revoked_ones.add("old")
        assert site.server.end_revoked() == ["hv1"]
        assert len(site.server.resumption) == 0
        assert [str(item.prefix) for _, item in site.service.rib.items("blue")] == ["10.1.1.2/32"]
        assert list(site.server.records.by_host) == ["hv1"]

    within_loop(test)


def test_a_host_is_remembered_as_long_as_there_is_something_of_it() -> None:
    def test(site: Site) -> None:
        first, peer = site.log_in("hv1", "one")
        peer.subscribe("blue")
        session = site.lose(first)
        assert list(site.server.records.by_host) == ["hv1"], "it may be resumed"
        site.server.resumption.end(session, site.server._loop.time())
        assert not site.server.records.by_host
        second, peer = site.log_in("hv2", "two")
        site.server.ended(second, peer.session, lost=False)
        assert not site.server.records.by_host

    within_loop(test)


def test_no_session_outlives_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who resumes a session doesn't publish again: it must not find its items gone, however the clock goes on."""

    def test(site: Site) -> None:
        connection, peer = site.log_in("hv1", "one")
        peer.announce("blue", "10.1.1.1/32")
        began = site.server._loop.time()
        site.lose(connection)
        due = site.server.resumption.timer()
        assert due is not None and due >= began + 60
        # A clock that comes to the deadline between one look and the next.
        times = iter([due - 0.001, *[due + 0.001] * 100])
        clock = SimpleNamespace(time=lambda: next(times), call_at=lambda when, call: None)
        with monkeypatch.context() as patch:
            patch.setattr(site.server, "_loop", clock)
            patch.setattr(site.server, "changed", lambda: None)
            site.server._expire()
            assert len(site.server.resumption) == 1 and site.service.rib.count("hv1") == 1
            site.server._stale_handle = None
            site.server._expire()
            assert len(site.server.resumption) == 0 and site.service.rib.count("hv1") == 0

    within_loop(test)


class Stream:
    """Of a host that has a session; what it has sent waits to be handled."""

    held = 0

    def __init__(self, events: list[Event]) -> None:
        self._events = deque(events)
        self.closed = False

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def close(self, now: float, condition: StreamCondition, text: str) -> None:
        if not self.closed:
            self.closed = True
            self._events.append(StreamClosed(condition, text, False, False))

    def get_timer(self) -> None:
        return None

    def send_stanza(self, stanza: bytes) -> None:
        """Goes nowhere."""


def published(session: Session, prefix: str) -> StanzaReceived:
    """A publish request of a host."""
    item = f"<item id='192.0.2.11:1:{prefix}'>{entry(prefix, '192.0.2.11').decode()}</item>"
    action = f"<pubsub xmlns='{ns.PUBSUB}'><publish node='blue'>{item}</publish></pubsub>"
    element = ElementTree.fromstring(f"<iq xmlns='{ns.CLIENT}' type='set' id='p'>{action}</iq>")
    return StanzaReceived(Stanza(Kind.IQ, "set", "p", session.jid, Jid.parse(DOMAIN), element))


@pytest.mark.parametrize("resumed", [False, True])
def test_a_host_that_comes_back_finds_nothing_of_its_former_stream_unhandled(
    monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    """Else what it said there would be done after what it says here, or a session be resumed that isn't over."""
    # Every stanza is all that is handled in a turn.
    monkeypatch.setattr("gateway.throttle.TURN", 0.0)
    prefixes = [f"10.1.1.{number}/32" for number in range(1, 6)]

    def test(site: Site) -> None:
        _, peer = site.log_in("hv1", "one")
        server, session = site.server, peer.session
        connection = Connection(server, ("192.0.2.11", 1), None)  # type: ignore[arg-type]
        connection._stream = Stream([published(session, prefix) for prefix in prefixes])  # type: ignore[assignment]
        monkeypatch.setattr(server.greeter, "settled", lambda greeting: False)
        connection.begin(session, "is", 0.0)
        connection.run()
        assert site.service.rib.count("hv1") == 1 and not connection.ended, "the others have their turn"
        if resumed:
            identifier = next(iter(server.resumption._entries))
            found, _ = server.resume("hv1", identifier, session.permit, 0)
            assert found is session and site.service.session_of(session.jid) is session
        else:
            server.supersede(session.jid)
            assert site.service.session_of(session.jid) is None
        assert site.service.rib.count("hv1") == 5
        assert site.service.rib.stale("hv1") == (0 if resumed else 5)
        assert connection.ended

    within_loop(test)
