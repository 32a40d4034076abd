"""Speakers in memory: what one originates, the others that want it have; whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgp.attributes import WELL_KNOWN_LLGR_STALE, WELL_KNOWN_NO_LLGR, Attributes
from bgp.errors import CeaseSubcode
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.message import MessageType
from bgp.negotiation import Negotiated, RestartPolicy, negotiate
from bgp.nlri import pack_labels, rtc_key
from bgp.notification import Notification
from bgp.refresh import RefreshKind
from bgp.rib.events import ExportStarted, PrefixLimitExceeded, PrefixWarning, RoutesStale, RoutesSwept
from bgp.rib.peer import PeerPolicy, PrefixLimit
from bgp.rib.values import SourceKind
from bgp.update import Reach, Update
from bgp.update_encoder import end_of_rib
from tests.unit.bgp.net import Link, Network, Node
from tests.unit.bgp.pair import AS, HIGH, LOW, config
from tests.unit.bgp.routes import NEXT_HOP, attributes, key, route, sequence, target
from vpn.path import DEFAULT_LOCAL_PREFERENCE, NextHop
from vpn.prefix import Prefix, parse_address

ROUTES = [route(f"10.0.{number}.0/24", 100 + number) for number in range(4)]
LABELS = dict(ROUTES)
RESTART = RestartPolicy(restart_time=30, families=(VPNV4,), long_lived=0)


def agreed(restart: RestartPolicy | None = None) -> Negotiated:
    """What a session for VPNv4 has agreed on."""
    ours, theirs = (config(one, families=(VPNV4,), restart=restart) for one in (LOW, HIGH))
    return negotiate(ours, ours.open(), theirs.open())


def reflected(*families: Family, restart: RestartPolicy | None = None) -> tuple[Network, Node, Node, Node]:
    """Two gateways that are clients of a reflector between them, and speak RTC."""
    network = Network()
    left, middle, right = Node("left", 1), Node("middle", 2), Node("right", 3)
    middle.want()
    for client in (left, right):
        network.link(
            client,
            middle,
            left_is=SourceKind.CLIENT,
            families=families or (VPNV4, RTC),
            restart=restart,
        )
    network.settle()
    assert network.all_up()
    return network, left, middle, right


def test_routes_travel_and_go() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    left.originate(*ROUTES)
    network.link(left, right)
    network.settle()
    assert right.seen() == LABELS
    left.withdraw(ROUTES[0][0])
    left.originate(route("10.0.1.0/24", 999))
    network.settle()
    assert right.seen() == {ROUTES[1][0]: pack_labels([999]), ROUTES[2][0]: ROUTES[2][1], ROUTES[3][0]: ROUTES[3][1]}
    assert left.seen() == {}
    network.cut(network.links[0])
    network.settle()
    assert right.seen() == {} and right.rib.tables[VPNV4].destinations == {}
    network.advance(60)
    assert len(right.seen()) == 3


def test_both_families() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    network.link(left, right, families=(VPNV4, VPNV6))
    left.originate(route("2001:db8:1::/48"), family=VPNV6)
    left.originate(*ROUTES)
    network.settle()
    assert len(right.seen(VPNV6)) == 1 and len(right.seen()) == 4


def test_two_peers_that_are_no_clients_learn_nothing_from_each_other() -> None:
    network = Network()
    left, middle, right = Node("left", 1), Node("middle", 2), Node("right", 3)
    network.link(left, middle)
    network.link(middle, right)
    left.originate(*ROUTES)
    network.settle()
    assert middle.seen() == LABELS and right.seen() == {}


def test_a_reflector_passes_on_what_is_wanted() -> None:
    network, left, middle, right = reflected()
    left.originate(*ROUTES[:2])
    left.originate(*ROUTES[2:], said=attributes("64512:2"))
    network.settle()
    assert middle.seen() == LABELS
    assert right.seen() == {}
    right.want("64512:1")
    network.settle()
    assert set(right.seen()) == {ROUTES[0][0], ROUTES[1][0]}
    (destination,) = [one for one in right.rib.tables[VPNV4] if one.key == ROUTES[0][0]]
    said = destination.paths[0].attributes.attributes
    assert (said.originator_id, said.cluster_list) == (left.router_id, (middle.router_id,))
    right.want("64512:2")
    network.settle()
    assert set(right.seen()) == {ROUTES[2][0], ROUTES[3][0]}
    right.want()
    network.settle()
    assert right.seen() == {}


def test_a_route_with_two_targets_survives_the_withdrawal_of_one_membership() -> None:
    network, left, middle, right = reflected()
    left.originate(ROUTES[0], said=attributes("64512:1", "64512:2"))
    right.want("64512:1", "64512:2")
    network.settle()
    member = middle.rib.peers["right"].members[VPNV4]
    assert (member.announced, member.withdrawn) == (1, 0)
    right.want("64512:2")
    network.settle()
    assert ROUTES[0][0] in right.seen()
    assert (member.announced, member.withdrawn) == (1, 0)
    right.want()
    network.settle()
    assert right.seen() == {} and (member.announced, member.withdrawn) == (1, 1)


def test_what_changes_together_with_an_interest_is_told_once() -> None:
    """New routes, and a membership that wants them and older ones, in one go."""
    network, left, middle, right = reflected()
    left.originate(ROUTES[0])
    network.settle()
    wanted = [(rtc_key(AS, target("64512:1")), b"")]
    middle.rib.update("right", Update(attributes(), Reach(RTC, right.router_id, wanted)))
    middle.originate(ROUTES[1])
    network.settle()
    assert set(right.seen()) == {ROUTES[0][0], ROUTES[1][0]}
    member = middle.rib.peers["right"].members[VPNV4]
    assert (member.announced, member.withdrawn) == (2, 0)


def test_a_new_session_has_been_told_nothing() -> None:
    network, left, middle, right = reflected()
    right.want("64512:1")
    left.originate(*ROUTES)
    network.settle()
    network.cut(network.links[1])
    right.want()
    network.settle()
    left.withdraw(ROUTES[0][0])
    network.advance(5)
    member = middle.rib.peers["right"].members[VPNV4]
    assert network.all_up() and (member.announced, member.withdrawn) == (0, 0)
    assert len(middle.rib.tables[VPNV4].destinations) == 3


def test_a_route_that_changes_its_target_changes_hands() -> None:
    network, left, _, right = reflected()
    right.want("64512:1")
    left.originate(ROUTES[0])
    network.settle()
    assert len(right.vrfs["64512:1"]) == 1
    left.originate(ROUTES[0], said=attributes("64512:2"))
    network.settle()
    assert right.seen() == {} and right.vrfs["64512:1"] == {}


def test_vpn_routes_wait_for_the_end_of_memberships() -> None:
    """A peer that speaks RTC and doesn't say that its memberships are complete gets VPN routes after 30 s."""
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    left.originate(*ROUTES)
    right.want("64512:1")
    network.link(left, right, families=(VPNV4, RTC))
    taken = right.rib.take
    right.rib.take = lambda name, limit: [one for one in taken(name, limit) if one != end_of_rib(RTC)]  # type: ignore[method-assign]
    network.advance(29)
    assert len(left.rib.tables[RTC].adj_rib_in(left.rib.peers["right"].source)) == 1
    assert network.all_up() and right.seen() == {}
    network.advance(2)
    assert right.seen() == LABELS


