"""What a raw speaker (lab.speakers.raw) says and hears, as values: OPENs, attributes, keys, routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bgp.attributes import Attributes
from bgp.capabilities import Capabilities, GracefulRestart, RestartFamily
from bgp.communities import pack_encapsulation, pack_route_target
from bgp.family import VPNV4, VPNV6, Family
from bgp.next_hop import address as next_hop_address
from bgp.nlri import pack_labels, rtc_key, split_rtc_key, split_vpn_key, unpack_labels, vpn_key
from bgp.open import Open
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.prefix import Prefix, format_address, parse_address


class Route(NamedTuple):
    """A VPN route as it was heard. label: the outermost; next_hop: an address mapped into IPv6 as IPv4."""

    rd: str
    prefix: str
    label: int
    targets: tuple[str, ...]
    next_hop: str
    attributes: Attributes


def opening(
    address: str,
    *,
    asn: int = 64512,
    hold_time: int = 90,
    families: Iterable[Family] = (VPNV4, VPNV6),
    restart_time: int | None = None,
    restarting: bool = False,
    notification: bool = False,
    extended_message: bool = False,
    enhanced: bool = False,
) -> Open:
    """An OPEN. address: IPv4, the router id; restart_time: seconds, None without graceful restart (RFC 4724);
    restarting: the R bit, with the F bit of all families; notification: the N bit (RFC 8538)."""
    spoken = tuple(families)
    restart = None
    if restart_time is not None:
        kept = tuple(RestartFamily(family, restarting) for family in spoken)
        restart = GracefulRestart(restart_time, kept, restarting, notification)
    capabilities = Capabilities(
        families=spoken,
        four_octet_as=asn,
        route_refresh=True,
        enhanced_route_refresh=enhanced,
        extended_message=extended_message,
        graceful_restart=restart,
    )
    return Open(asn, hold_time, parse_address(address), capabilities)


def route_attributes(
    targets: Iterable[str] = ("64512:1",), *, tunnels: Iterable[int] = (), local_pref: int | None = 100
) -> Attributes:
    """Attributes of a route with route targets and tunnel encapsulations (IANA tunnel types)."""
    communities = [pack_route_target(RouteTarget.parse(target)) for target in targets]
    communities += [pack_encapsulation(tunnel) for tunnel in tunnels]
    return Attributes(local_pref=local_pref, extended_communities=tuple(communities))


def route_key(rd: str, prefix: str) -> bytes:
    """Key of a VPN route (bgp.nlri)."""
    return vpn_key(RouteDistinguisher.parse(rd), Prefix.parse(prefix))


def membership_key(asn: int, target: str) -> bytes:
    """Key of membership of an AS in a route target; "" is everything."""
    return rtc_key(asn, pack_route_target(RouteTarget.parse(target))) if target else rtc_key(None)


def many(count: int, rd: str = "64512:99", label: int = 1000) -> Iterator[tuple[bytes, bytes]]:
    """Key and label stack of host routes 10.0.0.0/32, 10.0.0.1/32, ... of one VPN; at most 2**24."""
    head = RouteDistinguisher.parse(rd)
    labels = pack_labels([label])
    for number in range(count):
        yield vpn_key(head, Prefix((0x0A000000 + number).to_bytes(4, "big"), 32)), labels


def read_route(family: Family, key: bytes, labels: bytes, attributes: Attributes, next_hop: bytes) -> Route:
    """A VPN route of its key and what came with it."""
    distinguisher, prefix = split_vpn_key(family, key)
    targets = sorted(str(RouteTarget(one[0], one[2:])) for one in attributes.route_targets)
    hop = format_address(next_hop_address(next_hop))
    return Route(str(distinguisher), str(prefix), unpack_labels(labels)[0], tuple(targets), hop, attributes)


def read_membership(key: bytes) -> str:
    """The route target of a membership; "" is everything."""
    membership = split_rtc_key(key)
    target = membership.target
    return "" if membership.origin_as is None else str(RouteTarget(target[0], target[2:]))
