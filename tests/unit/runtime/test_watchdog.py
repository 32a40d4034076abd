"""The service manager hears of work that goes on, and of nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.service import Notifier
from runtime.watchdog import LOOKS, STATUS_INTERVAL, Vitals, Watchdog, live


class Worker:
    """A work loop that comes round when it is nudged, unless it hangs."""

    def __init__(self) -> None:
        self.turns = 0
        self.hangs = False

    def nudge(self) -> None:
        self.turns += not self.hangs


class Manager:
    """A service manager's socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "8000000"}

    def heard(self) -> list[str]:
        """What was said since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    notifier = Notifier(manager.environ)
    yield notifier
    notifier.close()


def test_fed_while_every_loop_comes_round(manager: Manager, notifier: Notifier) -> None:
    one, two = Worker(), Worker()
    watchdog = Watchdog(notifier, [("one", one), ("two", two)])
    assert watchdog.look() and watchdog.look()
    assert manager.heard() == ["WATCHDOG=1"] * 3, "the first is the start"


def test_a_loop_that_hangs_is_not_fed(manager: Manager, notifier: Notifier, caplog: pytest.LogCaptureFixture) -> None:
    one, two = Worker(), Worker()
    watchdog = Watchdog(notifier, [("one", one), ("two", two)])
    two.hangs = True
    assert watchdog.look(), "it had come round before it began to hang"
    manager.heard()
    assert not watchdog.look()
    assert not watchdog.look()
    assert manager.heard() == []
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["two has stopped"]
    two.hangs = False
    assert not watchdog.look(), "it is nudged only now"
    assert watchdog.look()
    assert manager.heard() == ["WATCHDOG=1"]
    assert caplog.records[-1].getMessage() == "two goes on"


def test_status_and_watchdog_at_their_times(manager: Manager, notifier: Notifier) -> None:
    worker = Worker()
    lines = iter(f"line {n}" for n in range(100))
    vitals = Vitals(notifier, lambda: next(lines), [("one", worker)], 100.0)
    assert vitals.interval == notifier.watchdog_interval / LOOKS == 2.0
    heard = []
    for second in range(0, 21, 2):
        vitals.tick(100.0 + second)
        heard += manager.heard()
    assert heard.count("WATCHDOG=1") == 11
    assert [line for line in heard if line.startswith("STATUS")] == [f"STATUS=line {n}" for n in range(4)]


def test_a_manager_that_does_not_read_keeps_nobody(manager: Manager, notifier: Notifier) -> None:
    for n in range(10_000):
        notifier.watchdog()
        notifier.status(str(n))
    assert len(manager.heard()) < 10_000


def test_without_a_watchdog_there_is_the_status_alone(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.environ["NOTIFY_SOCKET"]})
    vitals = Vitals(notifier, lambda: "ok", [("one", Worker())], 0.0)
    assert vitals.interval == STATUS_INTERVAL
    vitals.tick(0.0)
    notifier.close()
    assert manager.heard() == ["STATUS=ok"]


def test_without_a_service_manager_nobody_is_woken() -> None:
    worker = Worker()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        vitals = Vitals(Notifier({}), lambda: pytest.fail("asked"), [("one", worker)], loop.time())
        assert vitals.interval == float("inf")
        end = loop.create_future()
        task = asyncio.ensure_future(live(vitals, [end]))
        await asyncio.sleep(0)
        end.set_result(None)
        await asyncio.wait_for(task, 10)

    asyncio.run(main())
    assert worker.turns == 0