def test_memberships_do_not_wait_after_our_restart() -> None:
    """Or the routes that a restart waits for would never come."""
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    left.originate(*ROUTES)
    right.want("64512:1")
    right.rib.defer_export(["left", "hosts"], 1e9)
    network.link(left, right, families=(VPNV4, RTC))
    network.settle()
    assert right.seen() == LABELS


def test_limit_on_prefixes() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    network.link(left, right, limit=PrefixLimit(4, warning=0.5))
    right.originate(*ROUTES[:2])
    network.settle()
    assert left.events == [PrefixWarning("right", VPNV4, 2, 4)]
    right.originate(*ROUTES, route("10.0.9.0/24"))
    network.settle()
    assert left.events[1:] == [PrefixLimitExceeded("right", VPNV4, 5, 4)]
    right.originate(route("10.0.10.0/24"))
    network.settle()
    assert len(left.seen()) == 5
    left.sessions["right"].session.fail(network.now, Notification.maximum_prefixes(VPNV4, 4), "too many")
    network.settle()
    assert left.seen() == {} and not network.all_up()
    assert str(right.sessions["left"].session.last_down.notification).startswith("6/1")  # type: ignore[union-attr]


def test_external_peers() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2, asn=64513)
    network.link(left, right)
    left.originate(*ROUTES)
    network.settle()
    (one, *_) = right.rib.tables[VPNV4]
    assert one.paths[0].attributes.attributes.as_path == sequence(AS)
    assert one.paths[0].attributes.attributes.local_pref is None


