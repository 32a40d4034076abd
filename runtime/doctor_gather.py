"""Doctor: what every daemon's doctor has to read of this machine. Blocking, and it may hang: see runtime/bounded.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from runtime.bounded import Task
from runtime.certificates import CertificateError, read_pem
from runtime.doctor_files import CertificateFile, SecretFile, StateDirectory
from runtime.findings import Finding, unknown

T = TypeVar("T")

TIME = 10.0
"""Seconds that all looking together may take; what isn't known then is said to be unknown."""
_CERTIFICATES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """One part of an examination: gather() reads facts, and may hang or fail; judge() makes findings of them.

    check: what it is about, for when the facts can't be had.
    """

    check: str
    gather: Callable[[], T]
    judge: Callable[[T], Iterable[Finding]]


def examine(looks: Sequence[Look[object]], seconds: float = TIME) -> list[Finding]:
    """All findings, in the order of the looks, in so many seconds at most: they look at the same time."""
    end = monotonic() + seconds
    begun = [(look, Task(look.gather, f"doctor {look.check}")) for look in looks]
    findings: list[Finding] = []
    for look, task in begun:
        try:
            findings += list(look.judge(task.result(end - monotonic())))
        except TimeoutError:
            hint = "something hangs: see `dmesg` and the file systems of `findmnt`"
            findings.append(unknown(look.check, f"couldn't be looked at within {seconds:.0f} s", hint))
        except Exception as error:
            # Whatever it is, the other checks are to be told; a doctor that falls ill helps nobody.
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            # Most of what can't be read isn't for everybody; all else is for whoever makes the doctor.
            hint = "run it as root" if isinstance(error, OSError) else "a defect of this check: please report it"
            findings.append(unknown(look.check, f"couldn't be looked at: {why}", hint))
    return findings


def gather_certificates(files: Iterable[tuple[Path | None, bool]]) -> tuple[CertificateFile, ...]:
    """Certificates of files. files: path, or None for one that isn't configured, and whether it holds authorities."""
    return tuple(_certificate(path, authority) for path, authority in files if path is not None)


def _certificate(path: Path, authority: bool) -> CertificateFile:
    try:
        with path.open("rb") as file:
            return CertificateFile(path, authority, read_pem(file.read(_CERTIFICATES_MAX)))
    except OSError as error:
        return CertificateFile(path, authority, error=error.strerror or str(error))
    except CertificateError as error:
        return CertificateFile(path, authority, error=str(error))


def gather_secrets(files: Mapping[str, Path | None]) -> tuple[SecretFile, ...]:
    """Modes of keys and passwords, by their key in the configuration; they are opened and not read."""
    found = []
    for what, path in files.items():
        if path is not None:
            try:
                with path.open("rb") as file:
                    found.append(SecretFile(what, path, os.fstat(file.fileno()).st_mode & 0o7777))
            except OSError as error:
                found.append(SecretFile(what, path, error=error.strerror or str(error)))
    return tuple(found)


def gather_state(directory: Path) -> StateDirectory:
    """Whether this process could keep state there."""
    try:
        status = directory.stat()
        room = os.statvfs(directory)
    except FileNotFoundError:
        return StateDirectory(directory, missing=True)
    except OSError as error:
        return StateDirectory(directory, error=error.strerror or str(error))
    if not directory.is_dir():
        return StateDirectory(directory, error="is no directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        return StateDirectory(directory, error="this user can't write there")
    entries = room.f_favail if room.f_files else None
    return StateDirectory(directory, False, "", status.st_mode & 0o7777, room.f_bavail * room.f_frsize, entries)


def service_runs(unit: str, process: str, root: Path = Path("/")) -> bool | None:
    """Whether a service of this machine runs, in this network namespace. unit: "NAME.service"; process: name that the
    kernel shows, 15 characters at most. None when that can't be found out."""
    pids = _members(unit, root)
    if pids is None:
        pids = _named(process, root)
    ours = _namespace("self", root)
    if not pids:
        return None if pids is None else False
    # Where it can't be seen, the namespace is most likely the machine's own, as ours is.
    return any((theirs := _namespace(str(pid), root)) is None or ours is None or theirs == ours for pid in pids)


def _members(unit: str, root: Path) -> list[int] | None:
    """Processes of a unit, by its control group: a hardened daemon doesn't see others in /proc. None: no systemd."""
    slices = root / "sys/fs/cgroup/system.slice"
    try:
        if not slices.is_dir():
            return None
        return [int(line) for line in (slices / unit / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        return None


def _named(name: str, root: Path) -> list[int] | None:
    found = []
    try:
        for entry in os.scandir(root / "proc"):
            if entry.name.isdigit():
                try:
                    if (Path(entry.path) / "comm").read_text().strip() == name:
                        found.append(int(entry.name))
                except OSError:
                    continue  # it has ended meanwhile
    except OSError:
        return None
    return found


def _namespace(pid: str, root: Path) -> str | None:
    try:
        return str((root / f"proc/{pid}/ns/net").readlink())
    except OSError:
        return None
