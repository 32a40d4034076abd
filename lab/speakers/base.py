"""What all BGP speakers of others have in common: neighbours, announcements, the daemon, what is asked of it.

A speaker runs in the foreground as a child of the caller, in a network namespace or in the present one, with all of its
files in one directory, and dies with the caller. Where a program insists on a directory of the system, it sees an empty
one of its own there (a mount namespace), so nothing is left over.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lab.daemon import Daemon
from lab.namespace import Namespace
from lab.wait import wait_until

ESTABLISHED = "established"
UP = 30.0
"""Seconds until sessions have to be up; some daemons wait for several before their first attempt."""
STOP = 10.0

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A peer of a speaker. address: IPv4 or IPv6; hold_time, connect_retry, restart_time: seconds.

    passive: wait for it to connect; client: reflect to it as to a client; max_prefixes: accepted from it, per family;
    ttl_security: hops (RFC 5082), None: off; families: of "vpnv4", "vpnv6", "rtc".
    """

    address: str
    asn: int = 64512
    port: int = 1790
    password: str | None = None
    passive: bool = False
    client: bool = False
    families: tuple[str, ...] = ("vpnv4", "vpnv6")
    hold_time: int = 9
    graceful_restart: bool = False
    max_prefixes: int | None = None
    restart_time: int = 20
    connect_retry: int = 1
    ttl_security: int | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """A VPN route that a speaker originates. rd: e.g. "64512:11"; targets: route targets as "64512:1".

    encapsulations: tunnel types of the encapsulation community; not every speaker can originate it.
    """

    rd: str
    prefix: str
    label: int
    targets: tuple[str, ...]
    next_hop: str
    encapsulations: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        """ "vpnv4" or "vpnv6"."""
        return "vpnv6" if ":" in self.prefix else "vpnv4"


class Received(NamedTuple):
    """A path that a speaker has from a peer; None where the speaker doesn't say.

    next_hop: an IPv4-mapped one as IPv4; targets and encapsulations (tunnel types): sorted; peer: address it came from;
    as_path: "" when empty.
    """

    rd: str
    prefix: str
    label: int | None
    targets: tuple[str, ...] | None
    next_hop: str
    stale: bool
    peer: str = ""
    encapsulations: tuple[int, ...] | None = None
    local_pref: int | None = None
    as_path: str | None = None
    originator: str | None = None
    clusters: tuple[str, ...] | None = None


