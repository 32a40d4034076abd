"""The copy of what a MAP provisions: policy, differences, problems, the file's form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.grants import Grants
from gateway.map_snapshot import Snapshot, decode, encode
from gateway.policy import Source
from gateway.provisioning import Difference, Provisioning, Targets, Work
from ifmap.l3vpn import (
    CATALOGUE,
    Direction,
    attachment_address,
    binding,
    connection,
    connectivity_group,
    customer_attachment,
    group_target,
    ip_address,
    listed,
    route_target,
)
from ifmap.values import Edge, Metadata, NewMetadata, link
from ifmap.vpns import Vpns
from tests.unit.gateway.harness import vpn
from vpn.community import RouteTarget
from vpn.prefix import Prefix, parse_address


def stored(*metadata: NewMetadata) -> list[Metadata]:
    return [Metadata(1, one.name, one.single, "cli", "", one.head + one.tail) for one in metadata]


def target(name: str, text: str, direction: Direction = Direction.BOTH) -> tuple[Edge, list[Metadata]]:
    edge = link(connectivity_group(name), route_target(RouteTarget.parse(text)))
    return edge, stored(group_target(direction))


def bound(attachment: str, name: str) -> tuple[Edge, list[Metadata]]:
    return link(customer_attachment(attachment), connectivity_group(name)), stored(binding())


def address(attachment: str, text: str) -> tuple[Edge, list[Metadata]]:
    return link(customer_attachment(attachment), ip_address(parse_address(text))), stored(attachment_address())


def targets(imports: str, exports: str) -> Targets:
    return Targets(
        frozenset(map(RouteTarget.parse, imports.split())), frozenset(map(RouteTarget.parse, exports.split()))
    )


def finish(work: Work) -> Difference:
    """Do all of it."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            difference: Difference = done.value
            return difference


def not_static(name: str) -> bool:
    return False


