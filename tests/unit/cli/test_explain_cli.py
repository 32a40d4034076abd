"""`vrfwire drops`, `monitor` and `object` against a fake daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from agent.commands_explain import KINDS as EVENT_KINDS
from agent.commands_explain import OBJECT_KINDS, Rates
from agent.events import KINDS
from agent.objects import KINDS as KNOWN_OBJECTS
from runtime.control import Call
from runtime.errors import ExitCode, OperatorError
from tests.unit.cli.conftest import Commands, FakeDaemon

ROOT = Path(__file__).parents[3]

SPOOFED: dict[str, Any] = {
    "name": "port-spoofed-ipv4",
    "where": "port web-1",
    "port": "web-1",
    "vpn": "blue",
    "device": "tap0",
    "value": 12,
    "since": "2026-01-31T12:00:00Z",
    "last": "2026-01-31T12:34:56Z",
    "usual": False,
    "cause": "the VM sent IPv4 from an address that is not its own",
    "hint": "give the VM the addresses that `vrfwire port show web-1` lists",
}
PROBES = {**SPOOFED, "name": "port-nd-probe", "value": 2, "usual": True, "since": None, "last": None, "cause": "probes"}
ZERO = {**SPOOFED, "name": "host-backlog-full", "where": "host", "port": None, "device": None, "value": 0, "last": None}
DROPS = {"items": [PROBES, SPOOFED, ZERO], "at": 1000.0}

OBJECT: dict[str, Any] = {
    "kind": "mpls-route",
    "name": "100000",
    "state": "programmed",
    "wanted_by": ["port web-1"],
    "repaired": 0,
    "error": "",
}
ROUTE_OBJECT = {
    **OBJECT,
    "kind": "vrf-route",
    "name": "10.1.1.2/32 table 10000",
    "state": "failed",
    "error": "no such device",
    "desired": {"table": 10000, "prefix": "10.1.1.2/32", "via": "192.0.2.12 dev vw-gre label 100001"},
    "kernel": None,
    "attempts": 3,
    "next_retry": 1.25,
    "repaired": 2,
    "last_repair": "2026-01-31T12:34:56Z",
    "needs": [{"kind": "next-hop", "name": "192.0.2.12 dev vw-gre label 100001", "state": "failed", "error": "x"}],
}


class TestDrops:
    def test_what_matters_first_then_what_to_do(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["drops"] = DROPS
        outcome = commands.vrfwire("drops")
        assert outcome.code == 0
        head, first, second, hint = outcome.out.splitlines()
        assert head.split() == ["COUNTER", "WHERE", "PACKETS", "SINCE", "LAST", "CAUSE"]
        assert first.split()[:4] == ["port-spoofed-ipv4", "port", "web-1", "12"]
        assert "2026-01-31T12:00:00Z" in first
        assert "2026-01-31T12:34:56Z" in first
        assert second.split()[:4] == ["port-nd-probe", "port", "web-1", "2"]
        assert "device made" in second
        assert hint == f"hint: port-spoofed-ipv4 at port web-1: {SPOOFED['hint']}"
        assert daemon.asked == [("drops", {"nonzero": True})]

    def test_all_and_port(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["drops"] = DROPS
        assert "host-backlog-full" in commands.vrfwire("drops", "--all").out
        assert daemon.asked == [("drops", {})]
        commands.vrfwire("drops", "--port", "web-1")
        assert daemon.asked[-1] == ("drops", {"port": "web-1", "nonzero": True})

    def test_json(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["drops"] = DROPS
        assert commands.vrfwire("drops", "--json").json == {"items": [PROBES, SPOOFED], "at": 1000.0}
        assert commands.vrfwire("drops", "--json", "--all").json == DROPS

    def test_nothing_lost(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["drops"] = {"items": [ZERO], "at": 1.0}
        assert commands.vrfwire("drops").out == "nothing was lost\n"

    def test_text_of_the_daemon_cannot_steer_the_terminal(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["drops"] = {"items": [{**SPOOFED, "where": "port \x1b[2J", "hint": "\x07run\nme"}], "at": 1.0}
        assert "\x1b" not in (out := commands.vrfwire("drops").out)
        assert out.endswith("port ?[2J: ?run?me\n")


def test_rates() -> None:
    rates = Rates()
    first = rates.of({"at": 100.0, "items": [SPOOFED, PROBES]})
    assert [row["rate"] for row in first] == [None, None]
    second = rates.of({"at": 102.0, "items": [{**SPOOFED, "value": 17}, {**PROBES, "value": 1}]})
    assert [row["rate"] for row in second] == [2.5, None], "a counter that began anew has none"
    third = rates.of({"at": 104.0, "items": [{**SPOOFED, "value": 17}]})
    assert [row["rate"] for row in third] == [0.0]


class TestObjects:
    def test_kinds_are_those_of_the_daemon(self) -> None:
        assert tuple(KNOWN_OBJECTS) == OBJECT_KINDS
        assert KINDS == EVENT_KINDS

    def test_list_goes_on_to_the_end(self, commands: Commands, daemon: FakeDaemon) -> None:
        pages = iter([{"items": [OBJECT], "after": "500"}, {"items": [ROUTE_OBJECT], "after": None}])
        daemon.answers["object.list"] = lambda params: next(pages)
        outcome = commands.vrfwire("object", "list", "--vpn", "blue", "--state", "failed")
        head, first, second = outcome.out.splitlines()
        assert head.split() == ["KIND", "NAME", "STATE", "WANTED", "BY", "REPAIRED", "ERROR"]
        assert first.split() == ["mpls-route", "100000", "programmed", "port", "web-1", "0", "-"]
        assert second.split()[:2] == ["vrf-route", "10.1.1.2/32"]
        asked = {"vpn": "blue", "state": "failed"}
        assert daemon.asked == [("object.list", asked), ("object.list", {**asked, "after": "500"})]

    def test_show(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["object.show"] = ROUTE_OBJECT
        out = commands.vrfwire("object", "show", "vrf-route", "10.1.1.2/32 table 10000").out
        assert "wanted:       table 10000, prefix 10.1.1.2/32, via 192.0.2.12 dev vw-gre label 100001\n" in out
        assert "kernel:       -\n" in out
        assert "failed tries: 3\n" in out
        assert "next try in:  1.2 s\n" in out
        assert "last repair:  2026-01-31T12:34:56Z\n" in out
        assert "  next-hop  192.0.2.12 dev vw-gre label 100001  failed\n" in out
        assert daemon.asked == [("object.show", {"kind": "vrf-route", "name": "10.1.1.2/32 table 10000"})]

    def test_unknown_kind_is_a_usage_error(self, commands: Commands, daemon: FakeDaemon) -> None:
        assert commands.vrfwire("object", "show", "bridge", "br0").code == ExitCode.USAGE


EVENTS = [
    {"at": "2026-01-31T12:00:00.123Z", "kind": "monitor", "event": "began"},
    {"at": "2026-01-31T12:00:01.000Z", "kind": "port", "event": "attached", "text": "port web-1 \x1b[31mred"},
    {"at": "2026-01-31T12:00:02.000Z", "kind": "monitor", "event": "lost", "lost": 7},
]


def send_events(call: Call) -> None:
    if call.method == "monitor":
        call.progress({"events": EVENTS[:1]})
        call.progress({"events": EVENTS[1:]})


class TestMonitor:
    def test_a_line_an_event(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.before_answer = send_events
        daemon.answers["monitor"] = {"ended": "count", "events": 2}
        outcome = commands.vrfwire("monitor", "--vpn", "blue", "--kind", "port", "--kind", "route", "--count", "2")
        assert outcome.code == 0
        assert outcome.out == (
            "2026-01-31T12:00:00.123Z  monitor began\n"
            "2026-01-31T12:00:01.000Z  port    port web-1 ?[31mred\n"
            "2026-01-31T12:00:02.000Z  7 events lost: they came faster than they were read\n"
        )
        assert daemon.asked == [("monitor", {"vpn": "blue", "kinds": ["port", "route"], "count": 2})]

    def test_json_is_a_document_a_line(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.before_answer = send_events
        daemon.answers["monitor"] = {"ended": "count", "events": 2}
        lines = commands.vrfwire("monitor", "--json").out.splitlines()
        assert [json.loads(line) for line in lines] == EVENTS
        assert all(line.isprintable() for line in lines)

    def test_a_daemon_that_stops_is_an_error(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["monitor"] = {"ended": "stopping", "events": 0}
        outcome = commands.vrfwire("monitor")
        assert outcome.code == ExitCode.UNREACHABLE
        assert outcome.err.startswith("vrfwire: vrfwire-agent: is stopping\nhint: ")

    def test_errors_of_the_daemon(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["monitor"] = OperatorError("monitor", "16 watch already", "end one", ExitCode.CONFLICT)
        assert commands.vrfwire("monitor").code == ExitCode.CONFLICT

    def test_interrupted_it_ends_clean(self, daemon: FakeDaemon) -> None:
        daemon.before_answer = send_events
        daemon.hold = True
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", "--socket", daemon.path, "monitor"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().endswith(b"monitor began\n"), "each event is printed at once"
            assert b"web-1" in process.stdout.readline()
            assert b"7 events lost" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
            process.communicate()
        assert (process.returncode, out, err) == (130, b"", b"")
        assert daemon.left.wait(10), "the daemon hears of it"