def test_own_routes_that_come_back_replace_what_the_peer_said() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    network.link(left, right)
    right.originate(*ROUTES[:2])
    network.settle()
    right.originate(ROUTES[0], said=attributes("64512:1", originator_id=left.router_id))
    network.settle()
    assert set(left.seen()) == {ROUTES[1][0]}
    assert left.rib.peers["right"].looped == 1


# -- imports


def test_imports_follow_routes_and_policy() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    network.link(left, right)
    left.originate(ROUTES[0], said=attributes("64512:1", "64512:2"))
    right.want("64512:1")
    network.settle()
    where = ("64512:1", Prefix.parse("10.0.0.0/24"))
    path = right.vrfs["64512:1"][where]
    assert path.next_hops == (NextHop(parse_address("192.0.2.7"), 100),)
    assert path.local_preference == DEFAULT_LOCAL_PREFERENCE
    assert right.rib.imports[VPNV4].imported_by(ROUTES[0][0]) == {"64512:1"}
    right.want("64512:2")
    network.settle()
    assert right.vrfs == {"64512:1": {}, "64512:2": {where: path}}
    # The same NLRI of one of our own hosts is better: the VRF table has that one from the host itself.
    right.originate(ROUTES[0], said=attributes("64512:2"))
    network.settle()
    assert right.vrfs["64512:2"] == {}
    right.withdraw(ROUTES[0][0])
    network.settle()
    assert right.vrfs["64512:2"] == {where: path}
    left.withdraw(ROUTES[0][0])
    network.settle()
    assert right.vrfs["64512:2"] == {} and len(right.rib.imports[VPNV4]) == 0


# -- refresh


def test_refresh_sends_everything_again_between_its_marks() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    network.link(left, right)
    left.originate(*ROUTES)
    network.settle()
    # Something that the left one doesn't know of.
    table = right.rib.tables[VPNV4]
    adj = table.adj_rib_in(right.rib.peers["left"].source)
    ghost, lost = route("10.9.9.0/24"), ROUTES[0][0]
    table.update(adj, next(iter(table)).paths[0].attributes, [ghost])
    table.withdraw(adj, [lost])
    assert right.sessions["left"].session.request_refresh(VPNV4)
    network.settle()
    assert right.seen() == LABELS
    assert RoutesSwept("left", VPNV4, 1) in right.events


def test_a_refresh_before_the_end_of_rib_has_no_marks_of_its_own() -> None:
    """A peer with graceful restart must not send BoRR before End-of-RIB (RFC 7313, section 4)."""
    rib = Node("one", 1).rib
    rib.originate(VPNV4, attributes("64512:1"), NEXT_HOP, ROUTES)
    rib.add_peer("peer", bytes(4), PeerPolicy(SourceKind.INTERNAL))
    rib.session_up("peer", agreed(), 0.0)
    rib.step(2)
    rib.refresh("peer", VPNV4, RefreshKind.REQUEST, 0.0)
    while rib.step(2):
        pass
    sent = rib.take("peer", 1_000_000)
    assert sent[-1] == end_of_rib(VPNV4)
    assert all(message[18] == MessageType.UPDATE for message in sent)


