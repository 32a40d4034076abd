"""`vrfwire` against a fake daemon: requests, tables, JSON, exit codes, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from runtime.control import Call
from runtime.errors import ExitCode, OperatorError
from runtime.paging import PAGE
from tests.unit.cli.conftest import Commands, FakeDaemon

WEB: dict[str, Any] = {
    "name": "web-1",
    "vpn": "blue",
    "kind": "tap",
    "interface": "tap0",
    "netns": None,
    "guest_interface": "",
    "addresses": ["10.1.1.1", "fd00::1"],
    "prefixes": ["10.9.0.0/16"],
    "mac": "02:00:00:00:00:01",
    "label": 100000,
    "mtu": 1472,
    "state": "programmed",
    "announced": "yes",
    "carrier": True,
    "error": "",
}
BROKEN = {**WEB, "name": "db-1", "state": "error", "announced": "no", "error": "tap1: device or resource busy"}
ATTACHED = {**WEB, "unchanged": False, "elapsed_ms": 12.345}
HOPS = [
    {"address": "192.0.2.12", "label": 100001, "encapsulations": ["gre"], "local": False},
    {"address": "192.0.2.11", "label": 100000, "encapsulations": ["gre"], "local": True, "interface": "tap0"},
]
ROUTE = {
    "vpn": "blue",
    "prefix": "10.1.1.2/32",
    "next_hops": HOPS,
    "state": "programmed",
    "error": "",
    "gateway": "192.0.2.1",
}
VPN = {
    "name": "blue",
    "table": 10000,
    "instance_id": 1,
    "device": "vw-blue-abcdefg",
    "ports": ["web-1"],
    "routes": 6,
    "gateways": [
        {"address": "192.0.2.1", "state": "connected", "synchronised": True, "routes": 6, "error": ""},
        {"address": "192.0.2.2", "state": "down", "synchronised": False, "routes": 0, "error": ""},
    ],
}
GATEWAY = {
    "address": "192.0.2.1",
    "port": 5222,
    "domain": "vpn.example.net",
    "jid": "hv1@vpn.example.net/vrfwire",
    "state": "connected",
    "since": "2026-01-31T12:00:00Z",
    "last_error": "",
    "vpns": 1,
    "routes": 6,
    "synchronised": True,
}
EXPLAINED = {
    "vpn": "blue",
    "address": "10.1.1.2",
    "prefix": "10.1.1.2/32",
    "desired": {"next_hops": HOPS[:1]},
    "kernel": "nexthop 108000001 dev vw-gre label 100001",
    "state": "programmed",
    "per_gateway": [
        {
            "gateway": "192.0.2.1",
            "next_hops": HOPS[:1],
            "local_preference": 100,
            "sequence_number": 0,
            "selected": True,
            "reason": "only one",
        }
    ],
    "why": ["the longest match is 10.1.1.2/32"],
}


class TestAttach:
    def test_request_and_line(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.attach"] = ATTACHED
        outcome = commands.vrfwire(
            *("port", "attach", "web-1", "--vpn", "blue", "--address", "10.1.1.1", "--address", "fd00::1"),
            *("--prefix", "10.9.0.0/16", "--mac", "02:00:00:00:00:01", "--tap", "tap0"),
        )
        assert outcome.code == 0
        assert outcome.err == ""
        assert outcome.out == (
            "port web-1: programmed in 12.3 ms, vpn blue, label 100000, mac 02:00:00:00:00:01, mtu 1472, "
            "interface tap0, announced: yes\n"
        )
        assert daemon.asked == [
            (
                "port.attach",
                {
                    "name": "web-1",
                    "vpn": "blue",
                    "addresses": ["10.1.1.1", "fd00::1"],
                    "prefixes": ["10.9.0.0/16"],
                    "kind": "tap",
                    "wait": "programmed",
                    "timeout": 10.0,
                    "mac": "02:00:00:00:00:01",
                    "interface": "tap0",
                },
            )
        ]

    @pytest.mark.parametrize("noun", [("port",), ()])
    def test_a_namespace_and_the_short_form(
        self, commands: Commands, daemon: FakeDaemon, noun: tuple[str, ...]
    ) -> None:
        daemon.answers["port.attach"] = ATTACHED
        outcome = commands.vrfwire(
            *(*noun, "attach", "db-1", "--vpn", "blue", "-a", "10.1.1.2", "--netns", "db", "--ifname", "eth1"),
            *("--wait", "announced", "--timeout", "3", "-j"),
        )
        assert outcome.json == ATTACHED
        (_, params) = daemon.asked[0]
        assert (params["kind"], params["netns"], params["guest_interface"]) == ("veth", "db", "eth1")
        assert (params["wait"], params["timeout"]) == ("announced", 3.0)
        assert "interface" not in params

    def test_a_refusal_is_told_with_what_to_do(self, commands: Commands, daemon: FakeDaemon) -> None:
        """It is no failure: the port is kept, and announced as soon as a gateway lets it."""
        why = "blocked, nothing passes from or to 10.1.1.1: gateway 192.0.2.1: forbidden"
        daemon.answers["port.attach"] = {**ATTACHED, "announced": "refused", "error": why, "hint": "bind it"}
        attach = ("port", "attach", "web-1", "--vpn", "blue", "--address", "10.1.1.1", "--tap", "tap0")
        outcome = commands.vrfwire(*attach)
        assert outcome.code == 0
        assert outcome.err == f"vrfwire: port web-1: {why}\nhint: bind it\n"
        assert commands.vrfwire(*attach, "--json").err == ""

    def test_show_has_a_hint_only_when_there_is_one(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.show"] = {**WEB, "hint": ""}
        assert "hint" not in commands.vrfwire("port", "show", "web-1").out
        daemon.answers["port.show"] = {**WEB, "announced": "refused", "hint": "bind it"}
        assert "hint:" in commands.vrfwire("port", "show", "web-1").out

    def test_again_is_unchanged(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.attach"] = {**ATTACHED, "unchanged": True}
        outcome = commands.vrfwire("port", "attach", "web-1", "--vpn", "blue", "--address", "10.1.1.1", "--tap", "tap0")
        assert outcome.code == 0
        assert outcome.out.startswith("port web-1: unchanged in 12.3 ms")

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("--address", "10.1.1.1", "--tap", "t"), "missing option '--vpn'"),
            (("--vpn", "blue", "--tap", "t"), "missing option '--address'"),
            (("--vpn", "blue", "-a", "10.1.1.1"), "give one of --tap and --netns"),
            (("--vpn", "blue", "-a", "10.1.1.1", "--tap", "t", "--netns", "n"), "give one of --tap and --netns"),
            (("--vpn", "blue", "-a", "10.1.1.1", "--tap", "t", "--ifname", "e"), "--ifname is of use with --netns"),
            (("--vpn", "blue", "-a", "10.1.1.1", "--tap", "t", "--wait", "x"), "invalid value for '--wait'"),
            (("--vpn", "blue", "-a", "10.1.1.1", "--tap", "t", "--timeout", "-1"), "invalid value for '--timeout'"),
        ],
    )
    def test_usage(self, commands: Commands, arguments: tuple[str, ...], why: str) -> None:
        outcome = commands.vrfwire("port", "attach", "web-1", *arguments)
        assert outcome.code == ExitCode.USAGE
        assert outcome.out == ""
        first, hint = outcome.err.splitlines()
        assert first.startswith(f"vrfwire: port attach: {why}")
        assert hint == "hint: vrfwire port attach --help"

    @pytest.mark.parametrize("code", [code for code in ExitCode if code is not ExitCode.OK])
    def test_errors_of_the_daemon(self, commands: Commands, daemon: FakeDaemon, code: ExitCode) -> None:
        daemon.answers["port.attach"] = OperatorError("port web-1", "no luck", "try again", code)
        outcome = commands.vrfwire("port", "attach", "web-1", "--vpn", "blue", "-a", "10.1.1.1", "--tap", "t", "-j")
        assert outcome.code == code
        assert outcome.out == ""
        assert outcome.err == "vrfwire: port web-1: no luck\nhint: try again\n"

    def test_progress_is_told_on_a_terminal_alone(
        self, commands: Commands, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        daemon.answers["port.attach"] = ATTACHED
        daemon.before_answer = lambda call: call.progress({"state": "pending"})
        arguments = ("port", "attach", "web-1", "--vpn", "blue", "-a", "10.1.1.1", "--tap", "t")
        assert commands.vrfwire(*arguments).err == ""
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        assert commands.vrfwire(*arguments).err == "vrfwire: web-1: state pending\n"
        assert commands.vrfwire(*arguments, "-j").err == ""


def test_detach(commands: Commands, daemon: FakeDaemon) -> None:
    daemon.answers["port.detach"] = {"name": "web-1", "state": "detached"}
    assert commands.vrfwire("port", "detach", "web-1").out == "port web-1: detached\n"
    assert commands.vrfwire("detach", "web-1", "--json").json == {"name": "web-1", "state": "detached"}
    assert daemon.asked[0] == ("port.detach", {"name": "web-1", "timeout": 10.0})


class TestTables:
    def test_ports(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.list"] = {"items": [WEB]}
        assert commands.vrfwire("port", "list").out == (
            "NAME   VPN   STATE       ANNOUNCED  CARRIER   LABEL  INTERFACE  MAC                ADDRESSES\n"
            "web-1  blue  programmed  yes        yes      100000  tap0       02:00:00:00:00:01  "
            "10.1.1.1,fd00::1,10.9.0.0/16\n"
        )
        assert commands.vrfwire("port", "list", "--vpn", "blue", "--no-legend").out.startswith("web-1")
        assert [params for _, params in daemon.asked] == [{}, {"vpn": "blue"}]

    def test_the_error_column_appears_with_the_first_error(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.list"] = {"items": [WEB, BROKEN]}
        head, web, broken = commands.vrfwire("port", "list").out.splitlines()
        assert head.endswith("ERROR")
        assert web.endswith("-")
        assert broken.endswith("tap1: device or resource busy")

    def test_no_ports(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.list"] = {"items": []}
        assert commands.vrfwire("port", "list", "--no-legend").out == ""
        assert commands.vrfwire("port", "list", "-j").json == {"items": []}

    def test_port(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.show"] = BROKEN
        out = commands.vrfwire("port", "show", "db-1").out
        assert "name:            db-1\n" in out
        assert "error:           tap1: device or resource busy\n" in out
        assert daemon.asked == [("port.show", {"name": "db-1"})]

    def test_a_port_whose_vm_does_not_run(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["port.show"] = WEB | {"carrier": False}
        assert "carrier:         no, waiting for the VM\n" in commands.vrfwire("port", "show", "web-1").out

    def test_vpns(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers.update({"vpn.list": {"items": [VPN]}, "vpn.show": VPN})
        assert commands.vrfwire("vpn", "list").out == (
            "NAME  DEVICE           TABLE  INSTANCE  PORTS  ROUTES  GATEWAYS\n"
            "blue  vw-blue-abcdefg  10000         1      1       6       1/2\n"
        )
        out = commands.vrfwire("vpn", "show", "blue").out
        assert "ports:       web-1\n" in out
        assert "gateways:\n  GATEWAY    STATE      SYNCHRONISED  ROUTES  ERROR\n" in out
        assert "  192.0.2.2  down       no                 0  -\n" in out
        assert daemon.asked[1] == ("vpn.show", {"name": "blue"})

    def test_routes(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["route.list"] = {"items": [ROUTE]}
        assert commands.vrfwire("route", "list", "--vpn", "blue").out == (
            "VPN   PREFIX       NEXT HOPS                             STATE       GATEWAY\n"
            "blue  10.1.1.2/32  192.0.2.12 label 100001, local tap0  programmed  192.0.2.1\n"
        ).replace("HOPS   ", "HOPS  ")
        assert daemon.asked == [("route.list", {"limit": PAGE, "vpn": "blue"})]

    def test_gateways(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["gateway.list"] = {"items": [GATEWAY]}
        head, row = commands.vrfwire("gateway", "list").out.splitlines()
        assert head.split() == [
            *("ADDRESS", "PORT", "DOMAIN", "STATE", "SINCE", "VPNS", "ROUTES", "SYNCHRONISED", "LAST", "ERROR")
        ]
        assert row.split() == [
            *("192.0.2.1", "5222", "vpn.example.net", "connected", "2026-01-31T12:00:00Z", "1", "6", "yes", "-")
        ]

    def test_explain(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["route.explain"] = EXPLAINED
        out = commands.vrfwire("route", "explain", "10.1.1.2", "--vpn", "blue").out
        assert "wanted:  192.0.2.12 label 100001\n" in out
        assert "kernel:  nexthop 108000001 dev vw-gre label 100001\n" in out
        assert "  192.0.2.1  192.0.2.12 label 100001         100         0  yes       only one\n" in out
        assert "  - the longest match is 10.1.1.2/32\n" in out
        assert daemon.asked == [("route.explain", {"vpn": "blue", "address": "10.1.1.2"})]


READERS = [
    (("port", "list"), "port.list", {"items": [WEB]}),
    (("port", "show", "web-1"), "port.show", WEB),
    (("vpn", "list"), "vpn.list", {"items": [VPN]}),
    (("vpn", "show", "blue"), "vpn.show", VPN),
    (("route", "list"), "route.list", {"items": [ROUTE]}),
    (("route", "explain", "10.1.1.2", "--vpn", "blue"), "route.explain", EXPLAINED),
    (("gateway", "list"), "gateway.list", {"items": [GATEWAY]}),
    (("status",), "status", {"state": "ok", "problems": []}),
    (("doctor",), "doctor", {"items": []}),
    (("config", "show", "--effective"), "config.show", {"items": [], "files": []}),
]


@pytest.mark.parametrize(("arguments", "method", "reply"), READERS)
def test_json_is_the_reply(
    commands: Commands, daemon: FakeDaemon, arguments: tuple[str, ...], method: str, reply: dict[str, object]
) -> None:
    daemon.answers[method] = reply
    for line in ((*arguments, "--json"), ("-j", *arguments), (arguments[0], "-j", *arguments[1:])):
        outcome = commands.vrfwire(*line)
        assert (outcome.code, outcome.json, outcome.err) == (0, reply, "")


# doctor works without the daemon: TestDoctor.
@pytest.mark.parametrize("arguments", [arguments for arguments, method, _ in READERS if method != "doctor"])
def test_no_daemon(commands: Commands, arguments: tuple[str, ...]) -> None:
    outcome = commands.vrfwire(*arguments)
    assert outcome.code == ExitCode.UNREACHABLE
    assert outcome.out == ""
    assert "not running" in outcome.err.splitlines()[0]
    assert outcome.err.splitlines()[1].startswith("hint: start it")


class TestStatus:
    def test_degraded(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["status"] = {
            "state": "degraded",
            "ports": 3,
            "routes": {"programmed": 5, "error": 1},
            "problems": [{"what": "gateway 192.0.2.1", "why": "connection refused", "hint": "start it"}],
        }
        outcome = commands.vrfwire("status")
        assert outcome.code == ExitCode.DEGRADED
        assert outcome.out == (
            "state: degraded\nports: 3\nroutes:\n  programmed: 5\n  error:      1\n"
            "problems:\n  gateway 192.0.2.1: connection refused\n    hint: start it\n"
        )
        assert commands.vrfwire("status", "-j").code == ExitCode.DEGRADED

    def test_ok(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["status"] = {"state": "ok", "ports": 3, "problems": []}
        outcome = commands.vrfwire("status")
        assert (outcome.code, outcome.out) == (0, "state: ok\nports: 3\n")


class TestDoctor:
    @pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("failed", ExitCode.DEGRADED)])
    def test_findings(self, commands: Commands, daemon: FakeDaemon, state: str, code: int) -> None:
        finding = {"check": "vrf", "state": state, "detail": "module vrf", "hint": "modprobe vrf"}
        daemon.answers["doctor"] = {"items": [finding]}
        outcome = commands.vrfwire("doctor")
        assert outcome.code == code
        assert outcome.out.splitlines()[1].split()[:2] == ["vrf", state]
        assert ("hint: vrf: modprobe vrf" in outcome.out) is (state != "ok")

    def test_without_the_daemon_the_command_looks_itself(
        self, commands: Commands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked: list[str | None] = []

        def examine(path: str | None) -> list[dict[str, object]]:
            looked.append(path)
            return [{"check": "vrf", "state": "ok", "detail": "module vrf", "hint": ""}]

        monkeypatch.setattr("agent.commands_diag.examine", examine)
        outcome = commands.vrfwire("doctor", "-j", "--config", "agent.toml")
        assert outcome.code == ExitCode.DEGRADED
        assert [(row["check"], row["state"]) for row in outcome.json["items"]] == [("daemon", "failed"), ("vrf", "ok")]
        assert looked == ["agent.toml"]

    def test_not_permitted_is_no_finding(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["doctor"] = OperatorError("control socket", "not yours", "", ExitCode.NOT_PERMITTED)
        assert commands.vrfwire("doctor").code == ExitCode.NOT_PERMITTED


class TestConfig:
    REPLY = {  # noqa: RUF012
        "items": [
            {"key": "host.name", "value": "hv1", "origin": "/etc/vrfwire/agent.toml:2"},
            {"key": "gateway[0].port", "value": 5222, "origin": "default"},
            {"key": "datapath.encapsulations", "value": ["gre"], "origin": "environment VRFWIRE_X"},
        ],
        "files": ["/etc/vrfwire/agent.toml"],
    }

    def test_what_was_set(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["config.show"] = self.REPLY
        assert commands.vrfwire("config", "show").out == 'host.name = "hv1"\ndatapath.encapsulations = ["gre"]\n'
        assert len(commands.vrfwire("config", "show", "-j").json["items"]) == 2

    def test_effective(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["config.show"] = self.REPLY
        lines = commands.vrfwire("config", "show", "--effective").out.splitlines()
        assert lines[0].split() == ["KEY", "VALUE", "ORIGIN"]
        assert lines[2].split() == ["gateway[0].port", "5222", "default"]

    def test_of_a_file(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "agent.toml"
        path.write_text('[host]\nname = "hv1"\naddress = "192.0.2.11"\n[tls]\nca = "ca.pem"\n')
        outcome = commands.vrfwire("config", "show", "--config", str(path))
        assert outcome.out.splitlines() == [
            'host.name = "hv1"',
            'host.address = "192.0.2.11"',
            f'tls.ca = "{tmp_path}/ca.pem"',
        ]
        path.write_text("[host]\nnmae = 1\n")
        outcome = commands.vrfwire("config", "show", "--config", str(path))
        assert outcome.code == ExitCode.FAILURE
        assert outcome.err.startswith(f"vrfwire: {path}:2: unknown key host.nmae\nhint: did you mean name?")


class TestVersion:
    def test_both(self, commands: Commands, daemon: FakeDaemon) -> None:
        daemon.answers["version"] = {"version": "9.9.9"}
        assert commands.vrfwire("version", "-j").json["daemon"] == "9.9.9"
        assert commands.vrfwire("version").out.splitlines()[1] == "vrfwire-agent 9.9.9"

    def test_without_the_daemon(self, commands: Commands) -> None:
        outcome = commands.vrfwire("version")
        assert (outcome.code, outcome.out.splitlines()[1]) == (0, "vrfwire-agent not running")

    def test_of_a_daemon_that_one_may_not_ask(self, commands: Commands, daemon: FakeDaemon) -> None:
        """The command's own is no secret."""
        daemon.answers["version"] = OperatorError("control socket", "no", "ask root", ExitCode.NOT_PERMITTED)
        outcome = commands.vrfwire("version")
        assert (outcome.code, outcome.out.splitlines()[1]) == (0, "vrfwire-agent can't be asked: not permitted")
        assert commands.vrfwire("version", "-j").json["daemon"] is None


