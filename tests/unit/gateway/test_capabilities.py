"""What both sides offered, and why something isn't in use."""

from __future__ import annotations

from typing import Any

from bgp.capabilities import (
    Capabilities,
    GracefulRestart,
    LongLivedFamily,
    NextHopEncoding,
    RestartFamily,
    UnknownCapability,
)
from bgp.family import IPV4_UNICAST, RTC, VPNV4, VPNV6
from bgp.open import Open
from gateway.capabilities import compare

FULL = Capabilities(
    families=(VPNV4, VPNV6, RTC),
    four_octet_as=64512,
    route_refresh=True,
    enhanced_route_refresh=True,
    extended_message=True,
    graceful_restart=GracefulRestart(120, (RestartFamily(VPNV4, True), RestartFamily(VPNV6)), True, True),
    long_lived=(LongLivedFamily(VPNV4, 3600),),
    extended_next_hops=(NextHopEncoding(VPNV4, 2),),
)


def rows(ours: Capabilities, theirs: Capabilities) -> dict[str, Any]:
    """Rows by name: (ours, theirs, why)."""
    router_id = bytes((192, 0, 2, 1))
    found = compare(Open(64512, 90, router_id, ours), Open(64512, 90, router_id, theirs))
    assert all(row["used"] is (row["why"] == "") for row in found)
    return {str(row["capability"]): (row["ours"], row["theirs"], row["why"]) for row in found}


def test_all_in_use() -> None:
    found = rows(FULL, FULL)
    assert {why for _, _, why in found.values()} == {""}
    assert found["graceful restart"][0] == "120 s vpnv4,vpnv6; restarted, kept vpnv4"
    assert found["long-lived graceful restart"][0] == "vpnv4 3600 s"
    assert found["extended next hop"][0] == "vpnv4"


def test_one_side_only() -> None:
    found = rows(FULL, Capabilities(families=(VPNV4,), four_octet_as=64512))
    assert found["vpnv6"] == ("yes", "", "the peer does not offer it")
    assert found["route refresh"] == ("yes", "", "the peer does not offer it")
    assert found["vpnv4"][2] == ""
    back = rows(Capabilities(families=(VPNV4,), four_octet_as=64512), FULL)
    assert back["vpnv6"] == ("", "yes", 'not in "families" of this peer here')
    assert back["extended message"] == ("", "yes", "not configured here")
    assert "graceful restart after NOTIFICATION" not in back


def test_families_of_others() -> None:
    found = rows(Capabilities(families=(VPNV4,)), Capabilities(families=(VPNV4, IPV4_UNICAST)))
    assert found["ipv4"] == ("", "yes", "vrfwire does not speak it")
    bare = rows(Capabilities(families=(VPNV4,)), Capabilities())
    assert "plain IPv4" in bare["vpnv4"][2]
    assert bare["ipv4"][2] == "vrfwire does not speak it"


def test_restart_of_no_family() -> None:
    found = rows(FULL, Capabilities(families=(VPNV4,), graceful_restart=GracefulRestart(120)))
    assert found["graceful restart"][1] == "120 s no family"
    assert "of no family" in found["graceful restart"][2]


def test_long_lived_without_graceful_restart() -> None:
    found = rows(FULL, Capabilities(families=(VPNV4,), long_lived=(LongLivedFamily(VPNV4, 60),)))
    assert "without graceful restart" in found["long-lived graceful restart"][2]


def test_unknown_ones_are_shown() -> None:
    unknown = (UnknownCapability(73, b"\x02rr\x00"), UnknownCapability(200, b""))
    found = rows(FULL, Capabilities(families=(VPNV4,), unknown=unknown))
    assert found["FQDN (73)"] == ("", "02727200", "vrfwire does not speak it")
    assert found["unknown capability (200)"][1] == "yes"
