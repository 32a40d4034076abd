"""Settings are raised and never lowered; conflicts are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datapath.sysctls import Change, Conflict, Setting, Sysctls, host_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for setting in host_settings(2000):
        path = tmp_path / setting.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0\n")
    return tmp_path


def test_what_is_too_low_is_raised_once(root: Path) -> None:
    sysctls = Sysctls(root)
    settings = host_settings(2000)
    (root / "net/mpls/platform_labels").write_text("1048575")
    (root / "net/ipv4/ip_forward").write_text("1")
    assert not sysctls.satisfied(settings)
    changed = sysctls.ensure(settings)
    assert sysctls.satisfied(settings)
    assert {change.name for change in changed} == {
        "net.ipv6.conf.all.forwarding",
        "net.ipv4.fib_multipath_hash_policy",
        "net.ipv6.fib_multipath_hash_policy",
        "net.ipv6.fwmark_reflect",
    }
    assert sysctls.ensure(settings) == []
    assert sysctls.changes == changed
    assert (root / "net/mpls/platform_labels").read_text() == "1048575"


def test_a_change_says_what_it_was(root: Path) -> None:
    sysctls = Sysctls(root)
    assert sysctls.ensure((Setting("net/mpls/platform_labels", 5, "labels"),)) == [
        Change("net.mpls.platform_labels", 0, 5, "labels")
    ]


def test_missing_setting_is_an_error_and_is_not_made(root: Path) -> None:
    (root / "net/mpls/platform_labels").unlink()
    sysctls = Sysctls(root)
    assert not sysctls.satisfied(host_settings(10))
    with pytest.raises(FileNotFoundError) as raised:
        sysctls.ensure(host_settings(10))
    assert str(raised.value.filename).endswith("platform_labels")
    assert not (root / "net/mpls/platform_labels").exists()


@pytest.mark.parametrize(
    ("look", "name", "value"),
    [
        (Sysctls.risks, "net/ipv4/conf/all/rp_filter", "2"),
        (Sysctls.conflicts, "net/ipv6/conf/default/disable_ipv6", "1"),
    ],
)
def test_settings_of_others_in_the_way(
    root: Path, look: Callable[[Sysctls], list[Conflict]], name: str, value: str
) -> None:
    sysctls = Sysctls(root, root / "none")
    assert look(sysctls) == []
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)
    found = look(sysctls)
    assert [conflict.value for conflict in found] == [int(value)]
    assert found[0].name == name.replace("/", ".") and found[0].hint


def test_host_that_learns_its_default_route_is_warned(root: Path) -> None:
    table = root / "ipv6_route"
    zero = "0" * 32
    rows = [
        (zero, "00", "fe80" + "0" * 26 + "01", "00450003", "eth0"),
        (zero, "00", "fe80" + "0" * 26 + "02", "00000003", "eth1"),
        ("fd00" + "0" * 28, "40", zero, "00040001", "eth2"),
    ]
    table.write_text(
        "".join(f"{to} {bits} {zero} 00 {via} 00000400 1 0 {flags} {dev}\n" for to, bits, via, flags, dev in rows)
    )
    setting = root / "net/ipv6/conf/eth0/accept_ra"
    setting.parent.mkdir(parents=True)
    setting.write_text("1")
    risks = Sysctls(root, table).risks()
    assert [(risk.name, risk.hint) for risk in risks] == [
        ("net.ipv6.conf.eth0.accept_ra", "set net.ipv6.conf.eth0.accept_ra=2")
    ]
    setting.write_text("2")
    assert Sysctls(root, table).risks() == []
    assert Sysctls(root, root / "missing").risks() == []
