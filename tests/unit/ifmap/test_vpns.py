"""What a MAP holds about VPNs, in terms of the schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from ifmap import l3vpn
from ifmap.l3vpn import CATALOGUE, Direction, State
from ifmap.values import Edge, Identifier, IdentifierKind, MetadataName, NewMetadata, link, node
from ifmap.vpn_facts import Problem
from ifmap.vpns import Vpns
from vpn.community import RouteTarget
from vpn.prefix import Prefix

Contents = tuple[Edge, list["Stored"]]


class Stored(NamedTuple):
    name: MetadataName
    publisher: str
    xml: bytes


def stored(*new: NewMetadata, publisher: str = "orchestrator-1") -> list[Stored]:
    return [Stored(each.name, publisher, each.head + each.tail) for each in new]


def rt(text: str) -> RouteTarget:
    return RouteTarget.parse(text)


def target(group: str, text: str, direction: Direction = Direction.BOTH) -> Contents:
    edge = link(l3vpn.connectivity_group(group), l3vpn.route_target(rt(text)))
    return edge, stored(l3vpn.group_target(direction))


def connection(one: str, other: str) -> Contents:
    edge = link(l3vpn.connectivity_group(one), l3vpn.connectivity_group(other))
    return edge, stored(l3vpn.connection())


def binding(attachment: str, group: str) -> Contents:
    edge = link(l3vpn.customer_attachment(attachment), l3vpn.connectivity_group(group))
    return edge, stored(l3vpn.binding())


def address(attachment: str, text: str, *lengths: int) -> Contents:
    edge = link(l3vpn.customer_attachment(attachment), l3vpn.ip_address(Prefix.parse(text).packed))
    return edge, stored(l3vpn.attachment_address(*lengths))


def presence(attachment: str, gateway: str, *new: NewMetadata) -> Contents:
    provider = l3vpn.provider_attachment("192.0.2.1", "hv1", gateway)
    return link(l3vpn.customer_attachment(attachment), provider), stored(*new, publisher=f"{gateway}-1")


def listing(group: str) -> Contents:
    return link(CATALOGUE, l3vpn.connectivity_group(group)), stored(l3vpn.listed())


def test_whether_the_catalogue_says_that_vpns_are_provisioned() -> None:
    mark = stored(l3vpn.provisioned())
    elsewhere = [(node(l3vpn.connectivity_group("a")), mark), (link(CATALOGUE, CATALOGUE), mark)]
    vpns = Vpns([listing("a"), *elsewhere])
    assert not vpns.provisioned
    vpns.take_changes()
    vpns.put(node(CATALOGUE), mark)
    assert vpns.provisioned and vpns.groups() == {"a"} and not vpns.take_changes()
    vpns.put(listing("a")[0], [])
    assert not vpns.bare
    vpns.put(node(CATALOGUE), [])
    assert not vpns.provisioned and vpns.bare
    for contents in (target("a", "1:1"), connection("a", "b"), binding("web-1", "a"), listing("a")):
        assert not Vpns([contents]).bare
    assert Vpns([address("web-1", "10.1.1.1")]).bare, "of nobody's VPN"


def test_own_targets_by_direction() -> None:
    vpns = Vpns([target("a", "1:1"), target("a", "1:2", Direction.IMPORT), target("a", "1:3", Direction.EXPORT)])
    group = vpns.group("a")
    assert group.imports == group.effective_imports == {rt("1:1"), rt("1:2")}
    assert group.exports == {rt("1:1"), rt("1:3")}


def test_a_connection_imports_the_others_exports_one_link_far() -> None:
    vpns = Vpns(
        [
            target("a", "1:1"),
            target("b", "1:2", Direction.IMPORT),
            target("b", "1:3", Direction.EXPORT),
            target("c", "1:4"),
            connection("a", "b"),
            connection("c", "b"),
        ]
    )
    assert vpns.group("a").effective_imports == {rt("1:1"), rt("1:3")}
    assert vpns.group("b").effective_imports == {rt("1:2"), rt("1:1"), rt("1:4")}
    assert vpns.group("c").effective_imports == {rt("1:4"), rt("1:3")}
    assert vpns.group("a").imports == {rt("1:1")}
    assert vpns.group("b").connected == {"a", "c"}


def test_a_group_is_not_connected_with_itself() -> None:
    vpns = Vpns([target("a", "1:1"), connection("a", "a")])
    assert vpns.group("a").connected == frozenset()


def test_attachments() -> None:
    vpns = Vpns(
        [
            binding("web-1", "blue"),
            binding("web-1", "red"),
            binding("web-2", "blue"),
            address("web-1", "10.1.1.1"),
            address("web-1", "10.2.0.0", 16, 32),
            listing("green"),
        ]
    )
    assert vpns.groups() == {"blue", "red", "green"}
    assert [name for name in ("blue", "red", "green", "web-1") if vpns.has_group(name)] == ["blue", "red", "green"]
    assert vpns.attachments_of("blue") == {"web-1", "web-2"}
    assert vpns.groups_of("web-1") == {"blue", "red"}
    assert vpns.is_bound("web-2", "blue") and not vpns.is_bound("web-2", "red")
    assert vpns.addresses("web-1") == {
        Prefix.parse("10.1.1.1/32"),
        Prefix.parse("10.2.0.0/16"),
        Prefix.parse("10.2.0.0/32"),
    }
    assert not vpns.addresses("web-2") and not vpns.groups_of("nobody")
    assert vpns.group("green").listed and not vpns.group("blue").listed


def test_presence_of_two_gateways_side_by_side() -> None:
    routes = [Prefix.parse("10.1.1.1/32")]
    vpns = Vpns(
        [
            presence("web-1", "gw2", l3vpn.attachment_state(State.DOWN)),
            presence("web-1", "gw1", l3vpn.attachment_info(routes), l3vpn.attachment_state(State.UP)),
        ]
    )
    first, second = vpns.presence("web-1")
    assert (first.gateway, first.state, first.routes, first.publisher) == ("gw1", State.UP, tuple(routes), "gw1-1")
    assert (first.address, first.host) == ("192.0.2.1", "hv1")
    assert (second.gateway, second.state, second.routes) == ("gw2", State.DOWN, ())
    assert vpns.attachments() == {"web-1"}


def test_info_without_state() -> None:
    (place,) = Vpns([presence("web-1", "gw1", l3vpn.attachment_info([]))]).presence("web-1")
    assert place.state is None


def test_changes_name_what_they_concern() -> None:
    vpns = Vpns([target("a", "1:1"), target("b", "1:2"), connection("a", "b"), target("c", "1:3")])
    assert vpns.take_changes().groups == {"a", "b", "c"}
    assert not vpns.take_changes()
    vpns.put(*target("a", "1:1"))
    assert not vpns.take_changes(), "the same again is no change"
    vpns.put(*target("a", "1:9"))
    assert vpns.take_changes().groups == {"a", "b"}, "b imports what a exports"
    edge, _ = connection("a", "b")
    vpns.put(edge, [])
    changes = vpns.take_changes()
    assert changes.groups == {"a", "b"} and not changes.attachments
    vpns.put(*binding("web-1", "c"))
    assert vpns.take_changes().attachments == {"web-1"}
    vpns.put(*binding("web-2", "d"))
    assert vpns.take_changes().groups == {"d"}, "the first member makes a group known"
    vpns.put(*address("web-1", "10.1.1.1"))
    assert vpns.take_changes().attachments == {"web-1"}
    vpns.put(address("web-1", "10.1.1.1")[0], [])
    changes = vpns.take_changes()
    assert changes.attachments == {"web-1"} and not changes.groups


def test_what_is_said_twice_goes_with_the_last_to_say_it() -> None:
    plain = Identifier(IdentifierKind.IDENTITY, "blue", "other", "32473:connectivity-group")
    also = link(l3vpn.customer_attachment("web-1"), plain)
    vpns = Vpns([binding("web-1", "blue"), (also, stored(l3vpn.binding()))])
    vpns.put(binding("web-1", "blue")[0], [])
    assert vpns.is_bound("web-1", "blue")
    vpns.put(also, [])
    assert not vpns.is_bound("web-1", "blue") and vpns.groups() == vpns.attachments() == set()


def test_a_malformed_target_hurts_nothing_else() -> None:
    group = l3vpn.connectivity_group("blue")
    wrong = Identifier(IdentifierKind.IDENTITY, "64512:x", "other", "32473:route-target")
    vpns = Vpns([target("blue", "1:1"), (link(group, wrong), stored(l3vpn.group_target())), binding("web-1", "blue")])
    assert vpns.group("blue").imports == {rt("1:1")}
    assert vpns.is_bound("web-1", "blue")
    (problem,) = vpns.problems()
    assert "connectivity-group blue" in problem.what and "64512:x" in problem.why
    vpns.put(link(group, wrong), [])
    assert vpns.problems() == []


def test_problems_of_metadata_name_the_link() -> None:
    edge, _ = address("web-1", "10.1.1.0")
    bad = Stored(l3vpn.ATTACHMENT_ADDRESS, "p", b"<x><prefix-length>99</prefix-length></x>")
    vpns = Vpns([(edge, [bad])])
    assert vpns.addresses("web-1") == frozenset()
    (problem,) = vpns.problems()
    assert problem.what == "customer-attachment web-1" and "99" in problem.why


def test_an_administrative_domain_is_left_out_and_told() -> None:
    """Another tenant's "blue" is another group, which must not open ours."""
    plain = Identifier(IdentifierKind.IDENTITY, "blue", "other", "32473:connectivity-group", "tenant-7")
    vpns = Vpns([(link(l3vpn.customer_attachment("web-1"), plain), stored(l3vpn.binding()))])
    assert not vpns.is_bound("web-1", "blue") and vpns.groups() == set()
    assert vpns.problems() == [
        Problem("connectivity-group blue", "administrative-domain 'tenant-7' is not supported; it is left out")
    ]


