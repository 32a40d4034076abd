"""Doctor: the clock, which decides whether certificates are valid and how logs of several machines fit together."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.bounded import run
from runtime.findings import Finding, failed, good, unknown, warning

CHECK = "clock"
RELEASED = 1704067200.0
"""2024-01-01, Unix time: a clock before that is wrong for certain."""
_COMMAND_TIME = 3.0
_UNSYNCHRONISED = 0x40
"""STA_UNSYNC of adjtimex(2): nothing keeps the clock right."""
_TIMEX_SIZE = 256
_STATUS_OFFSET = 5 * ctypes.sizeof(ctypes.c_long)
"""In struct timex, after modes, which is padded, and four longs."""


@dataclass(frozen=True, slots=True)
class Clock:
    """now: Unix time. synchronised: whether something keeps it right; None when that can't be found out."""

    now: float
    synchronised: bool | None


def check_clock(facts: Clock) -> Iterator[Finding]:
    """Whether it can be believed."""
    hint = "timedatectl set-ntp true, or see what your chrony or ntpd says"
    if facts.now < RELEASED:
        yield failed(CHECK, "is years behind: no certificate is valid", hint)
    elif facts.synchronised is None:
        yield unknown(CHECK, "can't be seen whether anything keeps it right", "timedatectl, or chronyc tracking")
    elif facts.synchronised:
        yield good(CHECK, "synchronised")
    else:
        yield warning(CHECK, "nothing keeps it right: certificates may seem to begin later, or to end earlier", hint)


def gather_clock(now: float, root: Path = Path("/")) -> Clock:
    """The kernel is asked, or, where a filter of system calls may be in the way of that, systemd. Raises nothing."""
    if (root / "run/systemd/timesync/synchronized").exists():
        return Clock(now, True)
    if not _filtered(root):
        return Clock(now, _kernel_says())
    try:
        answer = run(["timedatectl", "show", "--property=NTPSynchronized", "--value"], seconds=_COMMAND_TIME).text
    except OSError:
        answer = ""
    return Clock(now, {"yes": True, "no": False}.get(answer.strip()))


def _filtered(root: Path) -> bool:
    """Whether system calls of this process are filtered: one that is not allowed may end it."""
    try:
        text = (root / "proc/self/status").read_text()
    except OSError:
        return True
    return "\nSeccomp:\t0" not in text


def _kernel_says() -> bool | None:
    """adjtimex(2) without a change; whoever runs a time service lets it tell the kernel."""
    buffer = ctypes.create_string_buffer(_TIMEX_SIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) < 0:
        return None
    status = ctypes.c_int.from_buffer(buffer, _STATUS_OFFSET).value
    return not status & _UNSYNCHRONISED
