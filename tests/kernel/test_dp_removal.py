"""`vrfwire-agent --remove-datapath` on a real kernel: nothing of ours stays, and all of the others' does."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.remove_datapath import remove
from datapath import tap
from datapath.kernel import KernelConfig, open_kernel
from datapath.reconciler import Reconciler
from datapath.values import AntiSpoofing, MplsRoute, NextHop, Port, PortKind, Value, VrfRoute
from lab.namespace import Namespace
from runtime.errors import ExitCode, OperatorError
from tests.kernel.test_dp_plane import EVERYTHING, LOCAL, MAC, VM4
from vpn.prefix import Prefix

LENT = "tap7"
"""A tap of the hypervisor's."""
ADOPTED: tuple[Value, ...] = (
    Port(LENT, PortKind.TAP, "vw-blue", "web-7", guest_mac=MAC),
    AntiSpoofing(LENT, MAC, (Prefix.parse("10.1.1.7"),)),
    MplsRoute(1507, LENT, VM4),
)
FOREIGN = (
    "link add eth0 type veth peer name eth1",
    "link set eth0 up",
    "link set eth1 up",
    "address add 192.0.2.11/24 dev eth0",
    "link add br0 type bridge",
    "link add theirs type vrf table 20001",
    "link set theirs up",
    "route add 198.51.100.0/24 via 192.0.2.1 dev eth0",
    "route add 198.51.101.0/24 via 192.0.2.1 dev eth0 table 20001",
    "nexthop add id 7 via 192.0.2.9 dev eth0",
    "rule add from 192.0.2.99 table 20001",
    "neighbour add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
)


def shown(host: Namespace) -> dict[str, Any]:
    """Everything that a host has, by what `ip` shows."""
    commands = {
        "links": "link",
        "routes": "route list table all",
        "routes6": "-6 route list table all",
        "mpls": "-f mpls route list",
        "next hops": "nexthop list",
        "neighbours": "neighbour list nud permanent",
        "rules": "rule list",
        "rules6": "-6 rule list",
    }
    return {name: json.loads(host.output("ip", "-j", "-N", *line.split()) or "[]") for name, line in commands.items()}


def program(values: tuple[Value, ...]) -> None:
    """Have the kernel of this thread's namespace hold these."""
    kernel = open_kernel(KernelConfig(LOCAL, range(10000, 20000), range(1000, 2000)))
    try:
        reconciler = Reconciler(kernel.drivers)
        reconciler.put_all(values)
        while reconciler.step(0.0):
            pass
        assert reconciler.failures() == []
    finally:
        kernel.close()


def test_all_of_ours_goes_and_nothing_else(
    namespace: Callable[[str], Namespace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host, _ = namespace("host"), namespace("guest")
    host.output("sysctl", "-qw", "net.mpls.platform_labels=2000")
    host.ip(*FOREIGN)
    with host.entered():
        tap.make_tap(LENT)
        before = shown(host)
        # Objects of a configuration that nobody knows any more, in tables and labels beyond those of today.
        elsewhere = (
            MplsRoute(1800, LENT, VM4),
            VrfRoute(15000, Prefix.parse("203.0.113.0/24"), NextHop("vw-web1", VM4)),
        )
        program((*EVERYTHING, *ADOPTED, *elsewhere))
        assert shown(host) != before
        assert "vw-gre" in host.output("ip", "link")
        remove(tmp_path / "agent.sock")
        after = shown(host)
        filters = host.output("tc", "filter", "show", "dev", LENT, "ingress")
        printed = capsys.readouterr().out
        remove(tmp_path / "agent.sock")
    for name, rows in before.items():
        assert strip(after[name]) == strip(rows), name
    assert filters == "", "the hypervisor's tap is as it was lent"
    assert printed.startswith("removed tunnel: 1, VRF: 1, port: 2, ")
    assert capsys.readouterr().out == "nothing to remove\n"


def strip(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what changes by itself: what the kernel makes of its own, link-local addresses and rules for VRFs."""
    changing = ("operstate", "qdisc", "flags", "txqlen", "ifindex", "address")
    kept = [row for row in rows if row.get("protocol") != "2"]
    return [{key: value for key, value in row.items() if key not in changing} for row in kept]


def test_not_beside_a_running_agent(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(OperatorError, match="an agent is running") as caught:
            remove(path)
    assert caught.value.code is ExitCode.CONFLICT
    assert "drain" in caught.value.hint
