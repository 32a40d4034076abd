"""What gateways are told of ports, by this run and by the one before."""

from __future__ import annotations

import pytest

from agent.announcer import Announcer
from agent.attachment import Attached, VpnRecord, parse_attach
from agent.drain_state import DrainPhase, at_gateway
from agent.peer import Peer
from agent.plan import Host
from agent.requests import Ask, Refusal
from agent.routes import GatewayId
from agent.signaling import Signaling
from vpn.prefix import Prefix, parse_address

BLUE = VpnRecord("blue", 1, 10000, "vw-blue")
WEB = Attached(
    parse_attach({"name": "web", "vpn": "blue", "addresses": ["10.1.1.1", "fd00::1"], "tap": "tap0"}, "hv1"), 100
)
DB = Attached(parse_attach({"name": "db", "vpn": "blue", "addresses": ["10.1.1.2"], "tap": "tap1"}, "hv1"), 101)
P4, P6 = Prefix.parse("10.1.1.1/32"), Prefix.parse("fd00::1/128")
GRACE = 15.0


class FakePeer(Peer):
    """Nobody is asked until told()."""

    def __init__(self, number: int) -> None:
        self.gateway = GatewayId(parse_address(f"192.0.2.{number}"), 5222)
        self.name = f"192.0.2.{number}"
        self.signaling = Signaling()
        self.met = False

    def flush_soon(self) -> None:
        pass

    def up(self) -> None:
        """A session begins."""
        self.met = True
        self.signaling.session_started()

    def told(self, refusal: Refusal | None = None) -> list[tuple[Ask, frozenset[Prefix]]]:
        """Answer all that is to be said; returns what that was of items."""
        said = []
        while requests := self.signaling.next_requests():
            for request in requests:
                self.signaling.answered(request, refusal if request.items else None)
                if request.items:
                    said.append((request.ask, frozenset(prefix for prefix, _ in request.items)))
        return said


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def peers() -> list[FakePeer]:
    return [FakePeer(1), FakePeer(2)]


@pytest.fixture
def announcer(peers: list[FakePeer], clock: Clock) -> Announcer:
    return Announcer(Host(parse_address("192.0.2.11")), peers, GRACE, clock)


def test_every_gateway_is_told(announcer: Announcer, peers: list[FakePeer]) -> None:
    announcer.announce(WEB, BLUE)
    assert announcer.announced(WEB) == ("no", []) and announcer.answered(WEB), "nobody is there to answer"
    peers[0].up()
    assert not announcer.answered(WEB)
    assert peers[0].told() == [(Ask.PUBLISH, frozenset((P4, P6)))]
    assert announcer.announced(WEB) == ("partly", []) and announcer.answered(WEB)
    peers[1].up()
    peers[1].told()
    assert announcer.announced(WEB) == ("yes", [])


def test_a_silent_host_asks_for_routes_and_tells_nothing(announcer: Announcer, peers: list[FakePeer]) -> None:
    announcer.silent = True
    announcer.announce(WEB, BLUE)
    peers[0].up()
    assert peers[0].told() == []
    assert peers[0].signaling.joined == ("blue",) and peers[0].signaling.synchronised("blue")
    assert peers[0].signaling.held == 0


def test_what_an_earlier_run_told_is_taken_back_when_the_gateway_comes(
    announcer: Announcer, peers: list[FakePeer], clock: Clock
) -> None:
    """This run has told nobody anything; but a gateway keeps what the one before told it."""
    announcer.keep(WEB)
    announcer.announce(WEB, BLUE)
    announcer.withdraw(WEB, BLUE)
    assert not announcer.withdrawn(WEB), "both are expected"
    peers[0].up()
    assert peers[0].told() == [(Ask.RETRACT, frozenset((P4, P6)))]
    assert not announcer.withdrawn(WEB), "the other one has had no time yet"
    clock.now += GRACE
    assert announcer.withdrawn(WEB)
    assert peers[1].signaling.held == 2, "it is told all the same"
    peers[1].up()
    assert peers[1].told() == [(Ask.RETRACT, frozenset((P4, P6)))]


