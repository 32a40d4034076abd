"""`vrfwire diag bundle`: what is in it, what never is, and that nothing keeps it from being made."""

from __future__ import annotations

import json
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import bundle, bundle_sources
from agent.bundle import Entry, Source, archive, manifest, take_all, write
from lab.pki import Authority
from runtime.errors import ExitCode, OperatorError
from runtime.redact import Redactor
from tests.unit.cli.conftest import Commands, FakeDaemon

PLANTED = "hunter22-planted"
"""The secret that must be nowhere."""


def unpacked(path: Path) -> dict[str, str]:
    """Texts by name, without the directory."""
    with tarfile.open(path) as tar:
        found = {}
        for member in tar.getmembers():
            assert member.isfile() and not member.name.startswith(("/", ".."))
            file = tar.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
        return found


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A configuration with secrets, and programs that tell them."""
    mine = Authority(tmp_path / "pki").host("hv7", "vpn.example.net", ["192.0.2.7"])
    secret = tmp_path / "secret"
    secret.write_text(f"{PLANTED}\n")
    secret.chmod(0o600)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/agent.db").write_text(PLANTED)
    path = tmp_path / "agent.toml"
    path.write_text(
        f'[host]\nname = "hv7"\naddress = "192.0.2.7"\n[state]\ndirectory = "{tmp_path}/state"\n'
        f'[tls]\nca = "{mine.ca}"\ncertificate = "{mine.certificate}"\nkey = "{mine.key}"\n'
        f'[[gateway]]\naddress = "192.0.2.1"\ndomain = "vpn.example.net"\npassword_file = "{secret}"\n'
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ip", "tc", "journalctl", "systemctl", "networkctl", "ss", "timedatectl"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "{name} $*"\necho "login with {PLANTED}"\ncat {mine.key}\necho "password: other-secret"\n'
        )
        (programs / name).chmod(0o755)
    return path


@pytest.fixture
def programs(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine is asked but those of `host`."""
    monkeypatch.setenv("PATH", f"{host.parent}/bin:/usr/bin:/bin:/usr/sbin:/sbin")


def answers(daemon: FakeDaemon) -> None:
    """What a daemon says, as far as the fake has methods for it."""
    for method in ("status", "version", "port.list", "vpn.list", "gateway.list", "route.list", "doctor"):
        daemon.answers[method] = {"items": [{"said": f"{method}: {PLANTED}"}]}


