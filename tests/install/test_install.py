"""The packages on a Debian machine with systemd: from installation to purge, in one story that the tests tell in order.

Agent, gateway and MAP server run on one machine; a second agent of the same package, in a network namespace, is another
host. Packets between VMs on both are counted while the machine is treated as machines are.
"""

from __future__ import annotations

import re
import time

import pytest

from lab.machine import Machine
from lab.wait import wait_until
from tests.guide import block
from tests.install import site
from tests.install.conftest import NEXT, Site

pytestmark = pytest.mark.timeout(400)
"""Seconds; the first test also makes packages and, once, the Debian system."""

UNITS = ("vrfwire-map", "vrfwire-gateway", "vrfwire-agent")
EXPOSURE = {"vrfwire-agent": 3.0, "vrfwire-gateway": 2.0, "vrfwire-map": 2.0}
"""Most that `systemd-analyze security` may say."""
COMPLAINT = re.compile(r"warning|error|fail|unable|cannot|can't|traceback|no such file", re.IGNORECASE)


def test_what_is_installed_and_not_configured_does_nothing_and_is_no_fault(prepared: Site) -> None:
    assert not COMPLAINT.search(prepared.said), prepared.said
    assert prepared.machine.wait_booted() == "running"
    for unit in ("vrfwire-agent", "vrfwire-gateway"):
        found = site.properties(prepared.machine, unit, "UnitFileState", "ActiveState", "ConditionResult")
        assert found == ["enabled", "inactive", "no"], unit


def test_quickstart_leads_to_two_vms_that_talk(machine: Machine) -> None:
    assert site.set_up(machine).count(" 0% packet loss") == 2, "in both families"
    for unit in ("vrfwire-gateway", "vrfwire-agent", "hv8"):
        assert site.properties(machine, unit, "ActiveState", "NRestarts") == ["active", "0"], unit


def test_package_is_installed_while_the_machine_runs(prepared: Site) -> None:
    brought = prepared.machine.run("dpkg", "--install", *bring(prepared, "vrfwire-map"), deadline=60)
    assert not COMPLAINT.search(brought.stdout + brought.stderr), brought
    found = site.properties(prepared.machine, "vrfwire-map", "UnitFileState", "ActiveState", "ConditionResult")
    assert found == ["enabled", "inactive", "no"]


def bring(prepared: Site, *names: str) -> list[str]:
    return prepared.machine.root.bring(prepared.current.files(*names))


def test_gateway_goes_over_to_a_map_by_a_reload(machine: Machine) -> None:
    (before,) = site.properties(machine, "vrfwire-gateway", "MainPID")
    site.provision(machine)
    assert site.properties(machine, "vrfwire-gateway", "MainPID", "NRestarts") == [before, "0"]

    def synchronised() -> bool:
        return bool(machine.run("vrfwire-gateway-ctl", "map", "show", "-j").json()["synchronised"])

    wait_until(synchronised, 30, "the gateway to have the map", 0.2)
    assert_well(machine)


def unwell(machine: Machine) -> list[object]:
    """What daemons say who are not at ease."""
    programs = (("vrfwire", ""), ("vrfwire", site.HV8_SOCKET), ("vrfwire-gateway-ctl", ""), ("vrfwire-map", ""))
    found = (site.status(machine, program, socket) for program, socket in programs)
    return [status for status in found if status["state"] != "ok"]


def assert_well(machine: Machine) -> None:
    """All daemons are at ease, and packets between the VMs all arrive."""

    wait_until(lambda: not unwell(machine), 60, "all daemons to be well", 0.5, lambda: repr(unwell(machine)))
    with site.counting(machine) as traffic:
        pass
    assert traffic.lost == 0 and not traffic.broken, traffic


def test_status_of_the_units_tells_how_things_are(machine: Machine) -> None:
    site.shell(machine, block("docs/operations.md", "vrfwire status "))
    shown = machine.run("systemctl", "status", "--no-pager", "--lines=0", *UNITS).stdout
    assert re.findall(r'Status: "(.*)"', shown) and len(re.findall(r'Status: "(.+)"', shown)) == 3, shown
    assert "1 ports" in shown, shown


def test_units_are_as_locked_in_as_is_promised(machine: Machine) -> None:
    for unit, most in EXPOSURE.items():
        shown = machine.run("systemd-analyze", "security", "--no-pager", f"{unit}.service").stdout
        found = re.search(r"Overall exposure level for .*: ([\d.]+)", shown)
        assert found is not None and float(found[1]) <= most, shown


