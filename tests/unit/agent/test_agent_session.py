"""The life of sessions with a gateway that is played: reconnection, acknowledgement, resumption, presence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.requests import Ask, Refusal, Request
from agent.session import Session
from agent.session_values import SessionSettings, SessionState
from lab.pki import Authority
from tests.unit.agent.scripted_gateway import ScriptedGateway
from vpn.prefix import Prefix
from xmpp import namespaces as ns
from xmpp.notices import Notice
from xmpp.notification import Event

SUBSCRIBE = Request(Ask.SUBSCRIBE, "blue", 1)


def event(address: str, service: str = "gw") -> str:
    """A retraction, the shortest of events."""
    items = f"<items node='blue'><retract id='{address}/32'/></items>"
    return f"<message from='{service}'><event xmlns='{ns.PUBSUB_EVENT}'>{items}</event></message>"


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def session_started(self) -> None:
        self.told.append("started")

    def session_resumed(self) -> None:
        self.told.append("resumed")

    def session_ended(self, reason: str) -> None:
        self.told.append(f"ended: {reason}")

    def event_received(self, event: Event) -> None:
        self.told.extend(item for item, _ in event.changes)

    def notice_received(self, notice: Notice, prefixes: list[Prefix]) -> None:
        self.told.append(notice.kind)


class World:
    """A session, its gateway, and answers to what was asked."""

    def __init__(self, settings: SessionSettings) -> None:
        self.gateway = ScriptedGateway(settings.service)
        self.listener = Listener()
        self.session = Session(settings, self.listener)
        self.answers: list[Refusal | None] = []

    @property
    def told(self) -> list[str]:
        return self.listener.told

    def ask(self) -> None:
        self.session.request(SUBSCRIBE, self.answers.append)

    async def up(self, told: str = "started") -> None:
        """Until there is a session on an acknowledged stream."""
        await self.gateway.until(lambda: self.told[-1:] == [told])
        await self.gateway.until(lambda: "enable" in self.gateway.link.log or not self.gateway.manages)
        await self.gateway.until(lambda: self.gateway.asked()[:1] == ["presence"])


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority(tmp_path_factory.mktemp("pki")).host("hv1", "gw", ["192.0.2.11"]).ca


@pytest.fixture
def play(ca: Path) -> Callable[..., None]:
    def run(scenario: Callable[[World], Awaitable[None]], service: str = "gw", **settings: float) -> None:
        async def main() -> None:
            times = {"reconnect_min": 0.01, "reconnect_max": 0.02, **settings}
            world = World(SessionSettings("192.0.2.1", 5222, "gw", service, "hv1", "192.0.2.11", ca, **times))  # type: ignore[arg-type]
            world.session.start()
            try:
                async with asyncio.timeout(20):
                    await scenario(world)
            finally:
                await world.session.stop()
            assert world.session.state is SessionState.DOWN
            assert all(link.closed for link in world.gateway.links), "nothing is left open"

        asyncio.run(main())

    return run


def test_a_session_begins_with_presence_and_is_acknowledged(play: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.up()
        world.ask()
        link = world.gateway.link
        await world.gateway.until(lambda: world.gateway.asked() == ["presence", "subscribe"])
        assert link.stanzas[0].get("to") == link.stanzas[1].get("to") == "gw"
        link.answer(link.stanzas[1])
        await world.gateway.until(lambda: world.answers == [None])
        for number in range(3):
            link.send(event(f"10.0.0.{number}"))
        link.send("<iq type='get' from='gw' id='9'><ping xmlns='urn:xmpp:ping'/></iq><r xmlns='urn:xmpp:sm:3'/>")
        await world.gateway.until(lambda: link.log[-1:] == ["a 5"])
        assert world.told == ["started", "10.0.0.0/32", "10.0.0.1/32", "10.0.0.2/32"]

    play(scenario)


def test_a_lost_connection_is_resumed_and_nobody_is_told_of_a_loss(play: Callable[..., None]) -> None:
    """One request was received and its answer lost, one was lost, one was asked while there was no connection."""

    async def scenario(world: World) -> None:
        await world.up()
        gateway, link = world.gateway, world.gateway.link
        world.ask()
        await gateway.until(lambda: gateway.asked().count("subscribe") == 1)
        gateway.keep()
        world.ask()
        await gateway.until(lambda: gateway.asked().count("subscribe") == 2)
        first, second = link.stanzas[-2].get("id"), link.stanzas[-1].get("id")
        gateway.owed = f"<iq type='result' from='gw' id='{first}'/>" + event("10.0.0.1")
        link.lose(ConnectionResetError())
        await gateway.until(lambda: world.session.state is not SessionState.CONNECTED)
        world.ask()
        await gateway.until(lambda: "resumed" in world.told)
        assert sorted(world.told) == ["10.0.0.1/32", "resumed", "started"]
        await gateway.until(lambda: len(gateway.link.stanzas) == 2)
        assert gateway.link.log == ["resume"]
        assert gateway.asked() == ["subscribe", "subscribe"], "what the gateway hadn't received, and what is new"
        assert gateway.link.stanzas[0].get("id") == second
        for stanza in gateway.link.stanzas:
            gateway.link.answer(stanza)
        await gateway.until(lambda: world.answers == [None] * 3)
        gateway.link.send("<r xmlns='urn:xmpp:sm:3'/>")
        await gateway.until(lambda: gateway.link.log[-1] == "a 4")
        assert world.session.state is SessionState.CONNECTED

    play(scenario)


def test_a_stream_that_can_not_be_resumed_starts_over(play: Callable[..., None]) -> None:
    """The gateway has forgotten it, or was another process; what was asked is not asked again behind one's back."""

    async def scenario(world: World) -> None:
        await world.up()
        world.ask()
        await world.gateway.until(lambda: world.gateway.asked() == ["presence", "subscribe"])
        world.gateway.link.lose(None)
        await world.gateway.until(lambda: len(world.told) == 3)
        assert world.told == ["started", "ended: connection lost", "started"]
        await world.gateway.until(lambda: world.gateway.link.log == ["resume", "enable"])
        world.ask()
        await world.gateway.until(lambda: world.gateway.asked() == ["presence", "subscribe"])
        world.gateway.link.answer(world.gateway.link.stanzas[1])
        await world.gateway.until(lambda: world.answers == [None])

    play(scenario)


