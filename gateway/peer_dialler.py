"""Opens the connections of a BGP peer: those that we dial, and what asyncio makes of those that the peer has opened."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine

from gateway.peer_config import Link
from gateway.peer_socket import dialler
from gateway.peer_transport import PeerTransport


class Dialler:
    """make: a transport for a connection (outgoing?), which the peer hears of by its opened(); failed: a dial has."""

    def __init__(self, make: Callable[[bool], PeerTransport], failed: Callable[[OSError], None]) -> None:
        self._make = make
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._dialling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_dialling(self) -> bool:
        """Whether a dial is under way."""
        return self._dialling is not None

    def dial(self, link: Link) -> None:
        """Connect; one that is under way is given up."""
        self.cancel()
        self._dialling = self._keep(self._connect(link))

    def cancel(self) -> None:
        """Give up the dial that is under way."""
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()

    def adopt(self, sock: socket.socket) -> None:
        """Make a transport of an accepted socket."""
        # A task that is cancelled before it has begun doesn't see it.
        self._keep(self._adopt(sock)).add_done_callback(lambda task: sock.close() if task.cancelled() else None)

    async def close(self) -> None:
        """Give up whatever is under way."""
        self.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _keep(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self, link: Link) -> None:
        try:
            sock = await self._open(link)
        except OSError as error:
            if self._dialling is asyncio.current_task():
                self._dialling = None
                self._failed(error)
            return
        self._dialling = None
        # From here on the socket is asyncio's to close.
        await self._loop.create_connection(lambda: self._make(True), sock=sock)

    async def _open(self, link: Link) -> socket.socket:
        sock = dialler(link)
        try:
            await self._loop.sock_connect(sock, (str(link.address), link.port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _adopt(self, sock: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: self._make(False), sock)
