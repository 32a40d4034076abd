"""The datapath as the agent uses it: an asyncio shell around the reconciler.

    agent --put/remove--> Reconciler <--step()-- Datapath._run <--drain()-- event monitor
      ^                                               |
      +------------- listeners, wait() --------------+

One task does everything; it blocks the loop for TURN, and then to the end of the batch of netlink messages, or of the
dump, that it has begun. The agent's own calls (put, remove, status) are plain functions that return at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set

from datapath.describe import complaint, describe, journal_fields
from datapath.drift import Drift, Repairs
from datapath.driver import Driver
from datapath.events import Monitor
from datapath.reconciler import RESYNC_INTERVAL, Reconciler
from datapath.retry import WAITING, Jitter
from datapath.status import Change, Status
from datapath.values import Key, Kind, NextHop, Value
from runtime.log import fields

log = logging.getLogger("vrfwire.datapath")

Object = tuple[Kind, Key]
"""How an object is named."""
Listener = Callable[[Change], None]
DriftListener = Callable[[list[Drift], int], None]
"""Is told what others did to our objects, and what was put right; and how many objects more that aren't named."""

Owner = Callable[[Kind, Key], Mapping[str, str]]
"""Names whose an object is, as fields for the journal: port and vpn, as far as that is known."""

TURN = 0.005
"""Seconds of work in which small steps, as of one attach, follow each other without a turn of the loop between them."""

QUIET = 0.05
"""Seconds without work after which the monitor may tidy up."""

_LOGGED_FAILURES = 10


