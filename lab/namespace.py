"""Network namespaces by name, made and entered by system calls: a process a step costs 100 ms in user-mode Linux.

A thread that has entered a namespace makes its sockets and its child processes there; they stay there when the thread
has gone back. So everything is done from the caller's thread, in short `with` blocks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from lab.errors import LabError

RUN = Path("/run/netns")
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _own() -> str:
    return f"/proc/self/task/{threading.get_native_id()}/ns/net"


@contextlib.contextmanager
def _saved() -> Iterator[None]:
    """Put the thread back into the namespace that it is in now."""
    descriptor = os.open(_own(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _check(_libc.setns(descriptor, CLONE_NEWNET), "setns")
        finally:
            os.close(descriptor)


class Namespace:
    """A network namespace made by us, found by others as /run/netns/NAME. A context manager that deletes it."""

    def __init__(self, name: str) -> None:
        """Make it, loopback up. Raises LabError when the name is taken."""
        self.name = name
        self.path = RUN / name
        RUN.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        except FileExistsError:
            raise LabError(f"network namespace {name} exists already", "something before this left it behind") from None
        try:
            with _saved():
                _check(_libc.unshare(CLONE_NEWNET), "unshare")
                _check(
                    _libc.mount(_own().encode(), str(self.path).encode(), b"none", ctypes.c_ulong(MS_BIND), None),
                    f"mount {self.path}",
                )
        except OSError:
            self.path.unlink()
            raise
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.ip("link set lo up")

    @classmethod
    def existing(cls, name: str) -> Namespace:
        """One that somebody else has made, e.g. `ip netns add`. Raises FileNotFoundError."""
        found = cls.__new__(cls)
        found.name = name
        found.path = RUN / name
        found._descriptor = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)
        return found

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the namespace for the length of the block."""
        with _saved():
            _check(_libc.setns(self._descriptor, CLONE_NEWNET), f"setns {self.name}")
            yield

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8), without the word "ip", all in one process. Raises LabError on the first failure."""
        with self.entered():
            ip(*commands)

    def output(self, *argv: str) -> str:
        """Run a program inside and return what it prints. Raises LabError when it fails."""
        with self.entered():
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{' '.join(argv)}: exit status {done.returncode}", log=done.stderr.strip())
        return done.stdout

    def read(self, path: str) -> str:
        """A file as seen inside, e.g. of /proc/sys/net."""
        with self.entered():
            return Path(path).read_text(encoding="ascii")

    def write(self, path: str, text: str) -> None:
        """Write a file as seen inside, e.g. of /proc/sys/net."""
        with self.entered():
            Path(path).write_text(text, encoding="ascii")

    def interfaces(self) -> list[str]:
        """Names of the network interfaces inside."""
        # /proc/self belongs to the process, /proc/thread-self to this thread and so to the namespace it is in.
        lines = self.read("/proc/thread-self/net/dev").splitlines()[2:]
        return [line.split(":")[0].strip() for line in lines]

    def delete(self) -> None:
        """Drop the name. The kernel ends the namespace with its last process and socket. Again: does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            _check(_libc.umount2(str(self.path).encode(), MNT_DETACH), f"umount {self.path}")
            self.path.unlink()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.delete()

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"


def ip(*commands: str) -> None:
    """Run commands of ip(8), without the word "ip", in one process. Raises LabError on the first failure."""
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(commands) + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"ip: {done.stderr.strip()}", log="\n".join(commands))


def names() -> set[str]:
    """Names of all network namespaces."""
    return {entry.name for entry in RUN.iterdir()} if RUN.is_dir() else set()
