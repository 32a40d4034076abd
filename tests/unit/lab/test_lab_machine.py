"""Debian machines, as far as they need no machine: where Debian comes from, what is kept, what was left behind."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from lab import machine, machine_root, machine_server
from lab.errors import LabError

TARGETS = """http://mirror.example/debian/|bookworm|main|{origin}
http://mirror.example/debian/|bookworm-updates|main|{origin}
http://mirror.example/security/|bookworm-security|main|{origin}
http://other.example/debian/|trixie|main|{origin}
"""


def test_mirror_is_that_of_the_suite() -> None:
    assert machine_root.mirror(TARGETS.format(origin="Debian")) == "http://mirror.example/debian/"
    assert machine_root.mirror(TARGETS.format(origin="")) == "http://mirror.example/debian/", "before an update"
    assert machine_root.mirror(TARGETS.format(origin="Debian"), "trixie") == "http://other.example/debian/"
    assert machine_root.mirror(TARGETS.format(origin="Debian"), "sid") is None
    assert machine_root.mirror("") is None


def test_mirror_of_debian_goes_before_others_with_the_same_suite() -> None:
    foreign = "http://tools.example/apt/|bookworm|main|{}\n"
    ours = "http://mirror.example/debian/|bookworm|main|Debian\n"
    assert machine_root.mirror(foreign.format("Tools") + ours) == "http://mirror.example/debian/"
    assert machine_root.mirror(foreign.format("") + ours) == "http://mirror.example/debian/"
    assert machine_root.mirror(foreign.format("Tools")) is None


def test_archive_is_made_once_for_what_it_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []

    def make(path: Path, packages: tuple[str, ...], _suite: str) -> None:
        made.append(packages)
        path.write_bytes(b"")

    monkeypatch.setattr(machine_root, "_make_archive", make)
    first = machine_root.archive(tmp_path, ("a", "b"))
    assert machine_root.archive(tmp_path, ("a", "b")) == first and made == [("a", "b")]
    second = machine_root.archive(tmp_path, ("a", "b", "c"))
    assert made == [("a", "b"), ("a", "b", "c")]
    assert list(tmp_path.iterdir()) == [second], "what nobody asks for any more doesn't stay"


def test_archive_leaves_out_documents_and_devices() -> None:
    def wanted(name: str) -> bool:
        return machine_root._wanted(tarfile.TarInfo(name)) is not None

    assert wanted("./dev") and wanted("./usr/share/doc") and wanted("./var/lib/dpkg/status")
    assert not wanted("./dev/null") and not wanted("./usr/share/doc/bash") and not wanted("./var/lib/apt/lists/x")


def test_user_without_the_rights_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="belong to several users") as caught:
        machine_root.Root(tmp_path / "none.tar")
    assert caught.value.hint == "run this as root"


def test_root_of_a_process_that_was_killed_is_swept_and_that_of_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = tmp_path / "root.tar"
    with tarfile.open(tar, "w") as archive:
        for name in ("etc/systemd/system", "usr"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.addfile(tarfile.TarInfo("usr/file"), io.BytesIO())
    space = tmp_path / "space"
    space.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine_root, "_space", lambda: str(space))
    monkeypatch.setattr(machine_root.Root, "_add_modules", lambda _self: None)
    killed = space / "vrfwire-machine-killed"
    (killed / "root").mkdir(parents=True)
    new = space / "vrfwire-machine-new"
    new.mkdir()
    past = time.time() - 3600
    os.utime(killed, (past, past))
    with machine_root.Root(tar) as root:
        living = root.path.parent
        assert (root.path / "usr/file").exists()
        assert (root.path / "etc/systemd/system/getty.target").readlink() == Path("/dev/null")
        assert root.bring([tar]) == ["/machine/root.tar"] and (living / "exchange/root.tar").exists()
        os.utime(living, (past, past))
        machine_root.sweep(space)
        assert {entry.name for entry in space.iterdir()} == {new.name, living.name}
    assert list(space.iterdir()) == [new]


@pytest.mark.parametrize(("length", "by_file"), [(10, False), (100_000, True)])
def test_a_command_that_is_too_long_for_the_serial_line_goes_by_the_shared_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, by_file: bool
) -> None:
    monkeypatch.setattr(machine_server, "HERE", str(tmp_path))
    monkeypatch.setattr(machine, "adopt_orphans", lambda: None)  # this process isn't a machine's
    booted = machine.Machine(cast(machine_root.Root, SimpleNamespace(exchange=tmp_path, work=tmp_path)))
    ours, theirs = socket.socketpair()
    booted._line = ours
    read, write = os.pipe()
    argv = (sys.executable, "-c", "import sys; print(len(sys.argv[1]))", "x" * length)
    with ours, theirs, os.fdopen(read) as answers, os.fdopen(write, "w"):
        booted.start(*argv)
        line = theirs.recv(1 << 20)
        assert line.endswith(b"\n") and len(line) <= machine.LINE_LIMIT + 1
        assert (tmp_path / "1.request").exists() is by_file
        machine_server.Server(write, str(tmp_path)).handle(json.loads(line))
        assert json.loads(answers.readline()) == {"id": 1, "status": 0}
    assert (tmp_path / "1.out").read_text() == f"{length}\n"


def test_server_runs_commands_and_answers_in_the_order_of_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_server, "HERE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    read, write = os.pipe()
    server = machine_server.Server(write, str(tmp_path))
    (tmp_path / "2.in").write_text("hello")
    waits = [sys.executable, "-c", "import sys; sys.stdin.read(); import time; time.sleep(60)"]
    echo = "import os, sys; print(sys.stdin.read() + os.environ['X']); sys.exit(3)"
    with os.fdopen(read) as answers:
        server.handle({"id": 1, "argv": waits, "environ": {}})
        server.handle({"id": 2, "argv": [sys.executable, "-c", echo], "environ": {"X": "!"}})
        assert json.loads(answers.readline()) == {"id": 2, "status": 3}
        assert (tmp_path / "2.out").read_text() == "hello!\n" and (tmp_path / "2.err").read_text() == ""
        server.handle({"id": 3, "argv": ["/nowhere"], "environ": {}})
        assert json.loads(answers.readline()) == {"id": 3, "status": 127}
        assert "No such file" in (tmp_path / "3.err").read_text()
        server.handle({"id": 1, "signal": 9})
        assert json.loads(answers.readline()) == {"id": 1, "status": -9}
        server.handle({"id": 1, "signal": 9})
        server.handle({"id": 99, "signal": 9})
    os.close(write)
