"""A directory that a daemon keeps what must outlive it in: held by one daemon at a time, files replaced as a whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from runtime.errors import ExitCode, OperatorError


def lock_directory(directory: Path, name: str) -> int:
    """Make the directory if there is none, and lock it by its file `name`; returns the descriptor to close for release.

    The kernel releases it however the daemon ends. Raises OperatorError: it can't be used, or another daemon has it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _leave_to_owner(lock, directory)
    except OSError as error:
        raise OperatorError(
            f"state directory {directory}", error.strerror or str(error), "see [state] directory"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OperatorError(
            f"state directory {directory}",
            "another daemon is using it",
            "stop that one first, or give this one another [state] directory",
            ExitCode.CONFLICT,
        ) from None
    return lock


def _leave_to_owner(descriptor: int, directory: Path) -> None:
    """A file that root writes, in a daemon that was run by hand, doesn't lock out the user whose directory it is.
    Raises OSError."""
    if os.geteuid() == 0 and (owner := directory.stat()).st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def replace_file(path: Path, data: bytes, give: Callable[[int], None] | None = None) -> None:
    """Write a file of the directory so that a crash at any time leaves the old content or the new one, wholly.

    give: sets owner and mode of the new file, by its descriptor, while nothing is in it; without, it is for the user of
    the directory alone. Returns when it is durable: blocks for as long as the disk takes. One writer at a time. Raises
    OSError.
    """
    temporary = path.with_name(f".{path.name}.new")
    # Always a new file: what a crash has left, or somebody else has put there, isn't written to.
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if give is None:
                _leave_to_owner(file.fileno(), path.parent)
            else:
                give(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The rename itself is durable when the directory is.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
