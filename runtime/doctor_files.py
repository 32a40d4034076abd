"""Doctor: certificates, secrets and directories of a daemon. Pure, over what was read of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.certificates import (
    AUTHORITY_HINT,
    Certificate,
    expiry_of_authorities,
    expiry_of_chain,
    expiry_trouble,
    renewal_hint,
)
from runtime.findings import Finding, failed, good, warning

ROOM = 64 << 20
"""Bytes that a state directory's file system should have free."""


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file of the configuration. authority: whether it holds authorities, and not a certificate with its chain.
    certificates: empty when there is an error, a text."""

    path: Path
    authority: bool
    certificates: tuple[Certificate, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A key or password. what: its key in the configuration; mode: of the file, 0 when there is an error, a text."""

    what: str
    path: Path
    mode: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Where a daemon keeps what must outlive it. missing: it isn't there, and the start makes it. error: why it can't
    be used, a text. mode: of the directory; free: bytes of its file system; entries: free inodes, None if it has any
    number."""

    path: Path
    missing: bool = False
    error: str = ""
    mode: int = 0
    free: int = 0
    entries: int | None = None


def check_certificates(files: Iterable[CertificateFile], now: float) -> Iterator[Finding]:
    """Validity in time. now: Unix time."""
    for file in files:
        check = f"certificate {file.path}"
        if file.error:
            yield failed(check, file.error, "it must hold certificates in PEM, and the daemon must be able to read it")
            continue
        begins = max(one.not_before for one in file.certificates)
        ends = (expiry_of_authorities if file.authority else expiry_of_chain)(file.certificates)
        hint = AUTHORITY_HINT if file.authority else renewal_hint(file.certificates[0].name)
        trouble = expiry_trouble(check, ends, now, hint)
        if not file.authority and begins > now:
            detail = f"valid only from {_date(begins)}; it is {_date(now)} by this machine's clock"
            yield failed(check, detail, "see `timedatectl`: most likely the clock is behind")
        elif trouble is None:
            yield good(check, f"valid until {_date(ends)}")
        elif ends <= now:
            yield failed(check, trouble.why, trouble.hint)
        else:
            yield warning(check, trouble.why, trouble.hint)


def check_secrets(files: Iterable[SecretFile]) -> Iterator[Finding]:
    """Who may read keys and passwords."""
    for file in files:
        check = f"{file.what} {file.path}"
        if file.error:
            yield failed(check, file.error, f"ls -l {file.path}; the daemon's user must be able to read it")
        elif file.mode & 0o007:
            yield warning(check, f"mode {file.mode:04o} gives it to everybody", f"chmod 0640 {file.path}")
        elif file.mode & 0o020:
            yield warning(check, f"mode {file.mode:04o} lets a group change it", f"chmod 0640 {file.path}")
        else:
            yield good(check, f"mode {file.mode:04o}")


def check_state(facts: StateDirectory) -> Iterator[Finding]:
    """Whether the daemon can keep its state."""
    check = f"state directory {facts.path}"
    if facts.missing:
        yield good(check, "isn't there yet; the start makes it")
    elif facts.error:
        yield failed(check, facts.error, f"ls -ld {facts.path}; see [state] directory")
    elif facts.free < ROOM or facts.entries == 0:
        lacks = "no file more" if facts.entries == 0 else f"{facts.free >> 20} MiB"
        yield warning(check, f"there is room for {lacks}", f"df -h {facts.path}; df -i {facts.path}")
    elif facts.mode & 0o022:
        yield warning(check, f"mode {facts.mode:04o} lets others change it", f"chmod go-w {facts.path}")
    else:
        yield good(check, f"{facts.free >> 20} MiB free")


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
