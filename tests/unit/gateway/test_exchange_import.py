"""Routes of peers in VRF tables: sources, order of preference, memberships, reloads; gateways that meet."""

from __future__ import annotations

from itertools import permutations

import pytest

from bgp.as_path import Segment, SegmentKind
from bgp.attributes import Attributes, Origin
from bgp.communities import pack_encapsulation, pack_route_target
from bgp.family import RTC, VPNV4
from bgp.nlri import Route, pack_labels, split_rtc_key, vpn_key
from bgp.rib.peer import PeerPolicy
from bgp.rib.values import SourceKind
from bgp.update import Reach, Unreach, Update
from gateway.policy import Policy
from tests.unit.gateway.gateways import AS, LINGER, Gateway, agreed, item_id, join, part, path, settle
from tests.unit.gateway.harness import MESH, vpn
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address

P = "10.1.1.1/32"
GRE = pack_encapsulation(2)


def target(text: str) -> bytes:
    return pack_route_target(RouteTarget.parse(text))


def nlri(distinguisher: str, prefix: str = P) -> bytes:
    return vpn_key(RouteDistinguisher.parse(distinguisher), Prefix.parse(prefix))


class Pe:
    """A router that is a peer of a gateway. number: the last byte of its address."""

    def __init__(self, gateway: Gateway, number: int, asn: int = AS) -> None:
        kind = SourceKind.INTERNAL if asn == gateway.asn else SourceKind.EXTERNAL
        self.gateway = gateway
        self.asn = asn
        speaker = Gateway(number, asn=asn)
        self.name = speaker.name
        gateway.bgp.add_peer(self.name, speaker.router_id, PeerPolicy(kind))
        gateway.bgp.session_up(self.name, agreed(gateway, speaker), gateway.now)

    def announce(
        self,
        distinguisher: str,
        next_hop: str,
        label: int = 500,
        *,
        prefix: str = P,
        targets: str = "64512:1",
        preference: int | None = 100,
        encapsulation: bool = False,
        path: tuple[int, ...] = (),
        **fields: object,
    ) -> None:
        """Announce a route."""
        extended = tuple(map(target, targets.split())) + ((GRE,) if encapsulation else ())
        as_path = (Segment(SegmentKind.SEQUENCE, path),) if path else ()
        said = Attributes(as_path=as_path, local_pref=preference, extended_communities=extended, **fields)  # type: ignore[arg-type]
        route: Route = (nlri(distinguisher, prefix), pack_labels([label]))
        self.gateway.bgp.update(self.name, Update(said, Reach(VPNV4, parse_address(next_hop), [route])))
        self.gateway.work()

    def withdraw(self, distinguisher: str, prefix: str = P) -> None:
        """Withdraw it."""
        self.gateway.bgp.update(self.name, Update(unreach=(Unreach(VPNV4, [nlri(distinguisher, prefix)]),)))
        self.gateway.work()


def publish(gateway: Gateway, host: int, said: Path | None = None, node: str = "blue", session: int = 1) -> None:
    """A host publishes P."""
    prefix = Prefix.parse(P)
    gateway.rib.publish(node, f"hv{host}", item_id(host, P), prefix, said or path(host), session)
    gateway.work()


def wanted(gateway: Gateway) -> set[str]:
    """Route targets that the gateway says it wants."""
    keys = [one.key for one in gateway.bgp.tables[RTC]]
    return {str(RouteTarget(member.target[0], member.target[2:])) for member in map(split_rtc_key, keys)}


# -- sources and preference


def test_a_route_of_a_peer_is_a_path_of_the_vpns_that_import_it() -> None:
    gateway = Gateway(policy=Policy([vpn("blue", "64512:1", "64512:1"), vpn("red", "64512:1 64512:2", "64512:2")]))
    pe = Pe(gateway, 100)
    pe.announce("64512:7", "192.0.2.100")
    assert gateway.hops("blue", P) == gateway.hops("red", P) == [("192.0.2.100", 500)]
    assert gateway.sources("blue", P) == {"64512:7"}
    pe.announce("64512:7", "192.0.2.100", targets="64512:2")
    assert gateway.hops("blue", P) == [] and gateway.hops("red", P) == [("192.0.2.100", 500)]
    pe.withdraw("64512:7")
    assert gateway.tables() == {"blue": {}, "red": {}}
    assert not gateway.rib.tables["red"].sources()


