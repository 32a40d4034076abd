"""Process 1 of a lab environment: sets the machine up, runs one command, hands its exit status out.

Runs in user-mode Linux as the kernel's init, and natively as the first process of its own mount, network and process
namespaces. Imports only the standard library and little of it: in user-mode Linux every import costs.

    guest_init.py EXCHANGE

EXCHANGE is a directory that the parent outside reads as well. It holds `job.json`, written by the parent:

    argv, cwd, environ      the command
    uml                     true: mount the file systems of a bare machine, load modules, power off at the end
    module_root             directory for `modprobe -d`, or null
    modules                 names to load
    console                 true: the command talks to a person at the console, or natively to our terminal
    stdin                   true: the command reads the file `stdin` there; false: nothing

and receives `status`, the exit status, written last, and in user-mode Linux without a console the command's output,
`out` and `err`. Natively the command has our own stdout and stderr.
"""

# pathlib would be one more import.
# ruff: noqa: PTH101, PTH103, PTH123, PTH211

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

SCRATCH = "/run/vrfwire-lab/tmp"
"""TMPDIR of the command: a fresh memory file system. /tmp stays the host's, so files there can be shared."""

PLATFORM_LABELS = 1048575
"""Largest net.mpls.platform_labels: the whole 20-bit label space (RFC 3032)."""

MS_REC = 0x4000
MS_PRIVATE = 1 << 18
RB_POWER_OFF = 0x4321FEDC

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()) != 0:
        number = ctypes.get_errno()
        if number == errno.EBUSY and kind == "devtmpfs":
            return  # the kernel has mounted it itself
        raise OSError(number, f"mount {kind} on {target}: {os.strerror(number)}")


def mount_machine() -> None:
    """The file systems of a machine that has only its root."""
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    mount("devtmpfs", "/dev", "devtmpfs")
    os.makedirs("/dev/pts", exist_ok=True)
    mount("devpts", "/dev/pts", "devpts", data="mode=620,ptmxmode=666")
    os.makedirs("/dev/shm", exist_ok=True)
    mount("tmpfs", "/dev/shm", "tmpfs")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(f"/proc/self/{target}", f"/dev/{name}")


def mount_private() -> None:
    """Memory file systems of this environment's own: /run (with netns in it) and the scratch directory."""
    mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for path in ("/run/netns", "/run/lock", SCRATCH):
        os.makedirs(path)
    os.chmod(SCRATCH, 0o1777)


def load_modules(root: str | None, names: Sequence[str]) -> None:
    """What isn't there shows where it is used; the kernel may have it built in."""
    if names:
        command = ["modprobe", *(["-d", root] if root else []), "-a", "-q", *names]
        subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def set_up_network() -> None:
    """Loopback up; the label space open in this namespace (others are the business of whoever uses them)."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    settings = {
        "net/mpls/platform_labels": PLATFORM_LABELS,
        # No gre0, ip6tnl0, ... in each new namespace: they cost time and clutter every list.
        "net/core/fb_tunnels_only_for_init_net": 1,
    }
    for name, value in settings.items():
        path = f"/proc/sys/{name}"
        if os.access(path, os.W_OK):
            with open(path, "w") as file:
                file.write(str(value))


def run(argv: Sequence[str], cwd: str, environ: Mapping[str, str], streams: tuple[int, int, int], tty: bool) -> int:
    """Run the command to its end, reaping orphans meanwhile. Returns its exit status, 128 + N for signal N."""
    stdin, out, err = streams
    try:
        child = subprocess.Popen(
            argv, cwd=cwd, env=environ, stdin=stdin, stdout=out, stderr=err, start_new_session=not tty
        )
    except OSError as error:
        os.write(err, f"lab: {error.filename or argv[0]}: {error.strerror}\n".encode())
        return 127 if isinstance(error, FileNotFoundError) else 126

    def forward(number: int, _frame: object) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, signal.SIG_IGN if tty else forward)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            child.returncode = code
            return 128 - code if code < 0 else code


def take_console(box: int) -> None:
    """Make the kernel's console our terminal, so that a shell has job control. box: the exchange directory, opened."""
    import fcntl
    import termios

    os.setsid()
    descriptor = os.open("/dev/tty0", os.O_RDWR)
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(descriptor, number)
    with contextlib.suppress(FileNotFoundError):
        size = os.open("winsize", os.O_RDONLY, dir_fd=box)
        fcntl.ioctl(0, termios.TIOCSWINSZ, os.read(size, 8))
        os.close(size)


def main(exchange: str) -> int:
    """Do the job described in EXCHANGE/job.json. In user-mode Linux this doesn't return: it powers the machine off."""
    # Held open: its path may be out of sight once memory file systems are mounted (a TMPDIR in /run, say).
    box = os.open(exchange, os.O_RDONLY | os.O_DIRECTORY)
    with open(f"{exchange}/job.json", encoding="utf-8") as file:
        job = json.load(file)
    uml: bool = job["uml"]
    tty: bool = job["console"]
    os.environ["PATH"] = job["environ"]["PATH"]
    if uml:
        mount_machine()
    else:
        mount("none", "/", "none", MS_REC | MS_PRIVATE)
        mount("proc", "/proc", "proc")
        mount("sysfs", "/sys", "sysfs")
    mount_private()
    if uml:
        # Natively the probe before us has loaded them.
        load_modules(job["module_root"], job["modules"])
    set_up_network()
    out, err = 1, 2
    if uml and tty:
        take_console(box)
    elif uml:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        out = os.open("out", flags, 0o644, dir_fd=box)
        err = os.open("err", flags, 0o644, dir_fd=box)
    stdin = 0 if tty else os.open("stdin" if job["stdin"] else os.devnull, os.O_RDONLY, dir_fd=box)
    status = run(job["argv"], job["cwd"], {**job["environ"], "TMPDIR": SCRATCH}, (stdin, out, err), tty)
    descriptor = os.open("status.new", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=box)
    os.write(descriptor, f"{status}\n".encode())
    os.close(descriptor)
    os.rename("status.new", "status", src_dir_fd=box, dst_dir_fd=box)
    if uml:
        _libc.reboot(RB_POWER_OFF)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