class Datapath:
    """Keeps the kernel as the agent wants it.

    drivers: one per kind in use. monitor: reports what others do to the kernel; without one only the periodic resync
    finds it. clock: monotonic seconds. jitter: see retry.Jitter. resync_interval: seconds between two dumps of
    everything."""

    def __init__(
        self,
        drivers: Iterable[Driver],
        monitor: Monitor | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Jitter = random.random,
        resync_interval: float = RESYNC_INTERVAL,
    ) -> None:
        self.reconciler = Reconciler(drivers, jitter=jitter, resync_interval=resync_interval)
        self._monitor = monitor
        self._clock = clock
        self._wake = asyncio.Event()
        self._reported = True
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[tuple[frozenset[Kind], Listener]] = []
        self._drift_listeners: list[DriftListener] = []
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self.owner: Owner = lambda kind, key: {}
        self.turns = 0
        """Times that the work came round; nudge() makes it, when it works."""

    # Life

    async def start(self) -> None:
        """Begin to work: the first thing is a dump of every kind (see wait_in_sync())."""
        if self._monitor is not None:
            asyncio.get_running_loop().add_reader(self._monitor.fileno(), self._report)
        self._task = asyncio.create_task(self._run(), name="datapath")

    async def stop(self) -> None:
        """Stop working. The kernel is left as it is: forwarding goes on.

        Raises what ended the work, if it had ended by itself.
        """
        if self._task is None:
            return
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
        task, self._task = self._task, None
        task.cancel()
        for waiter in self._waiters:
            # Nothing will happen any more; whoever waits sees by the status what didn't.
            if not waiter.done():
                waiter.set_result(None)
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def run_forever(self) -> None:
        """Return or raise when the work ends; it does so by stop() or by a defect, which must end the daemon."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def nudge(self) -> None:
        """Let the work come round, although there may be nothing to do."""
        self._wake.set()

    # The desired state

    def put(self, *values: Value) -> int:
        """Want objects. Returns a revision for wait_revision(). Raises ValueError for a kind without driver."""
        revision = self.reconciler.put_all(values)
        self._wake.set()
        return revision

    def remove(self, *objects: Object) -> int:
        """Want these objects gone. Returns a revision for wait_revision()."""
        revision = self.reconciler.revision
        for kind, key in objects:
            revision = self.reconciler.remove(kind, key)
        self._wake.set()
        return revision

    def allow_sweep(self, *kinds: Kind) -> None:
        """Say that the desired state of these kinds (none: of all) is complete; see Reconciler.allow_sweep()."""
        self.reconciler.allow_sweep(*kinds)
        self._wake.set()

    def resync(self, kinds: Iterable[Kind] | None, reason: str) -> None:
        """Dump these kinds (None: all) again."""
        self.reconciler.resync(kinds, reason)
        self._wake.set()

    # What became of it

    def status(self, kind: Kind, key: Key) -> Status:
        """Status of one object."""
        return self.reconciler.status(kind, key)

    def until_retry(self, status: Status) -> float | None:
        """Seconds until an object that failed is tried again; None if it hasn't failed."""
        return None if status.next_retry is None else max(0.0, status.next_retry - self._clock())

    def without_carrier(self) -> Set[str]:
        """Names of the devices that are up and have no carrier, of taps whose VM isn't running for instance."""
        return frozenset() if self._monitor is None else self._monitor.without_carrier()

    def listen(self, kinds: Iterable[Kind], listener: Listener, *, failures_only: bool = False) -> Callable[[], None]:
        """Call listener for every status change of objects of these kinds; it must not block or raise.

        An object put while the kernel already has it is reported too. failures_only: what is told at least are objects
        that fail, and that are programmed after they had failed; it costs nothing for all others. What the listener
        then wants is seen to before the next batch. Returns a function that ends it.
        """
        entry = (frozenset(kinds), listener)
        if not failures_only:
            self.reconciler.watch(*entry[0])
        self._listeners.append(entry)
        return lambda: self._listeners.remove(entry)

    def listen_drift(self, listener: DriftListener) -> Callable[[], None]:
        """Call listener for what others do to our objects and for what is put right; it must not block or raise.
        Returns a function that ends it."""
        self._drift_listeners.append(listener)
        return lambda: self._drift_listeners.remove(listener)

    def repairs(self, kind: Kind, key: Key) -> tuple[Repairs, float] | None:
        """How often an object was repaired lately, and how many seconds ago the last time was; None: never."""
        found = self.reconciler.drift.repairs(kind, key)
        return None if found is None else (found, self._clock() - found.last)

    async def wait(self, objects: Iterable[Object], timeout: float, *, attempts: int = 3) -> list[Status]:
        """Wait until the kernel agrees with the desired state on every one of the objects.

        Returns their statuses in order. It returns early when one has failed this many times in a row, and after
        timeout seconds in any case; look at Status.settled."""
        names = list(objects)

        def over() -> bool:
            statuses = [self.status(kind, key) for kind, key in names]
            return all(s.settled for s in statuses) or any(s.attempts >= attempts for s in statuses)

        await self._wait(over, timeout)
        return [self.status(kind, key) for kind, key in names]

    async def wait_revision(self, revision: int, timeout: float) -> bool:
        """Wait until every change up to a revision is carried out, for timeout seconds at the most. Returns whether."""
        return await self._wait(lambda: self.reconciler.reached(revision), timeout)

    async def wait_in_sync(self, timeout: float) -> bool:
        """Wait until every kind was dumped once, for timeout seconds at the most. Returns whether."""
        return await self._wait(lambda: self.reconciler.in_sync, timeout)

    async def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        if condition():
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = condition
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.pop(waiter, None)
        return condition()

    # The work

    async def _run(self) -> None:
        try:
            while True:
                self.turns += 1
                self._wake.clear()
                if self._monitor is not None and self._reported:
                    self._reported = False
                    self.reconciler.handle(self._monitor.drain())
                if self._work():
                    await asyncio.sleep(0)
                else:
                    await self._sleep()
        except Exception:
            log.critical("the datapath stopped working", exc_info=True)
            raise

    def _work(self) -> bool:
        """Do as many steps as fit into a turn. Returns whether there is more to do at once."""
        now = self._clock()
        end = now + TURN
        while True:
            more = self.reconciler.step(now)
            self._tell()
            if not more:
                return False
            now = self._clock()
            if now >= end:
                return True

    def _report(self) -> None:
        """The monitor has something."""
        self._reported = True
        self._wake.set()

    async def _sleep(self) -> None:
        deadline = self.reconciler.next_deadline()
        untidy = self._monitor if self._monitor is not None and self._monitor.untidy else None
        if untidy is not None:
            quiet = self._clock() + QUIET
            deadline = quiet if deadline is None else min(deadline, quiet)
        if deadline is None:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            if untidy is not None:
                self.reconciler.handle(untidy.tidy())

    def _tell(self) -> None:
        """Tell listeners, waiters and the log what the step changed."""
        if self.reconciler.drift:
            self._tell_drift()
        changes = self.reconciler.take_changes()
        if changes:
            first = [change for change in changes if change.status.attempts == 1]
            self._log_failures([change for change in first if change.status.errno not in WAITING])
            self._log_waiting(change.key for change in first if change.status.errno == errno.ENETDOWN)
            for kinds, listener in list(self._listeners):
                for change in changes:
                    if change.kind in kinds:
                        listener(change)
        for waiter, condition in self._waiters.items():
            if not waiter.done() and condition():
                waiter.set_result(None)

    def _tell_drift(self) -> None:
        """Tell the log and listeners what others did, and what was put right."""
        news, more = self.reconciler.drift.take(self._clock())
        self._log_drift([one for one in news if not one.repaired], more)
        self._log_drift([one for one in news if one.repaired], 0)
        if news or more:
            for listener in list(self._drift_listeners):
                listener(news, more)

    def _log_drift(self, news: list[Drift], more: int) -> None:
        for one in news[:_LOGGED_FAILURES]:
            what = "repaired" if one.repaired else one.what
            log.info("%s: %s", describe(one.kind, one.key), what, extra=self._fields(one.kind, one.key))
        if (count := len(news) + more) > _LOGGED_FAILURES:
            done = " repaired" if news and news[0].repaired else ""
            log.info("and %d objects more%s", count - _LOGGED_FAILURES, done)

    def _fields(self, kind: Kind, key: Key) -> dict[str, object]:
        return fields(**{**journal_fields(kind, key), **self.owner(kind, key)})

    def _log_failures(self, failures: list[Change]) -> None:
        for change in failures[:_LOGGED_FAILURES]:
            extra = self._fields(change.kind, change.key)
            log.warning("%s", complaint(change.kind, change.key, change.status.error), extra=extra)
        if len(failures) > _LOGGED_FAILURES:
            log.warning("and %d more failures", len(failures) - _LOGGED_FAILURES)

    def _log_waiting(self, keys: Iterable[Key]) -> None:
        """A device without carrier is nothing to warn of: a VM that isn't running, most often."""
        waiting = Counter(key.device for key in keys if isinstance(key, NextHop))
        for device, count in waiting.most_common(_LOGGED_FAILURES):
            log.info(
                "%s has no carrier, next hops waiting for it: %d", device, count, extra=self._fields(Kind.PORT, device)
            )
