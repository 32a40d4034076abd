"""Items of hosts as routes of BGP: what they say, claims to one NLRI, what can't be announced."""

from __future__ import annotations

import pytest

from bgp.communities import (
    TUNNEL_GRE,
    TUNNEL_MPLS_IN_UDP,
    MacMobility,
    encapsulations,
    mac_mobility,
    pack_route_target,
)
from bgp.family import VPNV4, VPNV6
from bgp.nlri import unpack_labels, vpn_key
from gateway.obstacles import Obstacle
from gateway.policy import Policy
from tests.unit.gateway.gateways import Gateway, item_id, path
from tests.unit.gateway.harness import MESH, entry, vpn
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.path import Encapsulation, NextHop, Path
from vpn.prefix import Prefix, parse_address

P, Q = "10.1.1.1/32", "2001:db8::1/128"


def key(prefix: str, distinguisher: str) -> bytes:
    return vpn_key(RouteDistinguisher.parse(distinguisher), Prefix.parse(prefix))


def targets(*texts: str) -> tuple[bytes, ...]:
    return tuple(sorted(pack_route_target(RouteTarget.parse(text)) for text in texts))


def publish(
    gateway: Gateway,
    node: str,
    identity: str,
    prefix: str,
    said: Path,
    host: str = "hv1",
    session: int = 0,
    instance: int | None = None,
) -> None:
    gateway.rib.publish(node, host, identity, Prefix.parse(prefix), said, session, instance)


@pytest.mark.parametrize(("prefix", "family"), [(P, VPNV4), (Q, VPNV6), ("10.1.0.0/16", VPNV4)])
def test_an_item_says_the_same_in_bgp(prefix: str, family: object) -> None:
    gateway = Gateway(policy=Policy([vpn("blue", "64512:1", "64512:1 64512:9")]))
    hop = NextHop(parse_address("192.0.2.11"), 1000, (Encapsulation.GRE, Encapsulation.UDP))
    publish(gateway, "blue", item_id(11, prefix, 7), prefix, Path((hop,), 150, 3))
    gateway.work()
    (nlri, (attributes, next_hop, labels)), *rest = gateway.originated().items()
    assert not rest and nlri == (family, key(prefix, "192.0.2.11:7"))
    assert next_hop == hop.address and unpack_labels(labels) == (1000,)
    assert attributes.local_pref == 150 and attributes.as_path == () and attributes.med is None
    assert attributes.route_targets == targets("64512:1", "64512:9")
    assert encapsulations(attributes) == (TUNNEL_GRE, TUNNEL_MPLS_IN_UDP)
    assert mac_mobility(attributes) == MacMobility(3)


def test_sequence_number_0_is_not_said() -> None:
    gateway = Gateway()
    publish(gateway, "blue", item_id(11, P), P, path(11))
    gateway.work()
    ((attributes, _, _),) = gateway.originated().values()
    assert mac_mobility(attributes) is None


def test_a_route_for_each_address() -> None:
    gateway = Gateway()
    hops = (NextHop(parse_address("192.0.2.11"), 100), NextHop(parse_address("192.0.2.12"), 101))
    publish(gateway, "blue", item_id(11, P), P, Path(hops))
    gateway.work()
    assert {nlri: unpack_labels(labels) for (_, nlri), (_, _, labels) in gateway.originated().items()} == {
        key(P, "192.0.2.11:1"): (100,),
        key(P, "192.0.2.12:1"): (101,),
    }
    publish(gateway, "blue", item_id(11, P), P, Path(hops[1:]))
    gateway.work()
    assert [nlri for _, nlri in gateway.originated()] == [key(P, "192.0.2.12:1")]
    assert not gateway.exchange.problems


def test_retracted_and_stale_and_fresh_again() -> None:
    gateway = Gateway()
    publish(gateway, "blue", item_id(11, P), P, path(11, preference=200), session=1)
    gateway.work()
    gateway.rib.session_ended("hv1", 1, gateway.now)
    gateway.work()
    ((attributes, _, _),) = gateway.originated().values()
    assert attributes.local_pref == 0
    publish(gateway, "blue", item_id(11, P), P, path(11, preference=200), session=2)
    gateway.work()
    ((attributes, _, _),) = gateway.originated().values()
    assert attributes.local_pref == 200
    gateway.rib.retract("blue", item_id(11, P))
    gateway.work()
    assert not gateway.originated() and len(gateway.bgp.tables[VPNV4]) == 0


