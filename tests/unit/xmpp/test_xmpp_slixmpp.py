"""An unmodified slixmpp client against the stream core, joined in memory: no socket, no TLS, no sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import slixmpp
from slixmpp.exceptions import IqError

from tests.unit.xmpp.driver import DOMAIN, FULL, HOST, PASSWORD, Peer
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp import client, entry, pubsub
from xmpp.disco import Disco, is_ping
from xmpp.entry import Entry
from xmpp.errors import StreamCondition
from xmpp.events import SessionStarted
from xmpp.jid import Jid
from xmpp.notification import Event, EventBuilder, parse_event, recipient
from xmpp.stanza import Condition, StanzaError, iq_error, iq_result

T = TypeVar("T")
GATEWAY = Jid("", DOMAIN)
ROUTE = Entry(Prefix.parse("10.1.1.1/32"), Path((NextHop(parse_address("192.0.2.7"), 10000),)))
ITEM = client.item_id("192.0.2.7", 1, ROUTE.prefix)


class Service:
    """A small publish-subscribe service on one stream: what is published comes back as an event."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.requests: list[pubsub.Request] = []
        self._disco = Disco(GATEWAY, lambda host: ["blue"], lambda host, node: node == "blue")
        self._answered = 0

    def work(self) -> None:
        stanzas, self._answered = self.peer.stanzas[self._answered :], len(self.peer.stanzas)
        for stanza in stanzas:
            if not stanza.is_request:
                continue
            send = self.peer.stream.send_stanza
            if (reply := self._disco.answer(stanza)) is not None:
                send(reply)
                continue
            try:
                request = pubsub.parse_request(stanza)
                self.requests.append(request)
                send(iq_result(stanza, self._do(request)))
            except StanzaError as error:
                send(iq_error(stanza, error))

    def _do(self, request: pubsub.Request) -> bytes:
        match request:
            case pubsub.Subscribe("blue", jid):
                return pubsub.subscription_result("blue", jid)
            case pubsub.Publish("blue", items):
                self._notify([(item.id, entry.encode(entry.decode(item.payload))) for item in items])
                return pubsub.publish_result("blue", [item.id for item in items])
            case pubsub.Retract("blue", ids):
                self._notify([(item_id, None) for item_id in ids])
                return b""
            case pubsub.Items("blue"):
                return pubsub.items_result("blue", [("10.1.1.1/32", entry.encode(ROUTE))])
        raise StanzaError(Condition.ITEM_NOT_FOUND, "there is no such VPN")

    def _notify(self, changes: list[tuple[str, bytes | None]]) -> None:
        for batch in EventBuilder(GATEWAY, "blue").batches(changes):
            self.peer.stream.send_stanza(batch.to(recipient(FULL)))