def test_of_a_new_port_nothing_is_taken_back_where_nothing_was_told(
    announcer: Announcer, peers: list[FakePeer]
) -> None:
    announcer.announce(WEB, BLUE)
    announcer.withdraw(WEB, BLUE)
    assert announcer.withdrawn(WEB)
    peers[0].up()
    assert peers[0].told() == []


def test_a_name_that_is_attached_anew_is_new(announcer: Announcer, peers: list[FakePeer]) -> None:
    announcer.keep(WEB)
    announcer.forget("web")
    announcer.withdraw(WEB, BLUE)
    assert peers[0].signaling.held == 0


def test_a_gateway_that_was_lost_is_away_at_once(announcer: Announcer, peers: list[FakePeer]) -> None:
    peers[0].up()
    assert announcer.expected(peers[0])
    peers[0].signaling.session_ended()
    assert not announcer.expected(peers[0]), "the grace is for those that haven't been there yet"
    assert announcer.expected(peers[1])


def marked(peer: FakePeer) -> list[str]:
    """Answer all that is to be said; returns the VPNs that were said to be all told."""
    said = []
    while requests := peer.signaling.next_requests():
        for request in requests:
            peer.signaling.answered(request, None)
            if request.ask is Ask.END_OF_ITEMS:
                said.append(request.vpn)
    return said


def test_all_is_told_when_every_port_of_the_vpn_is(announcer: Announcer, peers: list[FakePeer]) -> None:
    for port in (WEB, DB):
        announcer.keep(port)
        announcer.expect(port)
    peers[0].up()
    announcer.announce(WEB, BLUE)
    assert marked(peers[0]) == [], "db is not in the kernel yet, and what the gateway has of it is all there is"
    announcer.announce(DB, BLUE)
    assert marked(peers[0]) == ["blue"]
    peers[1].up()
    assert marked(peers[1]) == ["blue"], "every gateway hears it, and in each session"
    peers[0].up()
    assert marked(peers[0]) == ["blue"]


def test_a_port_that_is_new_and_not_ready_holds_back_the_end_of_items(
    announcer: Announcer, peers: list[FakePeer]
) -> None:
    announcer.expect(WEB)
    announcer.announce(WEB, BLUE)
    announcer.expect(DB)
    peers[0].up()
    assert marked(peers[0]) == []
    announcer.withdraw(DB, BLUE)
    assert marked(peers[0]) == [], "it is being detached"
    announcer.forget(DB.name)
    assert marked(peers[0]) == ["blue"]


def test_a_silent_host_never_says_that_this_was_all(announcer: Announcer, peers: list[FakePeer]) -> None:
    """Drained and undrained: what is announced last ends the items, and nothing before."""
    announcer.silent = True
    for port in (WEB, DB):
        announcer.expect(port)
        announcer.announce(port, BLUE)
        announcer.withdraw(port, BLUE)
    peers[0].up()
    assert marked(peers[0]) == []
    announcer.silent = False
    announcer.announce(WEB, BLUE)
    assert marked(peers[0]) == []
    announcer.announce(DB, BLUE)
    assert marked(peers[0]) == ["blue"]


def test_blocked_is_what_every_connected_gateway_forbids(announcer: Announcer, peers: list[FakePeer]) -> None:
    announcer.announce(WEB, BLUE)
    for peer in peers:
        peer.up()
    peers[0].told(Refusal("forbidden", "not bound"))
    assert announcer.forbidden(WEB) == frozenset(), "one hasn't answered"
    peers[1].told(Refusal("forbidden", "not bound"))
    assert announcer.forbidden(WEB) == {P4, P6}
    peers[1].signaling.admitted("blue", [P4])
    assert announcer.forbidden(WEB) == {P6}


def test_how_far_a_drain_is_at_a_gateway() -> None:
    assert at_gateway(DrainPhase.ACTIVE, 3) == ""
    assert at_gateway(DrainPhase.DRAINING, 3) == "withdrawing"
    assert at_gateway(DrainPhase.DRAINED, 0) == "withdrawn"