@pytest.mark.parametrize("offers", ["nothing", "acknowledgement"])
def test_a_gateway_that_resumes_nothing(play: Callable[..., None], offers: str) -> None:
    async def scenario(world: World) -> None:
        world.gateway.manages, world.gateway.resumes = offers != "nothing", False
        await world.up()
        await world.gateway.until(lambda: world.session._stream is not None and not world.session._stream.resumable)
        world.gateway.link.lose(None)
        await world.gateway.until(lambda: len(world.told) == 3)
        assert world.told == ["started", "ended: connection lost", "started"]
        await world.up()
        assert "resume" not in world.gateway.link.log

    play(scenario)


def test_a_session_is_over_when_the_first_connection_fails(play: Callable[..., None]) -> None:
    """A process that is gone has kept nothing: whoever else announces its routes is better."""

    async def scenario(world: World) -> None:
        await world.up()
        world.gateway.keep()
        world.gateway.refuses = True
        world.gateway.link.lose(None)
        await world.gateway.until(lambda: len(world.told) == 2)
        assert world.told == ["started", "ended: can't connect: Connection refused"]
        world.gateway.refuses = False
        await world.up()
        assert world.gateway.link.log == ["enable"], "and it isn't resumed later"

    play(scenario)


def test_a_stream_is_not_resumed_for_ever(play: Callable[..., None]) -> None:
    """It may be what is sent again that ends it each time."""

    async def scenario(world: World) -> None:
        await world.up()
        for _ in range(5):
            link = world.gateway.keep()
            world.gateway.kept = "1", 1
            count = len(world.gateway.links)
            link.lose(None)
            await world.gateway.until(
                lambda count=count: len(world.gateway.links) > count and world.session.state is SessionState.CONNECTED  # type: ignore[misc]
            )
        assert world.told.count("resumed") == 3
        assert world.told.count("ended: connection lost") >= 1

    play(scenario)


