"""What the demo shows, and small helpers of the lab."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lab import craft, report, toml
from lab.capture import Frame, pcap
from lab.errors import LabError
from lab.frames import decode
from lab.report import Findings, Machine, Outage
from lab.topology import Vpn, tap_name
from lab.wait import wait_until
from tests.unit.lab.test_lab_frames import V4, mpls_in_gre

ONE = Machine("blue-1", "blue", "hv1", True, ("10.1.1.1", "fd00::1"), ("10.2.1.1", "fd02::1"))
TWO = Machine("blue-2", "blue", "hv2", False, ("10.1.1.2", "fd00::2"), ("10.2.1.2", "fd02::2"))
RED = Machine("red-1", "red", "hv2", False, ("10.1.1.1", "fd00::1"), ("10.3.1.1", "fd03::1"))


def test_matrix_shows_times_losses_and_the_border() -> None:
    findings = Findings(rtt={("blue-1", "blue-2", 4): 0.0012, ("blue-1", "blue-2", 6): 0.0034})
    lines = report.matrix([ONE, TWO, RED], findings).splitlines()
    assert lines[0].split() == ["from", "\\", "to", "blue-1", "blue-2", "red-1"]
    assert lines[1].split() == ["blue-1", "(hv1,", "tap)", "1.2/3.4", "-"]
    assert "LOST/LOST" in lines[2]


def test_json_is_ok_only_without_problems() -> None:
    findings = Findings(rtt={("a", "b", 4): 0.001}, attach_ms=[1.0, 3.0])
    document = findings.as_json([ONE, TWO, RED], "uml", 12.34)
    assert document["ok"] is True
    assert (document["vms"], document["hosts"], document["vpns"], document["seconds"]) == (3, 2, 2, 12.3)
    assert (document["rtt_ms_max"], document["attach_ms_p50"]) == (1.0, 2.0)
    findings.problems.append("x")
    assert findings.as_json([ONE], "uml", 0)["ok"] is False
    assert Findings().as_json([], "none", 0)["rtt_ms_p50"] is None


def test_json_adds_up_what_was_lost_while_gateways_were_killed() -> None:
    findings = Findings(
        site_pings=4, site_pings_answered=3, outages=[Outage("gw1", 100, 0, 4.21), Outage("gw2", 50, 2, 3.0)]
    )
    document = findings.as_json([ONE], "uml", 0)
    assert (document["sent_gateway_kill"], document["lost_gateway_kill"]) == (150, 2)
    assert document["bgp"] == {
        "site_pings": 4,
        "site_pings_answered": 3,
        "site_leaks": 0,
        "gateways_killed": ["gw1", "gw2"],
        "seconds_to_recover": [4.2, 3.0],
    }
    # Not 0 when it wasn't tried.
    assert Findings().as_json([ONE], "uml", 0)["lost_gateway_kill"] is None


def test_tunnelled_packet_is_recognised_and_explained() -> None:
    inner = craft.packet(*V4, 1, craft.echo(*V4, 1, 1, b""))
    packet = decode(mpls_in_gre(inner))
    assert report.is_tunnelled(packet)
    assert not report.is_tunnelled(decode(craft.ethernet(bytes(6), bytes(6), 0x0800, inner)))
    lines = list(report.packet_lines(packet, {"192.0.2.11": "hv1", "192.0.2.12": "hv2"}))
    assert lines[1].endswith("(hv1 to hv2)")
    assert [line.split()[0] for line in lines] == ["Ethernet", "IPv4", "GRE", "MPLS", "IPv4", "ICMP", "payload"]


def test_toml_is_read_back() -> None:
    document = {
        "plain": 1,
        "gateway": {"domain": 'a"b', "as": 64512, "on": True, "time": 0.5, "deep": {"x": []}},
        "vpn": [Vpn("blue", ["1:1"]).table(), Vpn("hub", ["1:2"], ["1:3", "1:4"]).table()],
    }
    assert tomllib.loads(toml.dumps(document)) == document
    with pytest.raises(TypeError):
        toml.dumps({"x": None})


def test_pcap_header_and_records(tmp_path: Path) -> None:
    data = pcap([Frame(1.5, "eth0", False, b"abcd")])
    assert data[:4] == bytes.fromhex("4d3cb2a1")
    assert data[24:40] == b"".join(n.to_bytes(4, "little") for n in (1, 500000000, 4, 4))
    assert data[40:] == b"abcd"


def test_wait_until_returns_what_it_found_or_says_what_was_missing() -> None:
    values = iter([0, 0, 7])
    assert wait_until(lambda: next(values), 5, "seven", interval=0.001) == 7
    with pytest.raises(LabError, match=r"timed out after 0\.01 s waiting for nothing") as caught:
        wait_until(lambda: False, 0.01, "nothing", 0.001, lambda: "the log")
    assert caught.value.log == "the log"


def test_tap_name_fits_the_kernels_limit() -> None:
    assert tap_name("blue-1") == "tap-blue-1"
    assert len(tap_name("x" * 40)) == 15
