"""Doctor: underlay, numbers of other programs, the kernel's modules and settings; by made-up facts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.doctor_foreign import Foreign, check_foreign
from agent.doctor_gather import MOST_HOSTS, gather_modules, gather_settings, gather_underlay
from agent.doctor_kernel import MODULES, Modules, Value, check_modules, check_settings
from agent.doctor_underlay import Underlay, Way, check_underlay
from runtime.findings import Finding, Level

HOST = IPv4Address("192.0.2.7")
WELL = Underlay(HOST, "", "eth0", 1500, None, 1472)


def others(number: int, mtu: int = 1500, error: str = "") -> tuple[Way, ...]:
    return tuple(Way(HOST + n, 0 if error else mtu, error) for n in range(1, number + 1))


def judged(facts: Underlay) -> dict[str, Finding]:
    return {found.check: found for found in check_underlay(facts)}


class TestUnderlay:
    def test_all_is_well(self) -> None:
        found = judged(replace(WELL, ways=others(2)))
        assert {check: one.state for check, one in found.items()} == dict.fromkeys(
            ("underlay address", "underlay MTU", "underlay routes", "path MTU"), Level.OK
        )
        assert found["underlay MTU"].detail == "eth0 carries 1500: VMs have 1472"
        assert found["underlay routes"].detail == "there is one to 2 hosts"

    def test_without_other_hosts_nothing_is_said_of_them(self) -> None:
        assert set(judged(WELL)) == {"underlay address", "underlay MTU"}

    def test_an_address_that_nobody_has(self) -> None:
        found = judged(Underlay(HOST, "no device has it"))
        assert set(found) == {"underlay address"}
        assert (found["underlay address"].state, found["underlay address"].detail) == (
            Level.FAILED,
            "192.0.2.7: no device has it",
        )

    @pytest.mark.parametrize(
        ("changes", "state", "words"),
        [
            ({"mtu": 9000, "told_mtu": 8972}, Level.OK, "VMs have 8972"),
            ({"mtu": 9000}, Level.WARNING, "were told 1472 since the daemon's start"),
            ({"mtu": 9000, "told_mtu": None}, Level.OK, "VMs have 8972"),
            ({"mtu": 1300, "told_mtu": 1272}, Level.FAILED, "too little for IPv6"),
            ({"configured_mtu": 1600, "told_mtu": 1572}, Level.FAILED, "eth0 carries 1500"),
            ({"configured_mtu": 1400, "told_mtu": 1372}, Level.OK, "VMs have 1372"),
        ],
    )
    def test_mtu(self, changes: Mapping[str, int | None], state: Level, words: str) -> None:
        found = judged(replace(WELL, **changes))["underlay MTU"]  # type: ignore[arg-type]
        assert found.state is state
        assert words in found.detail

    def test_hosts_without_route(self) -> None:
        found = judged(replace(WELL, ways=others(8, error="Network is unreachable")))["underlay routes"]
        assert found.state is Level.FAILED
        assert found.detail.endswith("192.0.2.12 and 3 more: Network is unreachable")
        assert "ip route get 192.0.2.8 from 192.0.2.7" in found.hint

    def test_a_narrow_path(self) -> None:
        ways = (*others(2), Way(HOST + 9, 1400))
        found = judged(replace(WELL, ways=ways))["path MTU"]
        assert found.state is Level.WARNING
        assert found.detail == "192.0.2.16: 1400, but VMs may send 1472 and the tunnel adds 28"
        assert "ping -M do -s 1372 192.0.2.16" in found.hint
        assert "underlay_mtu = 1400" in found.hint

    def test_hosts_that_were_not_looked_at_are_told(self) -> None:
        found = judged(replace(WELL, ways=others(1), more=5))
        assert found["underlay routes"].detail == "there is one to 1 host; 5 more weren't looked at"

    def test_of_this_machine(self) -> None:
        """The loopback device is everywhere."""
        here = IPv4Address("127.0.0.1")
        many = [here + n for n in range(1, MOST_HOSTS + 3)]
        facts = gather_underlay(here, None, None, many)
        assert (facts.error, facts.device, facts.more) == ("", "lo", 2)
        assert len(facts.ways) == MOST_HOSTS
        assert {(way.error, way.mtu > 0) for way in facts.ways} == {("", True)}
        assert gather_underlay(IPv4Address("192.0.2.1"), None, None, []).error == "no device has it"


TABLES, LABELS = range(10000, 10010), range(100000, 100010)


class TestForeign:
    def judged(self, **facts: object) -> list[Finding]:
        nothing = Foreign(TABLES, LABELS, {}, {})
        return list(check_foreign(replace(nothing, **facts)))  # type: ignore[arg-type]

    def test_nothing(self) -> None:
        (found,) = self.judged(routes={(254, 3): 30000, (10000, 108): 5, (10000, 2): 3}, label_routes={(16, 11): 1})
        assert found.state is Level.OK
        assert found.detail == "nothing of theirs in tables 10000..10009 and labels 100000..100009"
        assert self.judged(partly=True)[0].detail.endswith("as far as was looked")

    def test_routes(self) -> None:
        bird, number = self.judged(routes={(10001, 12): 7, (10002, 201): 1})
        assert bird.state is number.state is Level.WARNING
        assert bird.detail == "7 routes of protocol bird in table 10001, which is ours"
        assert "ip route show table 10001 proto bird" in bird.hint
        assert number.detail.startswith("1 route of protocol 201")

    def test_of_many_the_largest_are_told(self) -> None:
        found = self.judged(routes={(10000 + n, 11): n + 1 for n in range(9)})
        assert len(found) == 5
        assert "table 10008" in found[0].detail

    def test_labels_rules_and_devices(self) -> None:
        found = self.judged(
            label_routes={(100003, 11): 1, (99999, 11): 1},
            rules=((1000, 0), (500, 10002)),
            vrfs=(("mgmt", 10005), ("x", 7)),
        )
        assert [one.detail for one in found] == [
            "rule 500 leads into table 10002, which is ours",
            "VRF device mgmt uses table 10005, which is ours",
            "label 100003, which is ours, has a route of protocol zebra",
        ]
        assert all(one.hint for one in found)


class TestKernel:
    def test_modules(self) -> None:
        every = frozenset(MODULES)
        assert [one.state for one in check_modules(Modules(every, None, None))] == [Level.OK]
        assert [one.state for one in check_modules(Modules(frozenset(), frozenset(), every))] == [Level.OK]
        (found,) = check_modules(Modules(every - {"vrf"}, frozenset(), frozenset({"mpls_router"})))
        assert (found.state, found.detail) == (Level.FAILED, "this kernel lacks vrf")
        (found,) = check_modules(Modules(every - {"vrf", "tun"}, None, None))
        assert (found.state, found.hint) == (Level.UNKNOWN, "modprobe -a vrf tun")

    def test_modules_of_a_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lists = tmp_path / "lib/modules" / os.uname().release
        lists.mkdir(parents=True)
        (lists / "modules.builtin").write_text("kernel/drivers/net/tun.ko\n")
        (lists / "modules.dep").write_text(
            "kernel/drivers/net/vrf.ko.xz:\nkernel/net/sched/cls-flower.ko: kernel/drivers/net/veth.ko\n"
        )
        (tmp_path / "sys/module/ip_gre").mkdir(parents=True)
        facts = gather_modules(tmp_path)
        assert facts == Modules(frozenset({"ip_gre"}), frozenset({"tun"}), frozenset({"vrf", "cls_flower"}))

    @pytest.mark.parametrize(
        ("value", "running", "state"),
        [
            (1, True, Level.OK),
            (0, True, Level.WARNING),
            (None, True, Level.FAILED),
            (0, False, Level.OK),
            (None, False, Level.OK),
        ],
    )
    def test_settings(self, value: int | None, running: bool, state: Level) -> None:
        (found,) = check_settings([Value("net/ipv4/ip_forward", 1, value, "why")], running)
        assert found.state is state
        if state is Level.WARNING:
            assert found.hint == "sysctl -w net.ipv4.ip_forward=1"

    def test_settings_of_a_machine(self, tmp_path: Path) -> None:
        (tmp_path / "proc/sys/net/ipv4").mkdir(parents=True)
        (tmp_path / "proc/sys/net/ipv4/ip_forward").write_text("0\n")
        found = {value.name: value for value in gather_settings(200000, tmp_path)}
        assert found["net/ipv4/ip_forward"].value == 0
        assert found["net/mpls/platform_labels"] == Value(
            "net/mpls/platform_labels", 200000, None, found["net/mpls/platform_labels"].why
        )
