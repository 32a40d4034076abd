"""Hypothesis strategies of what the codec reads and writes."""

from __future__ import annotations

from hypothesis import strategies as st

from bgp.as_path import AsPath, Segment, SegmentKind
from bgp.attributes import OPTIONAL, PARTIAL, TRANSITIVE, Aggregator, Attributes, Origin, UnknownAttribute
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.nlri import Route, pack_labels, rtc_key, vpn_key
from vpn.community import RouteDistinguisher
from vpn.prefix import Prefix

asns = st.integers(1, 2**32 - 1)
identifiers = st.binary(min_size=4, max_size=4)
numbers = st.integers(0, 2**32 - 1)
distinguishers = st.builds(RouteDistinguisher, st.integers(0, 2), st.binary(min_size=6, max_size=6))
# 0 and 0x80000 on top of others look like no label in a withdrawal.
label_stacks = st.lists(st.integers(16, 2**19 - 1), min_size=1, max_size=3).map(pack_labels)
one_label = st.integers(0, 2**20 - 1).map(lambda label: pack_labels([label]))


@st.composite
def prefixes(draw: st.DrawFn, family: Family) -> Prefix:
    """Prefixes of the family with host bits zero; many are host prefixes."""
    size = 4 if family == VPNV4 else 16
    bits = size * 8
    length = draw(st.integers(0, bits) | st.just(bits))
    number = draw(st.integers(0, 2**bits - 1)) >> (bits - length) << (bits - length)
    return Prefix(number.to_bytes(size, "big"), length)


@st.composite
def memberships(draw: st.DrawFn) -> bytes:
    """Keys of RTC: all, an origin AS, any part of a route target, a whole one."""
    if draw(st.integers(0, 5)) == 0:
        return rtc_key(None)
    length = draw(st.integers(32, 96))
    raw = draw(st.binary(min_size=12, max_size=12))
    value = int.from_bytes(raw, "big") >> (96 - length) << (96 - length)
    return bytes((length,)) + value.to_bytes(12, "big")[: (length + 7) // 8]


def vpn_routes(family: Family, stacks: st.SearchStrategy[bytes] = label_stacks) -> st.SearchStrategy[Route]:
    """Routes of VPNv4 or VPNv6."""
    return st.tuples(st.builds(vpn_key, distinguishers, prefixes(family)), stacks)


def routes(family: Family) -> st.SearchStrategy[Route]:
    """Routes of any family."""
    if family == RTC:
        return memberships().map(lambda key: (key, b""))
    return vpn_routes(family)


families = st.sampled_from([VPNV4, VPNV6, RTC])


def segments(number: st.SearchStrategy[int] = asns, kinds: int = 4, size: int = 6) -> st.SearchStrategy[Segment]:
    """Segments of AS paths; kinds: 2 without those of confederations."""
    kind = st.sampled_from(list(SegmentKind)[:kinds])
    return st.builds(Segment, kind, st.lists(number, min_size=1, max_size=size).map(tuple))


def as_paths(number: st.SearchStrategy[int] = asns, kinds: int = 4) -> st.SearchStrategy[AsPath]:
    """AS paths of up to three segments."""
    return st.lists(segments(number, kinds), max_size=3).map(tuple)


def _some(item: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, ...]]:
    return st.lists(item, max_size=5).map(tuple)


unknown_attributes = st.lists(
    st.builds(
        UnknownAttribute,
        st.sampled_from([22, 23, 40, 128, 200]),
        st.just(OPTIONAL | TRANSITIVE | PARTIAL),
        st.binary(max_size=300),
    ),
    max_size=3,
    unique_by=lambda attribute: attribute.code,
).map(tuple)


def attribute_sets(
    paths: st.SearchStrategy[AsPath] | None = None, *, internal: bool = True
) -> st.SearchStrategy[Attributes]:
    """Attribute sets as an internal peer has them, or an external one."""
    only_internal: dict[str, st.SearchStrategy[object]] = {
        "local_pref": st.none() | numbers,
        "originator_id": st.none() | identifiers,
        "cluster_list": _some(identifiers),
    }
    extended = st.binary(min_size=8, max_size=8)
    if not internal:
        extended = extended.filter(lambda community: not community[0] & 0x40)
    return st.builds(
        Attributes,
        origin=st.sampled_from(Origin),
        as_path=paths if paths is not None else as_paths(kinds=4 if internal else 2),
        med=st.none() | numbers,
        atomic_aggregate=st.booleans(),
        aggregator=st.none() | st.builds(Aggregator, asns, identifiers),
        communities=st.lists(numbers, max_size=5).map(tuple),
        extended_communities=_some(extended),
        large_communities=_some(st.binary(min_size=12, max_size=12)),
        unknown=unknown_attributes,
        **(only_internal if internal else {}),
    )


def next_hops(family: Family) -> st.SearchStrategy[bytes]:
    """Next hops that packets can be sent to, in a form that the family has."""
    four = st.binary(min_size=3, max_size=3).map(lambda tail: b"\xc0" + tail)
    sixteen = st.binary(min_size=15, max_size=15).map(lambda tail: b"\x20" + tail)
    mapped = four.map(lambda address: bytes(10) + b"\xff\xff" + address)
    both = st.tuples(sixteen, sixteen).map(b"".join)
    if family == VPNV6:
        return sixteen | mapped | both
    return four | sixteen | both