def test_daemons_are_not_root_and_operators_need_not_be(machine: Machine) -> None:
    for unit in UNITS:
        (pid,) = site.properties(machine, unit, "MainPID")
        assert machine.run("stat", "--format=%U", f"/proc/{pid}").stdout.strip() == unit, "each has a user of its own"
    ann = ("setpriv", "--reuid=ann", "--regid=ann", "--init-groups")
    machine.run("useradd", "ann")
    stranger = machine.run(*ann, "vrfwire", "port", "list", check=False)
    assert stranger.status == 77, stranger
    site.shell(machine, block("docs/operations.md", "usermod"))
    assert machine.run(*ann, "vrfwire", "port", "list").stdout.count("web-1") == 1
    machine.run("userdel", "ann")


def test_what_is_ours_can_be_told_from_the_rest(machine: Machine) -> None:
    shown = site.shell(machine, block("docs/troubleshooting.md", "ip -d link")).stdout
    assert "alias vrfwire:" in shown and "proto vrfwire" in shown and "dev vw-" in shown, shown


def test_journal_can_be_asked_by_port_vpn_and_peer(machine: Machine) -> None:
    asked = (
        ("vrfwire-agent", "VRFWIRE_PORT=web-1"),
        ("vrfwire-agent", "VRFWIRE_VPN=blue"),
        ("vrfwire-agent", "VRFWIRE_PEER=192.0.2.1"),
        ("vrfwire-gateway", "VRFWIRE_HOST=hv8"),
    )
    for unit, match in asked:
        lines = machine.run("journalctl", "--no-pager", "--output=cat", "--quiet", f"--unit={unit}", match).stdout
        assert lines.strip(), f"nothing of {unit} with {match}"
    assert "VRFWIRE_VPN=blue" in site.shell(machine, block("docs/operations.md", "journalctl")).stdout


def test_upgrade_under_traffic_loses_nothing(prepared: Site) -> None:
    machine = prepared.machine
    packages = prepared.newer.files("vrfwire-common", "vrfwire-agent", "vrfwire-gateway", "vrfwire-map")
    folder = site.bring(machine.root, "newer", packages)
    before = {unit: site.properties(machine, unit, "MainPID") for unit in UNITS}
    # All packages of a machine at once: this one has more than a host.
    install = block("docs/upgrade.md", "apt-get install").rstrip() + " ./vrfwire-gateway_*.deb ./vrfwire-map_*.deb"
    with site.counting(machine) as traffic:
        site.shell(machine, block("docs/upgrade.md", "systemctl stop"))
        done = site.shell(machine, f"cd {folder}\n{install}", deadline=120)
        for unit in UNITS:
            pid, state = site.properties(machine, unit, "MainPID", "ActiveState")
            assert state == "active" and [pid] != before[unit], unit
        machine.run("systemctl", "restart", "hv8")
    assert not COMPLAINT.search(done.stdout + done.stderr), done
    assert traffic.lost == 0 and not traffic.broken, traffic
    assert_well(machine)
    checked = site.shell(machine, block("docs/upgrade.md", "vrfwire version")).stdout
    assert checked.count(NEXT) == 2, "of the command and of the daemon"
    machine.run("rm", "-r", "/var/lib/vrfwire.before")


def test_networkd_beside_us_takes_nothing_with_our_drop_in(machine: Machine) -> None:
    repaired = site.status(machine)["repaired"]
    with site.counting(machine) as traffic:
        machine.run("systemctl", "restart", "systemd-networkd")
        machine.run("networkctl", "reload")
    assert traffic.lost == 0 and not traffic.broken, traffic
    assert site.status(machine)["repaired"] == repaired


def test_what_networkd_takes_without_our_drop_in_is_repaired_within_a_second_and_counted(machine: Machine) -> None:
    repaired = site.status(machine)["repaired"]
    machine.run("mkdir", "-p", "/etc/systemd/networkd.conf.d")
    machine.run("ln", "-s", "/dev/null", "/etc/systemd/networkd.conf.d/vrfwire.conf")
    with site.counting(machine) as traffic:
        machine.run("systemctl", "restart", "systemd-networkd")
        wait_until(lambda: site.status(machine)["repaired"] > repaired, 20, "repairs to be counted")
        wait_until(lambda: site.status(machine)["state"] == "ok", 20, "all to be repaired")
    assert traffic.longest <= 1.0 and not traffic.broken, traffic
    machine.run("rm", "/etc/systemd/networkd.conf.d/vrfwire.conf")
    machine.run("systemctl", "restart", "systemd-networkd")
    assert_well(machine)