@pytest.mark.parametrize(
    "end", ["system-shutdown", "conflict", "policy-violation", "see-other-host", "internal-server-error"]
)
def test_a_stream_that_was_ended_is_not_resumed(play: Callable[..., None], end: str) -> None:
    async def scenario(world: World) -> None:
        await world.up()
        world.gateway.keep()
        world.gateway.link.end(end, "because")
        await world.gateway.until(lambda: len(world.told) == 3)
        assert world.told == ["started", f"ended: stream error {end}: because", "started"]
        await world.up()
        assert world.gateway.link.log == ["enable"]
        assert world.session.conflicted is (end == "conflict")

    play(scenario)


def test_see_other_host_is_not_followed(play: Callable[..., None]) -> None:
    """slixmpp would connect to the same address many times, and have another name verified."""

    async def scenario(world: World) -> None:
        await world.up()
        stream = world.session._stream
        other = f"<see-other-host xmlns='{ns.STREAM_ERRORS}'>evil.example</see-other-host>"
        world.gateway.link.send(f"<stream:error>{other}</stream:error></stream:stream>")
        await world.gateway.until(lambda: len(world.told) == 3)
        assert world.told[1] == "ended: stream error see-other-host: evil.example"
        await world.up()
        assert len(world.gateway.links) == 2
        assert stream is not None and stream.default_domain == "gw"

    play(scenario)