class TestCommandLine:
    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("prot",), "vrfwire: command line: no such command 'prot'"),
            (("port", "lst"), "vrfwire: port: no such command 'lst'"),
            (("port", "list", "--nope"), "vrfwire: port list: no such option"),
            (("port", "show"), "vrfwire: port show: missing argument 'NAME'"),
            (("lost",), "vrfwire: command line: no such command 'lost'"),
        ],
    )
    def test_mistakes(self, commands: Commands, arguments: tuple[str, ...], error: str) -> None:
        outcome = commands.vrfwire(*arguments)
        assert outcome.code == ExitCode.USAGE
        assert outcome.out == ""
        assert outcome.err.startswith(error)
        assert "hint: vrfwire" in outcome.err

    @pytest.mark.parametrize("arguments", [(), ("port",)])
    def test_nothing_said_shows_help(self, commands: Commands, arguments: tuple[str, ...]) -> None:
        outcome = commands.vrfwire(*arguments)
        assert outcome.code == ExitCode.USAGE
        assert "Usage: vrfwire" in outcome.err

    def test_help(self, commands: Commands) -> None:
        outcome = commands.vrfwire("port", "attach", "-h")
        assert outcome.code == 0
        assert "vrfwire port attach web-1 --vpn blue" in outcome.out

    def test_socket_option_wins_over_the_environment(
        self, commands: Commands, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VRFWIRE_SOCKET", "/nonexistent")
        daemon.answers["port.list"] = {"items": []}
        assert commands.vrfwire("port", "list").code == ExitCode.UNREACHABLE
        assert commands.vrfwire("port", "list", "--socket", daemon.path).code == 0
        assert commands.vrfwire("--socket", daemon.path, "port", "list").code == 0


class TestBug:
    def test_it_is_one_line_as_everything(
        self, commands: Commands, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: object) -> str:
            raise RuntimeError("first line\nsecond line")

        monkeypatch.setattr("agent.cli.views.attached", fail)
        daemon.answers["port.attach"] = ATTACHED
        arguments = ("port", "attach", "web-1", "--vpn", "blue", "-a", "10.1.1.1", "--tap", "t")
        outcome = commands.vrfwire(*arguments)
        assert outcome.code == ExitCode.FAILURE
        assert outcome.err.splitlines()[0] == "vrfwire: internal error: RuntimeError: first line"
        monkeypatch.setenv("VRFWIRE_TRACEBACK", "1")
        with pytest.raises(RuntimeError):
            commands.vrfwire(*arguments)


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_script(self, commands: Commands, shell: str) -> None:
        outcome = commands.vrfwire("completion", shell)
        assert outcome.code == 0
        assert "_VRFWIRE_COMPLETE" in outcome.out

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("vrfwire po", ["port"]),
            ("vrfwire port at", ["attach"]),
            ("vrfwire port show w", ["web-1"]),
            ("vrfwire port detach ", ["db-1", "web-1"]),
            ("vrfwire vpn show ", ["blue", "red"]),
            ("vrfwire port attach x --vpn r", ["red"]),
        ],
    )
    def test_names_come_from_the_daemon(
        self,
        commands: Commands,
        daemon: FakeDaemon,
        monkeypatch: pytest.MonkeyPatch,
        words: str,
        expected: list[str],
    ) -> None:
        daemon.answers["port.list"] = {"items": [WEB, BROKEN]}
        daemon.answers["vpn.list"] = {"items": [{"name": "red"}, {"name": "blue"}]}
        assert self._complete(commands, monkeypatch, words) == expected

    def test_silent_without_a_daemon(self, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self._complete(commands, monkeypatch, "vrfwire port show w") == []

    @staticmethod
    def _complete(commands: Commands, monkeypatch: pytest.MonkeyPatch, words: str) -> list[str]:
        monkeypatch.setenv("_VRFWIRE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        outcome = commands.vrfwire()
        assert (outcome.code, outcome.err) == (0, "")
        return [line.partition(",")[2] for line in outcome.out.splitlines() if line]


PROGRAM = [sys.executable, "-m", "agent.cli"]
ROOT = Path(__file__).parents[3]


def interruptible() -> None:
    """In a child: as started from a terminal. What a shell starts in the background inherits that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class TestProcess:
    """What needs a process of its own."""

    def test_watch_repeats_until_interrupted(self, commands: Commands, daemon: FakeDaemon) -> None:
        seen = threading.Semaphore(0)

        def looked(call: Call) -> None:
            seen.release()

        daemon.before_answer = looked
        daemon.answers["port.list"] = {"items": [WEB]}
        process = subprocess.Popen(
            [*PROGRAM, "port", "list", "--watch", "--interval", "0.1", "-j"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=interruptible,
        )
        for _ in range(3):
            assert seen.acquire(timeout=10)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert process.returncode == 130
        assert err == b""
        assert json.JSONDecoder().raw_decode(out.decode())[0] == {"items": [WEB]}

    def test_reader_gone(self, commands: Commands, daemon: FakeDaemon) -> None:
        rows = [{**ROUTE, "prefix": f"10.{i >> 8}.{i & 255}.0/24"} for i in range(20_000)]
        daemon.answers["route.list"] = {"items": rows, "after": None}
        process = subprocess.Popen(
            [*PROGRAM, "route", "list"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Python hides the cut of a long write to an unbuffered pipe.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(timeout=10) == 141

    def test_interrupted_while_waiting(self, commands: Commands, daemon: FakeDaemon) -> None:
        asked, release = threading.Event(), threading.Event()

        def hold(call: Call) -> None:
            asked.set()
            release.wait(10)

        daemon.before_answer = hold
        daemon.answers["port.list"] = {"items": []}
        process = subprocess.Popen(
            [*PROGRAM, "port", "list"], cwd=ROOT, stderr=subprocess.PIPE, preexec_fn=interruptible
        )
        assert asked.wait(10)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        release.set()
        assert (process.returncode, err) == (130, b"")

    def test_what_the_command_imports(self) -> None:
        """The start of the command is most of what an attach costs: it must stay light."""
        forbidden = (
            *("asyncio", "pyroute2", "slixmpp", "lxml", "cryptography", "ssl", "sqlite3", "logging", "subprocess"),
            *("tomllib", "ipaddress", "datapath", "vpn", "xmpp", "xml", "http", "urllib", "multiprocessing"),
        )
        for module in ("agent.cli", "gateway.cli"):
            code = f"import sys, {module}; print(*sorted(set(sys.modules) & {set(forbidden)!r}))"
            result = subprocess.run(
                [sys.executable, "-c", code],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert result.stdout.strip() == ""
