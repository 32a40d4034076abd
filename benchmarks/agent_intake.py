"""How fast an agent reads what a gateway sends, and how that compares with slixmpp's own ways.

CPU time of one process, from the bytes to changes of routes, for events of 1 and of 100 routes; without TLS and
sockets, which cost the same in each. The best of the rounds counts.

    intake_1_us, intake_100_us       a route, by the agent's stream (agent/stream.py)
    handler_1_us, handler_100_us     by a slixmpp handler that is given the element of the message
    plugin_1_us, plugin_100_us       by the events of slixmpp's XEP-0060 plugin
    intake_*_vs_handler, *_vs_plugin how many times as long those take
    requests_us                      a route that is published, in requests of 100
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import Any
from xml.etree.ElementTree import Element

import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

import agent.stream
from agent.peer import Peer
from agent.requests import Ask, Offer, Request, Settled
from agent.routes import GatewayId
from agent.session import Session
from agent.session_values import SessionSettings
from agent.stream import Stream
from benchmarks.report import Figures, Progress
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp import namespaces as ns
from xmpp.entry import Entry, encode
from xmpp.jid import Jid
from xmpp.notification import EventBuilder, parse_event, recipient

ROUTES = {1: 5000, 100: 10_000}
"""Routes of a round, by routes of a message."""
FEW = 1000
"""Of the plugin, whose time grows with the square of the routes of a message."""
ROUNDS = 3
READ = 32 << 10
"""Bytes that come at once."""
_HEADER = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' from='gw' id='1' version='1.0'>".encode()
_PATHS = [Path((NextHop(parse_address(f"192.0.2.{host}"), 1000 + host),)) for host in range(1, 101)]


def _prefix(number: int) -> Prefix:
    return Prefix((0x0A000000 + number).to_bytes(4, "big"), 32)


def _messages(count: int, each: int) -> list[bytes]:
    """A stream of events, as it is read."""
    builder, to = EventBuilder(Jid.parse("gw"), "blue"), recipient(Jid.parse("hv1@gw/vrfwire"))
    routes = [(str(_prefix(n)), encode(Entry(_prefix(n), _PATHS[n % len(_PATHS)]))) for n in range(count)]
    whole = b"".join(
        batch.to(to) for start in range(0, count, each) for batch in builder.batches(routes[start : start + each])
    )
    return [whole[start : start + READ] for start in range(0, len(whole), READ)]


class _Wire(asyncio.Transport):
    """Takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class _Routes:
    """Owner of a peer that counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    def peer_up(self, peer: Peer) -> None: ...

    def peer_down(self, peer: Peer) -> None: ...

    def peer_settled(self, peer: Peer, settled: Settled) -> None: ...

    def subscription_refused(self, peer: Peer, vpn: str) -> None: ...

    def routes_received(self, peer: Peer, vpn: str, changes: list[tuple[Prefix, Path | None]], purged: bool) -> None:
        self.count += len(changes)


class _Connected(Session):
    """A session without a connection."""

    def connected(self) -> Stream:
        """Its stream."""
        stream = self._stream = self._make_stream(agent.stream)
        stream.connection_made(_Wire())
        stream.data_received(_HEADER)
        stream.begin()
        self._live = True
        return stream


def _by_agent(counted: _Routes) -> Callable[[bytes], None]:
    peer = Peer(GatewayId(parse_address("192.0.2.250"), 5222), "gateway", counted, 30.0)
    settings = SessionSettings("192.0.2.250", 5222, "gw", "gw", "hv1", "192.0.2.11", FilePath("ca.pem"))
    receive: Callable[[bytes], None] = _Connected(settings, peer).connected().data_received
    return receive


def _client() -> Any:
    client = slixmpp.ClientXMPP("hv1@gw/vrfwire", "")
    client.connection_made(_Wire())
    client.data_received(_HEADER)
    return client


def _by_handler(counted: _Routes) -> Callable[[bytes], None]:
    def received(message: Any) -> None:
        event = parse_event(message.xml)
        counted.count += len(event.changes) if event is not None else 0

    client = _client()
    matcher = MatchXPath(f"{{{ns.CLIENT}}}message/{{{ns.PUBSUB_EVENT}}}event")
    client.register_handler(Callback("events", matcher, received))
    receive: Callable[[bytes], None] = client.data_received
    return receive


def _by_plugin(counted: _Routes) -> Callable[[bytes], None]:
    seen: list[Element] = []

    def received(message: Any) -> None:
        # It is told as often as there are items in the message, each time with all of them.
        if not seen or seen[-1] is not message.xml:
            seen[:] = [message.xml]
            event = parse_event(message.xml)
            counted.count += len(event.changes) if event is not None else 0

    client = _client()
    client.register_plugin("xep_0060")
    client.add_event_handler("pubsub_publish", received)
    receive: Callable[[bytes], None] = client.data_received
    return receive


async def _intake(make: Callable[[_Routes], Callable[[bytes], None]], each: int, count: int) -> float:
    """Microseconds a route."""
    reads, best = _messages(count, each), float("inf")
    for _ in range(ROUNDS):
        counted = _Routes()
        receive = make(counted)
        began = time.process_time()
        for data in reads:
            receive(data)
            # What doesn't fit in a turn of the loop comes in the next.
            await asyncio.sleep(0)
        best = min(best, time.process_time() - began)
        if counted.count < count:
            raise AssertionError(f"{counted.count} of {count} routes were read")
    return best / count * 1e6


async def _requests() -> float:
    """Microseconds a route that is published."""
    settings = SessionSettings("192.0.2.250", 5222, "gw", "gw", "hv1", "192.0.2.11", FilePath("ca.pem"))
    batches: Sequence[Request] = [
        Request(
            *(Ask.PUBLISH, "blue", 1),
            tuple((_prefix(n), Offer(_PATHS[n % len(_PATHS)])) for n in range(start, start + 100)),
        )
        for start in range(0, 2000, 100)
    ]
    best = float("inf")
    for _ in range(ROUNDS):
        peer = Peer(GatewayId(parse_address("192.0.2.250"), 5222), "gateway", _Routes(), 30.0)
        session = _Connected(settings, peer)
        stream = session.connected()
        stream.event("session_start")
        sending = asyncio.ensure_future(stream.run_filters())
        began = time.process_time()
        for request in batches:
            session.request(request, lambda refusal: None)
        await stream.waiting_queue.join()
        best = min(best, time.process_time() - began)
        sending.cancel()
        stream.event("disconnected")
    return best / 2000 * 1e6


async def _measure() -> dict[str, float]:
    figures: dict[str, float] = {}
    for each, count in ROUTES.items():
        mine = figures[f"intake_{each}_us"] = await _intake(_by_agent, each, count)
        handler = figures[f"handler_{each}_us"] = await _intake(_by_handler, each, count)
        plugin = figures[f"plugin_{each}_us"] = await _intake(_by_plugin, each, FEW)
        figures[f"intake_{each}_vs_handler"], figures[f"intake_{each}_vs_plugin"] = handler / mine, plugin / mine
    figures["requests_us"] = await _requests()
    return figures


def measure(progress: Progress) -> Figures:
    """All of it, some ten seconds."""
    progress("agent: intake")
    return asyncio.run(_measure())