@pytest.mark.parametrize("restart", [None, RESTART])
def test_the_begin_of_a_refresh_before_end_of_rib_counts_only_without_graceful_restart(
    restart: RestartPolicy | None,
) -> None:
    rib = Node("one", 1).rib
    peer = rib.add_peer("peer", bytes(4), PeerPolicy(SourceKind.INTERNAL))
    rib.session_up("peer", agreed(restart), 0.0)
    rib.refresh("peer", VPNV4, RefreshKind.BEGIN, 0.0)
    assert peer.helper.stale == (frozenset() if restart else {VPNV4})
    rib.update("peer", Update(end_of_rib=VPNV4))
    rib.refresh("peer", VPNV4, RefreshKind.BEGIN, 0.0)
    assert peer.helper.stale == {VPNV4}


# -- graceful restart


def test_stale_routes_stay_until_all_is_sent_again() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    link = network.link(left, right, restart=RESTART)
    left.originate(*ROUTES)
    network.settle()
    network.cut(link)
    network.settle()
    assert right.seen() == LABELS
    assert RoutesStale("left", VPNV4, False) in right.events
    left.withdraw(ROUTES[0][0])
    for speaker in (link.pair.left, link.pair.right):
        speaker.session.restarting = True
    network.advance(5)
    assert network.all_up()
    assert set(right.seen()) == set(list(LABELS)[1:])
    assert right.rib.tables[VPNV4].adj_rib_in(right.rib.peers["left"].source).count_stale() == 0


def test_stale_routes_go_when_the_peer_does_not_come_back() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    link = network.link(left, right, restart=RESTART)
    left.originate(*ROUTES)
    network.settle()
    network.cut(link)
    link.frozen = True
    network.advance(29)
    assert right.seen() == LABELS
    network.advance(2)
    assert right.seen() == {}


def test_a_second_failure_before_the_end_takes_nothing_between_speakers_of_the_n_bit() -> None:
    """RFC 8538, section 4.1."""
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    link = network.link(left, right, restart=RESTART)
    left.originate(*ROUTES)
    network.settle()
    network.cut(link)
    network.settle()
    left.withdraw(*LABELS)
    left.rib.defer_export(["hosts"], 1e9)
    left.originate(ROUTES[0])
    for speaker in (link.pair.left, link.pair.right):
        speaker.session.restarting = True
    network.advance(5)
    assert network.all_up() and right.seen() == LABELS
    network.cut(link)
    network.settle()
    assert right.seen() == LABELS
    link.frozen = True
    network.advance(31)
    assert right.seen() == {}


def test_long_lived_stale_routes_are_the_last_resort() -> None:
    network, left, middle, right = reflected(VPNV4, restart=RestartPolicy(10, (VPNV4,), long_lived=600))
    left.originate(*ROUTES)
    network.settle()
    network.cut(network.links[0])
    network.links[0].frozen = True
    network.advance(11)
    assert RoutesStale("left", VPNV4, True) in middle.events
    assert right.seen() == LABELS
    (one, *_) = right.rib.tables[VPNV4]
    assert WELL_KNOWN_LLGR_STALE in one.paths[0].attributes.attributes.communities
    network.advance(601)
    assert middle.seen() == right.seen() == {}


def test_a_membership_that_must_not_be_long_lived_is_lost_interest_too() -> None:
    rib = Node("one", 1).rib
    peer = rib.add_peer("peer", bytes(4), PeerPolicy(SourceKind.INTERNAL))
    policy = RestartPolicy(restart_time=0, families=(VPNV4, RTC), long_lived=60)
    ours, theirs = (config(one, families=(VPNV4, RTC), restart=policy) for one in (LOW, HIGH))
    session = negotiate(ours, ours.open(), theirs.open())
    rib.session_up("peer", session, 0.0)
    said = Attributes(communities=(WELL_KNOWN_NO_LLGR,))
    rib.update("peer", Update(said, Reach(RTC, NEXT_HOP, [(rtc_key(AS, target("64512:1")), b"")])))
    assert peer.interest.wants((target("64512:1"),))
    # It is back before the routes of its last session have been looked at.
    rib.session_down("peer", frozenset((VPNV4, RTC)), 1.0)
    rib.session_up("peer", session, 1.0)
    while rib.step():
        pass
    assert not peer.interest.wants((target("64512:1"),))


