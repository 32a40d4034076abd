"""Files of certificates: put in place as a whole, in a directory or in a tar archive."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from runtime.errors import ExitCode, OperatorError
from runtime.state_directory import replace_file

PUBLIC = 0o644
SECRET = 0o600
MAX_SIZE = 64 << 20
"""Bytes of a file, or of an archive, that is read."""
_TRIED = 1 << 16
"""Bytes that are written to find out whether there is room for a holder's files."""


class Content(NamedTuple):
    """Of a file. owner: the user who gets it where there is such a user; "": whoever writes it."""

    data: bytes
    mode: int = PUBLIC
    owner: str = ""


class Target(Protocol):
    """Where files for a machine are put."""

    def read(self, name: str) -> bytes | None:
        """A file that is there; None for none. Raises OperatorError."""
        ...

    def prepare(self) -> None:
        """Find out whether files can be put there, before something is issued whose key would be lost. Raises
        OperatorError."""
        ...

    def write(self, files: Mapping[str, Content]) -> None:
        """Put files there; others stay. Raises OperatorError."""
        ...


def put_file(path: Path, data: bytes, mode: int, owner: str = "") -> None:
    """Replace a file as a whole: a crash leaves the old content or the new. It keeps its owner and its group, unless
    others can put files there; a new one gets `owner`, when root writes it and this machine has such a user. Returns
    when it is durable. Raises OSError."""

    def give(descriptor: int) -> None:
        user, group = _belongs(path, owner)
        if (user, group) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, user, group)
        os.fchmod(descriptor, mode)

    replace_file(path, data, give)


def _belongs(path: Path, owner: str) -> tuple[int, int]:
    """User and group of a file that is written anew."""
    with contextlib.suppress(FileNotFoundError):
        before = path.lstat()
        if _is_ours_alone(path.parent):
            return before.st_uid, before.st_gid
    if owner and os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(owner).pw_uid, os.getegid()
    return os.geteuid(), os.getegid()


def _is_ours_alone(directory: Path) -> bool:
    """Whether nobody else can have put a file there, such as one in /tmp, in the hope of getting the next one's key."""
    found = directory.stat()
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def read_file(path: Path) -> bytes | None:
    """The content of a file; None when there is none. Raises OperatorError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(path, error) from error
    if len(data) > MAX_SIZE:
        raise OperatorError(str(path), f"it is larger than {MAX_SIZE} bytes")
    return data


def failure(path: Path, error: OSError) -> OperatorError:
    """An error of the file system, for the operator."""
    denied = isinstance(error, PermissionError)
    hint = "run it as root, or as the owner of the directory" if denied else "check free space and permissions"
    code = ExitCode.NOT_PERMITTED if denied else ExitCode.FAILURE
    return OperatorError(str(path), error.strerror or str(error), hint, code)


class DirectoryTarget:
    """Files in a directory, which is made when it isn't there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> bytes | None:
        """A file that is there."""
        return read_file(self._path / name)

    def prepare(self) -> None:
        """Make the directory, and try it."""
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise failure(self._path, error) from error
        _try(self._path)

    def write(self, files: Mapping[str, Content]) -> None:
        """Put files there. What is the same already isn't touched."""
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, content in files.items():
                path = self._path / name
                if self.read(name) != content.data:
                    put_file(path, content.data, content.mode, content.owner)
        except OSError as error:
            raise failure(self._path, error) from error


class TarTarget:
    """Files in a tar archive, which only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, Content] | None = None

    def read(self, name: str) -> bytes | None:
        """A file that is there."""
        content = self._load().get(name)
        return None if content is None else content.data

    def prepare(self) -> None:
        """Try the directory that it will be in."""
        _try(self._path.parent)

    def write(self, files: Mapping[str, Content]) -> None:
        """Put files there."""
        known = self._load()
        after = {**known, **files}
        if after == known:
            return
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, (data, mode, owner) in after.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = len(data), mode, int(time.time())
                # tar goes by the name where there is such a user, and by the number, root's, where there is none.
                entry.uname, entry.gname = owner or "root", "root"
                archive.addfile(entry, io.BytesIO(data))
        try:
            put_file(self._path, packed.getvalue(), SECRET)
        except OSError as error:
            raise failure(self._path, error) from error
        self._files = after

    def _load(self) -> dict[str, Content]:
        if self._files is None:
            data = read_file(self._path)
            self._files = {} if data is None else self._unpack(data)
        return self._files

    def _unpack(self, data: bytes) -> dict[str, Content]:
        files = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                for entry in archive:
                    file = archive.extractfile(entry) if entry.isfile() else None
                    if file is None or "/" in entry.name:
                        raise tarfile.TarError("there is something else in it")
                    owner = "" if entry.uname == "root" else entry.uname
                    files[entry.name] = Content(file.read(), entry.mode & 0o777, owner)
        except (tarfile.TarError, EOFError) as error:
            why = f"it is no archive that was made here: {error}"
            raise OperatorError(str(self._path), why, "give another --out", ExitCode.CONFLICT) from None
        return files


def _try(directory: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(_TRIED))
    except OSError as error:
        raise failure(directory, error) from error


def open_target(path: Path) -> Target:
    """A tar archive when the name says so, else a directory. Raises OperatorError."""
    if path.name.endswith((".tar.gz", ".tgz", ".tar.xz", ".zip")):
        raise OperatorError(f"--out {path}", "archives are made as .tar", "give FILE.tar", ExitCode.USAGE)
    if path.suffix == ".tar" and not path.is_dir():
        return TarTarget(path)
    if path.exists() and not path.is_dir():
        raise OperatorError(f"--out {path}", "it is no directory", "give a directory, or FILE.tar", ExitCode.USAGE)
    return DirectoryTarget(path)
