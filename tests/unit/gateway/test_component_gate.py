"""The connection with an XMPP server, over a transport in memory: slices, back-pressure, errors of our own, its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway import component_gate
from gateway.component_gate import ComponentGate
from gateway.component_hosts import ComponentHosts, ComponentRules
from gateway.component_leg import TURN_STANZAS, Leg
from gateway.hosts import Hosts
from gateway.rib import Rib
from gateway.service import Service
from gateway.session import Session
from tests.scenario.agent_harness import until
from tests.unit.gateway.component_site import DOMAIN, USERS, listed
from tests.unit.gateway.harness import MESH
from xmpp import namespaces as ns
from xmpp.component import ComponentConfig
from xmpp.notices import NoticeKind
from xmpp.stanza import Stanza

HEADER = (
    f"<stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAMS}' from='{DOMAIN}' id='1'><handshake/>"
).encode()


class Socket:
    """Takes options."""

    def setsockopt(self, *arguments: object) -> None: ...


class Transport(asyncio.Transport):
    """Keeps what is written, and says whether it is read from."""

    def __init__(self) -> None:
        super().__init__({"socket": Socket()})
        self.data = b""
        self.reading = True
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: Any) -> None:
        self.data += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def stanzas(self) -> list[ElementTree.Element]:
        """What was sent behind the handshake."""
        _, _, rest = self.data.partition(b"</handshake>")
        self.data = b"</handshake>"
        opening = f"<s xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAMS}'>".encode()
        return list(ElementTree.fromstring(opening + rest.removesuffix(b"</stream:stream>") + b"</s>"))


class Bench:
    """A gate attached by a transport in memory."""

    def __init__(self, service: Service | None = None) -> None:
        self.service = service or Service(DOMAIN, Rib(MESH, stale_time=60))
        rules = ComponentRules(DOMAIN, frozenset({USERS}))
        self.hosts = ComponentHosts(self.service, Hosts.of(listed("hv1", "hv2")), rules)
        self.gate = ComponentGate(self.service, self.hosts, ComponentConfig(DOMAIN, "secret"), "127.0.0.1", 1)
        self.leg = Leg(self.gate, self.gate.config)
        self.gate._leg = self.leg
        self.transport = Transport()
        self.leg.connection_made(self.transport)
        self.leg.data_received(HEADER)
        assert self.gate.connected

    def receive(self, *stanzas: str) -> None:
        """What hosts have sent, at once."""
        self.leg.data_received("".join(stanzas).encode())

    async def settle(self) -> None:
        """Let the gate deliver twice: what is due, and what that has brought about."""
        for _ in range(2):
            turns = self.gate.turns
            self.gate.nudge()
            await until(partial(self._after, turns), "a delivery")

    def _after(self, turns: int) -> bool:
        return self.gate.turns > turns


def presence(name: str) -> str:
    return f"<presence from='{name}@{USERS}/vrfwire' to='{DOMAIN}'/>"


def ping(name: str, number: int) -> str:
    return f"<iq type='get' id='{number}' from='{name}@{USERS}/vrfwire' to='{DOMAIN}'><ping xmlns='{ns.PING}'/></iq>"


def run(scenario: Callable[[Bench], Awaitable[None]], service: Service | None = None) -> None:
    async def inside() -> None:
        bench = Bench(service)
        await scenario(bench)
        if bench.transport.closed:
            return
        bench.leg.connection_lost(None)
        await bench.gate.stop()

    asyncio.run(inside())


def test_stanzas_are_handled_in_slices_and_not_read_on_meanwhile() -> None:
    async def scenario(bench: Bench) -> None:
        bench.receive(presence("hv1"), *(ping("hv1", number) for number in range(2 * TURN_STANZAS)))
        assert not bench.transport.reading
        assert len(bench.transport.stanzas()) == TURN_STANZAS
        await until(lambda: bench.transport.reading, "the rest")
        ids = [stanza.get("id") for stanza in bench.transport.stanzas()]
        assert ids == [str(number) for number in range(TURN_STANZAS - 1, 2 * TURN_STANZAS)]

    run(scenario)


def test_what_was_read_counts_although_the_connection_is_lost() -> None:
    async def scenario(bench: Bench) -> None:
        bench.receive(*(presence("hv1") for _ in range(TURN_STANZAS + 1)), presence("hv2"))
        assert {session.host for session in bench.service.sessions.values()} == {"hv1"}
        bench.transport.closed = True
        bench.leg.connection_lost(None)
        assert not bench.service.sessions and not bench.gate.connected
        await bench.leg.wait_lost()
        await bench.gate.stop()
        # hv2 has had a session: it is to be told to begin again.
        bench.hosts.attached(0.0)
        assert b"hv2" in bench.hosts.next_output(0.0) + bench.hosts.next_output(0.0)

    run(scenario)


def test_reading_goes_on_while_writing_does_not_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that waits for us to read would never read itself."""
    monkeypatch.setattr(component_gate, "ANSWERS_MAX", 10_000)

    async def scenario(bench: Bench) -> None:
        bench.receive(presence("hv1"))
        bench.transport.stanzas()
        bench.leg.pause_writing()
        bench.receive(ping("hv1", 1))
        assert bench.transport.reading and bench.transport.stanzas() == [] and bench.hosts.waiting
        number = 1
        while bench.transport.reading:
            number += 1
            bench.receive(ping("hv1", number))
        assert 10_000 < bench.hosts.waiting < 11_000
        bench.leg.resume_writing()
        await bench.settle()
        assert bench.transport.reading and bench.hosts.waiting == 0
        assert [stanza.get("id") for stanza in bench.transport.stanzas()] == [str(n) for n in range(1, number + 1)]

    run(scenario)


