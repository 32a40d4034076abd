"""The benchmark of BGP at tiny sizes: its peers and scenarios against a speaker made of the core, in this process."""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks import bgp_core, bgp_scenarios
from benchmarks.bgp import compare
from benchmarks.bgp_raw import ASN, NEXT_HOP, encode, memberships, routes, stream, target
from benchmarks.bgp_scenarios import Settings
from benchmarks.processes import family_of, processor, resident
from bgp.connection import Connection
from bgp.events import SessionDown, SessionUp, UpdateReceived
from bgp.family import RTC, VPNV4
from bgp.framing import Framer
from bgp.negotiation import SessionConfig
from bgp.nlri import rtc_key
from bgp.rib.peer import PeerPolicy
from bgp.rib.policy import Identity
from bgp.rib.rib import Rib
from bgp.rib.values import SourceKind
from bgp.session import Session
from bgp.update import Update, UpdateDecoder, UpdateOptions


def updates(data: bytes) -> list[Update]:
    """What a stream of UPDATEs says."""
    framer, decoder, found = Framer(), UpdateDecoder(UpdateOptions(frozenset((VPNV4, RTC)))), []
    framer.receive_data(data)
    while (message := framer.next_message()) is not None:
        found.append(decoder.decode(message[1]))
    assert not framer.buffered
    return found


def test_a_stream_has_every_route_once_with_a_label_of_its_own() -> None:
    found = updates(stream(routes(250), 100, 2))
    reached = [route for update in found if update.reach is not None for route in update.reach.routes]
    assert [len(update.reach.routes) for update in found if update.reach is not None] == [100, 100, 50]
    assert reached == routes(250)
    assert len({key for key, _ in reached}) == len({labels for _, labels in reached}) == 250
    targets = [update.attributes.route_targets for update in found if update.attributes is not None]
    assert targets == [(target(1),), (target(2),), (target(1),)]
    assert all(update.reach is not None and update.reach.next_hop == NEXT_HOP for update in found)


def test_routes_of_another_distinguisher_are_others() -> None:
    assert not set(routes(10)) & set(routes(10, distinguisher=2))
    assert routes(10)[5:] == routes(5, 5)


def test_memberships_come_and_go() -> None:
    keys = [rtc_key(ASN, target(number)) for number in (1, 2)]
    (come,) = updates(memberships([1, 2]))
    assert come.reach is not None
    assert [key for key, _ in come.reach.routes] == keys
    (go,) = updates(memberships([1, 2], withdraw=True))
    assert go.unreach[0].keys == keys


def test_the_probe_has_the_target_that_was_asked_for() -> None:
    (update,) = updates(encode(routes(1), 1, [77]))
    assert update.attributes is not None
    assert update.attributes.route_targets == (target(77),)


def test_memory_and_processor_time_of_a_process() -> None:
    assert next(family_of(os.getpid())) == os.getpid()
    assert resident(os.getpid()) > 1
    assert processor(os.getpid()) > 0


