"""The speaker in this process, against sockets of peers: errors of our own cost what they concern and nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address

import pytest

from bgp.errors import CeaseSubcode
from bgp.family import VPNV4, VPNV6
from bgp.rib.rib import Rib as BgpRib
from bgp.update import Update
from gateway.peer_config import BgpSection, BgpSettings, PeerSection, resolve
from gateway.policy import Policy, Vpn
from gateway.rib import Rib
from gateway.service import Service
from gateway.speaker import Speaker
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import opening
from lab.wait import wait_until
from runtime.listen import Listen
from vpn.community import RouteTarget

HERE, BAD, GOOD = "127.0.0.41", "127.0.0.42", "127.0.0.43"
DEADLINE = 10.0


def section(address: str, **settings: object) -> PeerSection:
    values = {"passive": True, "families": ("vpnv4", "vpnv6"), "reflector_client": True, **settings}
    return PeerSection(ip_address(address), **values)  # type: ignore[arg-type]


def settings(*peers: PeerSection, **values: object) -> BgpSettings:
    listen = Listen(IPv4Address(HERE), 0)
    given = {"graceful_restart": False, "listen": (listen,), **values}
    return resolve(BgpSection(peer=peers, **given), IPv4Address(HERE), 64512)  # type: ignore[arg-type]


@asynccontextmanager
async def running(given: BgpSettings) -> AsyncIterator[Speaker]:
    targets = frozenset((RouteTarget.parse("64512:1"),))
    service = Service("vpn.example.net", Rib(Policy([Vpn("blue", targets, targets)])))
    speaker = Speaker(given, service, lambda: None, linger=1.0)
    await speaker.start()
    try:
        yield speaker
    finally:
        await speaker.stop()


async def until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, DEADLINE, what)


def raw(speaker: Speaker, address: str) -> RawSpeaker:
    return RawSpeaker(address, HERE, remote_port=speaker.listening[0].port)


async def up(peer: RawSpeaker) -> RawSpeaker:
    return await asyncio.to_thread(peer.establish)


def routes(speaker: Speaker) -> int:
    return len(speaker.rib.tables[VPNV4].destinations)


def test_an_error_in_what_a_peer_sent_ends_its_session_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take = BgpRib.update

    def update(rib: BgpRib, name: str, what: Update) -> None:
        if name == BAD:
            raise RuntimeError("a defect")
        take(rib, name, what)

    monkeypatch.setattr(BgpRib, "update", update)

    async def scene() -> None:
        async with running(settings(section(BAD), section(GOOD))) as speaker:
            with raw(speaker, BAD) as bad, raw(speaker, GOOD) as good:
                await up(bad)
                await up(good)
                bad.announce("64512:1", "10.1.1.1/32")
                notification = await asyncio.to_thread(bad.wait_notification)
                assert notification.reason.subcode == CeaseSubcode.OUT_OF_RESOURCES
                assert not speaker.peers[BAD].is_up and speaker.rib.peers[BAD].negotiated is None
                assert "traceback" in speaker.peers[BAD].problem
                assert [problem.what for problem in speaker.problems()] == [f"BGP peer {BAD}"]
                good.announce("64512:1", "10.1.1.2/32")
                await until(lambda: routes(speaker) == 1, "the route of the other")
                assert speaker.peers[GOOD].is_up
                assert speaker.counters["errors"] == 1

    with caplog.at_level(logging.ERROR, "vrfwire.gateway.bgp"):
        asyncio.run(scene())
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info and vars(record)["VRFWIRE_PEER"] == BAD


def test_an_error_in_the_tables_stops_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    step, failures = BgpRib.step, iter([True])

    def broken(rib: BgpRib, limit: int = 4000) -> int:
        if routes(speakers[0]) and next(failures, False):
            raise RuntimeError("a defect")
        return step(rib, limit)

    speakers: list[Speaker] = []
    monkeypatch.setattr(BgpRib, "step", broken)
    monkeypatch.setattr("gateway.speaker.ERROR_REST", 0.01)

    async def scene() -> None:
        async with running(settings(section(BAD), section(GOOD))) as speaker:
            speakers.append(speaker)
            with raw(speaker, BAD) as source, raw(speaker, GOOD) as sink:
                await up(source)
                await up(sink)
                source.announce("64512:1", "10.1.1.1/32")
                await asyncio.to_thread(sink.wait, lambda: sink.prefixes() == {"10.1.1.1/32"}, "the route")
                assert speaker.counters["errors"] == 1

    asyncio.run(scene())
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]


def test_a_change_of_what_no_session_notices_keeps_sessions() -> None:
    async def scene() -> None:
        before = settings(section(GOOD), section(BAD))
        async with running(before) as speaker:
            with raw(speaker, GOOD) as good, raw(speaker, BAD) as bad:
                await up(good)
                await up(bad)
                speaker.reload(settings(section(GOOD, max_prefixes=2), section(BAD, hold_time=30)))
                notification = await asyncio.to_thread(bad.wait_notification)
                assert notification.subcode == CeaseSubcode.OTHER_CONFIGURATION_CHANGE
                good.announce("64512:1", "10.1.1.1/32")
                await until(lambda: routes(speaker) == 1, "the route")
                assert not good.ended
                await up(bad)
                assert bad.theirs is not None and bad.theirs.hold_time == 30
                for number in (2, 3):
                    good.announce("64512:1", f"10.1.1.{number}/32")
                notification = await asyncio.to_thread(good.wait_notification)
                assert notification.subcode == CeaseSubcode.MAXIMUM_PREFIXES

    asyncio.run(scene())


def test_another_address_is_another_peer() -> None:
    async def scene() -> None:
        async with running(settings(section(GOOD, name="pe"))) as speaker:
            with raw(speaker, GOOD) as old, raw(speaker, BAD) as new:
                await up(old)
                old.announce("64512:1", "10.1.1.1/32")
                await until(lambda: routes(speaker) == 1, "the route")
                speaker.reload(settings(section(BAD, name="pe")))
                notification = await asyncio.to_thread(old.wait_notification)
                assert notification.subcode == CeaseSubcode.PEER_DECONFIGURED
                await until(lambda: routes(speaker) == 0, "its route to go")
                await up(new)
                assert speaker.peers["pe"].is_up

    asyncio.run(scene())


@pytest.mark.parametrize("restarting", [True, False])
def test_peers_that_restart_themselves_are_not_waited_for(restarting: bool) -> None:
    """Two gateways that start together would wait for each other (RFC 4724, section 4.1)."""

    async def scene() -> None:
        async with running(settings(section(GOOD), graceful_restart=True, deferral_time=60.0)) as speaker:
            with raw(speaker, GOOD) as peer:
                peer.opened = opening(GOOD, restart_time=60, restarting=restarting)
                await up(peer)
                theirs = peer.theirs
                assert theirs is not None and theirs.capabilities.graceful_restart is not None
                assert theirs.capabilities.graceful_restart.restarting
                if not restarting:
                    assert speaker.summary()["waiting_after_start"]
                    assert speaker.waiting_for() == [f"peer {GOOD} (its End-of-RIB)"]
                    peer.end(VPNV4, VPNV6)
                await asyncio.to_thread(peer.wait, lambda: set(peer.ends) == {VPNV4, VPNV6}, "the End-of-RIB")
                assert not speaker.summary()["waiting_after_start"]
                assert not speaker.peers[GOOD].session.restarting

    asyncio.run(scene())


def test_problems_name_peers_that_are_down_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.peer_watch.DOWN_LONG", 0.0)

    async def scene() -> None:
        async with running(settings(section(GOOD))) as speaker:
            [problem] = speaker.problems()
            assert problem.what == f"BGP peer {GOOD}" and problem.why and problem.hint
            with raw(speaker, GOOD) as peer:
                await up(peer)
                assert speaker.problems() == []
                assert speaker.summary()["up"] == 1

    asyncio.run(scene())


def test_a_peer_that_is_away_after_a_start_holds_nobody_back_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.speaker.PEER_PATIENCE", 0.2)

    async def run() -> None:
        given = settings(section(BAD), section(GOOD), graceful_restart=True, deferral_time=600)
        async with running(given) as speaker:
            good = await up(raw(speaker, GOOD))
            await until(lambda: not speaker.summary()["waiting_after_start"], "routes to be told without the other")
            assert speaker.rib.awaited is None
            good.close()

    asyncio.run(run())
