"""sd_notify and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from runtime.service import Notifier, stop_event


@pytest.mark.parametrize("abstract", [False, True])
def test_notices(tmp_path: Path, abstract: bool) -> None:
    name = f"vrfwire-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name if abstract else name, "WATCHDOG_USEC": "10000000"})
        assert notifier.watchdog_interval == 5.0
        notifier.ready("3 ports")
        notifier.status("4 ports")
        notifier.status("4 ports")
        notifier.watchdog()
        notifier.stopping()
        notifier.close()
        received = [manager.recv(4096).decode() for _ in range(4)]
    assert received == ["READY=1\nSTATUS=3 ports", "STATUS=4 ports", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_watchdog_interval(environ: dict[str, str], interval: float) -> None:
    assert Notifier(environ).watchdog_interval == interval


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier(environ)
        notifier.ready()
        notifier.stopping()
        notifier.close()


def test_stop_event() -> None:
    async def main() -> None:
        event = stop_event()
        assert not event.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(event.wait(), 5)

    before = signal.getsignal(signal.SIGTERM)
    asyncio.run(main())
    assert signal.getsignal(signal.SIGTERM) == before
