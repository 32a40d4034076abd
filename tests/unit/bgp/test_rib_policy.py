"""Loops, reflection, and what other ASes see."""

from __future__ import annotations

import pytest

from bgp.attributes import (
    WELL_KNOWN_LLGR_STALE,
    WELL_KNOWN_NO_ADVERTISE,
    WELL_KNOWN_NO_EXPORT,
    Attributes,
)
from bgp.rib.policy import Identity, Loop, Profile, find_loop, may_send, sent_as
from bgp.rib.values import SourceKind
from tests.unit.bgp.routes import NEXT_HOP, attributes, path, sequence, source
from vpn.prefix import parse_address

US = Identity(64512, b"\xc0\0\2\x01", b"\xc0\0\2\x64", frozenset((parse_address("192.0.2.1"),)))
MAPPED = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1))
KINDS = (SourceKind.LOCAL, SourceKind.HOST, SourceKind.EXTERNAL, SourceKind.CLIENT, SourceKind.INTERNAL)
EXTERNAL = Profile(SourceKind.EXTERNAL, 4096)
CLIENT = Profile(SourceKind.CLIENT, 4096)
INTERNAL = Profile(SourceKind.INTERNAL, 4096)


@pytest.mark.parametrize(
    ("said", "next_hop", "loop"),
    [
        (attributes(), NEXT_HOP, None),
        (attributes(originator_id=US.router_id), NEXT_HOP, Loop.ORIGINATOR),
        (attributes(cluster_list=(b"aaaa", US.cluster_id)), NEXT_HOP, Loop.CLUSTER),
        (attributes(as_path=sequence(64999, 64512)), NEXT_HOP, Loop.AS_PATH),
        (attributes(as_path=sequence(64999)), NEXT_HOP, None),
        (attributes(), parse_address("192.0.2.1"), Loop.NEXT_HOP),
        (attributes(), MAPPED, Loop.NEXT_HOP),
    ],
)
def test_loops(said: Attributes, next_hop: bytes, loop: Loop | None) -> None:
    assert find_loop(US, said, next_hop) is loop


@pytest.mark.parametrize("profile", [EXTERNAL, CLIENT, INTERNAL])
@pytest.mark.parametrize("kind", KINDS)
def test_who_is_sent_what_comes_from_where(kind: SourceKind, profile: Profile) -> None:
    """RFC 4456, section 6: only between two peers that aren't clients nothing goes."""
    forbidden = kind is profile.kind is SourceKind.INTERNAL
    assert may_send(path(source(kind=kind)), profile) is not forbidden


def test_well_known_communities() -> None:
    for community, kinds in (
        (WELL_KNOWN_NO_ADVERTISE, []),
        (WELL_KNOWN_NO_EXPORT, [CLIENT]),
        (WELL_KNOWN_LLGR_STALE, []),
        (64512 << 16, [EXTERNAL, CLIENT]),
    ):
        one = path(source(), attributes(communities=(community,)))
        assert [profile for profile in (EXTERNAL, CLIENT) if may_send(one, profile)] == kinds
    stale = path(source(), attributes(communities=(WELL_KNOWN_LLGR_STALE,)))
    assert may_send(stale, Profile(SourceKind.CLIENT, 4096, long_lived=True))


def test_reflection_touches_originator_and_clusters_only() -> None:
    said = attributes("64512:1", as_path=sequence(64999), med=7, local_pref=300)
    first, next_hop = sent_as(path(source(number=9), said), CLIENT, US)
    assert next_hop == NEXT_HOP
    assert (first.originator_id, first.cluster_list) == (bytes((192, 0, 2, 9)), (US.cluster_id,))
    assert (first.as_path, first.med, first.local_pref) == (said.as_path, 7, 300)
    again, _ = sent_as(path(source(number=8), first), INTERNAL, US)
    assert again.originator_id == bytes((192, 0, 2, 9))
    assert again.cluster_list == (US.cluster_id, US.cluster_id)


def test_routes_of_hosts_go_as_they_are() -> None:
    said = attributes("64512:1")
    assert sent_as(path(source(kind=SourceKind.HOST), said), INTERNAL, US) == (said, NEXT_HOP)


def test_local_pref_is_added_where_a_route_comes_in() -> None:
    said = attributes("64512:1", as_path=sequence(64999), local_pref=None)
    sent, _ = sent_as(path(source(kind=SourceKind.EXTERNAL), said), INTERNAL, US)
    assert (sent.local_pref, sent.originator_id, sent.as_path) == (100, None, said.as_path)


def test_other_ases_see_our_as_and_nothing_internal() -> None:
    said = attributes("64512:1", as_path=sequence(64999), med=7, originator_id=b"aaaa", cluster_list=(b"bbbb",))
    sent, next_hop = sent_as(path(source(), said), EXTERNAL, US)
    assert sent.as_path == sequence(64512, 64999)
    assert (sent.local_pref, sent.med, sent.originator_id, sent.cluster_list) == (None, None, None, ())
    assert next_hop == NEXT_HOP
    own, changed = sent_as(
        path(source(kind=SourceKind.HOST), attributes(med=7)),
        Profile(SourceKind.EXTERNAL, 4096, next_hop_self=b"\x0a\0\0\1"),
        US,
    )
    assert (own.med, changed) == (7, b"\x0a\0\0\1")
