"""What was lost: the kernel's numbers joined with causes, places and advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.drop_causes import EVERY, FILTERS, HOST, PORT, TUNNEL, UNDERLAY, VRF
from agent.drops import Drops, Place, Report, advice
from datapath.counter_wire import IP6_FIELDS, LINK_FIELDS, MPLS_FIELDS
from datapath.filters import PRIORITY_ARP, PRIORITY_IPV4, PRIORITY_SOURCE, Hits
from datapath.observe import Counters, DeviceCounters

WEB = Place("port", "tap0", "web-1", "blue")
NOW = 1_700_000_000.0


def report(
    place: Place | None = None, counters: DeviceCounters | None = None, hits: list[Hits] | None = None, **host: int
) -> dict[str, Drops]:
    """A look at one device, or at the host."""
    devices = {} if place is None or counters is None else {place.device: counters}
    made = Report(Counters(devices, {name.replace("_", "."): value for name, value in host.items()}, 1000.0), NOW)
    if place is None:
        made.host()
    else:
        made.device(place, hits or [])
    return {drops.cause.name: drops for drops in made.found}


def test_names_are_unique_and_stable_in_form() -> None:
    names = [cause.name for cause in EVERY]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(port|vrf|tunnel|underlay|host)(-[a-z0-9]+)+", name) for name in names)
    assert all(cause.cause and cause.hint for cause in EVERY)


def test_every_source_is_something_that_is_read() -> None:
    """A number that nobody reads would count nothing for ever."""
    of_devices = {"queue", *(f"link.{name}" for name in LINK_FIELDS), *(f"mpls.{name}" for name in MPLS_FIELDS)}
    of_devices |= {f"ip6.{name}" for name in IP6_FIELDS.values()}
    assert {source for cause in (*PORT, *VRF, *TUNNEL, *UNDERLAY) for source in cause.sources} <= of_devices
    files = "".join(Path("/proc/net", name).read_text(encoding="ascii") for name in ("snmp", "netstat", "snmp6"))
    for source in (source for cause in HOST for source in cause.sources):
        if source.startswith(("neighbour.", "softnet.")):
            continue
        assert re.search(rf"\b{source.rpartition('.')[2]}\b", files), source


def test_filters_of_a_port_by_cause() -> None:
    hits = [
        Hits(PRIORITY_SOURCE, 1, 3, 3, 60.0, 5.0),
        Hits(PRIORITY_SOURCE, 2, 0, 0, 60.0, None),
        Hits(PRIORITY_ARP, 77, 9, 2, 30.0, 1.0),
        Hits(PRIORITY_ARP, 78, 4, 1, 50.0, 2.0),
        Hits(PRIORITY_IPV4, 5, 1000, 0, 60.0, 0.0),
    ]
    found = report(WEB, DeviceCounters(7, {}), hits)
    assert found["port-spoofed-ipv4"] == Drops(FILTERS[PRIORITY_SOURCE, 1], WEB, 3, NOW - 60, NOW - 5)
    assert found["port-spoofed-ipv6"].value == 0
    assert found["port-spoofed-ipv6"].last is None
    # What passes isn't lost: of what ARP's filters match, only what the responder drops counts.
    assert found["port-arp-announcement"] == Drops(FILTERS[PRIORITY_ARP, None], WEB, 3, NOW - 50, NOW - 1)
    assert len(found) == len(FILTERS) + len(PORT)


def test_device_counters() -> None:
    have = DeviceCounters(
        7, {"tx_dropped": 5, "rx_packets": 99}, {"InNoRoutes": 2}, {"tx_errors": 1, "tx_dropped": 3}, 8
    )
    found = report(WEB, have)
    values = {name: drops.value for name, drops in found.items() if drops.value}
    assert values == {"port-not-read": 5, "port-ipv6-no-route": 2, "port-no-carrier": 4, "port-queue-full": 8}
    assert found["port-not-read"].since is None


def test_tunnel_and_underlay() -> None:
    found = report(Place("tunnel", "vw-gre"), DeviceCounters(3, {"tx_carrier_errors": 4}, {}, {"rx_noroute": 6}))
    assert {n: d.value for n, d in found.items() if d.value} == {
        "tunnel-unknown-label": 6,
        "tunnel-no-underlay-route": 4,
    }
    found = report(Place("underlay", "eth0"), DeviceCounters(2, {"rx_missed_errors": 1}, queue=7))
    assert {n: d.value for n, d in found.items() if d.value} == {"underlay-receive-full": 1, "underlay-send-dropped": 7}


def test_a_device_that_is_not_there_has_no_counters() -> None:
    assert report(WEB) == {}


def test_host_counts_what_devices_of_ours_have_not() -> None:
    device = DeviceCounters(7, {}, {"InNoRoutes": 5})
    made = Report(Counters({"tap0": device}, {"Ip6InNoRoutes": 7, "Ip.FragFails": 2}, 1000.0), NOW)
    made.host()
    values = {drops.cause.name: drops.value for drops in made.found if drops.value}
    assert values == {"host-ipv6-no-route": 2, "host-ipv4-too-big": 2}
    assert {drops.since for drops in made.found} == {1000.0}


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("port-spoofed-mac", WEB, "`vrfwire port show web-1`"),
        ("port-ipv6-no-route", WEB, "--vpn blue"),
        ("port-queue-full", WEB, "dev tap0"),
        ("vrf-dropped", Place("vrf", "vw-blue", "blue", "blue"), "--vpn blue"),
        ("host-ipv4-unreachable", None, "--vpn VPN"),
    ],
)
def test_advice_names_what_it_is_about(name: str, place: Place | None, expected: str) -> None:
    cause = next(cause for cause in EVERY if cause.name == name)
    assert expected in advice(Drops(cause, place, 1))


def test_advice_for_a_port_that_is_shut_is_to_see_why() -> None:
    shut = Place("port", "tap0", "web-1", "blue", blocked=True)
    assert "forbid" in advice(Drops(FILTERS[PRIORITY_SOURCE, 1], shut, 1))
    assert "forbid" not in advice(Drops(FILTERS[PRIORITY_SOURCE, 3], shut, 1))
