"""Network namespaces: finding one by name or path, and doing something in one."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
NAMED = Path("/run/netns")
"""Where `ip netns` keeps the names."""


def namespace_path(name: str) -> Path:
    """The file of a namespace given by name (in /run/netns) or absolute path."""
    return Path(name) if name.startswith("/") else NAMED / name


def open_namespace(name: str) -> int:
    """A file descriptor of the namespace; the caller closes it. Raises OSError."""
    return os.open(namespace_path(name), os.O_RDONLY | os.O_CLOEXEC)


def enter(fd: int) -> None:
    """Move the calling thread into the network namespace of the descriptor (setns). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(ctypes.c_int(fd), ctypes.c_int(CLONE_NEWNET)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def leave() -> None:
    """Move the calling thread into a new, empty network namespace (unshare). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(ctypes.c_int(CLONE_NEWNET)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def inside(fd: int) -> Iterator[None]:
    """Run the body in another network namespace. Only the calling thread moves, and nothing may be awaited inside.

    What must last is a socket opened in there: it stays in its namespace. Raises OSError.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(fd)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)
