"""Doctor of a daemon that serves others: configuration, certificates, secrets, state, clock, and where it listens."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runtime.doctor_clock import check_clock, gather_clock
from runtime.doctor_files import check_certificates, check_secrets, check_state
from runtime.doctor_gather import Look, examine, gather_certificates, gather_secrets, gather_state
from runtime.errors import OperatorError
from runtime.findings import Finding, documents, failed, good, warning
from runtime.listen import Listen

_LISTENING = "0A"
"""TCP_LISTEN, in /proc/net/tcp."""
CONNECT_TIME = 3.0
"""Seconds that a server may take to accept a connection."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A daemon by its configuration. check: what `--check` does, raises OperatorError; certificates: files, and whether
    they hold authorities; secrets: files by key of the configuration; state: None without a directory; listen: where it
    takes connections; servers: where those listen that it can't do without, by what they are."""

    check: Callable[[], None]
    certificates: Sequence[tuple[Path | None, bool]]
    secrets: Mapping[str, Path | None]
    state: Path | None
    listen: Sequence[Listen]
    servers: Mapping[str, Listen] = field(default_factory=dict)


def examine_daemon(subject: Subject | None, running: bool) -> list[dict[str, object]]:
    """Everything that can be looked at from without. subject: None without a configuration. Blocking, ten seconds at
    most; it changes nothing."""
    looks: list[Look[Any]] = [Look("clock", lambda: gather_clock(time.time()), check_clock)]
    if subject is not None:
        looks += _looks(subject, running)
    return documents(examine(looks))


def examine_configured(read: Callable[[], Subject]) -> list[dict[str, object]]:
    """The same for a daemon that doesn't answer, by its configuration. read: reads that, raises OperatorError."""
    try:
        subject = read()
    except OperatorError as error:
        return documents([_unusable(error)]) + examine_daemon(None, False)
    return examine_daemon(subject, False)


def _looks(subject: Subject, running: bool) -> Iterator[Look[Any]]:
    yield Look("configuration", lambda: list(_configuration(subject)), list)
    yield Look(
        "certificates",
        lambda: gather_certificates(subject.certificates),
        lambda files: check_certificates(files, time.time()),
    )
    yield Look("secrets", lambda: gather_secrets(subject.secrets), check_secrets)
    if (state := subject.state) is not None:
        yield Look("state directory", lambda: gather_state(state), check_state)
    yield Look("listening", gather_listening, lambda ports: check_listening(subject.listen, ports, running))
    if not running:  # the daemon's own problems are better
        for what, where in subject.servers.items():
            yield Look(what, partial(gather_server, where), partial(check_server, f"{what} {where}"))


def _configuration(subject: Subject) -> Iterator[Finding]:
    try:
        subject.check()
    except OperatorError as error:
        yield _unusable(error)
    else:
        yield good("configuration", "can be used")


def _unusable(error: OperatorError) -> Finding:
    return failed("configuration", str(error), error.hint)


def gather_listening(root: Path = Path("/")) -> frozenset[int]:
    """TCP ports that somebody listens at, in this network namespace. Raises OSError."""
    found = set()
    for name in ("tcp", "tcp6"):
        path = root / "proc/self/net" / name
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTENING:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(found)


def check_listening(wanted: Iterable[Listen], ports: frozenset[int], running: bool) -> Iterator[Finding]:
    """Whether the daemon's ports are its own. running: whether the daemon runs, and should listen."""
    for listen in wanted:
        check = f"port {listen}"
        see = f"ss -ltnp sport = :{listen.port}"
        if not listen.port:
            yield good(check, "any free one")
        elif running and listen.port not in ports:
            yield failed(check, "nobody listens there", f"systemctl restart the daemon; {see}")
        elif not running and listen.port in ports:
            yield warning(check, "another program listens at this port", f"{see}; it must end, or listen elsewhere")
        else:
            yield good(check, "listening" if running else "free")


def gather_server(where: Listen) -> str:
    """Why a server can't be connected to; "" when it can. Blocking, CONNECT_TIME at most."""
    try:
        socket.create_connection((str(where.address), where.port), CONNECT_TIME).close()
    except OSError as error:
        return error.strerror or f"no answer in {CONNECT_TIME:g} s"
    return ""


def check_server(check: str, error: str) -> Iterator[Finding]:
    """Whether a server is there."""
    if error:
        yield failed(check, error, "is it running, does it listen there, and does no firewall stand between?")
    else:
        yield good(check, "accepts connections")


def told(problems: Iterable[tuple[str, str, str]]) -> list[dict[str, object]]:
    """Problems of the status (what, why, hint) as findings."""
    found = [failed(what, why, hint) for what, why, hint in problems]
    return documents(found or [good("status", "tells no problems")])
