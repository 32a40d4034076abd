"""Objects that the datapath's tests use."""

from __future__ import annotations

from datapath.values import (
    AntiSpoofing,
    MplsRoute,
    Neighbour,
    NextHop,
    NextHopGroup,
    Port,
    PortKind,
    Tunnel,
    Value,
    Vrf,
    VrfRoute,
)
from vpn.prefix import Prefix

UNDERLAY = bytes([192, 0, 2, 7])
REMOTE = [bytes([192, 0, 2, host]) for host in (11, 12, 13)]

TUNNEL = Tunnel("vw-gre", UNDERLAY)
VRF = Vrf("vw-blue", 10000, "blue")
PORT = Port("tap0", PortKind.TAP, "vw-blue", "web-1")
NEIGHBOURS = [Neighbour("vw-gre", address, address) for address in REMOTE]
NEXT_HOPS = [NextHop("vw-gre", address, (100 + place,)) for place, address in enumerate(REMOTE)]
LOCAL_HOP = NextHop("tap0", bytes([10, 1, 1, 1]))
GROUP = NextHopGroup((NEXT_HOPS[0], NEXT_HOPS[1]))
MPLS_ROUTE = MplsRoute(100000, "tap0", bytes([10, 1, 1, 1]))
FILTERS = AntiSpoofing("tap0", bytes.fromhex("02000a010101"), (Prefix.parse("10.1.1.1/32"),))
ROUTES = [VrfRoute(10000, Prefix.parse(f"10.1.2.{place}/32"), hop) for place, hop in enumerate(NEXT_HOPS)]
LOCAL_ROUTE = VrfRoute(10000, Prefix.parse("10.1.1.1/32"), LOCAL_HOP)
MULTIPATH = VrfRoute(10000, Prefix.parse("10.9.0.0/16"), GROUP)
ROUTE6 = VrfRoute(10000, Prefix.parse("2001:db8::/64"), NEXT_HOPS[2])

EVERYTHING: tuple[Value, ...] = (
    TUNNEL, VRF, PORT, *NEIGHBOURS, *NEXT_HOPS, LOCAL_HOP, GROUP, FILTERS, MPLS_ROUTE,
    *ROUTES, LOCAL_ROUTE, MULTIPATH, ROUTE6,
)  # fmt: skip
"""One of each at least, with all that they stand on; in no special order."""
