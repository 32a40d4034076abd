"""Reloads and resets at awkward moments: between what a peer sent and its effect, during the deferral, at the stop."""

from __future__ import annotations

import asyncio

from bgp.family import VPNV4, VPNV6
from bgp.rib.events import PrefixLimitExceeded
from gateway.speaker import Speaker
from tests.unit.gateway.test_peer_speaker import BAD, GOOD, raw, running, section, settings, until, up


def test_a_limit_that_was_passed_before_a_reset_is_not_held_against_the_next_session() -> None:
    async def scene() -> None:
        async with running(settings(section(BAD), section(GOOD))) as speaker:
            with raw(speaker, BAD) as peer:
                await up(peer)
                for name in (BAD, "a peer that is gone"):
                    speaker._handle(PrefixLimitExceeded(name, VPNV4, 11, 10))
                assert speaker.peers[BAD].is_up and speaker.peers[BAD].problem == ""

    asyncio.run(scene())


def test_peers_swap_addresses_and_names() -> None:
    async def scene() -> None:
        async with running(settings(section(BAD, name="a"), section(GOOD, name="b"))) as speaker:
            with raw(speaker, BAD) as left, raw(speaker, GOOD) as right:
                await up(left)
                await up(right)
                left.announce("64512:1", "10.1.1.1/32")
                right.announce("64512:2", "10.1.1.2/32")
                await until(lambda: len(speaker.rib.tables[VPNV4]) == 2, "both routes")
                speaker.reload(settings(section(GOOD, name="a"), section(BAD, name="b")))
                await until(lambda: len(speaker.rib.tables[VPNV4]) == 0, "the old routes to go")
            with raw(speaker, BAD) as left:
                await up(left)
                assert speaker.peers["b"].is_up and not speaker.peers["a"].is_up
                left.announce("64512:1", "10.1.1.1/32")
                await until(lambda: len(speaker.rib.tables[VPNV4]) == 1, "the route of the swapped peer")
            assert speaker.counters["errors"] == 0

    asyncio.run(scene())


def waiting(speaker: Speaker) -> bool:
    return bool(speaker.summary()["waiting_after_start"])


def test_a_peer_that_is_removed_is_not_waited_for() -> None:
    graceful = {"graceful_restart": True, "deferral_time": 3600.0}

    async def scene() -> None:
        async with running(settings(section(BAD), section(GOOD), **graceful)) as speaker:
            with raw(speaker, GOOD) as good:
                await up(good)
                good.end(VPNV4, VPNV6)
                assert waiting(speaker)
                speaker.reload(settings(section(GOOD), **graceful))
                await until(lambda: not waiting(speaker), "nothing to be waited for")

    asyncio.run(scene())


def test_bgp_removed_during_the_deferral_and_added_again() -> None:
    graceful = {"graceful_restart": True, "deferral_time": 3600.0}

    async def scene() -> None:
        async with running(settings(section(BAD), **graceful)) as speaker:
            speaker.reload(settings())
            speaker.reload(settings(section(BAD), **graceful))
            assert not waiting(speaker)

    asyncio.run(scene())


def test_a_reload_does_not_bring_back_what_stops() -> None:
    async def scene() -> None:
        async with running(settings(section(BAD))) as speaker:
            await speaker.stop()
            speaker.reload(settings(section(BAD), section(GOOD)))
            assert speaker.listening == [] and set(speaker.peers) == {BAD}

    asyncio.run(scene())