def test_metadata_in_the_wrong_place_says_nothing() -> None:
    group, other = l3vpn.connectivity_group("a"), l3vpn.connectivity_group("b")
    vpns = Vpns(
        [
            (node(group), stored(l3vpn.binding(), l3vpn.group_target())),
            (link(group, other), stored(l3vpn.binding(), l3vpn.listed())),
            (link(group, l3vpn.ip_address(bytes(4))), stored(l3vpn.attachment_address())),
            (link(CATALOGUE, l3vpn.customer_attachment("x")), stored(l3vpn.listed(), l3vpn.binding())),
        ]
    )
    assert vpns.facts() == {}


def test_other_vocabularies_say_nothing() -> None:
    edge, _ = binding("web-1", "blue")
    assert not Vpns([(edge, [Stored(MetadataName("urn:example:x", "binding"), "p", b"<x/>")])]).facts()


def test_ce_protocol() -> None:
    new = stored(l3vpn.group_ce_protocol("ospf", "area", "0.0.0.0"))
    assert Vpns([(node(l3vpn.connectivity_group("a")), new)]).group("a").protocol == "ospf 0.0.0.0"


GROUPS = st.sampled_from("abc")
WORLD: st.SearchStrategy[Contents] = st.one_of(
    st.builds(target, GROUPS, st.sampled_from(["1:1", "1:2"]), st.sampled_from(Direction)),
    st.builds(connection, GROUPS, GROUPS),
    st.builds(binding, st.sampled_from(["x", "y"]), GROUPS),
    st.builds(address, st.sampled_from(["x", "y"]), st.sampled_from(["10.0.0.0", "10.1.0.0"]), st.just(16)),
    st.builds(listing, GROUPS),
)


