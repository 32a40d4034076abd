"""A listening unix socket in the file system: one daemon each, what a dead one left is replaced."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from runtime.errors import ExitCode, OperatorError


class SocketFile:
    """The socket at path, and the lock beside it ("PATH.lock") that keeps a second daemon away.

    group: numeric id of the group it is to belong to, or None; mode: of the socket.
    """

    def __init__(self, path: Path, group: int | None = None, mode: int = 0o660) -> None:
        self._path = path
        self._group = group
        self._mode = mode
        self._lock: int | None = None
        self._inode: tuple[int, int] | None = None

    def listen(self) -> socket.socket:
        """Bind and listen. Raises OperatorError: another daemon has the socket, or it can't be made there."""
        try:
            self._take_lock()
            self._remove_stale()
            return self._bind()
        except OSError as error:
            self._release_lock()
            hint = "see [control] socket"
            if isinstance(error, PermissionError) and self._path.parent.is_dir():
                hint += f"; or was a daemon run by another user, such as root? Then remove {self._path}.lock"
            raise OperatorError(f"control socket {self._path}", error.strerror or str(error), hint) from error
        except OperatorError:
            self._release_lock()
            raise

    def remove(self) -> None:
        """Remove the socket if it still is the one that was made here, and give the lock back."""
        if self._inode is not None:
            with contextlib.suppress(FileNotFoundError):
                if self._identity() == self._inode:
                    self._path.unlink()
            self._inode = None
        self._release_lock()

    def _take_lock(self) -> None:
        """Held for life, and released by the kernel however the daemon ends."""
        # Not by a link: in /run/vrfwire other daemons' users could leave one for who comes as root.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(f"{self._path}.lock", flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._taken() from None

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove_stale(self) -> None:
        """Remove what a daemon that died left behind; anything alive, or not a socket, is somebody else's."""
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(status.st_mode):
            raise OperatorError(
                f"control socket {self._path}",
                "there is something else of this name",
                "remove it, or choose another [control] socket",
                ExitCode.CONFLICT,
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink()
                return
        raise self._taken()

    def _taken(self) -> OperatorError:
        return OperatorError(
            f"control socket {self._path}",
            "another daemon is using it",
            "stop that one first, or choose another [control] socket",
            ExitCode.CONFLICT,
        )

    def _bind(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Nobody gets in between bind and chmod: the mask leaves it to the owner.
        mask = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        except OSError as error:
            listener.close()
            if error.errno is None:  # too long for sun_path: Python refuses before the kernel does
                raise OSError(errno.ENAMETOOLONG, "longer than the 107 bytes of a socket address") from error
            raise
        finally:
            os.umask(mask)
        try:
            self._inode = self._identity()
            if self._group is not None:
                os.chown(self._path, -1, self._group)
            self._path.chmod(self._mode)
            listener.listen(128)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    def _identity(self) -> tuple[int, int]:
        status = self._path.lstat()
        return status.st_dev, status.st_ino