def test_after_our_restart_nothing_is_told_before_everything_is_there() -> None:
    network = Network()
    left, middle, right = Node("left", 1), Node("middle", 2), Node("right", 3)
    middle.rib.defer_export(["left", "right", "hosts"], network.now + 60)
    network.link(left, middle, left_is=SourceKind.CLIENT)
    network.link(right, middle, left_is=SourceKind.CLIENT)
    left.originate(*ROUTES)
    network.settle()
    assert middle.seen() == LABELS and right.seen() == {}
    assert right.rib.peers["middle"].ended == set()
    middle.originate(route("10.0.9.0/24"))
    middle.rib.arrived("hosts")
    network.settle()
    assert ExportStarted(frozenset()) in middle.events
    assert len(right.seen()) == 5 and right.rib.peers["middle"].ended == {VPNV4}


def test_after_our_restart_waiting_has_an_end() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    left.rib.defer_export(["right", "hosts"], network.now + 60)
    network.link(left, right)
    left.originate(*ROUTES)
    network.advance(59)
    assert right.seen() == {}
    network.advance(2)
    assert right.seen() == LABELS and ExportStarted(frozenset(["hosts"])) in left.events


def test_a_family_that_is_not_understood_is_forgotten() -> None:
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    network.link(left, right)
    left.originate(*ROUTES)
    network.settle()
    right.rib.disable_family("left", VPNV4)
    network.settle()
    assert right.seen() == {}


def test_a_removed_peer_leaves_nothing() -> None:
    network, left, middle, right = reflected(VPNV4)
    left.originate(*ROUTES)
    network.settle()
    link = network.links[0]
    middle.rib.remove_peer("left", network.now)
    del middle.sessions["left"]
    network.links.remove(link)
    network.settle()
    assert middle.rib.tables[VPNV4].destinations == {} and right.seen() == {}
    assert [one for one in middle.rib.tables[VPNV4].sources if one.name == "left"] == []


def test_a_peer_without_routes_is_removed_without_a_trace_too() -> None:
    rib = Node("one", 1).rib
    rib.add_peer("peer", bytes(4), PeerPolicy(SourceKind.INTERNAL))
    rib.session_up("peer", agreed(RESTART), 0.0)
    rib.session_down("peer", frozenset((VPNV4,)), 0.0)
    while rib.step():
        pass
    rib.remove_peer("peer", 1.0)
    while rib.step():
        pass
    assert not any(one.name == "peer" for table in rib.tables.values() for one in table.sources)


# -- a slow peer


def test_a_slow_peer_harms_nobody_and_ends_up_with_the_newest() -> None:
    network = Network()
    left, middle, slow, fast = Node("left", 1), Node("middle", 2), Node("slow", 3), Node("fast", 4)
    for client in (left, slow, fast):
        network.link(client, middle, left_is=SourceKind.CLIENT)
    network.settle()
    network.links[1].frozen = True
    many = [route(f"10.{n >> 8}.{n & 255}.0/24", 16 + n) for n in range(12_000)]
    for turn in range(4):
        left.originate(*[(where, pack_labels([16 + turn])) for where, _ in many])
        network.settle()
        assert set(fast.seen().values()) == {pack_labels([16 + turn])}
    left.withdraw(*[where for where, _ in many[:6_000]])
    network.settle()
    assert len(fast.seen()) == 6_000
    member = middle.rib.peers["slow"].members[VPNV4]
    assert member.size < 1_000_000
    network.links[1].frozen = False
    network.settle()
    assert slow.seen() == fast.seen()
    # Two rounds at most, then the newest: not four rounds.
    assert member.announced <= 36_000
    assert len(middle.rib.tables[VPNV4].destinations) == 6_000