class Reflector(threading.Thread):
    """A route reflector with a socket, for the two clients of the scenarios."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server((bgp_scenarios.REMOTE, 0))
        self.port: int = self.listener.getsockname()[1]
        self.error: BaseException | None = None
        self._wake, self._woken = socket.socketpair()
        router_id = socket.inet_aton(bgp_scenarios.REMOTE)
        self._rib = Rib(Identity(ASN, router_id, router_id), router_id)
        self._config = SessionConfig(ASN, ASN, router_id, (VPNV4, RTC), passive=True, hold_time=90)
        self._sessions: dict[socket.socket, tuple[str, Session, Connection]] = {}

    def finish(self) -> None:
        """End the thread."""
        self._wake.close()
        self.join(10)
        self.listener.close()
        self._woken.close()

    def run(self) -> None:
        """Serve until finish()."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            try:
                while True:
                    ready = [key.fileobj for key, _ in selector.select()]
                    if self._woken in ready:
                        return
                    for found in ready:
                        assert isinstance(found, socket.socket)
                        if found is self.listener:
                            selector.register(self._accept(), selectors.EVENT_READ)
                        elif not self._read(found):
                            selector.unregister(found)
                            found.close()
                    self._work()
            except BaseException as error:
                self.error = error
            finally:
                for opened in self._sessions:
                    opened.close()

    def _accept(self) -> socket.socket:
        opened, (address, _) = self.listener.accept()
        session = Session(self._config, random.random)
        self._rib.add_peer(address, socket.inet_aton(address), PeerPolicy(SourceKind.CLIENT))
        session.start(0.0)
        connection = session.accepted(0.0)
        assert connection is not None
        self._sessions[opened] = address, session, connection
        return opened

    def _read(self, opened: socket.socket) -> bool:
        name, session, connection = self._sessions[opened]
        try:
            data = opened.recv(65536)
        except ConnectionResetError:
            data = b""  # it has closed with something unread
        if data:
            session.receive_data(connection, data, 0.0)
        else:
            session.receive_eof(connection, 0.0)
            del self._sessions[opened]
        while (event := session.next_event()) is not None:
            if isinstance(event, UpdateReceived):
                self._rib.update(name, event.update)
            elif isinstance(event, SessionUp):
                self._rib.session_up(name, event.negotiated, 0.0)
            elif isinstance(event, SessionDown):
                self._rib.remove_peer(name, 0.0)
        return bool(data)

    def _work(self) -> None:
        while self._rib.has_work:
            self._rib.step()
        for opened, (name, session, connection) in self._sessions.items():
            if name in self._rib.peers and self._rib.peers[name].negotiated is not None:
                while messages := self._rib.take(name, 65536):
                    session.send(messages)
            while connection.has_output:
                data = connection.data_to_send()
                with contextlib.suppress(ConnectionError):  # _read() is told, too
                    opened.sendall(data)


@pytest.fixture
def reflector() -> Iterator[Reflector]:
    thread = Reflector()
    thread.start()
    try:
        yield thread
    finally:
        thread.finish()
    assert thread.error is None


def settings(reflector: Reflector, count: int, each: int, targets: int = 1) -> Settings:
    return Settings(os.getpid(), count, each, targets, deadline=20.0, port=reflector.port)


@pytest.mark.parametrize("each", [1, 50])
def test_routes_are_reflected_and_counted(reflector: Reflector, each: int) -> None:
    found = bgp_scenarios.reflect(settings(reflector, 200, each))
    assert found["seconds"] > 0
    assert found["updates"] >= 1
    assert found["bytes"] > 200 * 16


def test_memberships_make_routes_come_and_go(reflector: Reflector) -> None:
    found = bgp_scenarios.membership(settings(reflector, 100, 10, 10))
    assert {"one_comes_s", "one_goes_s", "all_come_s", "all_go_s"} <= found.keys()
    assert found["one_comes_updates"] == 1
    assert found["all_come_updates"] == 10


def test_a_load_is_over_with_its_last_route(reflector: Reflector) -> None:
    assert bgp_scenarios.load(settings(reflector, 300, 100, 3))["seconds"] > 0


def test_a_peer_that_is_lost_takes_its_routes_along(reflector: Reflector) -> None:
    found = bgp_scenarios.hold(replace(settings(reflector, 300, 100), hold_time=0))
    assert found["sessions_lost"] == 0
    assert 0 < found["lost_s"] < 20


@pytest.mark.parametrize("what", sorted(bgp_core.WHAT))
def test_measurements_of_the_core(what: str) -> None:
    assert all(value >= 0 for value in bgp_core.WHAT[what](2000).values())


def test_comparisons_are_ratios_of_ours_to_theirs() -> None:
    ours = {"seconds": 1.0, "cpu_s": 1.0, "updates": 2, "bytes": 3, "rss_before_mb": 10.0, "rss_mb": 50.0}
    theirs = ours | {"seconds": 2.0, "rss_mb": 200.0}
    figures = compare(
        {(name, shape): found for shape in ("packed", "single") for name, found in (("vrfwire", ours), ("frr", theirs))}
    )
    assert figures["reflect_seconds_vs_frr"] == 0.5
    assert figures["reflect_memory_vs_frr"] == 0.25
    assert figures["reflect_packed_s_vrfwire"] == 1.0
    assert figures["reflect_single_mb_frr"] == 200.0