def test_groups_become_vpns_and_static_ones_win() -> None:
    view = Vpns([target("blue", "64512:1"), target("red", "64512:2"), bound("web", "blue"), address("web", "10.1.1.1")])
    provisioning = Provisioning()
    assert not provisioning.known
    assert finish(provisioning.taking_all(view)) == Difference(frozenset({"blue", "red"}), frozenset({"web"}))
    assert provisioning.known and provisioning.bindings == 1
    assert provisioning.attachments == {"web": Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.1.1/32")}))}
    own = vpn("red", "64512:9", "64512:9")
    policy = provisioning.policy([own])
    assert {name: (one.source, one.exports) for name, one in policy.vpns.items()} == {
        "blue": (Source.MAP, frozenset({RouteTarget.parse("64512:1")})),
        "red": (Source.STATIC, own.exports),
    }
    assert [what for what, _ in provisioning.problems({"red"}.__contains__)] == ["VPN red"]
    assert provisioning.problems(not_static) == []


def test_a_connection_brings_the_other_groups_exports() -> None:
    edge = link(connectivity_group("hub"), connectivity_group("spoke"))
    view = Vpns(
        [
            target("hub", "64512:10", Direction.EXPORT),
            target("spoke", "64512:20"),
            (edge, stored(connection())),
        ]
    )
    provisioning = Provisioning()
    finish(provisioning.taking_all(view))
    assert provisioning.vpns == {
        "hub": targets("64512:20", "64512:10"),
        "spoke": targets("64512:10 64512:20", "64512:20"),
    }
    view.take_changes()
    view.put(edge, ())
    changed = view.take_changes()
    assert finish(provisioning.taking(view, changed.groups, changed.attachments)).vpns == {"hub", "spoke"}
    assert provisioning.vpns["hub"] == targets("", "64512:10")


def test_only_what_differs_from_the_kept_copy_counts() -> None:
    provisioning = Provisioning()
    provisioning.restore(
        {"blue": targets("64512:1", "64512:1"), "old": targets("64512:7", "64512:7")},
        {
            "web": Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.1.1/32")})),
            "gone": Grants(frozenset({"old"}), frozenset()),
        },
        {},
    )
    assert provisioning.known and provisioning.bindings == 2
    revision = provisioning.revision
    view = Vpns([target("blue", "64512:1"), bound("web", "blue"), address("web", "10.1.1.1"), target("new", "64512:8")])
    assert finish(provisioning.taking_all(view)) == Difference(frozenset({"old", "new"}), frozenset({"gone"}))
    assert provisioning.revision > revision and provisioning.bindings == 1
    revision = provisioning.revision
    assert not finish(provisioning.taking_all(view)) and provisioning.revision == revision
    assert provisioning.forfeited.items() == {"gone": Grants(frozenset({"old"}), frozenset())}


def test_it_changes_at_the_end_and_at_once() -> None:
    provisioning = Provisioning()
    provisioning.restore({"old": targets("64512:7", "64512:7")}, {"gone": Grants(frozenset({"old"}), frozenset())}, {})
    before = dict(provisioning.vpns), dict(provisioning.attachments), provisioning.bindings, provisioning.revision
    work = provisioning.taking_all(Vpns([target("blue", "64512:1"), bound("web", "blue"), bound("db", "blue")]))
    for _ in ("old", "blue", "gone", "web", "db"):
        next(work)
        assert (
            dict(provisioning.vpns),
            dict(provisioning.attachments),
            provisioning.bindings,
            provisioning.revision,
        ) == before
    assert finish(work) == Difference(frozenset({"old", "blue"}), frozenset({"gone", "web", "db"}))
    assert set(provisioning.vpns) == {"blue"} and set(provisioning.attachments) == {"web", "db"}
    assert provisioning.bindings == 2 and provisioning.revision > before[3]


def test_what_is_no_vpn_is_a_problem_that_goes_away() -> None:
    listing = (link(CATALOGUE, connectivity_group("bare")), stored(listed()))
    long = "x" * 129
    view = Vpns([listing, target("with space", "64512:1"), target(long, "64512:2"), target("Köln", "64512:3")])
    provisioning = Provisioning()
    assert finish(provisioning.taking_all(view)) == Difference()
    assert provisioning.vpns == {}
    problems = dict(provisioning.problems(not_static))
    assert set(problems) == {"VPN bare", "VPN with space", f"VPN {long}", "VPN Köln"}
    assert "route target" in problems["VPN bare"] and "ASCII" in problems["VPN Köln"]
    view.take_changes()
    view.put(*target("bare", "64512:4"))
    view.put(target("Köln", "64512:3")[0], ())
    changed = view.take_changes()
    assert finish(provisioning.taking(view, changed.groups, changed.attachments)).vpns == {"bare"}
    assert {what for what, _ in provisioning.problems(not_static)} == {"VPN with space", f"VPN {long}"}


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
rts = st.frozensets(st.sampled_from([RouteTarget.parse(text) for text in ("1:1", "192.0.2.1:7", "70000:1", "1L:1")]))
some_prefixes = st.frozensets(
    st.sampled_from([Prefix.parse("10.1.1.1"), Prefix.parse("::/0"), Prefix.parse("10.0.0.0/8")])
)


@given(
    st.dictionaries(names, st.builds(Targets, rts, rts), max_size=4),
    *[st.dictionaries(names, st.builds(Grants, st.frozensets(names, max_size=3), some_prefixes), max_size=4)] * 2,
)
def test_what_is_kept_is_read(
    vpns: dict[str, Targets], attachments: dict[str, Grants], forfeited: dict[str, Grants]
) -> None:
    snapshot = Snapshot(vpns, attachments, forfeited, ("https://map1:8443/",), 1.5)
    assert decode(encode(snapshot)) == snapshot
    assert list(decode(encode(snapshot)).forfeited) == list(forfeited)


def kept(**other: object) -> bytes:
    tables: dict[str, object] = {"vpns": {}, "attachments": {}, "forfeited": {}, "servers": [], "time": 1.5}
    return json.dumps({"program": "vrfwire-gateway", "version": 2, **tables, **other}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"null",
        b"{}",
        kept(program="other"),
        kept(version=1),
        kept(vpns=None),
        kept(vpns={"blue": [["64512:1"]]}),
        kept(vpns={"blue": [["64512:x"], []]}),
        kept(vpns={"blue": [[7], []]}),
        kept(attachments=[]),
        kept(forfeited=None),
        kept(servers="https://map1:8443/"),
        kept(servers=[7]),
        kept(time=None),
        kept(time="now"),
        kept(time=-1),
        kept(time=1e300),
        kept(attachments={"web": [["blue"], ["10.1.1.1/24"]]}),
        kept(attachments={"web": [["blue"], "10.1.1.1"]}),
    ],
)
def test_what_is_damaged_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        decode(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
