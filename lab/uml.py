"""User-mode Linux: the command line to boot it with, where its memory goes, and what its console says when it dies."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

KERNEL = "linux.uml"
MODULE_HOME = Path("/usr/lib/uml/modules")
DEFAULT_MEMORY = 1500
"""Memory of the machine in MiB; only what it touches is taken from the host."""

_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_OTHER_DEATHS = (
    (re.compile(r"(Out of memory: Killed process .*)"), "the machine ran out of memory"),
    (re.compile(r"(No space left on device|Bus error)"), "no space left for the machine's memory file"),
    (re.compile(r"(Failed to .*(?:mem|physmem).*)"), "the machine's memory could not be set up"),
)


@dataclass(frozen=True, slots=True)
class Space:
    """A directory that may hold the memory file. free: bytes."""

    path: str
    free: int
    executable: bool
    """False on a file system mounted noexec: user-mode Linux maps its memory file executable."""


def look_for_space(paths: Iterable[str]) -> list[Space]:
    """The directories among `paths` that exist and can be written, in the given order."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            if path and os.access(path, os.W_OK | os.X_OK):
                stat = os.statvfs(path)
                found.append(Space(path, stat.f_bavail * stat.f_frsize, not stat.f_flag & os.ST_NOEXEC))
    return found


def choose_space(spaces: Sequence[Space], need: int) -> str:
    """The first directory with `need` bytes free. Raises LabError when there is none.

    A memory file system comes first in `spaces` (no disk writes), but containers often have a tiny one, and running
    out of it kills the machine with SIGBUS in the middle of its work.
    """
    for space in spaces:
        if space.executable and space.free >= need:
            return space.path
    seen = ", ".join(f"{s.path} ({s.free >> 20} MiB{'' if s.executable else ', noexec'})" for s in spaces)
    raise LabError(
        f"no directory has {need >> 20} MiB for the memory of user-mode Linux; looked at {seen or 'nothing'}",
        "free some space, point TMPDIR to a larger file system, or give --memory",
    )


def memory_directory(memory: int) -> str:
    """Directory for the memory file of a machine with `memory` MiB."""
    return choose_space(look_for_space(["/dev/shm", tempfile.gettempdir(), "/var/tmp"]), memory << 20)


def find_kernel() -> str:
    """Path of the user-mode kernel. Raises LabError when it isn't installed."""
    path = shutil.which(KERNEL, path=os.environ.get("PATH", os.defpath) + ":/usr/bin:/usr/local/bin")
    if path is None:
        raise LabError(f"{KERNEL} is not installed", "run `make setup` (Debian package user-mode-linux)")
    return path


def module_root(exchange: Path, home: Path = MODULE_HOME) -> Path | None:
    """A directory for `modprobe -d` with the modules of every installed version of the user-mode kernel.

    Debian keeps them where modprobe doesn't look, with or without the lists that depmod makes. Nothing is copied: the
    lists are made beside links to the module files.
    """
    if not home.is_dir():
        return None
    root = exchange / "modules"
    for source in home.iterdir():
        target = root / "lib" / "modules" / source.name
        target.mkdir(parents=True)
        for entry in source.iterdir():
            if entry.is_dir() or entry.name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
                (target / entry.name).symlink_to(entry)
        subprocess.run(
            ["depmod", "-b", str(root), source.name],
            env={**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
    return root


def command(kernel: str, exchange: Path, init: Path, memory: int, console: bool, disk: Path | None = None) -> list[str]:
    """The command line. Paths must be free of blanks: the kernel splits its command line at them.

    memory: MiB. console: the machine's console is the terminal (for a shell) instead of the log on stdout. disk: image
    of an ext4 file system to be the machine's root; without one it is this machine's own.
    """
    for path in (exchange, init, *([disk] if disk else [])):
        if re.search(r"[\s,]", str(path)):
            raise LabError(f"user-mode Linux can't use the path {str(path)!r}", "set TMPDIR to a path without blanks")
    if disk is None:
        root = ["root=none", "rootfstype=hostfs", "rootflags=/"]
    else:
        root = [f"ubd0={disk}", "root=/dev/ubda", "rootfstype=ext4"]
    arguments = [
        kernel,
        f"mem={memory}M",
        f"uml_dir={exchange}",
        *root,
        "rw",
        f"init={init}",
        "panic=-1",
        "con=null",
    ]
    if console:
        return [*arguments, "con0=fd:0,fd:1", "quiet", "loglevel=0"]
    return [*arguments, "con0=null,fd:1"]


def diagnose(console: str) -> str:
    """One line on why a machine ended without handing out an exit status, from the text of its console."""
    panic = _PANIC.search(console)
    if panic:
        return f"the guest kernel panicked: {panic[1].strip()}"
    for pattern, meaning in _OTHER_DEATHS:
        match = pattern.search(console)
        if match:
            return f"{meaning}: {match[1].strip()}"
    return "the guest machine ended without an exit status"


def tail(console: str, lines: int = 40) -> str:
    """The last lines of a console, without escape sequences and empty lines."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.replace("\r", ""))
    return "\n".join([line for line in text.split("\n") if line.strip()][-lines:])