def test_what_stays_as_it_is_costs_nothing() -> None:
    gateway = Gateway()
    publish(gateway, "blue", item_id(11, P), P, path(11))
    gateway.work()
    revision = gateway.bgp.tables[VPNV4].log.revision
    publish(gateway, "blue", item_id(11, P), P, path(11))
    assert not gateway.exchange.has_work and gateway.exchange.export(gateway.now) == 0
    gateway.rib.retract("blue", item_id(11, P))
    publish(gateway, "blue", item_id(11, P), P, path(11))
    assert gateway.exchange.export(gateway.now) == 1
    assert gateway.bgp.tables[VPNV4].log.revision == revision, "only what became of it is said"


def test_other_export_targets_by_reload() -> None:
    gateway = Gateway()
    publish(gateway, "blue", item_id(11, P), P, path(11))
    publish(gateway, "red", item_id(12, P, 2), P, path(12))
    gateway.work()
    gateway.service.reload(Policy([vpn("blue", "64512:1", "64512:5"), MESH.vpns["red"]]))
    assert gateway.exchange.export(gateway.now) == 1
    said = {nlri: attributes.route_targets for (_, nlri), (attributes, _, _) in gateway.originated().items()}
    assert said == {key(P, "192.0.2.11:1"): targets("64512:5"), key(P, "192.0.2.12:2"): targets("64512:2")}
    gateway.service.reload(Policy([MESH.vpns["red"]]))
    gateway.work()
    assert [nlri for _, nlri in gateway.originated()] == [key(P, "192.0.2.12:2")]


def test_in_slices() -> None:
    gateway = Gateway()
    prefixes = [f"10.1.{number}.0/24" for number in range(10)]
    for prefix in prefixes:
        publish(gateway, "blue", item_id(11, prefix), prefix, path(11))
    assert [gateway.exchange.export(gateway.now, 4) for _ in range(4)] == [4, 4, 2, 0]
    assert len(gateway.originated()) == 10


def test_items_from_before_are_exported() -> None:
    gateway = Gateway()
    gateway.rib.changes = None
    publish(gateway, "blue", item_id(11, P), P, path(11))
    again = type(gateway.exchange)(gateway.service, gateway.bgp, linger=1.0)
    assert again.has_work and again.export(gateway.now) == 1
    assert len(gateway.originated()) == 1


# -- instance ids


def test_the_instance_id_of_the_subscription() -> None:
    gateway = Gateway()
    hv1 = gateway.connect("hv1", "192.0.2.11")
    publish(gateway, "blue", "web", P, path(11))
    gateway.work()
    assert not gateway.originated()
    assert gateway.exchange.problems == {Obstacle.NO_INSTANCE: 1}
    (note,) = gateway.exchange.take_unannounced()
    assert note == ("hv1", "blue", "web", Obstacle.NO_INSTANCE) and not gateway.exchange.take_unannounced()
    hv1.subscribe("blue", "<options><instance-id>7</instance-id></options>")
    gateway.work()
    assert [nlri for _, nlri in gateway.originated()] == [key(P, "192.0.2.11:7")]
    assert not gateway.exchange.problems
    hv1.subscribe("blue", "<options><instance-id>8</instance-id></options>")
    gateway.work()
    assert [nlri for _, nlri in gateway.originated()] == [key(P, "192.0.2.11:8")]


def test_a_subscriber_publishes_an_id_of_its_own() -> None:
    gateway = Gateway()
    hv1 = gateway.connect("hv1", "192.0.2.11")
    hv1.subscribe("blue", "<options><instance-id>7</instance-id></options>")
    hv1.announce("blue", P)
    hv1.publish("blue", [("web", entry("10.1.1.2", "192.0.2.11"))])
    gateway.work()
    expected = {key(P, "192.0.2.11:1"), key("10.1.1.2/32", "192.0.2.11:7")}
    assert {nlri for _, nlri in gateway.originated()} == expected
    gateway.disconnect(hv1)
    gateway.work()
    assert {nlri for _, nlri in gateway.originated()} == expected, "the instance id outlives the session"


def test_an_instance_id_that_is_too_large() -> None:
    gateway = Gateway()
    publish(gateway, "blue", item_id(11, P, 65536), P, path(11))
    gateway.work()
    assert not gateway.originated() and gateway.exchange.problems == {Obstacle.NO_INSTANCE: 1}
    gateway.rib.retract("blue", item_id(11, P, 65536))
    gateway.work()
    assert not gateway.exchange.problems


# -- what doesn't fit


