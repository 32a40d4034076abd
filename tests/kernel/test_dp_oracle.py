"""The datapath writes and reads netlink by its own code alone, so what it gets wrong both ways it would never see. Here
pyroute2 and iproute2 say what is in the kernel, and make what the datapath is to recognise or to leave alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Any

import pytest

from agent.attachment import Attached, VpnRecord, parse_attach
from agent.plan import Host as UnderlayHost
from agent.planner import Planner
from datapath.bulk import BulkDriver
from datapath.reconciler import Reconciler
from datapath.values import PROTOCOL, Kind, MplsRoute, Neighbour, NextHopGroup, Port, PortKind, Tunnel, Value, Vrf
from lab.guest import open_tap
from lab.namespace import Namespace
from lab.wait import wait_until
from tests.kernel.dp_dev_support import LOCAL, Host, host
from tests.kernel.oracle import AF_MPLS, RTN_UNICAST, Oracle, link_data, link_kind
from vpn.path import Encapsulation, Path
from vpn.path import NextHop as Announced
from vpn.prefix import Prefix, parse_address

THERE, FAR = parse_address("192.0.2.12"), parse_address("192.0.2.13")
BLUE, RED = VpnRecord("blue", 1, 10001, "vw-blue"), VpnRecord("red", 2, 10002, "vw-red")
IFF_UP = 1
IFF_RUNNING = 0x40
RTN_UNREACHABLE = 7
WORST_METRIC = 4278198272
TC_CLSACT, TC_INGRESS = 0xFFFFFFF1, 0xFFFFFFF2
ETH_P_ALL = 3
RTPROT_KERNEL = 2
NUD_PERMANENT = 0x80
CHANGING = ("NDA_CACHEINFO", "IFA_CACHEINFO", "RTA_CACHEINFO", "TCA_STATS", "TCA_STATS2")
"""Attributes that change by themselves."""


def attached(name: str, vpn: str, label: int, **more: object) -> Attached:
    mac = f"02:00:00:00:{label >> 8:02x}:{label & 0xFF:02x}"
    return Attached(parse_attach({"name": name, "vpn": vpn, "mac": mac, **more}, "hv1"), label)


PORTS = (
    attached("web", "blue", 1001, addresses=["10.1.1.1", "fd00:1::1"], netns="guest", prefixes=["10.9.0.0/16"]),
    attached("db", "blue", 1002, addresses=["10.1.1.2", "fd00:1::2"], interface="tap-db"),
    attached("red-1", "red", 1003, addresses=["10.1.1.1", "fd00:1::1"], interface="tap-red"),
)
TAPS = ("tap-db", "tap-red")
ROUTES = {
    "10.1.1.1/32": [(LOCAL, 1001)],
    "fd00:1::1/128": [(LOCAL, 1001)],
    "10.9.0.0/16": [(LOCAL, 1001)],
    "10.1.2.0/24": [(THERE, 7000)],
    "fd00:2::/64": [(THERE, 7000)],
    "10.1.3.1/32": [(THERE, 7001), (FAR, 1048575)],
    "fd00:3::1/128": [(THERE, 7001), (FAR, 1048575)],
    "10.1.4.0/23": [(LOCAL, 1001), (LOCAL, 1002), (FAR, 16)],
    "fd00:4::/48": [(LOCAL, 1001), (LOCAL, 1002), (FAR, 16)],
    "0.0.0.0/0": [(FAR, 17)],
    "::/0": [(FAR, 17)],
}
RED_ROUTES = {"10.1.1.1/32": [(LOCAL, 1003)], "10.1.2.0/24": [(FAR, 9000)], "fd00:2::/64": [(FAR, 9000)]}


def planned(ports: Sequence[Attached] = PORTS) -> Planner:
    """Two VPNs with the same addresses; remote, local and shared routes of both families."""
    planner = Planner(UnderlayHost(LOCAL))
    for port in ports:
        planner.attach(port, BLUE if port.attachment.vpn == "blue" else RED)
    for vpn, routes in (("blue", ROUTES), ("red", RED_ROUTES)):
        for prefix, hops in routes.items():
            paths = tuple(Announced(address, label, (Encapsulation.GRE,)) for address, label in hops)
            planner.route(vpn, Prefix.parse(prefix), Path(paths))
    return planner


def work(hv: Host, reconciler: Reconciler) -> None:
    """Until there is nothing to do and nothing to hear."""
    with hv.namespace.entered():
        while events := hv.kernel.monitor.drain():
            reconciler.handle(events)
            while reconciler.step(0.0):
                pass
        while reconciler.step(0.0):
            pass


@pytest.fixture(scope="module")
def guest(in_lab: None) -> Iterator[Namespace]:
    """The VM behind the veth."""
    with Namespace("guest") as made:
        yield made


@pytest.fixture(scope="module")
def hv(guest: Namespace) -> Iterator[Host]:
    """A host on which the plan is programmed, with its VMs running. The thread of the tests is inside it."""
    with host("oracle") as made:
        made.namespace.ip(
            "link add eth0 type veth peer name eth1",
            "link set eth0 up",
            "link set eth1 up",
            "address add 192.0.2.11/24 dev eth0",
        )
        reconciler = Reconciler(made.kernel.drivers)
        reconciler.put_all(planned().take().puts)
        work(made, reconciler)
        opened = [open_tap(name, made.namespace) for name in TAPS]
        try:
            work(made, reconciler)
            assert reconciler.failures() == []
            yield made
        finally:
            for descriptor in opened:
                os.close(descriptor)


@pytest.fixture(scope="module")
def oracle(hv: Host) -> Iterator[Oracle]:
    made = Oracle(hv.namespace)
    yield made
    made.close()


# What the drivers have made


def test_the_whole_plan_is_there_and_nothing_else(hv: Host, oracle: Oracle) -> None:
    wanted, seen = planned().desired(), oracle.values()
    with Host(hv.namespace) as fresh:
        for kind in Kind:
            expected = {value for value in wanted if value.kind is kind}
            assert expected, f"the plan has no {kind.name}"
            assert {value for value in seen if value.kind is kind} == expected
            assert set(fresh.dump(kind).values()) == expected
    members = {member for value in wanted if isinstance(value, NextHopGroup) for member in value.members}
    assert {(len(member.gateway), bool(member.labels)) for member in members} == {
        (size, labels) for size in (4, 16) for labels in (False, True)
    }


def test_devices(oracle: Oracle) -> None:
    links = oracle.links()
    tunnel = link_data(links["vw-gre"])
    said = {name: tunnel.get_attr(f"IFLA_GRE_{name}") for name in ("LOCAL", "REMOTE", "TTL", "TOS", "PMTUDISC", "IKEY")}
    assert said == {"LOCAL": "192.0.2.11", "REMOTE": "0.0.0.0", "TTL": 64, "TOS": 0, "PMTUDISC": 1, "IKEY": 0}
    web = PORTS[0].attachment.interface
    ours = {name: link for name, link in links.items() if link.get_attr("IFLA_IFALIAS")}
    assert {name: link_kind(link) for name, link in ours.items()} == {
        "vw-gre": "gre",
        "vw-blue": "vrf",
        "vw-red": "vrf",
        web: "veth",
        "tap-db": "tun",
        "tap-red": "tun",
    }
    for name, link in ours.items():
        assert link["flags"] & IFF_UP, name
        families = link.get_attr("IFLA_AF_SPEC")
        assert families.get_attr("AF_INET6").get_attr("IFLA_INET6_ADDR_GEN_MODE") == 1, f"{name}: no link-local address"
        if name != "vw-gre":
            conf = families.get_attr("AF_INET")
            assert (conf["forwarding"], conf["rp_filter"]) == (1, 0), name
    for name in (web, *TAPS):
        assert links[name].get_attr("IFLA_ADDRESS") == "00:00:5e:00:01:01"
        assert links[name].get_attr("IFLA_AF_SPEC").get_attr("AF_INET")["proxy_arp"] == 1
    for name in TAPS:
        data = link_data(links[name])
        assert (data.get_attr("IFLA_TUN_TYPE"), data.get_attr("IFLA_TUN_PERSIST")) == (2, 1)


def test_what_a_vrf_has_besides_its_device(oracle: Oracle) -> None:
    names = oracle.names()
    addresses = {
        (names[entry["index"]], entry.get_attr("IFA_ADDRESS"), entry["prefixlen"])
        for family in (socket.AF_INET, socket.AF_INET6)
        for entry in oracle.ipr.get_addr(family=family)
    }
    assert {entry for entry in addresses if entry[0].startswith(("vw-", "tap-"))} == {
        ("vw-blue", "100:0:0:1::8", 128),
        ("vw-red", "100:0:0:1::8", 128),
    }
    for family in (socket.AF_INET, socket.AF_INET6):
        assert {
            (route.get_attr("RTA_TABLE"), route["dst_len"], route.get_attr("RTA_PRIORITY"))
            for route in oracle.ipr.get_routes(family=family)
            if route["type"] == RTN_UNREACHABLE and route["proto"] == PROTOCOL
        } == {(10001, 0, WORST_METRIC), (10002, 0, WORST_METRIC)}
        l3mdev = [rule for rule in oracle.ipr.get_rules(family=family) if rule.get_attr("FRA_L3MDEV")]
        assert [rule.get_attr("FRA_PRIORITY") for rule in l3mdev] == [1000]
    fields = ("FRA_PRIORITY", "FRA_FWMARK", "FRA_FWMASK", "FRA_TABLE", "FRA_PROTOCOL")
    marked = [rule for rule in oracle.ipr.get_rules(family=socket.AF_INET6) if rule.get_attr("FRA_FWMARK")]
    assert {tuple(rule.get_attr(field) for field in fields) for rule in marked} == {
        (1001, table, 0xFFFFFFFF, table, PROTOCOL) for table in (10001, 10002)
    }


def test_the_vm_behind_a_veth(oracle: Oracle, guest: Namespace) -> None:
    with guest.entered():
        inside = Oracle(guest)
    try:
        links = inside.links()
        assert links["eth0"].get_attr("IFLA_ADDRESS") == "02:00:00:00:03:e9"
        assert links["eth0"]["flags"] & IFF_UP
        index = links["eth0"]["index"]
        four, six = (
            {(a.get_attr("IFA_ADDRESS"), a["prefixlen"]) for a in inside.ipr.get_addr(family=family, index=index)}
            for family in (socket.AF_INET, socket.AF_INET6)
        )
        assert four == {("10.1.1.1", 32)}
        assert ("fd00:1::1", 128) in six
        for family, first_hop in ((socket.AF_INET, "169.254.1.1"), (socket.AF_INET6, "fe80::1")):
            defaults = [
                r for r in inside.ipr.get_routes(family=family) if not r["dst_len"] and r["type"] == RTN_UNICAST
            ]
            assert [(r.get_attr("RTA_GATEWAY"), r.get_attr("RTA_OIF")) for r in defaults] == [(first_hop, index)]
    finally:
        inside.close()


def test_routes_say_nothing_but_what_the_values_say(oracle: Oracle) -> None:
    for family, metric in ((socket.AF_INET, None), (socket.AF_INET6, 1024)):
        ours = [r for r in oracle.ipr.get_routes(family=family) if r["proto"] == PROTOCOL and r["type"] == RTN_UNICAST]
        fields = {(r.get_attr("RTA_PRIORITY"), r["tos"], r["src_len"], r.get_attr("RTA_METRICS")) for r in ours}
        assert fields == {(metric, 0, 0, None)}


def test_filters_of_a_port(oracle: Oracle) -> None:
    index = oracle.links()["tap-db"]["index"]
    qdiscs = {q["parent"]: q.get_attr("TCA_KIND") for q in oracle.ipr.get_qdiscs(index=index)}
    assert qdiscs[TC_CLSACT] == "clsact"
    shown = [f for f in oracle.ipr.get_filters(index=index, parent=TC_INGRESS) if f["handle"]]
    assert [f["info"] >> 16 for f in shown] == [
        *(0x5600, 0x5601, 0x5602, 0x5603, 0x5603, 0x5604, 0x5605),
        *(0x5606, 0x5607, 0x5608, 0x5608, 0x5608, 0x5609, 0x560F),
    ]
    tagged = [socket.ntohs(f["info"] & 0xFFFF) for f in shown if f["info"] >> 16 in (0x5606, 0x5607)]
    assert tagged == [0x8100, 0x88A8]
    last = shown[-1]
    assert (last.get_attr("TCA_KIND"), socket.ntohs(last["info"] & 0xFFFF)) == ("matchall", ETH_P_ALL)
    drop = last.get_attr("TCA_OPTIONS").get_attr("TCA_MATCHALL_ACT").get_attr("TCA_ACT_PRIO_1")
    parameters = drop.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_GACT_PARMS")
    assert (drop.get_attr("TCA_ACT_KIND"), parameters["action"]) == ("gact", 2)
    # The keys of flower are tc's to read.
    mac = "02:00:00:00:03:ea"
    assert [_read(entry) for entry in oracle.filters("tap-db")] == [
        ({"eth_type": "ipv6"}, "skbedit continue"),
        ({"eth_type": "arp", "src_mac": mac, "arp_sip": "10.1.1.2", "arp_sha": mac}, "bpf drop"),
        ({"eth_type": "ipv6", "src_mac": mac, "ip_proto": "icmpv6", "icmp_type": "135"}, "bpf drop"),
        ({"eth_type": "ipv6", "ip_proto": "icmpv6", "icmp_type": "132/252"}, "gact drop"),
        ({"eth_type": "ipv6", "ip_proto": "icmpv6", "icmp_type": "136/248"}, "gact drop"),
        ({"eth_type": "ipv4", "src_mac": mac, "src_ip": "10.1.1.2"}, "gact pass"),
        ({"eth_type": "ipv6", "src_mac": mac, "src_ip": "fd00:1::2"}, "gact pass"),
        ({}, "gact drop"),
        ({}, "gact drop"),
        *(({"eth_type": kind, "src_mac": mac}, "gact drop") for kind in ("ipv4", "ipv6", "arp")),
        ({"src_mac": mac}, "gact drop"),
        ({}, "gact drop"),
    ]
    assert oracle.filters("tap-db")[0]["options"]["actions"][0]["mark"] == 10001
    assert oracle.filters("tap-red")[0]["options"]["actions"][0]["mark"] == 10002


def _read(entry: dict[str, Any]) -> tuple[dict[str, str], str]:
    """Keys and action of a filter as tc shows it."""
    (action,) = entry["options"]["actions"]
    return entry["options"].get("keys", {}), f"{action['kind']} {action['control_action']['type']}"


# What pyroute2 has made


GREEN = Vrf("vw-green", 10005, "green")
GREEN_PORT = Port("tap-green", PortKind.TAP, "vw-green", "green-1", guest_mac=bytes.fromhex("020000000009"))


SETTINGS = {
    "mpls/platform_labels": 2000,
    "mpls/conf/vw-gre/input": 1,
    "ipv4/ip_forward": 1,
    "ipv4/conf/vw-green/rp_filter": 0,
    "ipv4/conf/tap-green/rp_filter": 0,
    "ipv4/conf/tap-green/proxy_arp": 1,
    "ipv4/fib_multipath_hash_policy": 1,
    "ipv6/fib_multipath_hash_policy": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv6/fwmark_reflect": 1,
}


@pytest.fixture
def other() -> Iterator[tuple[Host, Oracle]]:
    """Another host, and pyroute2 on it."""
    with host("other") as made:
        oracle = Oracle(made.namespace)
        yield made, oracle
        oracle.close()


def make_link(ipr: Any, name: str, kind: str, alias: str = "", **more: object) -> int:
    """A device that is up; its index."""
    ipr.link("add", ifname=name, kind=kind, **more)
    (index,) = ipr.link_lookup(ifname=name)
    if alias:
        ipr.link("set", index=index, ifalias=alias)
    ipr.link("set", index=index, state="up")
    return int(index)


def test_what_looks_like_ours_is_recognised(other: tuple[Host, Oracle]) -> None:
    """Made whole by pyroute2, it is taken for what the drivers would have made: nothing is written."""
    hv, oracle = other
    ipr = oracle.ipr
    tunnel = make_link(ipr, "vw-gre", "gre", "vrfwire:tunnel:vw-gre", gre_local="192.0.2.11", gre_ttl=64)
    vrf = make_link(ipr, "vw-green", "vrf", "vrfwire:vrf:green", vrf_table=10005)
    tap = make_link(ipr, "tap-green", "tuntap", "vrfwire:port:green-1:m=020000000009", mode="tap")
    ipr.link("set", index=tap, address="00:00:5e:00:01:01", master=vrf)
    for family in (socket.AF_INET, socket.AF_INET6):
        ipr.route("add", family=family, type="unreachable", table=10005, priority=WORST_METRIC, proto=PROTOCOL)
    ipr.rule("add", family=socket.AF_INET6, priority=1001, fwmark=10005, table=10005, protocol=PROTOCOL)
    ipr.addr("add", index=vrf, address="100:0:0:1::8", prefixlen=128, family=socket.AF_INET6)
    for name, number in SETTINGS.items():
        File("/proc/sys/net", name).write_text(str(number))
    ipr.neigh("add", dst="192.0.2.12", lladdr="192.0.2.12", ifindex=tunnel, nud="permanent", protocol=PROTOCOL)
    ipr.neigh("add", dst="fd00:5::1", lladdr="02:00:00:00:00:09", ifindex=tap, nud="permanent", protocol=PROTOCOL)
    for label, via in ((1500, "10.5.0.1"), (1501, "fd00:5::1")):
        family = socket.AF_INET6 if ":" in via else socket.AF_INET
        ipr.route("add", family=AF_MPLS, dst=label, via={"family": family, "addr": via}, oif=tap, proto=PROTOCOL)
    looks_like: tuple[Value, ...] = (
        Tunnel("vw-gre", LOCAL),
        GREEN,
        GREEN_PORT,
        Neighbour("vw-gre", THERE, THERE),
        Neighbour("tap-green", parse_address("fd00:5::1"), GREEN_PORT.guest_mac),
        MplsRoute(1500, "tap-green", parse_address("10.5.0.1")),
        MplsRoute(1501, "tap-green", parse_address("fd00:5::1")),
    )
    for value in looks_like:
        assert hv.dump(value.kind).get(value.key) == value
    # A route with its next hop in it is ours by table and protocol, and never as wanted: it is swept.
    ipr.route("add", dst="10.5.9.0/24", gateway="192.0.2.12", oif=tunnel, flags=["onlink"], table=10005, proto=PROTOCOL)
    assert list(hv.dump(Kind.VRF_ROUTE)) == [(10005, Prefix.parse("10.5.9.0/24"))]
    right = oracle.values() - set(oracle.routes())
    reconciler = Reconciler(hv.kernel.drivers)
    reconciler.put_all(looks_like)
    reconciler.allow_sweep()
    work(hv, reconciler)
    assert list(oracle.routes()) == []
    assert oracle.values() == right
    assert {driver.channel.sent for driver in hv.kernel.drivers if isinstance(driver, BulkDriver)} == {1}
    assert {name: link["index"] for name, link in oracle.links().items() if name != "lo"} == {
        "vw-gre": tunnel,
        "vw-green": vrf,
        "tap-green": tap,
    }


def make_foreign(ipr: Any) -> None:
    """Another program's objects of each kind, next to ours by device, table, label or protocol."""
    dummy = make_link(ipr, "other", "dummy")
    ipr.addr("add", index=dummy, address="198.51.100.1", prefixlen=24)
    make_link(ipr, "other-vrf", "vrf", "their VRF", vrf_table=10007)
    make_link(ipr, "other-gre", "gre", gre_local="198.51.100.1")
    make_link(ipr, "other-tap", "tuntap", "vrfwired:port:x", mode="tap")
    through: dict[str, Any] = {"oif": dummy, "gateway": "198.51.100.2"}
    ipr.route("add", dst="10.77.0.0/16", table=10001, proto=4, **through)
    ipr.route("add", dst="10.1.3.1/32", table=10001, proto=PROTOCOL, priority=5, **through)
    ipr.route("add", dst="10.78.0.0/16", table=9999, proto=PROTOCOL, **through)
    ipr.route("add", dst="fd00:77::/64", table=10002, proto=4, oif=dummy)
    ipr.route("add", dst="fd00:78::/64", proto=PROTOCOL, oif=dummy)
    via = {"family": socket.AF_INET, "addr": "198.51.100.2"}
    ipr.route("add", family=AF_MPLS, dst=1900, via=via, oif=dummy, proto=4)
    ipr.route("add", family=AF_MPLS, dst=500, via=via, oif=dummy, proto=PROTOCOL)
    ipr.neigh("add", dst="198.51.100.2", lladdr="02:00:00:00:f0:02", ifindex=dummy, nud="permanent")
    ipr.neigh("add", dst="fd00:77::1", lladdr="02:00:00:00:f0:03", ifindex=dummy, nud="permanent", protocol=4)
    ipr.rule("add", family=socket.AF_INET6, priority=900, fwmark=10001, table=10007)
    ipr.tc("add", "clsact", index=dummy)
    ipr.tc("add-filter", "matchall", index=dummy, parent=TC_INGRESS, prio=0x560F, protocol=ETH_P_ALL, action="drop")


