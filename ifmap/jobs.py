"""Requests that take long, each in slices, so that whoever else uses the server has turns meanwhile.

Searches go on side by side, and while the map changes: each sees the map as it was when it began. What works on the
subscriptions (subscribe, and what is committed) does so one after another.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ifmap.errors import ErrorCode, IfmapError
from ifmap.service_state import State
from ifmap.slices import Work
from ifmap.values import Request


@dataclass(slots=True, eq=False)
class Job:
    """A request at work. channel: the connection that waits for its answer. exclusive: it works on subscriptions."""

    channel: int
    request: Request
    work: Work[bytes]
    exclusive: bool


class Jobs:
    """The requests at work. Small ones are done as soon as they begin."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._running: deque[Job] = deque()
        self._exclusive: Job | None = None
        self._held: deque[Job] = deque()
        self._closed_to_new = False

    @property
    def busy(self) -> bool:
        """Whether there is something to go on with."""
        return bool(self._running)

    def start(self, job: Job) -> None:
        """Begins, or lets it wait for its turn."""
        if job.exclusive and (self._closed_to_new or self._exclusive is not None):
            self._held.append(job)
        else:
            self._begin(job)

    def go_on(self) -> None:
        """A slice of the one whose turn it is."""
        if self._running:
            self._slice(self._running.popleft())

    def channel_closed(self, channel: int) -> None:
        """Searches whose result nobody waits for any more are given up."""
        for job in [job for job in self._running if job.channel == channel and not job.exclusive]:
            self._running.remove(job)
            job.work.close()

    def commit(self, work: Work[None]) -> Work[None]:
        """What is committed takes effect: after the subscribe at work, before those that wait."""
        self._closed_to_new = True
        try:
            while (job := self._exclusive) is not None:
                self._running.remove(job)
                self._slice(job)
                yield
            yield from work
        finally:
            self._closed_to_new = False
            self._next()

    def _begin(self, job: Job) -> None:
        if job.exclusive:
            self._exclusive = job
        self._slice(job)

    def _slice(self, job: Job) -> None:
        """Any other exception is a fault of the server: the client is told so, and it goes to the caller."""
        state = self._state
        try:
            next(job.work)
        except StopIteration as done:
            state.answer(job.channel, job.request, done.value)
        except IfmapError as error:
            state.refuse(job.channel, job.request, error)
        except Exception:
            state.refuse(job.channel, job.request, IfmapError(ErrorCode.SYSTEM_ERROR, "a fault of the server"))
            self._done(job)
            raise
        else:
            self._running.append(job)
            return
        self._done(job)

    def _done(self, job: Job) -> None:
        if self._exclusive is job:
            self._exclusive = None
            self._next()

    def _next(self) -> None:
        while self._held and self._exclusive is None and not self._closed_to_new:
            self._begin(self._held.popleft())
