"""Names of objects as an operator reads them."""

from __future__ import annotations

import pytest

from datapath.describe import complaint, describe
from datapath.nexthops import odd_next_hop
from datapath.values import Kind, Value
from tests.unit.datapath.samples import (
    FILTERS,
    GROUP,
    LOCAL_HOP,
    MPLS_ROUTE,
    NEIGHBOURS,
    NEXT_HOPS,
    PORT,
    ROUTE6,
    ROUTES,
    TUNNEL,
    VRF,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (TUNNEL, "tunnel vw-gre"),
        (VRF, "VRF vw-blue"),
        (PORT, "port tap0"),
        (NEIGHBOURS[0], "neighbour 192.0.2.11 dev vw-gre"),
        (FILTERS, "anti-spoofing tap0"),
        (MPLS_ROUTE, "MPLS route 100000"),
        (LOCAL_HOP, "next hop 10.1.1.1 dev tap0"),
        (NEXT_HOPS[1]._replace(labels=(101, 102)), "next hop 192.0.2.12 dev vw-gre label 101/102"),
        (odd_next_hop(7), "next hop none dev /7"),
        (GROUP, "next hops 192.0.2.11 dev vw-gre label 100, 192.0.2.12 dev vw-gre label 101"),
        (ROUTES[0], "route 10.1.2.0/32 table 10000"),
        (ROUTE6, "route 2001:db8::/64 table 10000"),
    ],
)
def test_every_kind_has_a_name(value: Value, text: str) -> None:
    assert describe(value.kind, value.key) == text


def test_what_is_named_already_is_not_named_twice() -> None:
    assert complaint(Kind.PORT, "tap0", "port tap0: busy") == "port tap0: busy"
    assert complaint(Kind.PORT, "tap0", "device tap0 exists") == "port tap0: device tap0 exists"