def test_several_pes_are_a_multipath() -> None:
    gateway = Gateway()
    pe = Pe(gateway, 100)
    pe.announce("64512:7", "192.0.2.100")
    pe.announce("64512:8", "192.0.2.101", 501)
    assert gateway.hops("blue", P) == [("192.0.2.100", 500), ("192.0.2.101", 501)]
    pe.withdraw("64512:7")
    assert gateway.hops("blue", P) == [("192.0.2.101", 501)]


def test_a_prefix_of_a_host_and_of_a_pe() -> None:
    """The host's is used, as long as nothing that is compared before says otherwise."""
    gateway = Gateway()
    pe = Pe(gateway, 100)
    pe.announce("64512:7", "192.0.2.100")
    publish(gateway, 11)
    assert gateway.sources("blue", P) == {"hv11", "64512:7"}
    assert gateway.hops("blue", P) == [("192.0.2.11", 100)]
    pe.announce("64512:7", "192.0.2.100", preference=200)
    assert gateway.hops("blue", P) == [("192.0.2.100", 500)]
    pe.announce("64512:7", "192.0.2.100")
    assert gateway.hops("blue", P) == [("192.0.2.11", 100)]
    gateway.rib.session_ended("hv11", 1, gateway.now)
    assert gateway.hops("blue", P) == [("192.0.2.100", 500)], "a host without a session is less preferred than a PE"
    publish(gateway, 11, session=2)
    gateway.rib.retract("blue", item_id(11, P))
    assert gateway.hops("blue", P) == [("192.0.2.100", 500)]


LADDER = {
    "local preference": {"preference": 101, "path": (1, 2, 3)},
    "a path through no AS": {},
    "a path through one AS": {"path": (64513,)},
    "origin EGP": {"path": (64513,), "origin": Origin.EGP},
    "origin incomplete": {"path": (64513,), "origin": Origin.INCOMPLETE},
    "a path through two ASes": {"path": (64513, 64514)},
    "low preference": {"preference": 99},
}
"""Routes, the better first."""


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_preference(order: int) -> None:
    gateway = Gateway()
    pe = Pe(gateway, 100)
    names = list(LADDER)
    for number in range(len(names))[::order]:
        pe.announce(f"64512:{number}", f"192.0.2.{100 + number}", **LADDER[names[number]])  # type: ignore[arg-type]
    for number in range(len(names)):
        assert gateway.hops("blue", P) == [(f"192.0.2.{100 + number}", 500)], names[number]
        pe.withdraw(f"64512:{number}")
    assert gateway.hops("blue", P) == []


def test_host_before_ebgp_before_ibgp() -> None:
    for order in permutations(range(4)):
        gateway = Gateway()
        internal, external = Pe(gateway, 100), Pe(gateway, 101, 64999)
        steps = [
            lambda inside=internal: inside.announce("64512:1", "192.0.2.100", path=(64513,)),
            lambda outside=external: outside.announce("64512:2", "192.0.2.101", path=(64513,), preference=None),
            # In the form of a gateway's host, though through another AS.
            lambda inside=internal: inside.announce(
                "192.0.2.12:1", "192.0.2.12", path=(64513,), encapsulation=True, prefix=P
            ),
            lambda inside=internal: inside.announce("192.0.2.103:1", "192.0.2.103", path=(64513,)),
        ]
        for step in order:
            steps[step]()
        assert gateway.hops("blue", P) == [("192.0.2.12", 500)]
        internal.withdraw("192.0.2.12:1")
        assert gateway.hops("blue", P) == [("192.0.2.101", 500)]
        external.withdraw("64512:2")
        assert gateway.hops("blue", P) == [("192.0.2.100", 500), ("192.0.2.103", 500)]


def test_hosts_of_all_gateways_are_equal() -> None:
    one, two = Gateway(1), Gateway(2)
    join(one, two)
    hosts = [gateway.connect(f"hv{number}", f"192.0.2.{number}") for gateway, number in ((one, 11), (two, 12))]
    for host in hosts:
        host.subscribe("blue")
        host.announce("blue", P)
    settle((one, two))
    assert one.hops("blue", P) == two.hops("blue", P) == [("192.0.2.11", 100), ("192.0.2.12", 100)]
    assert one.sources("blue", P) == {"hv11", "192.0.2.12:1"}