def test_watchdog_starts_an_agent_anew_that_hangs_and_nothing_is_lost(machine: Machine) -> None:
    machine.write("/run/systemd/system/vrfwire-agent.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    machine.run("systemctl", "daemon-reload")
    site.shell(machine, block("docs/operations.md", "systemctl restart"))
    with site.counting(machine) as traffic:
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "vrfwire-agent")
        wait_until(lambda: site.properties(machine, "vrfwire-agent", "NRestarts") == ["1"], 30, "the watchdog")
        wait_until(lambda: site.properties(machine, "vrfwire-agent", "ActiveState") == ["active"], 30, "the agent")
        assert site.properties(machine, "vrfwire-agent", "NRestarts") == ["1"]
    assert traffic.lost == 0 and not traffic.broken, traffic
    assert "Watchdog timeout" in machine.run("journalctl", "--no-pager", "--unit=vrfwire-agent").stdout
    assert_well(machine)


def test_reboot_brings_everything_back(machine: Machine) -> None:
    ports = machine.run("vrfwire", "port", "list", "-j").json()["items"]
    machine.power_off()
    machine.boot()
    start = time.monotonic()
    assert machine.wait_booted() == "running"
    for unit in (*UNITS, "hv8"):
        assert site.properties(machine, unit, "ActiveState", "NRestarts") == ["active", "0"], unit
    assert_well(machine)
    assert time.monotonic() - start < 60
    (port,) = machine.run("vrfwire", "port", "list", "-j").json()["items"]
    assert (port["name"], port["label"], port["mac"]) == (ports[0]["name"], ports[0]["label"], ports[0]["mac"])


PACKAGES = ("vrfwire-agent", "vrfwire-gateway", "vrfwire-map", "vrfwire-common")


def test_removal_stops_the_daemons_and_leaves_the_datapath(machine: Machine) -> None:
    with site.counting(machine) as traffic:
        done = machine.run("dpkg", "--remove", *PACKAGES, deadline=60)
    assert not COMPLAINT.search(done.stdout + done.stderr), done
    assert traffic.lost == 0 and not traffic.broken, traffic
    for unit in UNITS:
        assert site.properties(machine, unit, "ActiveState", "LoadState") == ["inactive", "not-found"], unit
    machine.run("test", "-e", "/etc/vrfwire/agent.toml")


OWN = re.compile(
    r"/(etc|var/lib)/hv8\b|/etc/systemd/(networkd\.conf\.d$|system/multi-user\.target\.wants/hv8\.service)"
)
"""What the test itself has put there."""
OTHERS = re.compile(
    r"/(root|tmp|var/tmp|var/log|var/cache|lost\+found|machine)\b|/var/lib/(apt|dpkg|systemd|dbus)/"
    r"|/etc/(\.pwd\.lock|passwd-|group-|shadow-|gshadow-|subuid-|subgid-|ld\.so\.cache)"
)
"""What Debian's own programs leave."""


def test_purge_leaves_nothing(prepared: Site) -> None:
    machine = prepared.machine
    machine.run("systemctl", "disable", "--now", "--quiet", "hv8")
    agent = site.shell(machine, block("docs/operations.md", "apt-get purge"))
    others = machine.run("dpkg", "--purge", *(name for name in PACKAGES if name != "vrfwire-agent"), deadline=60)
    # dpkg's own word, until the last package takes the directory away.
    said = "".join((agent.stdout, agent.stderr, others.stdout, others.stderr)).replace(
        "directory '/etc/vrfwire' not empty so not removed", ""
    )
    assert not COMPLAINT.search(said.replace("dpkg: warning: while removing vrfwire-agent", "")), said
    left = {path for path in site.paths(machine) - prepared.before if not OWN.match(path) and not OTHERS.match(path)}
    assert left == set()
    assert machine.run("sh", "-c", "find / -xdev -name '*vrfwire*'; find /run -name '*vrfwire*'").stdout == ""
    kernel = ("ip link", "ip rule", "ip nexthop", "ip -f mpls route", "ip route show table all proto 108")
    shown = machine.run("sh", "-ec", "\n".join(kernel)).stdout
    assert "vw-" not in shown and "proto 108" not in shown, shown
    assert "eth0" not in machine.run("ip", "-n", "web-1", "link").stdout
    users = [line for line in machine.run("cat", "/etc/passwd").stdout.splitlines() if line.startswith("vrfwire")]
    assert all(line.endswith("/usr/sbin/nologin") for line in users), "users stay, so that nobody gets their numbers"
    assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"
    assert machine.run("systemctl", "list-unit-files", "--no-legend", "vrfwire*", check=False).stdout == ""
