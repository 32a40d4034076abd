"""The probe on a kernel that has everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.probe import State, probe
from lab.namespace import Namespace
from tests.kernel.dp_dev_support import BLUE, TUNNEL, host


def test_everything_works_here_and_nothing_is_left() -> None:
    with Namespace("host") as namespace, namespace.entered():
        before = namespace.interfaces()
        where = Path("/proc/thread-self/ns/net").stat().st_ino
        findings = probe()
        assert [one for one in findings if one.state is not State.OK] == []
        checks = {one.check for one in findings}
        assert {"VRF", "GRE tunnel with MPLS", "tap ports", "anti-spoofing", "ARP and ND responder"} <= checks
        assert Path("/proc/thread-self/ns/net").stat().st_ino == where
        assert namespace.interfaces() == before
        assert Path("/proc/sys/net/mpls/platform_labels").read_text().strip() == "0"


def test_probe_next_to_a_working_host_touches_nothing() -> None:
    with host() as hv:
        hv.make(TUNNEL, BLUE)
        before = hv.namespace.output("ip", "-d", "link")
        assert all(one.state is State.OK for one in probe())
        assert hv.namespace.output("ip", "-d", "link") == before


@pytest.mark.parametrize(
    ("name", "state"),
    [("net/ipv4/conf/all/rp_filter", State.WARNING), ("net/ipv6/conf/all/disable_ipv6", State.FAILED)],
)
def test_setting_of_the_host_in_the_way_is_told(name: str, state: State) -> None:
    with Namespace("host") as namespace, namespace.entered():
        Path("/proc/sys", name).write_text("1")
        wrong = [one for one in probe() if one.check == "settings of the host" and one.state is state]
        assert name.replace("/", ".") in wrong[0].detail
        assert name.replace("/", ".") + "=0" in wrong[0].hint