# -- whatever happens

ACTION = st.one_of(
    st.tuples(st.just("originate"), st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("withdraw"), st.integers(0, 2), st.integers(0, 3)),
    st.tuples(st.just("want"), st.integers(0, 2), st.sets(st.sampled_from(["64512:1", "64512:2"]))),
    st.tuples(st.just("cut"), st.integers(0, 1)),
    st.tuples(st.just("freeze"), st.integers(0, 1)),
    st.tuples(st.just("refresh"), st.integers(0, 1)),
    st.tuples(st.just("reset"), st.integers(0, 1)),
    st.tuples(st.just("settle")),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 3.0, 40.0])),
)
TARGETS = [("64512:1",), ("64512:2",), ("64512:1", "64512:2"), ()]


@pytest.mark.parametrize("restart", [None, RESTART])
@settings(max_examples=40)
@given(st.lists(ACTION, max_size=14), st.integers(1, 3))
def test_everybody_ends_up_with_what_is_there(
    restart: RestartPolicy | None,
    actions: list[tuple[Any, ...]],
    limit: int,
) -> None:
    network, left, middle, right = reflected(restart=restart)
    nodes = (left, middle, right)
    for node in nodes:
        node.limit = limit
    mine: list[dict[bytes, tuple[bytes, tuple[str, ...]]]] = [{}, {}, {}]
    wants: list[set[str]] = [set(), set(), set()]
    for action in actions:
        link: Link = (
            network.links[action[1]] if action[0] in ("cut", "freeze", "refresh", "reset") else network.links[0]
        )
        session = link.pair.left.session
        match action:
            case ("originate", number, which, said):
                # Distinct NLRI for each node, as RDs of hosts are.
                where = key(f"10.0.{which}.0/24", f"64512:{number}")
                labels = pack_labels([16 + said])
                mine[number][where] = (labels, TARGETS[said])
                nodes[number].originate((where, labels), said=attributes(*TARGETS[said]))
            case ("withdraw", number, which):
                where = key(f"10.0.{which}.0/24", f"64512:{number}")
                mine[number].pop(where, None)
                nodes[number].withdraw(where)
            case ("want", number, targets):
                wants[number] = set(targets)
                nodes[number].want(*targets)
            case ("cut", _):
                network.cut(link)
            case ("freeze", _):
                link.frozen = not link.frozen
            case ("refresh", _):
                session.request_refresh(VPNV4)
            case ("reset", _):
                session.reset(network.now)
                link.pair.left.poll()
            case ("settle",):
                network.settle()
            case ("advance", seconds):
                network.advance(seconds)
    for link in network.links:
        link.frozen = False
    network.settle()
    network.advance(500)
    assert network.all_up()
    # The reflector has everything, whatever it imports; its clients what they want and isn't theirs.
    expected = {where: labels for others in (0, 2) for where, (labels, _) in mine[others].items()}
    assert middle.seen() == expected
    for number in (0, 2):
        expected = {
            where: labels
            for other in range(3)
            if other != number
            for where, (labels, targets) in mine[other].items()
            if set(targets) & wants[number]
        }
        assert nodes[number].seen() == expected
        assert sum(map(len, nodes[number].vrfs.values())) == sum(
            len(set(targets) & wants[number])
            for other in range(3)
            if other != number
            for _, targets in mine[other].values()
        )
    for node in nodes:
        table = node.rib.tables[VPNV4]
        live = sum(peer.source.bit for peer in node.rib.peers.values())
        assert all(one.paths for one in table.destinations.values())
        assert all(one.advertised & ~live == 0 for one in table.destinations.values())
        assert not node.rib.has_work


def test_reset_by_hand() -> None:
    network, left, _, right = reflected(VPNV4)
    left.originate(*ROUTES)
    network.settle()
    right.sessions["middle"].session.stop(network.now, CeaseSubcode.PEER_DECONFIGURED)
    network.settle()
    assert right.seen() == {}
