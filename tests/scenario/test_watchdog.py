"""systemd's watchdog and status line, with the daemons themselves: a work loop that hangs isn't fed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

import pytest

from runtime.service import Notifier
from runtime.watchdog import Watchdog
from tests.scenario.agent_harness import World, play, until

WATCHDOG = 200_000
"""WatchdogSec= in microseconds; looks come four times as often."""


class Manager:
    """systemd's end: what a daemon has said."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.notifier = Notifier({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(WATCHDOG)})
        self.fed = 0
        self.looks = 0
        """Looks of the watchdog, whatever they found."""
        self.status = ""
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        text = self._socket.recv(4096).decode()
        self.fed += text == "WATCHDOG=1"
        if text.startswith("STATUS="):
            self.status = text.removeprefix("STATUS=")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self.notifier.close()


@contextlib.asynccontextmanager
async def managed(world: World) -> AsyncIterator[Manager]:
    manager = Manager(world.directory / "notify")
    look = Watchdog.look

    def counted(watchdog: Watchdog) -> bool:
        manager.looks += 1
        return look(watchdog)

    try:
        with mock.patch.object(Watchdog, "look", counted):
            yield manager
    finally:
        manager.close()


async def more(manager: Manager, count: int = 3) -> None:
    """Wait until the watchdog was fed so many times more."""
    fed = manager.fed
    await until(lambda: manager.fed >= fed + count, f"fed {count} times")


async def not_fed(manager: Manager, what: str, caplog: pytest.LogCaptureFixture) -> None:
    """Wait until a look has found that this doesn't go on; the watchdog isn't fed by such a look."""
    await until(lambda: f"{what} has stopped" in caplog.text, f"{what} is missed")
    looks = manager.looks
    await until(lambda: manager.looks > looks, "what was said before is read")
    fed = manager.fed
    await until(lambda: manager.looks > looks + 3, "looks go on")
    assert manager.fed == fed


def test_agent(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        host = await world.host(1, await world.gateway())
        await until(host.connected, "connected")
        await host.attach("web-1", "blue", "10.1.1.1")
        await host.has_route("blue", "10.1.1.1/32")
        daemon = host.daemon
        assert daemon is not None
        async with managed(world) as manager:
            stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            serving = asyncio.ensure_future(daemon._serve(stopped, manager.notifier))
            await more(manager)
            assert manager.status == "ok: 1 ports, 1 routes, 1 of 1 gateways"
            never = asyncio.Event()
            daemon.datapath._sleep = never.wait  # type: ignore[assignment,method-assign]
            await not_fed(manager, "the datapath", caplog)
            stopped.set_result(None)
            await serving

    play(scenario)


def test_gateway(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        daemon = gateway.daemon
        assert daemon is not None
        async with managed(world) as manager:
            stop = asyncio.Event()
            serving = asyncio.ensure_future(daemon._watch(stop, manager.notifier))
            await more(manager)
            assert manager.status == "ok: 0 sessions, 2 VPNs, 0 routes"
            # As a delivery that was begun and never ends.
            delivery = daemon.server._delivery
            delivery.close()
            delivery._handle, delivery._hurried = asyncio.get_running_loop().call_later(1000, lambda: None), True
            await not_fed(manager, "delivery to hosts", caplog)
            delivery.close()
            await more(manager)
            stop.set()
            await serving

    play(scenario)
