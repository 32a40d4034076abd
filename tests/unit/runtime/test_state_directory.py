"""A daemon's directory: one daemon at a time, and files that are old or new, never half."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import ExitCode, OperatorError
from runtime.state_directory import lock_directory, replace_file


def test_a_directory_is_made_and_held(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    lock = lock_directory(directory, "x.lock")
    assert directory.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OperatorError, match="another daemon") as caught:
        lock_directory(directory, "x.lock")
    assert caught.value.code == ExitCode.CONFLICT and caught.value.hint
    os.close(lock_directory(directory, "y.lock"))
    os.close(lock)
    os.close(lock_directory(directory, "x.lock"))


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="state directory") as caught:
        lock_directory(tmp_path / "file" / "state", "x.lock")
    assert caught.value.hint


def test_what_root_writes_is_left_to_the_user_of_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon does that root runs by hand once, before the service starts it as its own user again."""
    given = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _file, user, group: given.append((user, group)))
    real = Path.stat

    def stat_of(uid: int) -> Callable[[Path], os.stat_result]:
        def stat(path: Path) -> os.stat_result:
            found = list(real(path))
            found[4:6] = uid, uid
            return os.stat_result(found)

        return stat

    monkeypatch.setattr(Path, "stat", stat_of(990))
    replace_file(tmp_path / "record", b"one")
    os.close(lock_directory(tmp_path, "x.lock"))
    assert given == [(990, 990)] * 2
    replace_file(tmp_path / "record", b"one", lambda _: None)
    assert len(given) == 2, "somebody else decides"
    monkeypatch.setattr(Path, "stat", stat_of(0))
    replace_file(tmp_path / "record", b"two")
    assert len(given) == 2


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "record"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["record"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "record"
    replace_file(path, b"one")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert [file.name for file in tmp_path.iterdir()] == ["record"]


def test_what_a_crash_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "record"
    (tmp_path / ".record.new").write_bytes(b"much that was never finished")
    replace_file(path, b"one")
    assert path.read_bytes() == b"one"
    assert [file.name for file in tmp_path.iterdir()] == ["record"]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_no_link_is_followed(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    link(tmp_path / ".record.new", tmp_path / "elsewhere")
    replace_file(tmp_path / "record", b"one")
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
    assert (tmp_path / "record").read_bytes() == b"one" and not (tmp_path / "record").is_symlink()


def test_a_file_is_given_to_somebody_before_anything_is_in_it(tmp_path: Path) -> None:
    def give(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == 0
        os.fchmod(descriptor, 0o644)

    replace_file(tmp_path / "record", b"one", give)
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o644
