"""Peers that are down: what the log and the commands say, and how often."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bgp.connection import State
from bgp.session import Session
from gateway.peer_advice import advice
from gateway.peer_runtime import PeerRuntime
from gateway.peer_socket import Md5Counters
from gateway.peer_watch import NO_ANSWER, Watch
from tests.unit.bgp.pair import config
from tests.unit.gateway.test_peer_speaker import BAD, raw, running, section, settings, until


def down(**peer: object) -> Callable[[Callable[[PeerRuntime], None]], None]:
    """Runs a scene with a peer that nobody is at."""

    def run(scene: Callable[[PeerRuntime], None]) -> None:
        async def main() -> None:
            async with running(settings(section(BAD, **peer))) as speaker:
                scene(speaker.peers[BAD])

        asyncio.run(main())

    return run


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (f"local_address 192.0.2.1: {os.strerror(errno.EADDRNOTAVAIL)}", "local_address is to be an address of this"),
        (f"192.0.2.2 port 179: {os.strerror(errno.EHOSTUNREACH)}", "the way there is missing"),
        (f"192.0.2.2 port 179: {os.strerror(errno.ENETUNREACH)}", "the way there is missing"),
        (f"192.0.2.2 port 179: {os.strerror(errno.ECONNREFUSED)}", "is the address right"),
        ("no answer from 192.0.2.2 port 179", "a firewall"),
    ],
)
def test_hint_of_a_connection_that_cannot_be_opened(error: str, hint: str) -> None:
    session = Session(config(), lambda: 1.0)
    session.start(0.0)
    session.connect_failed(0.0, error)
    assert advice(session).startswith(hint)


def test_no_answer_is_not_taken_for_a_wrong_password() -> None:
    session = Session(config(), lambda: 1.0)
    assert advice(session, NO_ANSWER).startswith("does the peer run")
    assert advice(session, "the kernel drops segments: password_file is").startswith("the same password on both sides")


def test_failures_in_turns_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    def scene(peer: PeerRuntime) -> None:
        for _ in range(5):
            peer._report("the peer closed the connection")
            peer._report("notification sent: 2/2 open message: bad peer as")
        for number in range(100):
            peer._report(f"text {number}")
        assert len(peer._reported) <= 32

    with caplog.at_level(logging.INFO, "vrfwire.gateway.bgp"):
        down()(scene)
    said = [record.getMessage() for record in caplog.records if "no session with" in record.getMessage()]
    assert len(said) == 102


def test_what_the_kernel_dropped_is_not_forgotten_over_silence() -> None:
    readings = iter([Md5Counters(), Md5Counters(failure=2), Md5Counters(failure=2)])

    async def main() -> None:
        async with running(settings(section(BAD))) as speaker:
            peer: Any = speaker.peers[BAD]
            peer.settings = _with_password(peer)
            peer.timed_out = True
            watch = Watch({BAD: peer}, lambda: next(readings))
            watch.start()
            watch._look()
            found = peer.unreachable
            watch._look()
            watch.stop()
            assert "TCPMD5Failure +2" in found and peer.unreachable == found

    asyncio.run(main())


def test_counters_that_cannot_be_read_say_nothing() -> None:
    readings = iter([Md5Counters(failure=7), Md5Counters(), Md5Counters(failure=7)])

    async def main() -> None:
        async with running(settings(section(BAD))) as speaker:
            peer: Any = speaker.peers[BAD]
            peer.settings = _with_password(peer)
            watch = Watch({BAD: peer}, lambda: next(readings))
            watch.start()
            for _ in range(2):
                watch._look()
            watch.stop()
            assert peer.unreachable == ""

    asyncio.run(main())


def _with_password(peer: PeerRuntime) -> Any:
    return replace(peer.settings, link=replace(peer.settings.link, password=b"secret"))


def test_a_reset_tries_a_peer_at_once_that_waits_for_its_next_attempt() -> None:
    def scene(peer: PeerRuntime) -> None:
        peer.session.connect_failed(0.0, "refused")
        states = [peer.session.state]
        peer.reset()
        states.append(peer.session.state)
        assert states == [State.ACTIVE, State.CONNECT]

    down(passive=False, connect_retry=3600.0)(scene)


def test_times_change_with_a_reload() -> None:
    async def main() -> None:
        async with running(settings(section(BAD))) as speaker:
            speaker.reload(settings(section(BAD), stale_time=17.0))
            assert speaker.rib.peers[BAD].helper.stale_time == 17.0

    asyncio.run(main())


def test_a_peer_without_ttl_security_is_named() -> None:
    async def main() -> None:
        async with running(settings(section(BAD, ttl_security=1))) as speaker:
            with raw(speaker, BAD) as peer:
                peer.connect()
                await until(lambda: "ttl_security takes no less than 255" in speaker.peers[BAD].problem, "the problem")
                found = speaker.peers[BAD]
                assert advice(found.session, found.problem).startswith("ttl_security on both sides")
                assert found.session.connections == ()

    asyncio.run(main())
