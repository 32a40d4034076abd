"""`vrfwire doctor` on this machine's own kernel, whatever that has, and without a daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from lab.probe import probe
from runtime.control import Call
from runtime.errors import ExitCode
from tests.scenario.agent_harness import Gateway, World, play

MODULES = {
    "vrf": ("VRF", "vrf"),
    "gre": ("GRE tunnel with MPLS", "ip_gre"),
    "mpls": ("GRE tunnel with MPLS", "mpls_router"),
    "mpls-encapsulation": ("routes into the tunnel", "mpls_iptunnel"),
    "tap": ("tap ports", "tun"),
    "veth": ("ports in a namespace", "veth"),
    "flower": ("anti-spoofing", "cls_flower"),
}
"""Feature that a kernel may lack -> the check that shows it, and the module that the check names."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    nowhere = tmp_path_factory.mktemp("doctor")
    command = [
        str(Path(sys.executable).parent / "vrfwire"),
        "--socket",
        str(nowhere / "agent.sock"),
        "doctor",
        "--json",
    ]
    return subprocess.run(
        [*command, "--config", str(nowhere / "agent.toml")], capture_output=True, text=True, timeout=60, check=False
    )


def test_daemon_and_configuration_that_are_not_there_are_told(report: subprocess.CompletedProcess[str]) -> None:
    assert (report.returncode, report.stderr) == (ExitCode.DEGRADED, "")
    items = {item["check"]: item for item in json.loads(report.stdout)["items"]}
    assert "not running" in items["daemon"]["detail"]
    assert "no such file" in items["configuration"]["detail"]
    assert all(item["hint"] for item in items.values() if item["state"] != "ok"), items


def test_every_module_that_this_kernel_lacks_is_named(report: subprocess.CompletedProcess[str]) -> None:
    """The lab's own probe, which knows nothing of the product, is the judge."""
    missing = probe().missing
    items = {item["check"]: item for item in json.loads(report.stdout)["items"]}
    for feature, (check, module) in MODULES.items():
        if feature in missing:
            assert items[check]["state"] == "failed", feature
            assert module in items[check]["hint"].split(), (feature, items[check])
    if not missing:
        assert {items[check]["state"] for check, _ in MODULES.values()} == {"ok"}


def test_of_a_gateway_that_runs() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        answer = await control_call(gateway)
        states = {item["check"]: item["state"] for item in answer}
        assert states["status"] == states["configuration"] == "ok"
        assert states[f"port {gateway.address}:{gateway.port}"] == "ok", "it listens there"
        assert [state for check, state in states.items() if check.startswith("certificate ")] == ["ok", "ok"]

    play(scenario)


async def control_call(gateway: Gateway) -> list[dict[str, str]]:
    """As by its control socket, which the harness doesn't open."""
    assert gateway.daemon is not None
    document: Any = await gateway.daemon._doctor({}, cast(Call, None))
    items: list[dict[str, str]] = document["items"]
    return items
