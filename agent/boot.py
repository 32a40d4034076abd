"""Time that labels rest by: seconds since this machine was started, and which start that was.

Not the wall clock: it jumps. A machine whose clock was an hour behind when a label was freed would find its rest over
as soon as the time is put right, and one whose clock is lost at a reboot would let it rest for years.
"""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Seconds since the machine was started, suspended ones included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What this start of the machine is called: another text after every reboot (random(4)).

    "" where the kernel doesn't tell: then every start of the daemon counts as one of the machine.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
