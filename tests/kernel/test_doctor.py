"""Doctor: what it reads of a real kernel."""

from __future__ import annotations

from ipaddress import IPv4Address

from agent.doctor_foreign import check_foreign
from agent.doctor_gather import gather_foreign, gather_settings, gather_underlay
from agent.doctor_underlay import check_underlay
from lab.namespace import Namespace
from runtime.findings import Level

TABLES, LABELS = range(10000, 10100), range(100000, 100100)


def test_other_programs_in_our_ranges_and_the_way_to_hosts() -> None:
    with Namespace("host") as namespace, namespace.entered():
        namespace.ip("link set lo up", "link add under type dummy", "link set under mtu 1400 up")
        namespace.ip("address add 192.0.2.7/24 dev under")
        assert [one.state for one in check_foreign(gather_foreign(TABLES, LABELS))] == [Level.OK]
        namespace.ip(
            "route add 198.51.100.0/24 dev under table 10001 proto bird",
            "route add 198.51.100.0/24 dev under table 10002 proto 108",
            "route add 2001:db8::/32 dev under table 10003 proto static",
            "route add 198.51.100.0/24 dev under table 9999 proto bird",
            "rule add pref 500 table 10004",
            "link add mgmt type vrf table 10005",
        )
        namespace.write("/proc/sys/net/mpls/platform_labels", "200000")
        for label in ("100001", "99"):
            namespace.output("ip", "-f", "mpls", "route", "add", label, "dev", "lo", "proto", "zebra")
        found = [one.detail for one in check_foreign(gather_foreign(TABLES, LABELS))]
        assert sorted(found) == [
            "1 route of protocol bird in table 10001, which is ours",
            "1 route of protocol static in table 10003, which is ours",
            "VRF device mgmt uses table 10005, which is ours",
            "label 100001, which is ours, has a route of protocol zebra",
            "rule 500 leads into table 10004, which is ours",
        ]
        values = {value.name: value.value for value in gather_settings(LABELS.stop)}
        assert values["net/mpls/platform_labels"] == 200000
        # The tunnel's neighbours are the hosts, when there is no daemon to ask.
        namespace.ip("link add vw-gre type gre local 192.0.2.7", "link set vw-gre up")
        for host in ("192.0.2.12", "203.0.113.5"):
            namespace.ip(f"neigh add {host} lladdr {host} dev vw-gre nud permanent")
        namespace.ip("route add 192.0.2.12/32 dev under mtu 1300")
        facts = gather_underlay(IPv4Address("192.0.2.7"), None, None, None)
        assert (facts.device, facts.mtu) == ("under", 1400)
        checks = {one.check: one for one in check_underlay(facts)}
        assert checks["underlay address"].state is Level.OK
        assert checks["underlay routes"].detail == "203.0.113.5: Network is unreachable"
        assert checks["path MTU"].detail.startswith("192.0.2.12: 1300, but VMs may send 1372")