def test_what_nobody_sees_is_no_change() -> None:
    gateway = Gateway()
    pe = Pe(gateway, 100)
    pe.announce("64512:1", "192.0.2.100")
    revision = gateway.rib.tables["blue"].revision
    pe.announce("64512:1", "192.0.2.100", med=10, communities=(5,))
    pe.announce("64512:1", "192.0.2.100", path=(64513,))
    assert gateway.rib.tables["blue"].revision == revision, "AS_PATH isn't signalled to hosts"
    pe.announce("64512:2", "192.0.2.101")
    assert gateway.hops("blue", P) == [("192.0.2.101", 500)], "and yet it counts"


def test_long_lived_stale_routes_are_the_least_preferred() -> None:
    gateway = Gateway()
    pe, other = Pe(gateway, 100), Pe(gateway, 101)
    publish(gateway, 11, path(11, preference=1))
    gateway.rib.session_ended("hv11", 1, gateway.now)
    pe.announce("64512:7", "192.0.2.100", preference=500)
    assert gateway.hops("blue", P) == [("192.0.2.100", 500)]
    gateway.bgp.session_down(pe.name, frozenset((VPNV4,)), gateway.now)
    gateway.work()
    assert gateway.hops("blue", P) == [("192.0.2.100", 500)], "stale for a short time is as good as fresh"
    gateway.now += 121
    gateway.bgp.handle_timer(gateway.now)
    gateway.work()
    assert gateway.hops("blue", P) == [("192.0.2.11", 100)]
    gateway.rib.retract("blue", item_id(11, P))
    gateway.work()
    assert gateway.hops("blue", P) == [("192.0.2.100", 500)]
    selected = gateway.path("blue", P)
    assert selected is not None and selected.local_preference == 0, "so hosts prefer what other gateways say"
    other.announce("64512:8", "192.0.2.101", preference=0)
    assert gateway.hops("blue", P) == [("192.0.2.101", 500)]


# -- a host at two gateways


def test_a_host_at_two_gateways() -> None:
    """The NLRI is the same: each gateway uses its own session, and the other's copy when that is lost."""
    one, two = Gateway(1), Gateway(2)
    join(one, two)
    sessions = [gateway.connect("hv11", "192.0.2.11") for gateway in (one, two)]
    for session in sessions:
        session.subscribe("blue")
        session.announce("blue", P, label=100)
    settle((one, two))
    assert one.sources("blue", P) == two.sources("blue", P) == {"hv11"}
    one.disconnect(sessions[0])
    settle((one, two))
    assert one.sources("blue", P) == {"hv11", "192.0.2.11:1"} and one.hops("blue", P) == [("192.0.2.11", 100)]
    assert two.sources("blue", P) == {"hv11"}
    revision = one.rib.tables["blue"].revision
    sessions[1].announce("blue", P, label=101)
    settle((one, two))
    assert one.hops("blue", P) == two.hops("blue", P) == [("192.0.2.11", 101)]
    one.now += 60
    one.service.expire(one.now)
    settle((one, two))
    assert one.sources("blue", P) == {"192.0.2.11:1"}
    assert one.rib.tables["blue"].revision == revision + 1, "nobody saw the stale item go"
    two.disconnect(sessions[1])
    settle((one, two))
    selected = one.path("blue", P)
    assert selected is not None and selected.local_preference == 0
    two.now += 60
    two.service.expire(two.now)
    settle((one, two))
    assert one.tables()["blue"] == two.tables()["blue"] == {}


def test_lost_at_both_gateways() -> None:
    one, two = Gateway(1), Gateway(2)
    join(one, two)
    sessions = [gateway.connect("hv11", "192.0.2.11") for gateway in (one, two)]
    for session in sessions:
        session.subscribe("blue")
        session.announce("blue", P)
    settle((one, two))
    for session, gateway in zip(sessions, (one, two), strict=True):
        gateway.disconnect(session)
    settle((one, two))
    assert one.sources("blue", P) == two.sources("blue", P) == {"hv11"}
    for gateway in (one, two):
        gateway.now += 60
        gateway.service.expire(gateway.now)
        settle((one, two))
    assert one.tables()["blue"] == two.tables()["blue"] == {}