def test_what_is_no_stream_ends_the_session(play: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.up()
        world.gateway.link.send("<!DOCTYPE x>")
        await world.gateway.until(lambda: len(world.told) == 3)
        assert world.told[1].startswith("ended: the gateway sent what is no XMPP stream: restricted-xml")

    play(scenario)


def test_a_gateway_that_says_nothing_is_left(play: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        world.gateway.mute = True
        await world.gateway.until(lambda: len(world.gateway.links) >= 2)
        assert world.session.last_error == "no session within 0.05 s"
        world.gateway.mute = False
        await world.up()

    play(scenario, login_time=0.05)


def test_a_silent_gateway_is_pinged_and_then_held_for_dead(play: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.up()
        link = world.gateway.keep()
        for _ in range(8):
            world.ask()
        await world.gateway.until(lambda: len(world.told) > 1)
        assert world.told[1] == "ended: heard nothing for 0.3 s"
        assert any(stanza.find(f"{{{ns.PING}}}ping") is not None for stanza in link.stanzas)
        assert "r" in link.log, "what was received needn't be kept any longer"
        await world.up()
        assert world.gateway.link.log == ["enable"], "a gateway that hangs is no cut"

    play(scenario, hold_time=0.3)


def test_stopped_in_the_moment_in_which_a_connection_is_gone(play: Callable[..., None]) -> None:
    """The session would go on for ever, and whoever stops the agent would wait for it."""

    async def scenario(world: World) -> None:
        await world.up()
        link = world.gateway.link
        held: list[bool] = []
        link.close = link.abort = lambda: held.append(True)  # type: ignore[method-assign]
        link.send(f"<stream:error><reset xmlns='{ns.STREAM_ERRORS}'/></stream:error>")
        await world.gateway.until(lambda: bool(held))
        world.session._disconnected.set()
        await world.session.stop()
        assert world.session.state is SessionState.DOWN
        link.lose(None)
        await world.gateway.until(
            lambda: world.session._stream is not None and not world.session._stream.is_connected()
        )

    play(scenario)


def test_a_gateway_that_is_a_server_begins_and_ends_nothing_by_presence(play: Callable[..., None]) -> None:
    """Its subscriptions last as long as the stream: who began anew on it would never be told their tables again."""

    async def scenario(world: World) -> None:
        await world.up()
        world.gateway.link.send("<presence type='unavailable'/>" + event("10.0.0.2"))
        await world.gateway.until(lambda: len(world.told) > 1)
        assert world.told == ["started", "10.0.0.2/32"]

    play(scenario)


# -- behind an XMPP server

SERVICE = "vpn.gw"


def test_a_service_behind_a_server(play: Callable[..., None]) -> None:
    """Its presence begins and ends sessions; the login outlives them."""

    async def scenario(world: World) -> None:
        gateway = world.gateway
        gateway.greetings = False
        await gateway.until(lambda: bool(gateway.links) and gateway.asked() == ["presence"])
        assert (world.told, world.session.state) == ([], SessionState.WAITING)
        link = gateway.link
        identifier = link.stanzas[0].get("id")
        link.send(f"<presence from='{SERVICE}' id='of-another'/><presence from='other.gw' id='{identifier}'/>")
        link.send(event("10.0.0.1", SERVICE))
        link.send(f"<presence from='{SERVICE}' id='{identifier}'/>")
        await world.up()
        assert world.told == ["started"], "nothing of it came before"
        world.ask()
        await gateway.until(lambda: gateway.asked() == ["presence", "subscribe"])
        assert link.stanzas[1].get("to") == SERVICE
        link.send(event("10.0.0.2") + event("10.0.0.3", SERVICE))
        await gateway.until(lambda: len(world.told) == 2)
        assert world.told[1] == "10.0.0.3/32", "of the service, not of the server"
        gateway.greetings = True
        link.send(f"<presence from='{SERVICE}' type='unavailable'/>")
        await gateway.until(lambda: world.told[2:] == [f"ended: service {SERVICE} has ended the session", "started"])
        assert gateway.asked() == ["presence", "subscribe", "presence"]
        assert gateway.links == [link]

    play(scenario, SERVICE)


def test_a_service_that_refuses_is_asked_again(play: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        gateway = world.gateway
        gateway.greetings = False
        await gateway.until(lambda: bool(gateway.links) and gateway.asked() == ["presence"])
        error = f"<error type='auth'><forbidden xmlns='{ns.STANZA_ERRORS}'/><text xmlns='{ns.STANZA_ERRORS}'>no</text>"
        identifier = gateway.link.stanzas[0].get("id")
        gateway.link.send(f"<presence from='{SERVICE}' id='{identifier}' type='error'>{error}</error></presence>")
        await gateway.until(lambda: len(gateway.asked()) == 2)
        assert world.session.last_error == f"service {SERVICE}: forbidden: no"
        gateway.link.send(f"<presence from='{SERVICE}' id='{gateway.link.stanzas[1].get('id')}'/>")
        await world.up()
        assert len(gateway.links) == 1

    play(scenario, SERVICE)


def test_a_service_that_does_not_answer(play: Callable[..., None]) -> None:
    """The server may be what hangs."""

    async def scenario(world: World) -> None:
        world.gateway.greetings = False
        await world.gateway.until(lambda: len(world.gateway.links) == 2)
        assert world.session.last_error == f"service {SERVICE} doesn't answer"
        assert world.told == []

    play(scenario, SERVICE, login_time=0.1)


def test_a_service_whose_server_says_that_it_is_away(play: Callable[..., None]) -> None:
    """A component that was cut off says no goodbye."""

    async def scenario(world: World) -> None:
        gateway = world.gateway
        await world.up()
        await gateway.until(lambda: gateway.asked() == ["presence", "ping"])
        ping = gateway.link.stanzas[1]
        error = f"<error type='wait'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        gateway.link.send(f"<iq type='error' from='{SERVICE}' id='{ping.get('id')}'>{error}</iq>")
        await gateway.until(lambda: len(world.told) == 3)
        assert world.told[1] == f"ended: service {SERVICE} is away: service-unavailable"
        assert world.told[2] == "started"
        assert len(gateway.links) == 1

    play(scenario, SERVICE, hold_time=1.5)
