"""A host that talks all the while, and must notice nothing of what others do."""

from __future__ import annotations

import threading
from types import TracebackType

from tests.scenario.daemon_process import wait_for
from tests.scenario.raw_host import RawHost

PREFIX = "10.7.7.7/32"


class Bystander:
    """Publishes, is told what it has published, and pings, again and again, in a thread of its own."""

    def __init__(self, host: RawHost) -> None:
        self.host = host
        self.rounds = 0
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Bystander:
        assert self.host.subscribe("blue").get("type") == "result"
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.goes_on()
        self._stop.set()
        self._thread.join()
        assert self._error is None, self._error

    def goes_on(self) -> None:
        """Wait until it has done three more rounds, so that at least two have begun and ended after this call."""
        wanted = self.rounds + 3
        wait_for(lambda: self._error is not None or self.rounds >= wanted, "the bystander to go on")
        assert self._error is None, self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                label = 100 + self.rounds % 1000
                assert self.host.announce("blue", PREFIX, label=label).get("type") == "result"
                self.host.ping()
                assert self.host.events["blue"][PREFIX] == [("127.0.0.1", label)]
                self.rounds += 1
        except BaseException as error:
            self._error = error