def test_a_host_that_moves_its_session() -> None:
    """It republishes at the other gateway with a new label: the newer wins by the sequence number, then alone."""
    one, two = Gateway(1), Gateway(2)
    join(one, two)
    for gateway in (one, two):
        gateway.connect("hv99", "192.0.2.99").subscribe("blue")
    settle((one, two))
    publish(one, 11, path(11, 100))
    publish(two, 11, path(11, 101, sequence=1))
    settle((one, two))
    assert one.hops("blue", P) == two.hops("blue", P) == [("192.0.2.11", 101)]


# -- memberships


def test_memberships_follow_the_subscribers() -> None:
    gateway = Gateway(
        policy=Policy([vpn("blue", "64512:1 64512:3", "64512:1"), vpn("red", "64512:2 64512:3", "64512:2")])
    )
    assert wanted(gateway) == set()
    hv1 = gateway.connect("hv1", "192.0.2.11")
    hv1.subscribe("blue")
    gateway.work()
    assert wanted(gateway) == {"64512:1", "64512:3"} and gateway.exchange.get_timer() is None
    hv1.subscribe("red")
    gateway.work()
    assert wanted(gateway) == {"64512:1", "64512:2", "64512:3"}
    hv1.pubsub(f"<unsubscribe node='blue' jid='{hv1.session.jid}'/>")
    gateway.work()
    assert wanted(gateway) == {"64512:1", "64512:2", "64512:3"}
    assert gateway.exchange.get_timer() == gateway.now + LINGER
    gateway.now += LINGER
    gateway.exchange.handle_timer(gateway.now - 0.1)
    assert wanted(gateway) == {"64512:1", "64512:2", "64512:3"}
    gateway.exchange.handle_timer(gateway.now)
    assert wanted(gateway) == {"64512:2", "64512:3"} and gateway.exchange.get_timer() is None


def test_a_host_that_comes_back_keeps_the_membership() -> None:
    gateway = Gateway()
    hv1 = gateway.connect("hv1", "192.0.2.11")
    hv1.subscribe("blue")
    gateway.work()
    gateway.disconnect(hv1)
    gateway.work()
    gateway.now += LINGER - 1
    gateway.connect("hv1", "192.0.2.11").subscribe("blue")
    assert gateway.exchange.has_work
    gateway.work()
    assert gateway.exchange.get_timer() is None
    gateway.exchange.handle_timer(gateway.now + 100)
    assert wanted(gateway) == {"64512:1"}


def test_another_subscriber_is_no_news() -> None:
    gateway = Gateway()
    gateway.connect("hv1", "192.0.2.11").subscribe("blue")
    gateway.work()
    hv2 = gateway.connect("hv2", "192.0.2.12")
    hv2.subscribe("blue")
    gateway.disconnect(hv2)
    assert not gateway.exchange.has_work


def test_without_a_membership_nothing_is_sent() -> None:
    """And a route with two targets survives the end of one membership, without being sent again."""
    policy = Policy([vpn("blue", "64512:1", "64512:1 64512:2"), vpn("red", "64512:2", "64512:2")])
    one, two = Gateway(1, policy), Gateway(2, policy)
    join(one, two)
    publish(one, 11)
    settle((one, two))
    assert two.tables() == {"blue": {}, "red": {}}
    hv2 = two.connect("hv2", "192.0.2.12")
    hv2.subscribe("blue"), hv2.subscribe("red")
    settle((one, two))
    assert two.hops("blue", P) == two.hops("red", P) == [("192.0.2.11", 100)]
    member = one.bgp.peers["gw2"].members[VPNV4]
    assert (member.announced, member.withdrawn) == (1, 0)
    for node in ("blue", "red"):
        hv2.pubsub(f"<unsubscribe node='{node}' jid='{hv2.session.jid}'/>")
        settle((one, two))
        two.now += LINGER
        two.exchange.handle_timer(two.now)
        settle((one, two))
        assert (member.announced, member.withdrawn) == (1, int(node == "red"))
    assert two.tables() == {"blue": {}, "red": {}}


