"""What is said in the comparisons: hypothesis strategies of messages of all kinds, in our own values."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hypothesis import strategies as st

from bgp.attributes import OPTIONAL, PARTIAL, TRANSITIVE, Attributes, UnknownAttribute
from bgp.capabilities import (
    Capabilities,
    GracefulRestart,
    LongLivedFamily,
    NextHopEncoding,
    RestartFamily,
    UnknownCapability,
)
from bgp.communities import MacMobility, pack_colour, pack_encapsulation, pack_mac_mobility, pack_route_target
from bgp.errors import CeaseSubcode, ErrorCode, UpdateSubcode
from bgp.family import IPV4_UNICAST, IPV6_UNICAST, RTC, VPNV4, VPNV6, Family
from bgp.message import EXTENDED_MAX_LENGTH, MAX_LENGTH
from bgp.nlri import Route, rtc_key
from bgp.notification import Notification
from bgp.open import Open
from bgp.refresh import RefreshKind, RouteRefresh
from tests.differential.oracle import Agreement
from tests.unit.bgp.codec_strategies import (
    as_paths,
    asns,
    attribute_sets,
    identifiers,
    label_stacks,
    memberships,
    next_hops,
    numbers,
    one_label,
    vpn_routes,
)
from vpn.community import RouteTarget

FAMILIES = (VPNV4, VPNV6, RTC)
families = st.sampled_from(FAMILIES)
all_families = st.sampled_from((*FAMILIES, IPV4_UNICAST, IPV6_UNICAST))

agreements = st.builds(
    Agreement,
    four_octet_as=st.booleans(),
    internal=st.booleans(),
    max_length=st.sampled_from((MAX_LENGTH, EXTENDED_MAX_LENGTH)),
)

targets = st.builds(RouteTarget, st.integers(0, 2), st.binary(min_size=6, max_size=6)).map(pack_route_target)
extended_communities = st.one_of(
    targets,
    st.integers(0, 0xFFFF).map(pack_encapsulation),
    st.builds(MacMobility, numbers, st.booleans()).map(pack_mac_mobility),
    numbers.map(pack_colour),
    st.tuples(st.sampled_from((0, 1, 2)), st.binary(min_size=6, max_size=6)).map(lambda of: bytes((of[0], 3)) + of[1]),
    st.binary(min_size=6, max_size=6).map(lambda value: b"\x43\x05" + value),
)
# Attributes that none of the oracles reads: tunnel encapsulation, ATTR_SET, and one of nobody.
_unknown = st.lists(
    st.builds(
        UnknownAttribute,
        st.sampled_from((23, 128, 200)),
        st.just(OPTIONAL | TRANSITIVE | PARTIAL),
        st.binary(min_size=1, max_size=300),
    ),
    max_size=2,
    unique_by=lambda one: one.code,
).map(tuple)


def attributes(agreement: Agreement) -> st.SearchStrategy[Attributes]:
    """Attribute sets as the session carries them."""
    paths = as_paths(kinds=4 if agreement.internal and agreement.four_octet_as else 2)

    def complete(said: Attributes, extended: list[bytes], unknown: tuple[UnknownAttribute, ...]) -> Attributes:
        if not agreement.internal:
            extended = [one for one in extended if not one[0] & 0x40]
        return replace(said, extended_communities=tuple(extended), unknown=unknown)

    return st.builds(
        complete,
        attribute_sets(paths, internal=agreement.internal),
        st.lists(extended_communities, max_size=6),
        _unknown,
    )


class Announcement(NamedTuple):
    """Routes of one family with the same attributes, said in a session."""

    agreement: Agreement
    family: Family
    next_hop: bytes
    attributes: Attributes
    routes: list[Route]


class Withdrawal(NamedTuple):
    """Routes of one family that are gone."""

    agreement: Agreement
    family: Family
    keys: list[bytes]


def routes(family: Family) -> st.SearchStrategy[Route]:
    """Routes; those of VPNs have one label mostly, and sometimes a stack."""
    if family == RTC:
        whole = st.just(rtc_key(None)) | st.builds(lambda asn, target: rtc_key(asn, target), asns, targets)
        return whole.map(lambda key: (key, b""))
    # The length of an NLRI is one octet.
    return vpn_routes(family, one_label | label_stacks).filter(
        lambda route: 8 * len(route[1]) + 64 + route[0][-1] <= 255
    )


def _part(asn: int, target: bytes, length: int) -> bytes:
    """Key of the membership in all route targets that begin as one does."""
    value = int.from_bytes(asn.to_bytes(4, "big") + target, "big") >> (96 - length) << (96 - length)
    return bytes((length,)) + value.to_bytes(12, "big")[: (length + 7) // 8]


@st.composite
def tables(draw: st.DrawFn, family: Family) -> list[Route]:
    """A few routes; one in three of the tables of memberships has some in parts of a route target."""
    one = routes(family)
    if family == RTC and draw(st.integers(0, 2)) == 2:
        parts = st.builds(_part, asns, targets, st.integers(32, 95))
        one |= (memberships() | parts).map(lambda key: (key, b""))
    return draw(st.lists(one, min_size=1, max_size=8, unique_by=lambda route: route[0]))


@st.composite
def announcements(draw: st.DrawFn) -> Announcement:
    """Announcements of all kinds; now and then of so many routes that they take several messages."""
    agreement = draw(agreements)
    family = draw(families)
    # Two addresses are no next hop of memberships (RFC 4684, section 5); the second is a link-local one elsewhere.
    next_hop = draw(next_hops(family).filter(lambda hop: family != RTC or len(hop) < 32))
    if len(next_hop) == 32:
        next_hop = next_hop[:16] + b"\xfe\x80" + bytes(6) + next_hop[24:]
    if family == VPNV4 and len(next_hop) > 4:
        agreement = replace(agreement, extended_next_hops=True)
    few = draw(tables(family))
    if draw(st.integers(0, 9)) == 9 and family != RTC:
        # Beyond one message: the same routes under many route distinguishers.
        few = [(bytes(2) + number.to_bytes(6, "big") + key[8:], labels) for number in range(200) for key, labels in few]
    return Announcement(agreement, family, next_hop, draw(attributes(agreement)), few)


@st.composite
def withdrawals(draw: st.DrawFn) -> Withdrawal:
    """Withdrawals of all kinds."""
    family = draw(families)
    return Withdrawal(draw(agreements), family, [key for key, _ in draw(tables(family))])


restart_families = st.builds(RestartFamily, all_families, st.booleans())
capabilities = st.builds(
    Capabilities,
    families=st.lists(all_families, unique=True).map(tuple),
    four_octet_as=st.none() | asns,
    route_refresh=st.booleans(),
    enhanced_route_refresh=st.booleans(),
    extended_message=st.booleans(),
    graceful_restart=st.none()
    | st.builds(
        GracefulRestart,
        st.integers(0, 4095),
        st.lists(restart_families, unique_by=lambda one: one.family).map(tuple),
        st.booleans(),
        st.booleans(),
    ),
    long_lived=st.none()
    | st.lists(
        st.builds(LongLivedFamily, all_families, st.integers(0, 2**24 - 1), st.booleans()),
        min_size=1,
        unique_by=lambda one: one.family,
    ).map(tuple),
    extended_next_hops=st.sampled_from(
        ((), (NextHopEncoding(VPNV4, 2),), (NextHopEncoding(IPV4_UNICAST, 2), NextHopEncoding(VPNV4, 2)))
    ),
    unknown=st.lists(
        st.builds(UnknownCapability, st.sampled_from((199, 200)), st.binary(min_size=1, max_size=100)),
        max_size=2,
        unique_by=lambda one: one.code,
    ).map(tuple),
)


@st.composite
def opens(draw: st.DrawFn) -> Open:
    """OPENs; some need extended optional parameters."""
    said = draw(capabilities)
    asn = said.four_octet_as or draw(st.integers(1, 0xFFFF))
    router_id = draw(identifiers.filter(any))
    return Open(asn, draw(st.just(0) | st.integers(3, 0xFFFF)), router_id, said)


def texts(size: int) -> st.SearchStrategy[str]:
    """What an operator writes: no control characters."""
    return st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=size)


notifications = st.one_of(
    st.builds(
        Notification.cease,
        st.sampled_from((CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, CeaseSubcode.ADMINISTRATIVE_RESET)),
        texts(300),
    ),
    st.builds(Notification.cease, st.sampled_from(CeaseSubcode)),
    st.builds(Notification.maximum_prefixes, families, numbers),
    st.builds(
        Notification, st.just(int(ErrorCode.UPDATE_MESSAGE)), st.sampled_from(UpdateSubcode), st.binary(max_size=60)
    ),
    st.just(Notification(ErrorCode.HOLD_TIMER_EXPIRED)),
    st.builds(Notification.cease, st.just(CeaseSubcode.ADMINISTRATIVE_RESET), texts(20)).map(Notification.hard_reset),
)
refreshes = st.builds(RouteRefresh, all_families, st.sampled_from(RefreshKind))
