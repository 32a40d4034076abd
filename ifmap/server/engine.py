"""What stands behind the connections: the service, with the loop's clock, its timer, and the writer of its store."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from ifmap.errors import IfmapError
from ifmap.requests import read
from ifmap.server.http import Response
from ifmap.server.listener import Listener
from ifmap.server.writer import Writer
from ifmap.service import MapService, Output
from ifmap.values import Request
from runtime.log import fields

log = logging.getLogger("vrfwire.map")

TURN = 0.01
"""Seconds that work which takes long goes on before others have their turn."""


class Engine:
    """Use it within one event loop; give it its listener and its writer before it is used. health: answers GET
    /health."""

    listener: Listener
    writer: Writer

    def __init__(self, service: MapService, health: Callable[[], Response]) -> None:
        self.service = service
        self.health = health
        self._loop = asyncio.get_running_loop()
        self._outputs: deque[Output] = deque()
        self._delivering = False
        self._timer: asyncio.TimerHandle | None = None
        self._going_on: asyncio.Handle | None = None

    # -- for connections

    def read(self, body: bytes) -> Request | IfmapError:
        """Read a body; in any thread."""
        try:
            return read(body, self.service.read_settings)
        except IfmapError as error:
            return error

    def request(self, channel: int, client: str, request: bytes | Request | IfmapError, peer: str) -> None:
        """A request of a client."""
        self.service.request(channel, client, request, self._loop.time(), peer)
        self.turn()

    def closed(self, channel: int) -> None:
        """A connection is gone."""
        self.service.channel_closed(channel, self._loop.time())
        self.turn()

    # -- after everything that the service was told

    def turn(self) -> None:
        """Send what the service has to say, have written what waits, log what became of sessions, set the timer."""
        self.deliver()
        for client, peer, ended in self.service.take_events():
            told = f"ended: {ended}" if ended else "began"
            log.info("session of %s at %s %s", client, peer, told, extra=fields(peer=peer, client=client))
        if self.service.waiting:
            self.writer.wake()
        if self.service.busy and self._going_on is None:
            self._going_on = self._loop.call_soon(self._go_on)
        self._arm()

    def deliver(self) -> None:
        """Send what the service has to say."""
        self._outputs.extend(self.service.take_outputs())
        if self._delivering:
            return  # an answer let a connection ask again: what that brings comes behind the rest
        self._delivering = True
        try:
            while self._outputs:
                self.listener.deliver(self._outputs.popleft())
        finally:
            self._delivering = False

    def stop(self) -> None:
        """No timer and no work any more."""
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        """Some of the requests that take long; then others have their turn."""
        self._going_on = None
        end = self._loop.time() + TURN
        try:
            while self.service.busy:
                self.service.go_on()
                if self._loop.time() >= end:
                    break
        except Exception:
            # It costs the one request, whose client has been told, and nobody else anything.
            log.exception("error of this server in a request that takes long")
        self.turn()

    def _arm(self) -> None:
        due = self.service.timer()
        if self._timer is not None:
            if self._timer.when() == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.service.handle_timer(self._loop.time())
        self.turn()
