"""What a message says, in a form that all implementations share, so that two of them can be compared.

    {"kind": "open", "my_as", "hold_time", "router_id", "capabilities": {code: value, or [hexadecimal digits, ...]}}
    {"kind": "notification", "code", "subcode", "data" or "text"}       {"kind": "refresh", "family", "subtype"}
    {"kind": "update", "attributes": {...}, "reach": {"family", "next_hop": [...], "routes"},
                       "unreach": {"family", "routes"}}       {"kind": "update", "end_of_rib": family}

A family is [AFI, SAFI]; a VPN route {"rd": [type, administrator, number], "prefix", "labels"}; membership {"length",
"origin_as", "target"}. What is absent isn't there. canonical() puts into order what has none on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bgp.as_path import SegmentKind
from bgp.attributes import Attributes
from bgp.capabilities import Capabilities, CapabilityCode
from bgp.errors import CeaseSubcode, ErrorCode
from bgp.family import RTC, Family
from bgp.framing import Framer
from bgp.message import MessageType
from bgp.next_hop import decode_next_hop, encode_next_hop
from bgp.nlri import split_rtc_key, split_vpn_key, unpack_labels
from bgp.notification import Notification, decode_notification
from bgp.open import Open, decode_open
from bgp.refresh import RouteRefresh, decode_route_refresh
from bgp.update import Update, UpdateDecoder
from tests.differential.oracle import Agreement
from tests.differential.oracles.common import Meaning, address, administrator

_MALFORMED = "malformed"
_WITH_TEXT = (CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, CeaseSubcode.ADMINISTRATIVE_RESET)


def of_open(opened: Open) -> Meaning:
    """Of an OPEN."""
    return {
        "kind": "open",
        "my_as": opened.asn if opened.asn <= 0xFFFF else 23456,
        "hold_time": opened.hold_time,
        "router_id": address(opened.router_id),
        "capabilities": of_capabilities(opened.capabilities),
    }


def of_capabilities(said: Capabilities) -> Meaning:
    """By code."""
    found: Meaning = {}

    def put(code: CapabilityCode, value: object) -> None:
        found[str(int(code))] = value

    if said.families:
        put(CapabilityCode.MULTIPROTOCOL, [list(family) for family in said.families])
    if said.route_refresh:
        put(CapabilityCode.ROUTE_REFRESH, True)
    if said.extended_next_hops:
        put(CapabilityCode.EXTENDED_NEXT_HOP, [[*one.family, one.next_hop_afi] for one in said.extended_next_hops])
    if said.extended_message:
        put(CapabilityCode.EXTENDED_MESSAGE, True)
    if (restart := said.graceful_restart) is not None:
        families = [[*one.family, one.forwarding] for one in restart.families]
        put(
            CapabilityCode.GRACEFUL_RESTART,
            [restart.restart_time, restart.restarting, restart.notification, families],
        )
    if said.four_octet_as is not None:
        put(CapabilityCode.FOUR_OCTET_AS, said.four_octet_as)
    if said.enhanced_route_refresh:
        put(CapabilityCode.ENHANCED_ROUTE_REFRESH, True)
    if said.long_lived is not None:
        put(
            CapabilityCode.LONG_LIVED_GRACEFUL_RESTART,
            [[*one.family, one.forwarding, one.stale_time] for one in said.long_lived],
        )
    for code, value in said.unknown:
        found.setdefault(str(code), []).append(value.hex())
    return found


def of_update(update: Update) -> Meaning:
    """Of an UPDATE as it was judged; {"malformed": [why, ...]} beside the rest when something was wrong with it."""
    meaning: Meaning = {"kind": "update"}
    if update.end_of_rib is not None:
        meaning["end_of_rib"] = list(update.end_of_rib)
    if update.attributes is not None:
        meaning["attributes"] = of_attributes(update.attributes)
    if update.reach is not None:
        family, next_hop, routes = update.reach
        meaning["reach"] = of_reach(family, next_hop, routes)
    if update.unreach:
        assert len(update.unreach) == 1
        meaning["unreach"] = of_unreach(*update.unreach[0])
    if update.problems:
        meaning[_MALFORMED] = [problem.why for problem in update.problems]
    return meaning


def of_reach(family: Family, next_hop: bytes, routes: Sequence[tuple[bytes, bytes]]) -> Meaning:
    """Of announced routes."""
    # As it goes onto the wire: a VPNv6 route's IPv4 next hop is mapped into IPv6.
    seen = decode_next_hop(family, encode_next_hop(family, next_hop))
    assert seen is not None
    size = 4 if len(seen) == 4 else 16
    hops = [address(seen[at : at + size]) for at in range(0, len(seen), size)]
    said = [of_key(family, key) for key, _ in routes]
    if family != RTC:
        for one, (_, labels) in zip(said, routes, strict=True):
            one["labels"] = list(unpack_labels(labels))
    return {"family": list(family), "next_hop": hops, "routes": said}


def of_unreach(family: Family, keys: Sequence[bytes]) -> Meaning:
    """Of withdrawn routes."""
    return {"family": list(family), "routes": [of_key(family, key) for key in keys]}


def of_key(family: Family, key: bytes) -> Meaning:
    """Of a route without its labels."""
    if family == RTC:
        membership = split_rtc_key(key)
        if membership.length == 0:
            return {"length": 0}
        return {"length": membership.length, "origin_as": membership.origin_as, "target": membership.target.hex()}
    rd, prefix = split_vpn_key(family, key)
    return {"rd": [rd.kind, *administrator(rd.kind, rd.value)], "prefix": f"{address(prefix.packed)}/{prefix.length}"}


def of_attributes(said: Attributes) -> Meaning:
    """Of the attributes that routes have in common."""
    found: Meaning = {"origin": int(said.origin)}
    if said.as_path:
        found["as_path"] = [[int(kind), list(numbers)] for kind, numbers in said.as_path]
    if said.med is not None:
        found["med"] = said.med
    if said.local_pref is not None:
        found["local_pref"] = said.local_pref
    if said.atomic_aggregate:
        found["atomic_aggregate"] = True
    if said.aggregator is not None:
        found["aggregator"] = [said.aggregator.asn, address(said.aggregator.router_id)]
    if said.communities:
        found["communities"] = list(said.communities)
    if said.originator_id is not None:
        found["originator_id"] = address(said.originator_id)
    if said.cluster_list:
        found["cluster_list"] = [address(one) for one in said.cluster_list]
    if said.extended_communities:
        found["extended_communities"] = [of_extended(one) for one in said.extended_communities]
    if said.large_communities:
        found["large_communities"] = [
            [int.from_bytes(one[at : at + 4], "big") for at in (0, 4, 8)] for one in said.large_communities
        ]
    if said.unknown:
        found["unknown"] = [[code, flags, value.hex()] for code, flags, value in said.unknown]
    return found


def of_extended(community: bytes) -> list[Any]:
    """Of an extended community."""
    kind, subtype, value = community[0], community[1], community[2:]
    if kind <= 2 and subtype == 2:
        return ["rt", kind, *administrator(kind, value)]
    if (kind, subtype) == (3, 0x0C) and not any(value[:4]):
        return ["encapsulation", int.from_bytes(value[4:], "big")]
    if (kind, subtype) == (6, 0) and value[0] <= 1 and not value[1]:
        return ["mac-mobility", int.from_bytes(value[2:], "big"), bool(value[0])]
    return ["other", community.hex()]


def of_notification(notification: Notification) -> Meaning:
    """Of a NOTIFICATION; the text of a shutdown (RFC 9003) in place of its bytes."""
    meaning: Meaning = {"kind": "notification", "code": int(notification.code), "subcode": int(notification.subcode)}
    data = notification.data
    if data and notification.code == ErrorCode.CEASE and notification.subcode in _WITH_TEXT:
        assert len(data) == 1 + data[0]
        return meaning | {"text": data[1:].decode()}
    return meaning | {"data": data.hex()}


def of_refresh(refresh: RouteRefresh) -> Meaning:
    """Of a ROUTE-REFRESH."""
    return {"kind": "refresh", "family": list(refresh.family), "subtype": int(refresh.kind)}


def of_message(message: bytes, agreement: Agreement, decoder: UpdateDecoder | None = None) -> Meaning:
    """What our own codec makes of one whole message. Raises BgpError."""
    framer = Framer()
    framer.max_length = agreement.max_length
    framer.receive_data(message)
    found = framer.next_message()
    assert found is not None and not framer.buffered, "not one whole message"
    kind, body = found
    match kind:
        case MessageType.OPEN:
            return of_open(decode_open(body))
        case MessageType.NOTIFICATION:
            return of_notification(decode_notification(body))
        case MessageType.ROUTE_REFRESH:
            refresh = decode_route_refresh(body)
            return {"kind": "refresh"} if refresh is None else of_refresh(refresh)
        case MessageType.UPDATE:
            return of_update((decoder or UpdateDecoder(agreement.options)).decode(body))
    return {"kind": "keepalive"}


_UNORDERED = ("communities", "extended_communities", "large_communities", "unknown")


def canonical(meaning: Meaning) -> Meaning:
    """The same with everything in order that has none."""
    if not (said := meaning.get("attributes")):
        return meaning
    ordered = {name: sorted(value, key=json.dumps) if name in _UNORDERED else value for name, value in said.items()}
    for name in ordered.keys() & {"as_path", "as4_path"}:
        sets = (SegmentKind.SET, SegmentKind.CONFED_SET)
        ordered[name] = [[kind, sorted(set(part)) if kind in sets else part] for kind, part in ordered[name]]
    return {**meaning, "attributes": ordered}


def unordered(meaning: Meaning) -> Meaning:
    """canonical(), with the routes in order too: a sender may put them as it likes."""
    parts: Meaning = {
        name: {**meaning[name], "routes": sorted(meaning[name]["routes"], key=json.dumps)}
        for name in ("reach", "unreach")
        if name in meaning
    }
    return canonical({**meaning, **parts})


def joined(meanings: Sequence[Meaning]) -> Meaning:
    """Of UPDATEs with the same attributes and next hop the sum."""
    first = meanings[0]
    whole = dict(first)
    for part in ("reach", "unreach"):
        if part in first:
            whole[part] = {**first[part], "routes": [route for one in meanings for route in one[part]["routes"]]}
            assert all(one[part] | {"routes": 0} == first[part] | {"routes": 0} for one in meanings)
    assert all({**one, "reach": 0, "unreach": 0} == {**first, "reach": 0, "unreach": 0} for one in meanings)
    return whole