@pytest.mark.usefixtures("programs")
def test_with_the_daemon(commands: Commands, daemon: FakeDaemon, host: Path) -> None:
    answers(daemon)
    daemon.answers["config.show"] = {
        "items": [
            {"key": "gateway[0].password_file", "value": str(host.parent / "secret"), "origin": "x"},
            {"key": "tls.key", "value": str(host.parent / "none"), "origin": "x"},
            {"key": "state.directory", "value": str(host.parent / "state"), "origin": "x"},
        ],
        "files": [],
    }
    target = host.parent / "out.tar.gz"
    outcome = commands.vrfwire("diag", "bundle", "--output", str(target), "--config", str(host), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json["file"] == str(target)
    assert target.stat().st_mode & 0o777 == 0o600
    assert outcome.json["bytes"] == target.stat().st_size
    found = unpacked(target)
    assert json.loads(found["daemon/status.json"])["items"][0]["said"] == "status: (removed)"
    assert {"doctor.json", "versions.json", "journal.txt", "kernel/ip-d-s-link.txt", "state.txt"} <= found.keys()
    assert "agent.db" in found["state.txt"]
    assert json.loads(found["config/effective.json"])["items"]
    assert ("route.list", {"limit": bundle_sources.ROUTES}) in daemon.asked
    listed = {entry["name"]: entry for entry in json.loads(found["manifest.json"])["items"]}
    assert listed == {entry["name"]: entry for entry in outcome.json["items"]}
    assert found.keys() - {"manifest.json"} == {name for name, entry in listed.items() if not entry["error"]}
    # The fake lacks this one, as an older daemon would: it is told, and costs nothing else.
    assert "this daemon has no such method" in listed["daemon/metrics.json"]["error"]


def test_drop_ins_of_every_directory_are_taken(tmp_path: Path) -> None:
    """Packages put theirs into /usr/lib, and a boot may leave some in /run."""
    paths = [
        "/etc/systemd/networkd.conf",
        "/etc/systemd/networkd.conf.d/90-site.conf",
        "/run/systemd/networkd.conf.d/a.conf",
        "/usr/lib/systemd/networkd.conf.d/vrfwire.conf",
        "/usr/lib/NetworkManager/conf.d/vrfwire.conf",
        "/run/NetworkManager/conf.d/b.conf",
        "/etc/NetworkManager/NetworkManager.conf",
    ]
    for path in (*paths, "/etc/systemd/system.conf", "/etc/NetworkManager/system-connections/vpn.conf"):
        file = tmp_path / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[Network]\n")
    (tmp_path / "etc/systemd/networkd.conf.d/masked.conf").symlink_to("/dev/null")
    assert list(bundle_sources.network_files(tmp_path)) == paths


def test_files_that_are_there_are_in_the_list_of_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = str(tmp_path / "vrfwire.conf")
    Path(path).write_text("[Network]\n")
    monkeypatch.setattr(bundle_sources, "network_files", lambda: [path])
    (source,) = [one for one in bundle_sources.sources(lambda *_: {}, None) if one.name == f"files{path}"]
    assert source.take() == "[Network]\n"


@pytest.mark.usefixtures("programs")
def test_secrets_are_nowhere(commands: Commands, host: Path) -> None:
    target = host.parent / "out.tar.gz"
    outcome = commands.vrfwire("diag", "bundle", "--output", str(target), "--config", str(host))
    assert outcome.code == 0
    key = (host.parent / "pki/hv7.key").read_text().splitlines()[1]
    everything = json.dumps(unpacked(target)) + outcome.out
    assert "login with (removed)" in everything, "the programs told it"
    for secret in (PLANTED, key, "other-secret", "PRIVATE KEY-"):
        assert secret not in everything


@pytest.mark.usefixtures("programs")
def test_without_the_daemon(commands: Commands, host: Path) -> None:
    target = host.parent / "out.tar.gz"
    outcome = commands.vrfwire("diag", "bundle", "-o", str(target), "--config", str(host))
    assert outcome.code == 0
    assert outcome.out.startswith(f"{target}: ")
    assert "daemon/status.json" in outcome.out and "not running" in outcome.out
    found = unpacked(target)
    checks = {item["check"]: item["state"] for item in json.loads(found["doctor.json"])["items"]}
    assert (checks["daemon"], checks["underlay address"]) == ("failed", "failed")


@pytest.mark.usefixtures("programs")
def test_a_daemon_that_hangs_is_asked_once(
    commands: Commands, daemon: FakeDaemon, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def silent(self: object, method: str, params: object = None, timeout: float = 0.0) -> dict[str, object]:
        asked.append(method)
        raise OperatorError("vrfwire-agent", f"no answer within {timeout:g} s", "", ExitCode.UNREACHABLE)

    monkeypatch.setattr("runtime.command.Options.ask", silent)
    target = host.parent / "out.tar.gz"
    assert commands.vrfwire("diag", "bundle", "-o", str(target), "--config", str(host)).code == 0
    assert len(asked) == 1


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("mine")
    with pytest.raises(OperatorError) as error:
        write(target, b"x")
    assert (error.value.code, target.read_text()) == (ExitCode.CONFLICT, "mine")
    target.unlink()
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OperatorError):
        write(target, b"x")
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(OperatorError) as error:
        write(tmp_path / "none/out", b"x")
    assert error.value.hint == "give another place by --output"


def source(name: str, take: Callable[[], str]) -> Source:
    return Source(name, name, take)


def test_sources_that_hang_or_fail_cost_only_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "SOURCE_TIME", 0.1)
    release = threading.Event()

    def hangs() -> str:
        release.wait(30)
        return "late"

    def fails() -> str:
        raise PermissionError(13, f"Permission denied, password={PLANTED}")

    taken = take_all([source("hangs", hangs), source("fails", fails), source("works", lambda: "well\n")], Redactor())
    release.set()
    assert [one.entry.error for one in taken] == [
        "no answer within 0 s",
        "Permission denied, password=(removed)",
        "",
    ]
    assert taken[2].data == b"well\n"


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LIMIT", 100)
    monkeypatch.setattr(bundle, "TOTAL", 150)
    taken = take_all([source(name, lambda: "é" * 100) for name in "abc"], Redactor())
    assert [(len(one.data), one.entry.truncated) for one in taken] == [(100, True), (50, True), (0, False)]
    assert taken[2].entry.error == "not asked: the bundle is full"
    ticks = iter(range(0, 10_000, 100))
    taken = take_all([source(name, lambda: "x") for name in "abc"], Redactor(), lambda: float(next(ticks)))
    assert [one.entry.error for one in taken] == ["", *["not asked: the others took too long"] * 2]


def test_a_secret_is_not_cut_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LIMIT", 30)
    (taken,) = take_all([source("a", lambda: f"a first line\nsent {PLANTED} and more\n")], Redactor([PLANTED]))
    assert taken.data == b"a first line\n"
    assert taken.entry.truncated


def test_the_archive_says_what_is_in_it(tmp_path: Path) -> None:
    taken = take_all([source("a/b.txt", lambda: "text")], Redactor())
    taken.append(replace(taken[0], entry=Entry("none", "none", error="why"), data=b""))
    listing = manifest(taken, {"host": "hv7"})
    path = tmp_path / "x.tar.gz"
    path.write_bytes(archive("diag", taken, listing, 1_700_000_000.0))
    found = unpacked(path)
    assert found.keys() == {"manifest.json", "a/b.txt"}
    document: dict[str, Any] = json.loads(found["manifest.json"])
    assert [item["name"] for item in document["items"]] == ["a/b.txt", "none"]
    assert archive("diag", taken, listing, 1_700_000_000.0) == path.read_bytes(), "the same again is the same"


@pytest.mark.usefixtures("programs")
def test_commands_of_the_guide(
    commands: Commands, daemon: FakeDaemon, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/troubleshooting.md, "The doctor"."""
    answers(daemon)
    daemon.answers["config.show"] = {"items": [], "files": []}
    text = (Path(__file__).parents[3] / "docs/troubleshooting.md").read_text()
    section = text.partition("\n## The doctor\n")[2].partition("\n## ")[0]
    lines = [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("    ")]
    assert [line[:2] for line in lines] == [["vrfwire", "doctor"], ["vrfwire", "doctor"], ["vrfwire", "diag"]]
    for line in lines:
        outcome = commands.vrfwire(*(word.replace("/tmp/", f"{host.parent}/") for word in line[1:]))
        assert (outcome.code, outcome.err) == (0, ""), line
    assert (host.parent / "hv7.tar.gz").exists()
