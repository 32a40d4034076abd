"""`vrfwire-gateway-ctl peer`, and routes of BGP, against a fake daemon."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from gateway import cli as gateway_cli
from gateway import route_stream
from runtime import paging
from runtime.errors import ExitCode, OperatorError
from tests.unit.cli.conftest import Commands, FakeDaemon

RR: dict[str, Any] = {
    "name": "rr1",
    "address": "192.0.2.254",
    "as": 64512,
    "type": "ibgp",
    "state": "established",
    "enabled": True,
    "since": "2026-01-31T12:00:00Z",
    "families": ["vpnv4", "rtc"],
    "received": 12345,
    "announced": 17,
    "stale": 0,
    "hold_time": 90,
    "last_error": "connection reset",
    "problem": "",
}
PE = {
    **RR,
    "name": "pe1",
    "state": "idle",
    "last_error": 'notification received: 6/2 cease: administrative shutdown: "moin"',
}
SHOWN = {
    **PE,
    "router_id": "",
    "local_as": 64512,
    "passive": True,
    "uptime": None,
    "transport": {"port": 179, "md5": True, "ttl_security": 1, "multihop": None, "local_address": None},
    "connection": None,
    "capabilities": [
        {"capability": "vpnv4", "ours": "yes", "theirs": "yes", "used": True, "why": ""},
        {"capability": "rtc", "ours": "yes", "theirs": "", "used": False, "why": "the peer does not offer it"},
    ],
    "per_family": [
        {
            "family": "vpnv4",
            "received": 5,
            "stale": 5,
            "announced": 0,
            "withdrawn": 0,
            "waiting": 0,
            "ended": False,
            "limit": 1000,
        }
    ],
    "memberships": None,
    "waiting_for_memberships": False,
    "counters": {
        "established": 2,
        "received": {"keepalive": 9, "update": 4},
        "sent_notifications": 0,
        "treated_as_withdraw": 1,
        "attributes_discarded": 0,
        "looped": 3,
    },
    "last_malformation": "ORIGIN 9",
    "last_down": {
        "at": "2026-01-31T12:00:00Z",
        "reason": "notification received",
        "code": 6,
        "subcode": 2,
        "notification": '6/2 cease: administrative shutdown: "moin"',
        "hard": False,
        "text": "moin",
        "detail": "",
        "kept": ["vpnv4"],
    },
    "last_connect_error": "",
    "hint": "the peer's operator has shut the session down",
}


def test_list(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["peer.list"] = {"items": [PE, RR], "configured": True}
    outcome = commands.gateway_ctl("peer", "list")
    assert outcome.code == 0
    head, pe, rr = outcome.out.splitlines()
    assert head.split() == [
        *("NAME", "ADDRESS", "AS", "TYPE", "STATE", "SINCE", "FAMILIES", "RECEIVED", "ANNOUNCED", "STALE", "PROBLEM")
    ]
    assert pe.endswith(PE["last_error"])
    assert rr.endswith("12345         17      0  -")
    assert commands.gateway_ctl("peer", "list", "-j").json == {"items": [PE, RR], "configured": True}


def test_list_without_trouble_has_no_column_for_it(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["peer.list"] = {"items": [RR], "configured": True}
    assert "PROBLEM" not in commands.gateway_ctl("peer", "list").out
    daemon.answers["peer.list"] = {"items": [{**RR, "problem": "the kernel drops segments"}], "configured": True}
    assert commands.gateway_ctl("peer", "list").out.splitlines()[1].endswith("the kernel drops segments")


def test_list_says_who_holds_routes_back(commands: Commands, daemon: FakeDaemon) -> None:
    waiting = ["peer rr (no session)", "host hv1 (2 of 7 routes)", "3 more hosts"]
    daemon.answers["peer.list"] = {"items": [RR], "configured": True, "waiting_for": waiting}
    last = commands.gateway_ctl("peer", "list").out.splitlines()[-1]
    assert last.startswith("peers are told no routes yet;")
    assert all(word in last for word in waiting)


def test_list_without_bgp(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["peer.list"] = {"items": [], "configured": False}
    outcome = commands.gateway_ctl("peer", "list", "-j")
    assert (outcome.code, outcome.json["items"]) == (0, [])
    assert outcome.err == "vrfwire-gateway-ctl: BGP is not configured: gateway.toml has no [[bgp.peer]]\n"


def test_show(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["peer.show"] = SHOWN
    outcome = commands.gateway_ctl("peer", "show", "pe1")
    assert outcome.code == 0
    lines = [line.split(None, 1) for line in outcome.out.splitlines()]
    assert ["transport:", "port 179, passive, MD5, GTSM 1"] in lines
    assert ["as:", "64512 (ibgp), ours 64512"] in lines
    assert ["messages:", "received 9 keepalive, 4 update"] in lines
    assert ["malformed:", "1 UPDATEs treated as withdrawals, 0 lost an attribute; last: ORIGIN 9"] in lines
    assert "peer's text: moin" in outcome.out
    assert (
        'last down:   2026-01-31T12:00:00Z notification received: 6/2 cease: administrative shutdown: "moin"; '
        "routes kept as stale: vpnv4" in outcome.out.splitlines()
    )
    assert "hint:        the peer's operator has shut the session down" in outcome.out.splitlines()
    assert "  rtc         yes   -           no    the peer does not offer it" in outcome.out.splitlines()
    assert "  vpnv4          5   1000      5  no           0          0        0" in outcome.out.splitlines()
    # Only what there is something to say about.
    assert not any(word in outcome.out for word in ("router id", "connection:", "memberships", "last dial", "problem:"))
    assert commands.gateway_ctl("peer", "show", "pe1", "--json").json == SHOWN
    assert daemon.asked == [("peer.show", {"name": "pe1"})] * 2


def test_show_of_a_session_that_is_up(commands: Commands, daemon: FakeDaemon) -> None:
    connection = {
        "local": "192.0.2.1 port 179",
        "remote": "192.0.2.254 port 40000",
        "opened_by": "peer",
        "max_length": 65535,
    }
    daemon.answers["peer.show"] = {**SHOWN, "state": "established", "connection": connection, "memberships": 7}
    out = commands.gateway_ctl("peer", "show", "pe1").out
    assert (
        "connection:  192.0.2.1 port 179 to 192.0.2.254 port 40000, opened by the peer, messages up to 65535 bytes"
        in out.splitlines()
    )
    assert "memberships: 7 of the peer (RTC)" in out.splitlines()


def test_show_of_what_is_not_there(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["peer.show"] = OperatorError("peer r1", "no such peer", "did you mean rr1?", ExitCode.NOT_FOUND)
    outcome = commands.gateway_ctl("peer", "show", "r1")
    assert (outcome.code, outcome.err) == (
        4,
        "vrfwire-gateway-ctl: peer r1: no such peer\nhint: did you mean rr1?\n",
    )


def test_refresh(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["peer.refresh"] = {"name": "rr1", "families": ["vpnv4", "rtc"]}
    outcome = commands.gateway_ctl("peer", "refresh", "rr1")
    assert (outcome.code, outcome.out) == (0, "peer rr1: asked for vpnv4,rtc\n")
    commands.gateway_ctl("peer", "refresh", "rr1", "--family", "rtc", "-j")
    assert daemon.asked == [("peer.refresh", {"name": "rr1"}), ("peer.refresh", {"name": "rr1", "family": "rtc"})]
    assert commands.gateway_ctl("peer", "refresh", "rr1", "--family", "evpn").code == ExitCode.USAGE


def test_reset(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["peer.reset"] = {"name": "rr1", "before": "established", "state": "idle"}
    outcome = commands.gateway_ctl("peer", "reset", "rr1")
    assert (outcome.code, outcome.out) == (0, "peer rr1: reset, was established\n")
    commands.gateway_ctl("peer", "reset", "rr1", "--hard", "--text", "moin")
    assert daemon.asked[1] == ("peer.reset", {"name": "rr1", "hard": True, "text": "moin"})


# -- routes


def table_of(count: int, page: int) -> Any:
    """A daemon with `count` routes that gives at most `page` at once."""

    def answer(params: dict[str, Any]) -> dict[str, object]:
        start = int(params.get("after", "0"))
        end = min(count, start + page)
        rows = [
            {
                "family": "vpnv4",
                "rd": "192.0.2.11:1",
                "prefix": f"10.0.0.{number}/32",
                "next_hop": "192.0.2.11",
                "labels": [1000 + number],
                "local_preference": 100,
                "as_path": "",
                "route_targets": ["64512:1"],
                "from": "rr1",
                "paths": 2,
                "stale": False,
                "imported_by": ["blue"],
            }
            for number in range(start, end)
        ]
        return {"items": rows, "after": str(end) if end < count else None, "total": count}

    return answer


def test_routes_page_by_page(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["bgp.routes"] = table_of(12, 5)
    outcome = commands.gateway_ctl("route", "list", "--rd", "all")
    lines = outcome.out.splitlines()
    assert (outcome.code, len(lines)) == (0, 13)
    assert lines[0].split() == [
        *("RD", "PREFIX", "NEXT", "HOP", "LABEL", "PREFERENCE", "AS", "PATH", "TARGETS", "FROM", "PATHS", "STALE"),
        *("IMPORTED", "BY"),
    ]
    assert lines[1].split() == [
        *("192.0.2.11:1", "10.0.0.0/32", "192.0.2.11", "1000", "100", "-", "64512:1", "rr1", "2", "no", "blue")
    ]
    asked = [params.get("after") for _, params in daemon.asked]
    assert asked == [None, "5", "10"]
    found = commands.gateway_ctl("route", "list", "--rd", "all", "--json").json
    assert [row["prefix"] for row in found["items"]] == [f"10.0.0.{number}/32" for number in range(12)]


@pytest.mark.parametrize("count", [0, 1])
def test_few_routes(commands: Commands, daemon: FakeDaemon, count: int) -> None:
    daemon.answers["bgp.routes"] = table_of(count, 5)
    assert len(commands.gateway_ctl("route", "list", "--rd", "64512:1", "--json").json["items"]) == count
    assert len(commands.gateway_ctl("route", "list", "--rd", "64512:1").out.splitlines()) == 1 + count
    assert len(commands.gateway_ctl("route", "list", "--rd", "64512:1", "--no-legend").out.splitlines()) == count


def test_empty_pages_in_between(commands: Commands, daemon: FakeDaemon) -> None:
    pages = [
        {"items": [], "after": "a", "total": 2},
        table_of(1, 1)({}) | {"after": "b"},
        {"items": [], "after": None, "total": 2},
    ]
    daemon.answers["bgp.routes"] = lambda params: pages[{None: 0, "a": 1, "b": 2}[params.get("after")]]
    assert len(commands.gateway_ctl("route", "list", "--rd", "all", "-j").json["items"]) == 1
    assert len(commands.gateway_ctl("route", "list", "--rd", "all").out.splitlines()) == 2


def test_family_alone_means_bgp(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["bgp.routes"] = table_of(1, 1)
    assert commands.gateway_ctl("route", "list", "--family", "vpnv6").code == 0
    assert daemon.asked == [("bgp.routes", {"limit": paging.PAGE, "rd": "all", "family": "vpnv6"})]
    assert commands.gateway_ctl("route", "list", "--rd", "all", "--vpn", "blue").code == ExitCode.USAGE


def test_progress_of_a_long_list(commands: Commands, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.answers["bgp.routes"] = table_of(3, 2)
    monkeypatch.setattr(route_stream, "PATIENCE", 0.0)
    assert commands.gateway_ctl("route", "list", "--rd", "all").err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert commands.gateway_ctl("route", "list", "--rd", "all").err.splitlines() == [
        "vrfwire-gateway-ctl: 2 routes so far, of 3 in the tables",
        "vrfwire-gateway-ctl: 3 routes so far, of 3 in the tables",
    ]


def test_a_daemon_that_goes_away_meanwhile(commands: Commands, daemon: FakeDaemon) -> None:
    gone = OperatorError("BGP", "not configured on this gateway", "add a [[bgp.peer]]", ExitCode.CONFLICT)

    def answer(params: dict[str, Any]) -> object:
        if "after" in params:
            raise gone
        return table_of(3, 2)(params)

    daemon.answers["bgp.routes"] = answer
    outcome = commands.gateway_ctl("route", "list", "--rd", "all", "-j")
    assert outcome.code == ExitCode.CONFLICT
    with pytest.raises(json.JSONDecodeError):
        json.loads(outcome.out)


EXPLAINED = {
    "query": "10.0.0.1",
    "vpn": "blue",
    "prefix": "10.0.0.0/24",
    "next_hops": [{"address": "192.0.2.11", "label": 1001}],
    "candidates": [
        {
            "source": "hv1",
            "kind": "host",
            "next_hops": [{"address": "192.0.2.11", "label": 1001}],
            "local_preference": 100,
            "sequence_number": 0,
            "stale": False,
            "selected": True,
            "reason": "",
        }
    ],
    "destinations": [
        {
            "family": "vpnv4",
            "rd": "64512:1",
            "prefix": "10.0.0.0/24",
            "route_targets": ["64512:1"],
            "paths": [
                {"from": "rr1", "next_hop": "192.0.2.7", "labels": [7], "best": True, "multipath": True, "reason": ""},
                {
                    "from": "rr2",
                    "next_hop": "192.0.2.8",
                    "labels": [8],
                    "best": False,
                    "multipath": False,
                    "long_lived_stale": True,
                    "reason": "local preference",
                },
            ],
            "told": ["pe1"],
            "not_told": [{"peer": "rr1", "reason": "the best path came from there"}],
            "imported_by": [{"vpn": "blue", "targets": ["64512:1"]}],
            "not_imported": "",
        }
    ],
    "destinations_total": 3,
    "others": [{"rd": "64512:9", "prefix": "10.0.0.0/24", "from": "rr1", "route_targets": ["64512:9"]}],
    "others_total": 1,
    "why": ["10.0.0.0/24 is the longest prefix of VPN blue that has 10.0.0.1"],
}


def test_explain(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["route.explain"] = EXPLAINED
    outcome = commands.gateway_ctl("route", "explain", "10.0.0.1", "--vpn", "blue")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "10.0.0.1 in VPN blue: 10.0.0.0/24 by 192.0.2.11 label 1001"
    assert "BGP 64512:1:10.0.0.0/24:" in lines
    assert any(line.split() == ["best", "rr1", "192.0.2.7", "7", *"-" * 6] for line in lines)
    assert any(line.endswith("long-lived  local preference") for line in lines)
    assert "  imported by: blue (by 64512:1)" in lines
    assert "  told to: pe1" in lines
    assert "  not told to rr1: the best path came from there" in lines
    assert "  and 2 more" in lines
    assert "not imported:" in lines
    assert lines[-1] == "  - 10.0.0.0/24 is the longest prefix of VPN blue that has 10.0.0.1"
    assert commands.gateway_ctl("route", "explain", "10.0.0.1", "--rd", "all", "-j").json == EXPLAINED
    assert daemon.asked == [
        ("route.explain", {"prefix": "10.0.0.1", "vpn": "blue"}),
        ("route.explain", {"prefix": "10.0.0.1", "rd": "all"}),
    ]


def test_explain_of_nothing(commands: Commands, daemon: FakeDaemon) -> None:
    nothing = {**EXPLAINED, "prefix": None, "candidates": [], "destinations": [], "destinations_total": 0, "why": []}
    daemon.answers["route.explain"] = nothing
    out = commands.gateway_ctl("route", "explain", "10.0.0.1", "--vpn", "blue").out
    assert out.splitlines()[:2] == ["10.0.0.1 in VPN blue: no route", "not imported:"]
    assert commands.gateway_ctl("route", "explain", "10.0.0.1").code == ExitCode.USAGE
    assert commands.gateway_ctl("route", "explain", "10.0.0.1", "--vpn", "b", "--rd", "all").code == ExitCode.USAGE


# -- completion


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("vrfwire-gateway-ctl peer show ", ["pe1", "rr1"]),
        ("vrfwire-gateway-ctl peer refresh r", ["rr1"]),
        ("vrfwire-gateway-ctl peer reset p", ["pe1"]),
        ("vrfwire-gateway-ctl peer refresh rr1 --family ", ["vpnv4", "vpnv6", "rtc"]),
        ("vrfwire-gateway-ctl route list --family vpn", ["vpnv4", "vpnv6"]),
    ],
)
def test_completion(
    commands: Commands,
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    wanted: list[str],
) -> None:
    daemon.answers["peer.list"] = {"items": [PE, RR], "configured": True}
    monkeypatch.setenv("_VRFWIRE_GATEWAY_CTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    gateway_cli.main([])
    assert [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()] == wanted


def test_the_family_names_are_those_of_bgp() -> None:
    """The command doesn't import bgp, which would cost its start."""
    from gateway.request import SPOKEN

    assert [str(family) for family in SPOKEN] == list(gateway_cli.FAMILIES)
