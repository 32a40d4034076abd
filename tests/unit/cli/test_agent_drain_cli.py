"""`vrfwire drain` and `vrfwire undrain` against a fake daemon."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import ExitCode, OperatorError
from tests.unit.cli.conftest import Commands, FakeDaemon

DRAINED: dict[str, Any] = {
    "state": "drained",
    "step": "",
    "settle": 5.0,
    "force": False,
    "ports": 2,
    "gateways": [{"address": "192.0.2.1", "state": "connected", "drain": "withdrawn", "prefixes": 0}],
    "unchanged": False,
    "elapsed_ms": 5012.3,
}
WAITING = {
    **DRAINED,
    "state": "draining",
    "step": "waiting for gateway 192.0.2.2, which is away",
    "gateways": [
        *DRAINED["gateways"],
        {"address": "192.0.2.2", "state": "down", "drain": "withdrawing", "prefixes": 3},
    ],
}


@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        ((), {"wait": True, "timeout": 60.0, "force": False}),
        (("--no-wait", "--force"), {"wait": False, "timeout": 60.0, "force": True}),
        (
            ("--settle", "0", "--timeout", "300"),
            {"wait": True, "timeout": 300.0, "force": False, "settle": 0.0},
        ),
    ],
)
def test_drain(daemon: FakeDaemon, commands: Commands, arguments: tuple[str, ...], params: dict[str, object]) -> None:
    daemon.answers["drain"] = DRAINED
    outcome = commands.vrfwire("drain", *arguments)
    assert (outcome.code, outcome.out, outcome.err) == (0, "host: drained, 2 ports\n", "")
    assert daemon.asked == [("drain", params)]


def test_what_a_drain_waits_for_is_shown(daemon: FakeDaemon, commands: Commands) -> None:
    daemon.answers["drain"] = WAITING
    outcome = commands.vrfwire("drain", "--no-wait")
    assert outcome.out.splitlines() == [
        "host: draining, waiting for gateway 192.0.2.2, which is away, 2 ports",
        "gateways:",
        "  GATEWAY    STATE      DRAIN        PREFIXES",
        "  192.0.2.1  connected  withdrawn           0",
        "  192.0.2.2  down       withdrawing         3",
    ]
    assert commands.vrfwire("--json", "drain").json == WAITING


def test_the_time_is_up(daemon: FakeDaemon, commands: Commands) -> None:
    daemon.answers["drain"] = OperatorError(
        "drain", "accepted, still waiting for gateway 192.0.2.2, which is away", "use --force", ExitCode.TIMEOUT
    )
    outcome = commands.vrfwire("drain")
    assert (outcome.code, outcome.out) == (6, "")
    assert outcome.err.splitlines() == [
        "vrfwire: drain: accepted, still waiting for gateway 192.0.2.2, which is away",
        "hint: use --force",
    ]


def test_undrain(daemon: FakeDaemon, commands: Commands) -> None:
    daemon.answers["undrain"] = {**DRAINED, "state": "active", "unchanged": True}
    outcome = commands.vrfwire("undrain", "--no-wait")
    assert (outcome.code, outcome.out) == (0, "host: active, unchanged, 2 ports\n")
    assert daemon.asked == [("undrain", {"wait": False, "timeout": 60.0})]


@pytest.mark.parametrize("arguments", [("--settle", "-1"), ("--timeout", "soon"), ("--wait", "announced"), ("now",)])
def test_usage(daemon: FakeDaemon, commands: Commands, arguments: tuple[str, ...]) -> None:
    assert commands.vrfwire("drain", *arguments).code == ExitCode.USAGE
    assert daemon.asked == []


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("draining", 0), ("drained", 0), ("degraded", 7)])
def test_a_host_that_is_drained_on_purpose_is_not_degraded(
    daemon: FakeDaemon, commands: Commands, state: str, code: int
) -> None:
    daemon.answers["status"] = {"state": state, "drain": "drained", "problems": []}
    assert commands.vrfwire("status").code == code


@pytest.mark.parametrize(("phase", "shown"), [("active", False), ("draining", True), ("drained", True)])
def test_a_host_in_service_does_not_look_as_if_it_were_being_drained(
    daemon: FakeDaemon, commands: Commands, phase: str, shown: bool
) -> None:
    daemon.answers["status"] = {"state": "ok", "drain": phase, "problems": []}
    lines = [line.split() for line in commands.vrfwire("status").out.splitlines()]
    assert (["drain:", phase] in lines, "drain:" in {line[0] for line in lines}) == (shown, shown)
    assert commands.vrfwire("status", "--json").json["drain"] == phase


def test_the_drain_is_in_the_list_of_gateways_only_when_there_is_one(daemon: FakeDaemon, commands: Commands) -> None:
    row = {"address": "192.0.2.1", "port": 5222, "state": "connected", "drain": ""}
    daemon.answers["gateway.list"] = {"items": [row]}
    assert "DRAIN" not in commands.vrfwire("gateway", "list").out
    daemon.answers["gateway.list"] = {"items": [{**row, "drain": "withdrawn"}]}
    assert "DRAIN" in commands.vrfwire("gateway", "list").out


def test_a_port_attached_to_a_drained_host(daemon: FakeDaemon, commands: Commands) -> None:
    daemon.answers["port.attach"] = {
        "name": "web",
        "state": "drained",
        "announced": "no",
        "error": "the host is drained",
        "hint": "undrain",
    }
    outcome = commands.vrfwire("port", "attach", "web", "--vpn", "blue", "-a", "10.1.1.1", "--tap", "tap0")
    assert outcome.code == 0
    assert outcome.err.splitlines() == ["vrfwire: port web: the host is drained", "hint: undrain"]
