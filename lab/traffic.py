"""Pings in the background, to see whether forwarding stays while something else happens."""

from __future__ import annotations

import threading
import time
from typing import Protocol, Self

from lab.echo import Pings
from lab.frames import IP


class Pinger(Protocol):
    """A VM that can ping."""

    name: str

    def ping(self, destination: IP | str, count: int = 1, timeout: float = 2.0) -> Pings:
        """As of lab.guest.Guest."""
        ...


class Traffic:
    """Pings from a VM to an address, one every `interval` seconds, for the length of a with block.

    sent and lost count; gap is the longest time in seconds without a reply. All three are final after the block.
    """

    def __init__(self, vm: Pinger, destination: IP | str, interval: float = 0.02, timeout: float = 1.0) -> None:
        self.sent = 0
        self.lost = 0
        self.gap = 0.0
        self._vm = vm
        self._destination = destination
        self._interval = interval
        self._timeout = timeout
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"traffic of {vm.name}", daemon=True)
        self._error: Exception | None = None

    def _run(self) -> None:
        last = time.monotonic()
        try:
            while not self._stop.wait(self._interval):
                pings = self._vm.ping(self._destination, 1, self._timeout)
                self.sent += 1
                now = time.monotonic()
                self.gap = max(self.gap, now - last)
                if pings.ok:
                    last = now
                else:
                    self.lost += 1
        except Exception as error:
            # Shown where the block is left: a thread's own end would go unseen.
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and value is None:
            raise self._error

    def __str__(self) -> str:
        return f"{self.lost} of {self.sent} lost, longest gap {self.gap:.2f} s"