def test_events_are_not_pulled_while_writing_is_not_possible() -> None:
    async def scenario(bench: Bench) -> None:
        subscribe = f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='blue' jid='hv1@{USERS}/vrfwire'/></pubsub>"
        bench.receive(
            presence("hv1"),
            presence("hv2"),
            f"<iq type='set' id='s' from='hv1@{USERS}/vrfwire' to='{DOMAIN}'>{subscribe}</iq>",
        )
        await bench.settle()
        bench.transport.stanzas()
        bench.leg.pause_writing()
        session = bench.service.session_of(next(iter(bench.hosts.guests)))
        assert session is not None
        bench.service._tell(session, NoticeKind.AVAILABLE, "blue")
        await bench.settle()
        assert bench.transport.stanzas() == [] and bench.hosts.pending
        bench.leg.resume_writing()
        await bench.settle()
        assert [stanza.get("type") for stanza in bench.transport.stanzas()] == ["headline"]

    run(scenario)


class Faulty(Service):
    """Has a bug that one host meets."""

    def handle(self, session: Session, stanza: Stanza, now: float) -> None:
        if session.host == "hv1":
            raise ZeroDivisionError("a bug")
        super().handle(session, stanza, now)


def test_a_bug_ends_the_session_that_met_it_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(bench: Bench) -> None:
        bench.receive(presence("hv1"), presence("hv2"))
        bench.transport.stanzas()
        bench.receive(ping("hv1", 1), ping("hv2", 2))
        told, pong = bench.transport.stanzas()
        assert (told.get("type"), told.get("to")) == ("unavailable", f"hv1@{USERS}/vrfwire")
        assert (pong.get("type"), pong.get("id")) == ("result", "2")
        assert {session.host for session in bench.service.sessions.values()} == {"hv2"}

    run(scenario, Faulty(DOMAIN, Rib(MESH)))
    [record] = [record for record in caplog.records if record.exc_info]
    assert "hv1" in record.getMessage()


def test_records_of_hosts_are_those_of_sessions_and_stale_items(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(bench: Bench) -> None:
        bench.receive(presence("hv1"), presence("hv2"))
        assert bench.gate.records.by_host["hv1"].addresses == ["192.0.2.11"]
        assert bench.gate.records.by_host["hv1"].jid == f"hv1@{USERS}/vrfwire"
        bench.receive(f"<presence type='unavailable' from='hv1@{USERS}/vrfwire' to='{DOMAIN}'/>")
        assert set(bench.gate.records.by_host) == {"hv2"}

    run(scenario)
    assert any("host hv1 disconnected (closed by the host)" in record.getMessage() for record in caplog.records)


def test_a_server_that_ends_the_stream_is_told_with_its_words() -> None:
    async def scenario(bench: Bench) -> None:
        bench.receive(
            presence("hv1"),
            f"<stream:error><conflict xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>",
        )
        assert bench.transport.closed and bench.leg.reason == "conflict"
        bench.leg.connection_lost(None)
        assert not bench.service.sessions
        await bench.gate.stop()

    run(scenario)


def test_a_server_that_does_not_answer_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(*arguments: object) -> None:
        await asyncio.Event().wait()

    async def scenario(bench: Bench) -> None:
        bench.leg.connection_lost(None)
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", silent)
        monkeypatch.setattr(component_gate, "SHORTEST", 0.0)
        bench.gate.config = ComponentConfig(DOMAIN, "secret", login_timeout=0.001)
        bench.gate.start()
        await until(lambda: bench.gate.attempts >= 3, "two attempts")
        assert bench.gate.last_error == "no answer in 0.001 s"
        bench.transport.closed = True
        await bench.gate.stop()

    run(scenario)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "the XMPP server at 127.0.0.1:1 is lost, and with it 0 sessions: the connection was lost",
        "no stream with the XMPP server at 127.0.0.1:1: no answer in 0.001 s",
    ]


def test_the_loss_of_a_stream_is_told_once_and_its_end_by_us_is_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def lost(bench: Bench) -> None:
        bench.receive(presence("hv1"))
        bench.leg.connection_lost(None)
        assert bench.gate.last_error == "the connection was lost"
        await bench.gate.stop()
        bench.transport.closed = True

    async def stopped(bench: Bench) -> None:
        ending = asyncio.ensure_future(bench.gate.stop())
        await until(lambda: bench.transport.closed or b"</stream:stream>" in bench.transport.data, "the close")
        bench.leg.connection_lost(None)
        await ending
        bench.transport.closed = True

    run(lost)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["the XMPP server at 127.0.0.1:1 is lost, and with it 1 sessions: the connection was lost"]
    caplog.clear()
    run(stopped)
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert caplog.records[-1].getMessage() == "detached from the XMPP server at 127.0.0.1:1"
