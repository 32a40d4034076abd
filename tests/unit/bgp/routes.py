"""Routes and attributes for tests of the tables."""

from __future__ import annotations

from dataclasses import replace

from bgp.as_path import AsPath, Segment, SegmentKind
from bgp.attributes import Attributes
from bgp.communities import MacMobility, pack_mac_mobility, pack_route_target
from bgp.nlri import Route, pack_labels, vpn_key
from bgp.rib.values import AttributeSets, Path, Source, SourceKind
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.prefix import Prefix, parse_address

SETS = AttributeSets()
NEXT_HOP = parse_address("192.0.2.7")


def target(text: str) -> bytes:
    """A route target of text, 8 bytes."""
    return pack_route_target(RouteTarget.parse(text))


def key(prefix: str, distinguisher: str = "64512:1") -> bytes:
    """Key of a VPN route."""
    return vpn_key(RouteDistinguisher.parse(distinguisher), Prefix.parse(prefix))


def route(prefix: str, label: int = 100, distinguisher: str = "64512:1") -> Route:
    """A VPN route with one label."""
    return key(prefix, distinguisher), pack_labels([label])


def sequence(*numbers: int) -> AsPath:
    """An AS path."""
    return (Segment(SegmentKind.SEQUENCE, numbers),) if numbers else ()


def attributes(*targets: str, mobility: MacMobility | None = None, **fields: object) -> Attributes:
    """Attributes with route targets."""
    extended = [target(one) for one in targets]
    if mobility is not None:
        extended.append(pack_mac_mobility(mobility))
    return replace(
        Attributes(local_pref=100, extended_communities=tuple(extended)),
        **fields,  # type: ignore[arg-type]
    )


def source(name: str = "a", kind: SourceKind = SourceKind.INTERNAL, number: int = 1) -> Source:
    """A source whose address and router id end in a number."""
    packed = bytes((192, 0, 2, number))
    return Source(name, kind, packed, packed)


def path(
    of: Source, said: Attributes | None = None, label: int = 100, next_hop: bytes = NEXT_HOP, generation: int = 0
) -> Path:
    """A path of a source."""
    return Path(of, SETS.of(said or attributes("64512:1"), next_hop), pack_labels([label]), generation)