class Speaker(ABC):
    """A BGP daemon at an address. Announcements can be changed while it runs.

    address: IPv4, also the router id; address6: its own end of sessions with neighbours that have an IPv6 address;
    namespace: None for the present one; cluster_id: as a route reflector, by default the router id.
    """

    program = ""
    """What it is, for messages and for the names of files."""
    hidden: tuple[str, ...] = ()
    """Directories of the system where it sees an empty one of its own."""

    def __init__(
        self,
        name: str,
        directory: Path,
        address: str,
        neighbours: Sequence[Neighbour],
        announcements: Sequence[Announcement] = (),
        *,
        asn: int = 64512,
        port: int = 1790,
        namespace: Namespace | None = None,
        cluster_id: str | None = None,
        address6: str | None = None,
    ) -> None:
        self.name = name
        self.directory = directory
        self.address = address
        self.address6 = address6
        self.neighbours = list(neighbours)
        self.announcements = list(announcements)
        self.asn = asn
        self.port = port
        self.namespace = namespace
        self.cluster_id = cluster_id or address
        directory.mkdir(parents=True, exist_ok=True)
        self.config_file = directory / f"{self.program}.conf"
        self.log = directory / "log"
        self.daemon = Daemon(
            f"{self.program} {name}", self.argv(), namespace, self.log, self.answers, prepare=self._prepare
        )

    # What each speaker is.

    @abstractmethod
    def config(self) -> str:
        """The text of its configuration file."""

    @abstractmethod
    def argv(self) -> list[str]:
        """Its command line: in the foreground. Called once, by the constructor of Speaker."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it has started and can be asked."""

    @abstractmethod
    def sessions(self) -> dict[str, str]:
        """State of its sessions by the neighbour's address: "established", else its own word in lower case."""

    @abstractmethod
    def received(self, family: str) -> list[Received]:
        """Paths of a family ("vpnv4" or "vpnv6") that its peers have sent and it has taken, sorted; not its own."""

    def counts(self, family: str) -> dict[str, int]:
        """How many prefixes of a family it has accepted from each neighbour; cheap where the daemon counts itself."""
        return dict(Counter(path.peer for path in self.received(family)))

    def reload(self) -> None:
        """Let it read its configuration file again, without loss of a session. SIGHUP unless a speaker knows better."""
        os.kill(self.pid, signal.SIGHUP)

    # The same for all.

    @property
    def pid(self) -> int:
        """Process id. Raises LabError when it isn't running."""
        return self.daemon.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.daemon.alive

    def launch(self) -> None:
        """Write the configuration and start it, without waiting; wait_ready() follows."""
        self.write_config()
        self.daemon.launch()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        self.daemon.wait_ready()

    def start(self) -> None:
        """Write the configuration, start it, wait until it answers."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """Ask it to end (SIGTERM: most daemons tell their peers) and wait. Does nothing when it was never started."""
        self.daemon.stop(STOP)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL); also when it has ended already."""
        self.daemon.kill()

    def restart(self) -> None:
        """stop() and start()."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang (SIGSTOP) until resume()."""
        self.daemon.pause()

    def resume(self) -> None:
        """Go on after pause()."""
        self.daemon.resume()

    def tail(self, lines: int = 40) -> str:
        """The last lines of its log, under its name."""
        return self.daemon.tail(lines)

    def text(self) -> str:
        """Everything that it has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def wait_established(self, *addresses: str, deadline: float = UP) -> None:
        """Wait until the sessions with these neighbours are up; without addresses, with all."""
        wanted = addresses or tuple(neighbour.address for neighbour in self.neighbours)

        def up() -> bool:
            states = self.sessions()
            return all(states.get(address) == ESTABLISHED for address in wanted)

        wait_until(up, deadline, f"sessions of {self.name} with {', '.join(wanted)}", interval=0.05, detail=self.tail)

    def announce(self, *announcements: Announcement) -> None:
        """Originate more; the same RD and prefix again replaces what was there."""
        keys = {(new.rd, new.prefix) for new in announcements}
        self.announcements = [old for old in self.announcements if (old.rd, old.prefix) not in keys]
        self.announcements += announcements
        self.write_config()
        self.reload()

    def withdraw(self, *announcements: Announcement) -> None:
        """Originate these no longer; only RD and prefix count."""
        keys = {(gone.rd, gone.prefix) for gone in announcements}
        self.announcements = [old for old in self.announcements if (old.rd, old.prefix) not in keys]
        self.write_config()
        self.reload()

    def write_config(self) -> None:
        """Write the configuration file, readable for nobody else since it may hold passwords."""
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(self.config(), encoding="utf-8")

    def own_address(self, neighbour: Neighbour) -> str:
        """Our end of the session with a neighbour."""
        if ":" not in neighbour.address:
            return self.address
        if self.address6 is None:
            raise ValueError(f"{self.name} has no IPv6 address for its neighbour {neighbour.address}")
        return self.address6

    def families(self) -> list[str]:
        """The families of all neighbours, in a fixed order."""
        wanted = {family for neighbour in self.neighbours for family in neighbour.families}
        return [family for family in ("vpnv4", "vpnv6", "rtc") if family in wanted]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the speaker's network namespace for the length of the block."""
        if self.namespace is None:
            yield
            return
        with self.namespace.entered():
            yield

    def _prepare(self) -> None:
        """In the child, before the daemon is executed: it dies with us, and sees directories of its own."""
        die_with_parent()
        if self.hidden:
            hide(self.hidden)

    def __enter__(self) -> Speaker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def plain(address: str) -> str:
    """An address in its canonical form, an IPv4-mapped one as IPv4."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def die_with_parent() -> None:
    """Let the kernel end this process (SIGKILL) when the thread that made it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide(directories: Sequence[str]) -> None:
    """Put empty directories over some of the system's, for this process and its children only. Those that don't exist
    are made. Raises OSError."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None), "mount /")
    for directory in directories:
        Path(directory).mkdir(parents=True, exist_ok=True)
        _check(
            _libc.mount(b"none", directory.encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=0755"), f"mount {directory}"
        )


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def converse(
    path: Path, requests: Sequence[bytes], complete: Callable[[bytes], bool], timeout: float = 10.0
) -> list[bytes]:
    """Send requests to a control socket, each when the one before has been answered, and return the answers.

    complete: whether an answer whose end this is (the last 4096 bytes) is whole. Raises OSError, also when the daemon
    closes the socket.
    """
    answers = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(timeout)
        control.connect(str(path))
        for request in requests:
            control.sendall(request)
            chunks = bytearray()
            while not complete(bytes(chunks[-4096:])):
                data = control.recv(1 << 20)
                if not data:
                    raise ConnectionError(f"{path} was closed instead of an answer")
                chunks += data
            answers.append(bytes(chunks))
    return answers
