"""What a PE of the lab puts into its kernel, from what its BGP daemon has learnt."""

from __future__ import annotations

from lab.node import address6
from lab.pe import Via, wanted
from lab.speakers.base import Received

ONE = Received("192.0.2.11:1", "10.1.1.1/32", 100000, ("64512:1",), "192.0.2.11", False, local_pref=100)


def test_routes_of_the_vpn_and_no_others() -> None:
    received = [
        ONE,
        ONE._replace(prefix="fd00:1::1/128", targets=("64512:1", "64512:9")),
        ONE._replace(prefix="10.1.1.2/32", targets=("64512:2",)),
        ONE._replace(prefix="10.1.1.3/32", targets=None),
        ONE._replace(prefix="10.1.1.4/32", label=None),
    ]
    via = Via(100000, "192.0.2.11")
    assert wanted(received) == {"10.1.1.1/32": via, "fd00:1::1/128": via}
    assert wanted(received, "64512:2") == {"10.1.1.2/32": via}


def test_the_best_of_several_whatever_their_order() -> None:
    """While a VM moves there are two routes with one prefix."""
    stale = ONE._replace(rd="192.0.2.10:1", next_hop="192.0.2.10", stale=True)
    other = ONE._replace(rd="192.0.2.12:1", next_hop="192.0.2.12", label=7)
    better = ONE._replace(rd="192.0.2.13:1", next_hop="192.0.2.13", label=8, local_pref=200)
    unsaid = ONE._replace(rd="192.0.2.14:1", next_hop="192.0.2.14", local_pref=None)
    for paths in ([stale, other, ONE, unsaid], [unsaid, ONE, other, stale]):
        assert wanted(paths) == {"10.1.1.1/32": Via(100000, "192.0.2.11")}
    for paths in ([better, ONE], [ONE, better]):
        assert wanted(paths) == {"10.1.1.1/32": Via(8, "192.0.2.13")}


def test_both_addresses_of_a_machine_end_alike() -> None:
    assert address6("192.0.2.241") == "2001:db8:ffff::241"
