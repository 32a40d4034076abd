"""Wrong or untimely attaches, by the real command: a clear error, nothing lost, nothing leaked."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator

import pytest

from lab.namespace import Namespace
from lab.node import Host, Result
from lab.topology import Lab, Vpn
from lab.wait import wait_until
from runtime.errors import ExitCode, OperatorError
from tests.system.commands import check_refusal, refused

LABELS = 8
"""Size of the host's label space."""
BLUE = Vpn("blue", ["64512:1"])


@pytest.fixture(scope="module")
def lab(in_lab: None) -> Iterator[Lab]:
    """hv1 with few labels; what is refused is tried again soon; one port that is right: web, in blue."""
    with Lab(hosts=["hv1"], vpns=[BLUE]) as made:
        made.hosts["hv1"].settings |= {
            "datapath": {"label_count": LABELS, "label_quarantine": 0.2},
            "signaling": {"retry_time": 0.3, "reconnect_min": 0.1, "reconnect_max": 0.3},
        }
        made.start()
        made.hosts["hv1"].cli(*attach("web", "10.1.1.1", tap="tap-web"))
        yield made
        for daemon in made.daemons():
            assert "Traceback" not in daemon.log.read_text(), daemon.tail(200)


@pytest.fixture
def hv1(lab: Lab) -> Iterator[Host]:
    """The host; after each test it has the one right port again, and devices of no other."""
    host = lab.hosts["hv1"]
    before = devices(host)
    yield host
    for port in host.items("port.list"):
        if port["name"] != "web":
            host.call("port.detach", {"name": port["name"], "timeout": 20})
    assert [port["name"] for port in host.items("port.list")] == ["web"]
    assert devices(host) == before


def devices(host: Host) -> set[str]:
    return set(host.namespace.interfaces())


def attach(name: str, address: str, *more: str, vpn: str = "blue", tap: str | None = None) -> list[str]:
    """Arguments of an attach."""
    where = [] if tap is None else ["--tap", tap]
    return ["port", "attach", name, "--vpn", vpn, "--address", address, *where, *more]


def settled(host: Host, name: str, state: str, announced: str) -> None:
    """Wait until a port is in a state."""

    def there() -> bool:
        port = host.call("port.show", {"name": name})
        return (port["state"], port["announced"]) == (state, announced)

    wait_until(there, 20, f"{name} to be {state}, announced: {announced}", detail=host.lab.tails)


def names(host: Host) -> list[str]:
    return [port["name"] for port in host.items("port.list")]


def test_same_again_is_unchanged(hv1: Host) -> None:
    first = hv1.cli("port", "show", "web", "--json").json
    again = hv1.cli(*attach("web", "10.1.1.1", tap="tap-web"), "--json").json
    assert again["unchanged"] is True
    assert {key: again[key] for key in first} == first


@pytest.mark.parametrize(
    ("arguments", "why", "hint"),
    [
        (attach("web", "10.1.1.9", tap="tap-web"), "port web: exists with other parameters", "port show web"),
        (attach("two", "10.1.1.1", tap="tap-two"), "10.1.1.1 in VPN blue belongs to port web", "detach web first"),
        (attach("two", "10.1.1.9", tap="tap-web"), "interface tap-web belongs to port web", "detach web first"),
    ],
    ids=["name", "address", "interface"],
)
def test_what_another_port_has_is_a_conflict(hv1: Host, arguments: list[str], why: str, hint: str) -> None:
    answer = refused(hv1, *arguments, code=ExitCode.CONFLICT)
    assert why in answer.message
    assert hint in answer.hint
    assert names(hv1) == ["web"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (attach("two", "10.1.1.300", tap="tap-two"), "10.1.1.300"),
        (attach("two", "10.1.1.0/24", tap="tap-two"), "is a prefix, not an address"),
        (attach("two", "224.0.0.5", tap="tap-two"), "multicast"),
        (attach("two", "ff02::1", tap="tap-two"), "multicast"),
        (attach("two", "10.1.1.2", "--mac", "02:00:00:00:01", tap="tap-two"), "not a MAC address"),
        (attach("two", "10.1.1.2", "--mac", "01:00:5e:00:00:01", tap="tap-two"), "multicast"),
        (attach("two", "10.1.1.2", "--prefix", "10.1.1.1/24", tap="tap-two"), "10.1.1.1/24"),
        (attach("two", "10.1.1.2", tap="a-name-that-is-too-long"), "not an interface name"),
        (attach("two", "10.1.1.2"), "give one of --tap and --netns"),
        (attach("two", "10.1.1.2", "--timeout", "soon", tap="tap-two"), "soon"),
    ],
    ids=lambda value: " ".join(value[6:]) if isinstance(value, list) else "",
)
def test_malformed_is_a_usage_error(hv1: Host, arguments: list[str], why: str) -> None:
    answer = refused(hv1, *arguments, code=ExitCode.USAGE)
    assert why in answer.message
    assert answer.hint
    assert names(hv1) == ["web"]


