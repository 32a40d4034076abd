"""Settings are raised and never lowered; conflicts are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.sysctls import Change, Setting, Sysctls, host_settings


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
    ("name", "value"), [("net/ipv4/conf/all/rp_filter", "2"), ("net/ipv6/conf/default/disable_ipv6", "1")]
)
def test_settings_of_others_in_the_way(root: Path, name: str, value: str) -> None:
    assert Sysctls(root).conflicts() == []
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)
    found = Sysctls(root).conflicts()
    assert [conflict.value for conflict in found] == [int(value)]
    assert found[0].name == name.replace("/", ".") and found[0].hint