class Wire(asyncio.Transport):
    """Carries bytes between the client and the core, each in its own turn of the loop."""

    def __init__(self, protocol: Any, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._protocol = protocol
        self._service = service
        self._loop = loop
        self._closing = False
        self._turned = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, ten seconds at most, until something that went over this wire has made the condition true."""
        async with asyncio.timeout(10):
            while not condition():
                self._turned.clear()
                await self._turned.wait()

    def write(self, data: Any) -> None:
        self._loop.call_soon(self._carry, bytes(data))

    def _carry(self, data: bytes) -> None:
        peer = self._service.peer
        reply = peer.send(data)
        self._service.work()
        reply += peer.output()
        if reply and not self._closing:
            self._protocol.data_received(reply)
        if peer.stream.closed:
            self.close()
        self._turned.set()

    def push(self) -> None:
        """Deliver what the core has to send by itself."""
        self._carry(b"")

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._loop.call_soon(self._turned.set)

    def abort(self) -> None:
        self.close()


class Host(slixmpp.ClientXMPP):  # type: ignore[misc]
    """The client, and the events it was sent."""

    def __init__(self, password: str = "") -> None:
        super().__init__(str(FULL), password)
        self.seen: asyncio.Queue[Event] = asyncio.Queue()
        for plugin in ("xep_0030", "xep_0060", "xep_0199"):
            self.register_plugin(plugin)
        self.plugin["feature_mechanisms"].unencrypted_scram = True

    def incoming_filter(self, xml: Any) -> Any:
        event = parse_event(xml)
        if event is not None:
            self.seen.put_nowait(event)
        return xml

    def iq(self, payload: Any, type: str = "set") -> Any:
        iq = self.make_iq(ito=DOMAIN, itype=type)
        iq.append(payload)
        return iq.send(timeout=10)


def run(work: Callable[[Host, Service, Wire], Awaitable[None]], *, identities: tuple[Jid, ...] = (HOST,)) -> Service:
    """Log a client in, let work drive it, log out; whatever hangs fails after ten seconds."""
    service = Service(Peer(identities=identities, keepalive=0.0))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        host = Host("" if identities else PASSWORD)
        wires: list[Wire] = []

        async def join(protocol: Callable[[], Any], *args: Any, **options: Any) -> tuple[Wire, Any]:
            wires.append(Wire(protocol(), service, loop))
            host.connection_made(wires[0])
            return wires[0], host

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "create_connection", join)
            started = host.wait_until("session_start", timeout=10)
            host.connect("host.invalid", 5222)
            await started
        await work(host, service, wires[0])
        if host.is_connected():
            await host.disconnect()
        await wires[0].until(lambda: not host.is_connected())

    asyncio.run(main())
    return service


@pytest.mark.parametrize("identities", [(HOST,), ()])
def test_login(identities: tuple[Jid, ...]) -> None:
    async def work(host: Host, service: Service, wire: Wire) -> None:
        assert str(host.boundjid) == str(FULL)

    service = run(work, identities=identities)
    assert SessionStarted(FULL) in service.peer.events
    end = service.peer.end
    assert end is not None
    assert end.condition is None


def test_subscribe_publish_retract_and_the_ping_barrier() -> None:
    async def work(host: Host, service: Service, wire: Wire) -> None:
        await host.iq(client.subscribe("blue", FULL, 7))
        await host.iq(client.publish("blue", [(ITEM, ROUTE)]))
        assert host.seen.get_nowait() == Event("blue", [(ITEM, ROUTE)], [])
        await host.iq(client.retract("blue", [ITEM]))
        assert host.seen.get_nowait() == Event("blue", [(ITEM, None)], [])
        items = await host.iq(client.retrieve("blue"), "get")
        assert client.parse_items(items.xml) == Event("blue", [("10.1.1.1/32", ROUTE)], [])
        await host.plugin["xep_0199"].ping(DOMAIN, timeout=10)

    service = run(work)
    assert service.requests[0] == pubsub.Subscribe("blue", FULL, 7)
    assert any(is_ping(stanza) for stanza in service.peer.stanzas)


def test_errors_and_discovery() -> None:
    async def work(host: Host, service: Service, wire: Wire) -> None:
        with pytest.raises(IqError) as caught:
            await host.iq(client.subscribe("green", FULL))
        assert caught.value.condition == "item-not-found"
        assert "no such VPN" in caught.value.text
        with pytest.raises(IqError) as caught:
            await host.plugin["xep_0060"].create_node(DOMAIN, "green")
        assert caught.value.condition == "feature-not-implemented"
        info = await host.plugin["xep_0030"].get_info(DOMAIN, timeout=10)
        assert ("pubsub", "service", None, None) in info["disco_info"]["identities"]
        items = await host.plugin["xep_0030"].get_items(DOMAIN, timeout=10)
        assert (DOMAIN, "blue", None) in items["disco_items"]["items"]
        await host.get_roster()

    run(work)


def test_our_ping_is_answered_and_a_stream_error_arrives() -> None:
    async def work(host: Host, service: Service, wire: Wire) -> None:
        peer = service.peer
        peer.now += 30
        peer.stream.handle_timer(peer.now)
        wire.push()
        before = peer.stream.get_timer()
        peer.now += 1
        await wire.until(lambda: peer.stream.get_timer() != before)
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        host.add_event_handler("stream_error", failed.set_result)
        peer.stream.close(peer.now, StreamCondition.CONFLICT, "a newer session")
        wire.push()
        error = await asyncio.wait_for(failed, 10)
        assert error["condition"] == "conflict"

    service = run(work)
    assert service.peer.end is not None
    assert service.peer.end.condition is StreamCondition.CONFLICT