def foreign(oracle: Oracle) -> list[str]:
    """Everything on their devices and their rule, as pyroute2 shows it, without what changes by itself."""
    links = {link["index"]: link for name, link in oracle.links().items() if name.startswith("other")}
    ipr = oracle.ipr
    routes = [route for family in (socket.AF_INET, socket.AF_INET6, AF_MPLS) for route in ipr.get_routes(family=family)]
    found = [
        *(entry for entry in ipr.get_addr(family=socket.AF_INET) if entry["index"] in links),
        # Those of the kernel's own come and go with the host's settings.
        *(route for route in routes if route.get_attr("RTA_OIF") in links and route["proto"] != RTPROT_KERNEL),
        *(n for n in ipr.get_neighbours() if n["ifindex"] in links and n["state"] == NUD_PERMANENT),
        *(rule for rule in ipr.get_rules(family=socket.AF_INET6) if rule.get_attr("FRA_PRIORITY") == 900),
        *(qdisc for index in links for qdisc in ipr.get_qdiscs(index=index)),
        *(one for index in links for one in ipr.get_filters(index=index, parent=TC_INGRESS)),
    ]
    shown = [
        f"{link.get_attr('IFLA_IFNAME')} {link.get_attr('IFLA_IFALIAS')} {link['flags']}" for link in links.values()
    ]
    for message in found:
        attributes = [entry for entry in message["attrs"] if entry[0] not in CHANGING]
        fields = {name: value for name, value in message.items() if name not in ("attrs", "header")}
        shown.append(f"{fields} {attributes}")
    return sorted(shown)