def everything(vpns: Vpns) -> tuple[object, ...]:
    groups = {name: vpns.group(name) for name in vpns.groups()}
    members = {name: vpns.attachments_of(name) for name in groups}
    attachments = {name: (vpns.groups_of(name), vpns.addresses(name)) for name in vpns.attachments()}
    return groups, members, attachments


@given(st.lists(st.tuples(WORLD, st.booleans()), max_size=25))
def test_what_came_bit_by_bit_is_what_comes_at_once(steps: Iterable[tuple[Contents, bool]]) -> None:
    """And whatever differs between two steps was among the changes told."""
    vpns, holds = Vpns(), dict[Edge, list[Stored]]()
    before_groups: dict[str, object] = {}
    before_attachments: dict[str, object] = {}
    for (edge, contents), there in steps:
        holds[edge] = contents if there else []
        vpns.put(edge, holds[edge])
        changed = vpns.take_changes()
        groups = {name: vpns.group(name) for name in vpns.groups()}
        attachments = {name: (vpns.groups_of(name), vpns.addresses(name)) for name in vpns.attachments()}
        for name in {*groups, *before_groups}:
            assert groups.get(name) == before_groups.get(name) or name in changed.groups
        for name in {*attachments, *before_attachments}:
            assert attachments.get(name) == before_attachments.get(name) or name in changed.attachments
        before_groups, before_attachments = dict(groups), dict(attachments)
    assert everything(vpns) == everything(Vpns(holds.items()))
