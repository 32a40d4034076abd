"""What processes under measurement use: memory and processor time, from /proc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def family_of(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            yield from family_of(int(child))


def resident(pid: int) -> float:
    """Resident memory of a process and all below it, MiB."""
    total = 0
    for one in family_of(pid):
        for line in Path(f"/proc/{one}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return round(total / 1024, 1)


def processor(pid: int) -> float:
    """Seconds of CPU that a process and all below it have used."""
    total = 0
    for one in family_of(pid):
        fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / 100


def switches(pid: int) -> int:
    """Times that a process and all below it have waited for something and were woken."""
    total = 0
    for one in family_of(pid):
        for task in Path(f"/proc/{one}/task").iterdir():
            for line in (task / "status").read_text(encoding="ascii").splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total
