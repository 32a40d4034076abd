"""What sessions and tables cost by themselves: no sockets, no daemon, one process a measurement.

python -m benchmarks.bgp_core WHAT COUNT    prints one JSON object

A core is fed as a shell feeds it (docs/design/bgp.md): bytes of 64 KiB into sessions, events into the tables, a slice
after each, messages out. Seconds are of the clock; `longest_s` is the longest call, so what an event loop would wait.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from benchmarks.bgp_raw import ASN, memberships, routes, stream
from benchmarks.bgp_scenarios import Figures
from benchmarks.processes import resident
from bgp.connection import Connection
from bgp.events import SessionUp, UpdateReceived
from bgp.family import RTC, VPNV4, Family
from bgp.message import KEEPALIVE
from bgp.negotiation import SessionConfig
from bgp.rib.peer import PeerPolicy
from bgp.rib.policy import Identity
from bgp.rib.rib import Rib
from bgp.rib.values import SourceKind
from bgp.session import Session
from bgp.update import AttributeTable
from bgp.update_encoder import end_of_rib
from gateway.exchange import Exchange
from gateway.policy import Policy, Vpn
from gateway.rib import Rib as HostRib
from gateway.service import Service
from runtime.collector import collect_seldom
from vpn.community import RouteTarget

READ = 65536
TAKE = 65536
SLICE = 500
"""Routes that are imported in one go."""
ROUTER_ID = IPv4Address("192.0.2.1").packed


class Core:
    """A speaker without its shell, and how long its longest call was."""

    def __init__(self, families: dict[str, tuple[Family, ...]]) -> None:
        self.rib = Rib(Identity(ASN, ROUTER_ID, ROUTER_ID), ROUTER_ID)
        self.longest = 0.0
        self.sent = 0
        """Bytes for all peers."""
        self._table = AttributeTable()
        self._sessions: dict[str, tuple[Session, Connection]] = {}
        for number, (name, theirs) in enumerate(families.items(), 2):
            self._connect(name, bytes((192, 0, 2, number)), theirs)

    def _connect(self, name: str, address: bytes, families: tuple[Family, ...]) -> None:
        session = Session(SessionConfig(ASN, ASN, ROUTER_ID, families, passive=True), random.random, self._table)
        self.rib.add_peer(name, address, PeerPolicy(SourceKind.CLIENT))
        session.start(0.0)
        connection = session.accepted(0.0)
        assert connection is not None
        self._sessions[name] = session, connection
        theirs = SessionConfig(ASN, ASN, address, families)
        self.feed(name, theirs.open().encode() + KEEPALIVE)

    def feed(self, name: str, data: bytes) -> None:
        """A peer sends something."""
        session, connection = self._sessions[name]
        for start in range(0, len(data), READ):
            self._timed(lambda piece=data[start : start + READ]: self._receive(name, session, connection, piece))  # type: ignore[misc]
            self._timed(lambda: self.rib.step())
            self.deliver()

    def _receive(self, name: str, session: Session, connection: Connection, data: bytes) -> None:
        session.receive_data(connection, data, 0.0)
        while (event := session.next_event()) is not None:
            if isinstance(event, UpdateReceived):
                self.rib.update(name, event.update)
            elif isinstance(event, SessionUp):
                self.rib.session_up(name, event.negotiated, 0.0)

    def work(self) -> None:
        """Slices until nothing is left."""
        while self.rib.has_work:
            self._timed(lambda: self.rib.step())
            self.deliver()

    def deliver(self) -> None:
        """Messages out, and out of the transports."""
        for name in self.rib.take_ready():
            session, connection = self._sessions[name]
            while messages := self.rib.take(name, TAKE):
                session.send(messages)
                while connection.has_output:
                    self.sent += len(connection.data_to_send())

    def _timed(self, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        self.longest = max(self.longest, time.perf_counter() - began)


def load(count: int) -> Figures:
    """Routes of one peer, 100 in an UPDATE, with nobody to tell."""
    core = Core({"source": (VPNV4,)})
    data = stream(routes(count), 100)
    before = resident_here()
    began = time.perf_counter()
    core.feed("source", data)
    core.work()
    seconds = time.perf_counter() - began
    return {
        "load_s": round(seconds, 2),
        "load_mb": round(resident_here() - before),
        "longest_s": round(core.longest, 3),
    }


def imports(count: int) -> Figures:
    """Routes of 1,000 route targets, and 1,000 VPNs that import one each: into their VRF tables."""
    vpns = 1000
    core = Core({"source": (VPNV4,)})
    names = [f"vpn{number}" for number in range(1, vpns + 1)]
    wanted = {name: frozenset((RouteTarget.parse(f"{ASN}:{number}"),)) for number, name in enumerate(names, 1)}
    tables = HostRib(Policy(Vpn(name, targets, targets) for name, targets in wanted.items()))
    exchange = Exchange(Service("vpn.example.net", tables), core.rib, linger=60.0)
    exchange.export(0.0)
    core.feed("source", stream(routes(count), min(100, count // vpns), vpns))
    began = time.perf_counter()
    while exchange.take_in(SLICE):
        pass
    seconds = time.perf_counter() - began
    found = sum(len(table) for table in tables.tables.values())
    if found != count:
        raise AssertionError(f"{found} of {count} routes were imported")
    return {"import_1000_vrfs_s": round(seconds, 3), "import_1000_vrfs_mb": resident_here()}


def membership(count: int) -> Figures:
    """A peer comes to want all routes, of 2,000 targets, and wants none any more."""
    targets = 2000
    core = Core({"source": (VPNV4,), "sink": (VPNV4, RTC)})
    core.feed("source", stream(routes(count), count // targets, targets))
    core.feed("sink", end_of_rib(RTC))
    core.work()
    figures: Figures = {}
    for name, withdraw in (("come", False), ("go", True)):
        core.longest = 0.0
        before = core.sent
        data = memberships(range(1, targets + 1), withdraw=withdraw)
        began = time.perf_counter()
        core.feed("sink", data)
        core.work()
        figures[f"{name}_s"] = round(time.perf_counter() - began, 3)
        figures[f"{name}_longest_s"] = round(core.longest, 3)
        figures[f"{name}_bytes"] = core.sent - before
    return figures


def reflect(count: int) -> Figures:
    """From one client to another, 100 an UPDATE, in one process without sockets."""
    core = Core({"source": (VPNV4,), "sink": (VPNV4,)})
    data = stream(routes(count), 100)
    began = time.perf_counter()
    core.feed("source", data)
    core.work()
    return {"reflect_s": round(time.perf_counter() - began, 3), "reflect_longest_s": round(core.longest, 3)}


def resident_here() -> float:
    """Resident memory of this process, MiB."""
    return resident(os.getpid())


WHAT: dict[str, Callable[[int], Figures]] = {
    "load": load,
    "imports": imports,
    "membership": membership,
    "reflect": reflect,
}


def main(arguments: list[str]) -> int:
    """The command."""
    what, count = arguments
    # As the daemon does.
    collect_seldom()
    print(json.dumps(WHAT[what](int(count))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
