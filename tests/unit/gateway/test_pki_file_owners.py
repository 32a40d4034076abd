"""Keys belong to the user of the daemon that reads them, where there is such a user."""

from __future__ import annotations

import os
import pwd
import tarfile
from pathlib import Path

import pytest

from gateway.pki import READERS
from gateway.pki_files import SECRET, Content, open_target, put_file
from gateway.pki_subject import Role

KEY = Content(b"secret", SECRET, "vrfwire-agent")


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A machine where root writes, and the user vrfwire-agent is number 990; what is given away."""
    given: list[tuple[int, int]] = []
    known = {"vrfwire-agent": 990}

    def getpwnam(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", known[name], 990, "", "/", "/bin/false"))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getegid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _file, user, group: given.append((user, group)))
    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    return given


def test_every_role_has_a_reader() -> None:
    assert set(READERS) == set(Role)


def test_new_key_is_given_to_the_daemon_that_reads_it(tmp_path: Path, users: list[tuple[int, int]]) -> None:
    open_target(tmp_path / "new").write({"hv7.key": KEY})
    assert users == [(990, 0)]
    assert (tmp_path / "new/hv7.key").stat().st_mode & 0o777 == SECRET


def test_key_stays_with_root_where_there_is_no_such_user(tmp_path: Path, users: list[tuple[int, int]]) -> None:
    open_target(tmp_path / "new").write({"gateway.key": KEY._replace(owner="vrfwire-gateway")})
    assert users == []


def test_key_that_is_replaced_keeps_its_owner(tmp_path: Path, users: list[tuple[int, int]]) -> None:
    path = tmp_path / "hv7.key"
    path.write_bytes(b"before")
    put_file(path, b"after", SECRET, "vrfwire-agent")
    before = path.stat()
    assert path.read_bytes() == b"after"
    assert users in ([], [(before.st_uid, before.st_gid)]), "not to the one of the role"


def test_key_is_not_given_to_who_has_put_a_file_in_its_place(tmp_path: Path, users: list[tuple[int, int]]) -> None:
    """In /tmp, or wherever else others can: they would own the archive, and read the key in it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    path = shared / "hv7.tar"
    tarfile.open(path, "w").close()
    os.chown(path, 1234, 1234)
    open_target(path).write({"hv7.key": KEY})
    assert users == [] and path.stat().st_uid == 0 and path.stat().st_mode & 0o777 == SECRET
    shared.chmod(0o755)
    os.chown(path, 1234, 1234)
    open_target(path).write({"hv7.pem": Content(b"public")})
    assert users == [(1234, 1234)], "where nobody else can, it is the administrator's choice"


def test_archive_names_the_owner_and_has_the_number_of_root(tmp_path: Path) -> None:
    path = tmp_path / "hv7.tar"
    open_target(path).write({"hv7.key": KEY, "hv7.pem": Content(b"public")})
    open_target(path).write({"ca.pem": Content(b"public")})
    with tarfile.open(path) as archive:
        owners = {entry.name: (entry.uname, entry.uid) for entry in archive}
    assert owners == {"hv7.key": ("vrfwire-agent", 0), "hv7.pem": ("root", 0), "ca.pem": ("root", 0)}