def test_what_is_not_ours_stays_as_it_is(other: tuple[Host, Oracle]) -> None:
    hv, oracle = other
    File("/proc/sys/net/mpls/platform_labels").write_text("3000")
    make_foreign(oracle.ipr)
    # Linux notices a moment later that nobody has opened the tap.
    wait_until(lambda: not oracle.links()["other-tap"]["flags"] & IFF_RUNNING, 5, "the tap to be without carrier")
    before = foreign(oracle)
    assert len(before) >= 20, before
    for kind in Kind:
        assert hv.dump(kind) == {}, kind.name
    taps = PORTS[1:]
    planner = planned(taps)
    reconciler = Reconciler(hv.kernel.drivers)
    reconciler.put_all(planner.take().puts)
    reconciler.allow_sweep()
    work(hv, reconciler)
    assert {value.key for value in oracle.devices()} == {"vw-gre", "vw-blue", "vw-red", *TAPS}
    assert foreign(oracle) == before
    for port in taps:
        planner.detach(port.name)
    for value in planner.take().removes:
        reconciler.remove(value.kind, value.key)
    reconciler.remove(Kind.TUNNEL, "vw-gre")
    work(hv, reconciler)
    assert foreign(oracle) == before
    assert {name for name in oracle.links() if not name.startswith("other")} == {"lo"}