# -- reloads


def test_reloaded_import_targets_take_effect_in_place() -> None:
    gateway = Gateway()
    gateway.connect("hv1", "192.0.2.11").subscribe("blue")
    pe = Pe(gateway, 100)
    pe.announce("64512:7", "192.0.2.100")
    pe.announce("64512:8", "192.0.2.100", prefix="10.2.0.0/16", targets="64512:9")
    assert gateway.hops("blue", P) and not gateway.hops("blue", "10.2.0.0/16")
    gateway.service.reload(Policy([vpn("blue", "64512:9", "64512:1")]))
    assert gateway.exchange.has_work
    gateway.work()
    assert not gateway.hops("blue", P) and gateway.hops("blue", "10.2.0.0/16") == [("192.0.2.100", 500)]
    assert wanted(gateway) == {"64512:9"}


def test_a_vpn_that_goes_and_comes_back() -> None:
    gateway = Gateway()
    hv1 = gateway.connect("hv1", "192.0.2.11")
    hv1.subscribe("blue")
    pe = Pe(gateway, 100)
    pe.announce("64512:7", "192.0.2.100")
    red = Policy([MESH.vpns["red"]])
    for between in (True, False):
        gateway.service.reload(red)
        if between:
            gateway.work()
            assert wanted(gateway) == set() and gateway.exchange.get_timer() is None
            pe.announce("64512:7", "192.0.2.100", label=501)
        gateway.service.reload(MESH)
        gateway.work()
        assert gateway.hops("blue", P) == [("192.0.2.100", 501)]


def test_a_vpn_goes_while_its_routes_are_under_way() -> None:
    gateway = Gateway()
    pe = Pe(gateway, 100)
    gateway.bgp.update(
        pe.name,
        Update(
            Attributes(local_pref=100, extended_communities=(target("64512:1"),)),
            Reach(VPNV4, parse_address("192.0.2.100"), [(nlri("64512:7"), pack_labels([500]))]),
        ),
    )
    gateway.service.reload(Policy([MESH.vpns["red"]]))
    assert gateway.exchange.take_in() == 1
    gateway.work()
    assert gateway.tables() == {"red": {}}


def test_a_lost_peer_takes_its_routes_along() -> None:
    one, two = Gateway(1), Gateway(2)
    join(one, two)
    for gateway in (one, two):
        gateway.connect("hv99", "192.0.2.99").subscribe("blue")
    publish(two, 12)
    settle((one, two))
    assert one.hops("blue", P)
    part(one, two, preserve=True)
    settle((one, two))
    assert one.hops("blue", P)
    join(one, two)
    settle((one, two))
    assert one.hops("blue", P)
    part(one, two)
    settle((one, two))
    assert not one.hops("blue", P)


def test_taken_in_slices() -> None:
    gateway = Gateway()
    pe = Pe(gateway, 100)
    said = Attributes(local_pref=100, extended_communities=(target("64512:1"),))
    routes = [(nlri("64512:7", f"10.3.{number}.0/24"), pack_labels([500])) for number in range(10)]
    nobody = [(nlri("64512:8", f"10.4.{number}.0/24"), pack_labels([500])) for number in range(10)]
    gateway.bgp.update(pe.name, Update(said, Reach(VPNV4, parse_address("192.0.2.100"), routes)))
    gateway.bgp.update(pe.name, Update(Attributes(), Reach(VPNV4, parse_address("192.0.2.100"), nobody)))
    assert gateway.exchange.has_imports
    looked = [gateway.exchange.take_in(6) for _ in range(5)]
    assert looked == [6, 6, 6, 2, 0] and not gateway.exchange.has_imports
    assert len(gateway.tables()["blue"]) == 10


def test_next_hops_that_are_no_hosts() -> None:
    """A PE's route has its own encapsulation, or GRE when it names none."""
    gateway = Gateway()
    Pe(gateway, 100).announce("64512:7", "192.0.2.100")
    selected = gateway.path("blue", P)
    assert selected is not None
    assert selected.next_hops == (NextHop(parse_address("192.0.2.100"), 500),)
