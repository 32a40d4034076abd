"""A peer between its signaling core and a session that is played here."""

from __future__ import annotations

import asyncio

from agent.peer import Peer
from agent.requests import Ask, Refusal, Request, Settled
from agent.routes import GatewayId
from agent.session_values import Answered, SessionState
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp.entry import Entry, EntryError, EntryReason
from xmpp.notification import Event

P1, P2 = Prefix.parse("10.1.1.1/32"), Prefix.parse("10.1.1.2/32")
PATH = Path((NextHop(parse_address("192.0.2.12"), 100),))


class Wire:
    """A session that keeps what is asked."""

    def __init__(self) -> None:
        self.state = SessionState.DOWN
        self.since = 0.0
        self.last_error = ""
        self.conflicted = False
        self.asked: list[tuple[Request, Answered]] = []
        self.grown = asyncio.Event()

    def start(self) -> None:
        self.state = SessionState.CONNECTING

    async def stop(self) -> None:
        self.state = SessionState.DOWN

    def request(self, request: Request, on_answer: Answered) -> None:
        self.asked.append((request, on_answer))
        self.grown.set()


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def peer_up(self, peer: Peer) -> None:
        self.told.append(("up",))

    def peer_down(self, peer: Peer) -> None:
        self.told.append(("down",))

    def peer_settled(self, peer: Peer, settled: Settled) -> None:
        self.told.append(("settled", settled))

    def subscription_refused(self, peer: Peer, vpn: str) -> None:
        self.told.append(("refused", vpn))

    def routes_received(self, peer: Peer, vpn: str, changes: list[tuple[Prefix, Path | None]], purged: bool) -> None:
        self.told.append(("routes", vpn, changes, purged))


def peer(retry_time: float = 60.0) -> tuple[Peer, Wire, Owner]:
    owner, wire = Owner(), Wire()
    made = Peer(GatewayId(parse_address("192.0.2.1"), 5222), "192.0.2.1", owner, retry_time)
    made.open(lambda _: wire)
    return made, wire, owner


def test_what_several_want_in_one_turn_goes_out_together() -> None:
    async def scenario() -> None:
        made, wire, _ = peer()
        made.session_started()
        made.signaling.join("blue", 1)
        for prefix in (P1, P2):
            made.signaling.announce("blue", prefix, PATH)
            made.flush_soon()
        assert wire.asked == []
        await asyncio.sleep(0)
        assert [request.ask for request, _ in wire.asked] == [Ask.SUBSCRIBE, Ask.BARRIER, Ask.PUBLISH]
        assert len(wire.asked[2][0].items) == 2
        await made.close()

    asyncio.run(scenario())


def test_a_refusal_is_told_and_asked_again_later() -> None:
    async def scenario() -> None:
        made, wire, owner = peer(retry_time=0.01)
        made.session_started()
        made.signaling.join("blue", 1)
        made.flush_soon()
        await asyncio.sleep(0)
        wire.asked[0][1](Refusal("item-not-found"))
        wire.asked[1][1](None)
        assert ("refused", "blue") in owner.told
        async with asyncio.timeout(10):
            while len(wire.asked) < 4:
                wire.grown.clear()
                await wire.grown.wait()
        assert wire.asked[2][0].ask is Ask.SUBSCRIBE
        await made.close()

    asyncio.run(scenario())


def test_events_are_read_item_by_item() -> None:
    made, _, owner = peer()
    bad = ("10.1.1.9/32", EntryError(EntryReason.BAD_LABEL, "label 3"))
    changes: list[tuple[str, Entry | None]] = [
        ("10.1.1.1/32", Entry(P1, PATH)),
        ("10.1.1.2/32", None),
        ("something else", Entry(P2, PATH)),
        ("nonsense", None),
    ]
    made.event_received(Event("blue", changes, [bad]))
    assert owner.told == [("routes", "blue", [(P1, PATH), (P2, None)], False)]
    assert made.bad_items == 3


def test_without_a_session_nothing_is_sent() -> None:
    async def scenario() -> None:
        made, wire, owner = peer()
        made.session_started()
        made.signaling.join("blue", 1)
        made.flush_soon()
        made.session_ended("gone")
        await asyncio.sleep(0)
        assert wire.asked == []
        assert owner.told == [("up",), ("down",)]
        await made.close()

    asyncio.run(scenario())