def test_ipv6_next_hops_stay_here() -> None:
    gateway = Gateway()
    hops = (NextHop(parse_address("192.0.2.11"), 100), NextHop(parse_address("2001:db8::b"), 100))
    publish(gateway, "blue", item_id(11, P), P, Path(hops))
    gateway.work()
    assert [nlri for _, nlri in gateway.originated()] == [key(P, "192.0.2.11:1")]
    assert gateway.exchange.problems == {Obstacle.IPV6_NEXT_HOP: 1}


def test_of_two_labels_at_one_address_the_lower_one() -> None:
    gateway = Gateway()
    hops = (NextHop(parse_address("192.0.2.11"), 101), NextHop(parse_address("192.0.2.11"), 100))
    publish(gateway, "blue", item_id(11, P), P, Path(hops))
    gateway.work()
    ((_, _, labels),) = gateway.originated().values()
    assert unpack_labels(labels) == (100,) and gateway.exchange.problems == {Obstacle.LABELS: 1}


def test_the_log_hears_of_a_host_once() -> None:
    gateway = Gateway()
    for number in range(5):
        publish(gateway, "blue", f"web{number}", P, path(11))
    publish(gateway, "red", "web", P, path(11))
    gateway.work()
    assert [(one.vpn, one.item_id) for one in gateway.exchange.take_unannounced()] == [("blue", "web0"), ("red", "web")]
    assert gateway.exchange.problems == {Obstacle.NO_INSTANCE: 6}


# -- claims


def claimed(gateway: Gateway, nlri: bytes) -> tuple[bytes, ...]:
    """Route targets that an NLRI is announced with."""
    return gateway.originated()[VPNV4, nlri][0].route_targets


def test_the_first_claim_stands_and_the_second_takes_over() -> None:
    gateway = Gateway()
    nlri = key(P, "192.0.2.11:1")
    publish(gateway, "blue", item_id(11, P), P, path(11))
    gateway.work()
    publish(gateway, "red", item_id(11, P), P, path(11, 101))
    publish(gateway, "blue", "192.0.2.11:1:10.1.1.1", P, path(11, 102))
    gateway.work()
    assert claimed(gateway, nlri) == targets("64512:1") and len(gateway.originated()) == 1
    assert gateway.exchange.problems == {Obstacle.CLAIMED: 2}
    assert [note.vpn for note in gateway.exchange.take_unannounced()] == ["red", "blue"]
    gateway.rib.retract("blue", item_id(11, P))
    gateway.work()
    assert claimed(gateway, nlri) == targets("64512:2")
    assert gateway.exchange.problems == {Obstacle.CLAIMED: 1}
    gateway.rib.retract("red", item_id(11, P))
    gateway.rib.retract("blue", "192.0.2.11:1:10.1.1.1")
    gateway.work()
    assert not gateway.originated() and not gateway.exchange.problems


def test_a_rival_that_changes_says_what_holds_when_it_takes_over() -> None:
    gateway = Gateway()
    publish(gateway, "blue", item_id(11, P), P, path(11))
    publish(gateway, "red", item_id(11, P), P, path(11, 101))
    gateway.work()
    publish(gateway, "red", item_id(11, P), P, path(11, 105))
    gateway.rib.retract("blue", item_id(11, P))
    gateway.work()
    ((_, _, labels),) = gateway.originated().values()
    assert unpack_labels(labels) == (105,)


def test_owner_and_rival_go_at_once() -> None:
    gateway = Gateway()
    for node in ("blue", "red"):
        publish(gateway, node, item_id(11, P), P, path(11))
    gateway.work()
    for node in ("blue", "red"):
        gateway.rib.retract(node, item_id(11, P))
    gateway.work()
    assert not gateway.originated() and not gateway.exchange.problems
    publish(gateway, "red", item_id(11, P), P, path(11))
    gateway.work()
    assert claimed(gateway, key(P, "192.0.2.11:1")) == targets("64512:2")


def test_an_nlri_of_one_family_is_none_of_the_other() -> None:
    gateway = Gateway()
    four, six = "32.1.13.0/24", "2001:d00::/24"
    assert key(four, "192.0.2.11:1") == key(six, "192.0.2.11:1")
    publish(gateway, "blue", item_id(11, four), four, path(11))
    publish(gateway, "blue", item_id(11, six), six, path(11))
    gateway.work()
    assert {family for family, _ in gateway.originated()} == {VPNV4, VPNV6} and not gateway.exchange.problems
    publish(gateway, "blue", "web", four, path(12), instance=3)
    gateway.work()
    publish(gateway, "blue", "web", six, path(12), instance=3)
    gateway.work()
    assert (VPNV4, key(four, "192.0.2.12:3")) not in gateway.originated()
    assert (VPNV6, key(six, "192.0.2.12:3")) in gateway.originated()
