"""What operators see of BGP, of two real gateways: every command, and the metrics over HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from runtime.errors import ExitCode
from tests.interop.site import Gateway, Site
from tests.scenario.bgp_sites import meet, pair, site, wait

__all__ = ["site"]

METRICS = "127.0.0.15:9409"
BLUE = {"10.1.1.1/32": 1001, "10.9.0.0/16": 1002}


def refused(gateway: Gateway, *arguments: str) -> tuple[int, str]:
    """Exit code and messages of a command that fails."""
    program = str(Path(sys.executable).parent / "vrfwire-gateway-ctl")
    argv = [program, "--socket", str(gateway.socket), *arguments]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def gateways(site: Site) -> tuple[Gateway, Gateway]:
    """Two that have met. A host at each, in VPN blue, with a prefix that both have."""
    first, second = pair(site, one={"name": "two"}, two={"name": "one"})
    with first.config.open("a") as config:
        config.write(f'[metrics]\nlisten = "{METRICS}"\n')
    meet((first, second))
    for gateway, name, address, routes in (
        (first, "hv1", "192.0.2.11", BLUE),
        (second, "hv2", "192.0.2.12", {"10.1.1.2/32": 2001, "10.9.0.0/16": 2002}),
    ):
        host = site.host(gateway, name, address)
        host.subscribe("blue")
        host.publish("blue", routes)
    hops = [("192.0.2.11", 1002), ("192.0.2.12", 2002)]
    for gateway in (first, second):
        gateway.wait_routes(
            "blue",
            {"10.1.1.1/32": [("192.0.2.11", 1001)], "10.1.1.2/32": [("192.0.2.12", 2001)], "10.9.0.0/16": hops},
        )
    return first, second


def test_commands(gateways: tuple[Gateway, Gateway]) -> None:
    first, second = gateways

    head, row = first.control("peer", "list").splitlines()
    assert head.split()[:5] == ["NAME", "ADDRESS", "AS", "TYPE", "STATE"]
    assert row.split()[:5] == ["two", "127.0.0.16", "64512", "ibgp", "established"]
    shown = first.control("peer", "show", "two")
    assert re.search(r"connection: +127\.0\.0\.15 port \d+ to 127\.0\.0\.16 port \d+", shown)
    assert "memberships: 1 of the peer (RTC)" in shown
    assert not re.search(r"hint|last down|last dial", shown)

    rows = first.control("route", "list", "--rd", "all").splitlines()
    assert len(rows) == 5
    (row,) = [row for row in rows if row.startswith("192.0.2.12:1  10.1.1.2/32")]
    assert row.split()[2:] == ["192.0.2.12", "2001", "100", "-", "64512:1", "two", "1", "no", "blue"]
    found = json.loads(first.control("route", "list", "--rd", "192.0.2.11:1", "--json"))
    assert sorted(one["prefix"] for one in found["items"]) == sorted(BLUE)

    text = first.control("route", "explain", "10.9.1.1", "--vpn", "blue")
    assert text.startswith("10.9.1.1 in VPN blue: 10.9.0.0/16 by 192.0.2.11 label 1002, 192.0.2.12 label 2002\n")
    assert "imported by: blue (by 64512:1)" in text
    assert "told to: two" in text
    assert "no route" in first.control("route", "explain", "10.1.1.1", "--vpn", "red")
    assert "told to: one" in second.control("route", "explain", "10.1.1.2", "--rd", "192.0.2.12:1")

    assert first.control("peer", "refresh", "two", "--family", "vpnv4") == "peer two: asked for vpnv4\n"
    wait(lambda: second.peer("one")["counters"]["received"].get("route-refresh"), "the request for a refresh")
    assert first.control("peer", "reset", "two", "--text", "see CHG-1") == "peer two: reset, was established\n"
    down = wait(lambda: second.peer("one")["last_down"], "the end of the session")
    assert (down["code"], down["subcode"], down["text"]) == (6, 4, "see CHG-1")
    first.wait_established()


def test_refusals(gateways: tuple[Gateway, Gateway]) -> None:
    first, _ = gateways
    code, text = refused(first, "peer", "show", "twp")
    assert (code, "did you mean two?" in text) == (ExitCode.NOT_FOUND, True)
    assert refused(first, "route", "explain", "172.16.0.1", "--vpn", "blue")[0] == ExitCode.NOT_FOUND
    assert refused(first, "route", "explain", "10.0.0.1/8", "--rd", "all")[0] == ExitCode.USAGE
    assert refused(first, "peer", "reset", "two", "--text", "x" * 256)[0] == ExitCode.USAGE


def test_metrics(site: Site, gateways: tuple[Gateway, Gateway]) -> None:
    with site.namespace.entered(), urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=20) as response:
        lines = response.read().decode().splitlines()
    for line in (
        'vrfwire_bgp_peer_up{peer="two"} 1.0',
        'vrfwire_bgp_peer_accepted_routes{family="vpnv4",peer="two"} 2.0',
        'vrfwire_bgp_table_destinations{family="vpnv4"} 4.0',
        'vrfwire_vpn_routes{vpn="blue"} 3.0',
        'vrfwire_xmpp_hosts{state="connected"} 1.0',
        "vrfwire_xmpp_items 2.0",
        "vrfwire_bgp_errors_total 0.0",
    ):
        assert line in lines
    assert any(line.startswith("vrfwire_loop_lag_seconds_bucket") for line in lines)


def test_a_gateway_without_bgp(site: Site) -> None:
    gateway = site.gateway("alone", "127.0.0.17", [])
    gateway.start()
    assert gateway.control("peer", "list", "--no-legend") == ""
    code, text = refused(gateway, "route", "list", "--rd", "all", "--no-legend")
    assert (code, "BGP: not configured on this gateway" in text) == (ExitCode.CONFLICT, True)
    assert "add a [[bgp.peer]]" in text
    assert refused(gateway, "peer", "show", "x")[0] == ExitCode.NOT_FOUND