def test_error_is_the_same_with_json(hv1: Host) -> None:
    """stdout holds one document or nothing; the error is for people, its code for programs."""
    answer = refused(hv1, "--json", *attach("web", "10.1.1.9", tap="tap-web"), code=ExitCode.CONFLICT)
    assert "exists with other parameters" in answer.message


def test_missing_things_are_not_found(hv1: Host) -> None:
    answer = refused(hv1, *attach("two", "10.1.1.2", "--netns", "nowhere"), code=ExitCode.NOT_FOUND)
    assert "no network namespace nowhere" in answer.message
    for arguments in (("port", "show", "two"), ("port", "detach", "two"), ("vpn", "show", "green")):
        refused(hv1, *arguments, code=ExitCode.NOT_FOUND)
    assert names(hv1) == ["web"]


def test_mistakes_use_up_no_labels(hv1: Host) -> None:
    place = {"vpn": "blue", "addresses": ["10.1.1.2"], "kind": "veth", "netns": "nowhere"}
    used = hv1.call("status")["labels_used"]
    for number in range(LABELS + 2):
        with pytest.raises(OperatorError, match="no network namespace nowhere"):
            hv1.call("port.attach", {"name": f"two-{number}", **place})
    status = hv1.call("status")
    assert (status["labels_used"], status["labels_resting"]) == (used, 0)
    hv1.call("port.attach", {"name": "two", "vpn": "blue", "addresses": ["10.1.1.2"], "kind": "tap", "tap": "tap-two"})


def test_device_of_somebody_else_is_left_alone(hv1: Host) -> None:
    """Accepted and kept, since the device may go; the error says what is in the way. It is tried again by itself."""
    hv1.namespace.ip("link add tap-two mtu 1400 type dummy")
    try:
        answer = refused(hv1, *attach("two", "10.1.1.2", tap="tap-two"), code=ExitCode.FAILURE)
        assert "tap-two exists and is no tap (dummy)" in answer.message
        assert "detach two" in answer.hint
        shown = hv1.call("port.show", {"name": "two"})
        assert (shown["state"], shown["announced"]) == ("error", "no")
        assert "is no tap" in shown["error"]
        assert "mtu 1400" in hv1.namespace.output("ip", "link", "show", "tap-two")
    finally:
        hv1.namespace.ip("link delete tap-two")
    settled(hv1, "two", "programmed", "yes")


def test_interface_taken_away_comes_back(hv1: Host) -> None:
    hv1.namespace.ip("link delete tap-web")
    settled(hv1, "web", "programmed", "yes")
    assert "tap-web" in devices(hv1)


def test_label_space_used_up(hv1: Host) -> None:
    def rested(name: str, address: str) -> bool:
        """Whether there is a label again; those of earlier tests may rest still."""
        place = {"kind": "tap", "interface": f"tap-{name}"}
        try:
            hv1.call("port.attach", {"name": name, "vpn": "blue", "addresses": [address], **place})
        except OperatorError as error:
            assert error.code is ExitCode.CONFLICT, error
            return False
        return True

    for number in range(LABELS - len(names(hv1))):
        wait_until(lambda n=number: rested(f"p{n}", f"10.1.2.{n}"), 10, "a label")  # type: ignore[misc]
    answer = refused(hv1, *attach("more", "10.1.1.2", tap="tap-more"), code=ExitCode.CONFLICT)
    assert f"all {LABELS} labels are in use" in answer.message
    assert "label_count" in answer.hint
    assert "more" not in names(hv1)
    hv1.call("port.detach", {"name": "p0", "timeout": 20})
    wait_until(lambda: rested("more", "10.1.1.2"), 10, "a freed label to have rested")


def test_vpn_unknown_at_the_gateway_is_kept_until_it_is_known(lab: Lab, hv1: Host) -> None:
    arguments = attach("two", "10.1.1.2", "--wait", "announced", vpn="green", tap="tap-two")
    answer = refused(hv1, *arguments, code=ExitCode.FAILURE)
    assert "refused" in answer.message
    assert "add it there ([[vpn]] in gateway.toml, or `vrfwire-map vpn create`)" in answer.hint
    shown = hv1.call("port.show", {"name": "two"})
    assert (shown["state"], shown["announced"]) == ("programmed", "refused")
    problems = hv1.cli("status", "--json", check=False)
    assert problems.status == ExitCode.DEGRADED
    assert any("green" in problem["what"] for problem in problems.json["problems"]), problems.stdout
    assert hv1.call("port.show", {"name": "web"})["announced"] == "yes"

    lab.gateway.settings["vpn"] = [BLUE.table(), Vpn("green", ["64512:7"]).table()]
    lab.gateway.write_config()
    os.kill(lab.gateway.daemon.pid, signal.SIGHUP)
    settled(hv1, "two", "programmed", "yes")
    assert hv1.cli("status").status == ExitCode.OK
    assert [route["prefix"] for route in lab.gateway.items("route.list", vpn="green")] == ["10.1.1.2/32"]


def test_gateway_away_is_told_later(lab: Lab, hv1: Host) -> None:
    assert lab.gateway.daemon.stop() == 0
    try:
        wait_until(lambda: not hv1.connected(), 10, "the session to be lost", detail=lab.tails)
        arguments = attach("two", "10.1.1.2", "--wait", "announced", "--timeout", "0.2", tap="tap-two")
        answer = refused(hv1, *arguments, code=ExitCode.TIMEOUT)
        assert "accepted, still converging: gateway 192.0.2.1 is down" in answer.message
        assert "port show two" in answer.hint
        shown = hv1.call("port.show", {"name": "two"})
        assert (shown["state"], shown["announced"]) == ("programmed", "no")
        assert hv1.cli("status", check=False).status == ExitCode.DEGRADED
        doctor = hv1.cli("doctor", "--json", check=False)
        assert doctor.status == ExitCode.DEGRADED
        (found,) = [item for item in doctor.json["items"] if item["check"] == "gateway 192.0.2.1"]
        assert found["state"] == "failed"
        assert "connect" in found["detail"]
        assert found["hint"]
    finally:
        lab.gateway.start()
    settled(hv1, "two", "programmed", "yes")


def test_wait_ends_with_the_time_and_goes_on(lab: Lab, hv1: Host) -> None:
    """A gateway that hangs answers nothing."""
    lab.gateway.daemon.pause()
    try:
        arguments = attach("two", "10.1.1.2", "--wait", "announced", "--timeout", "0.2", tap="tap-two")
        answer = refused(hv1, *arguments, code=ExitCode.TIMEOUT)
        assert "accepted, still converging: no answer of the gateway yet" in answer.message
        assert hv1.call("port.show", {"name": "two"})["state"] == "programmed"
    finally:
        lab.gateway.daemon.resume()
    settled(hv1, "two", "programmed", "yes")


def test_attaches_at_a_time_of_the_same_port_are_one(hv1: Host) -> None:
    params = {"name": "two", "vpn": "blue", "addresses": ["10.1.1.2"], "kind": "tap", "interface": "tap-two"}
    replies: list[bool] = []

    def call() -> None:
        replies.append(hv1.call("port.attach", params)["unchanged"])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == [False, True, True, True]


# -- the daemon can't start


def run_daemon(host: Host, *arguments: str) -> Result:
    """Start another daemon that is to fail."""
    with host.namespace.entered():
        done = subprocess.run(
            [*host.daemon.argv, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    return Result(done.returncode, done.stdout, done.stderr)


def test_second_daemon_on_the_same_state_is_refused(hv1: Host) -> None:
    result = run_daemon(hv1, "--socket", str(hv1.directory / "other.sock"))
    answer = check_refusal(result, ExitCode.CONFLICT, "vrfwire-agent")
    assert "another daemon is using it" in answer.message
    assert "state" in answer.hint
    settled(hv1, "web", "programmed", "yes")


def test_state_that_cannot_be_used_is_refused_and_kept(lab: Lab, hv1: Host) -> None:
    """Damaged, or of a newer version: the daemon says so and touches neither the file nor the kernel."""
    file = hv1.directory / "state" / "agent.db"
    assert hv1.daemon.stop() == 0
    good = file.read_bytes()
    before = devices(hv1)
    label = hv1.namespace.output("ip", "-f", "mpls", "route")
    try:
        newer = hv1.directory / "newer.db"
        newer.write_bytes(good)
        with contextlib.closing(sqlite3.connect(newer)) as database:
            database.execute("PRAGMA user_version = 999")
        cases = [
            (good[:100] + b"\xa5" * (len(good) - 100), "damaged", "agent.db* aside"),
            (newer.read_bytes(), "written by a newer vrfwire", "start the newer version"),
        ]
        for content, why, hint in cases:
            file.write_bytes(content)
            answer = check_refusal(run_daemon(hv1), ExitCode.FAILURE, "vrfwire-agent")
            assert f"state file {file}: {why}" in answer.message
            assert hint in answer.hint
            assert file.read_bytes() == content
        answer = refused(hv1, "port", "list", code=ExitCode.UNREACHABLE)
        assert "not running" in answer.message
        assert "start it" in answer.hint
    finally:
        file.write_bytes(good)
        hv1.daemon.start()
    assert devices(hv1) == before
    assert hv1.namespace.output("ip", "-f", "mpls", "route") == label
    settled(hv1, "web", "programmed", "yes")


def test_namespace_of_a_vm_goes_and_comes(lab: Lab, hv1: Host) -> None:
    """The status says so; the VM that has come back is attached again."""
    with Namespace("vm-two"):
        hv1.cli(*attach("two", "10.1.1.2", "--netns", "vm-two", "--wait", "announced"))
        label = hv1.call("port.show", {"name": "two"})["label"]

    def told() -> bool:
        port = hv1.call("port.show", {"name": "two"})
        return port["state"] == "error" and "namespace vm-two: No such file" in port["error"]

    wait_until(told, 10, "the status to say that the namespace is gone", detail=lab.tails)
    with Namespace("vm-two") as vm:
        wait_until(lambda: "eth0" in vm.interfaces(), 10, "the VM to have its interface", detail=lab.tails)
        settled(hv1, "two", "programmed", "yes")
        assert hv1.call("port.show", {"name": "two"})["label"] == label
        hv1.cli("port", "detach", "two")
