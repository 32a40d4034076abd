"""The control socket of a daemon: JSON lines over a unix stream socket (docs/design/runtime.md).

    request   {"id": N, "method": "port.attach", "params": {...}}
    replies   {"id": N, "progress": {...}} *, then {"id": N, "result": {...}} or
              {"id": N, "error": {"what", "why", "hint", "code"}}

Calls of one connection run concurrently. A call goes on when its client leaves: what was asked for is done, the answer
is dropped. Garbage is answered with an error and hurts only the connection that it came from.
"""

from __future__ import annotations

import asyncio
import grp
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple, cast

from runtime.client import ControlClient
from runtime.errors import ExitCode, OperatorError
from runtime.socket_file import SocketFile

__all__ = ["Call", "ControlClient", "ControlServer", "Handler", "Peer", "group_id"]

log = logging.getLogger("vrfwire.control")

MAX_LINE = 1 << 16
"""Longest request, bytes."""
MAX_CALLS = 64
"""Calls under way on one connection; more are read only when one of them ends."""
MAX_UNSENT = 1 << 26
"""Bytes that a client may leave unread when another answer is due; its connection is dropped then."""
_SO_PEERGROUPS = 59  # asm-generic/socket.h; not in Python's socket module


class Peer(NamedTuple):
    """Who is at the other end (SO_PEERCRED), with the supplementary groups (SO_PEERGROUPS)."""

    uid: int
    gid: int
    pid: int
    groups: frozenset[int] = frozenset()


class Call:
    """One request being worked on."""

    __slots__ = ("_connection", "_id", "method", "peer")

    def __init__(self, connection: _Connection, request_id: object, method: str) -> None:
        self._connection = connection
        self._id = request_id
        self.method = method
        self.peer = connection.peer

    @property
    def connected(self) -> bool:
        """Whether anybody may still wait for the answer; known for certain after the next progress()."""
        return self._connection.open

    @property
    def ready(self) -> bool:
        """Whether the client reads what it is sent; when it doesn't, more of it would only pile up here."""
        return self._connection.open and not self._connection.unread

    @property
    def leaving(self) -> bool:
        """Whether the client has left, or asks for nothing more."""
        return not self._connection.open or self._connection.ended_input

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call callback when `ready` or `leaving` may have changed, until this call ends."""
        self._connection.watchers[self] = callback

    def progress(self, report: Mapping[str, object]) -> None:
        """Tell the client how far it is."""
        self._connection.send({"id": self._id, "progress": dict(report)})


Handler = Callable[[dict[str, object], Call], Awaitable[object]]
"""Answers a method: returns what "result" is to hold (a mapping). Raises OperatorError to refuse."""


class ControlServer:
    """Serves methods (name -> Handler) on a unix socket at path.

    group: name or number of the group whose members may use it, beside root and the daemon's own user; the socket
    belongs to it. mode: of the socket. authorise: replaces the check of a peer (for tests). Raises OperatorError when
    there is no such group.
    """

    def __init__(
        self,
        path: str | Path,
        methods: Mapping[str, Handler],
        *,
        group: int | str | None = None,
        mode: int = 0o660,
        authorise: Callable[[Peer], bool] | None = None,
    ) -> None:
        self.path = Path(path)
        self.methods = dict(methods)
        self._group = group_id(group) if isinstance(group, str) else group
        self._file = SocketFile(self.path, self._group, mode)
        self._authorise = authorise or self._permitted
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind and listen. Raises OperatorError: another daemon has the socket, or it can't be made there."""
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Connection(self), sock=self._file.listen()
        )

    async def stop(self, grace: float = 1.0) -> None:
        """Stop listening, give running calls grace seconds to answer, close every connection, remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for connection in tuple(self._connections):
            connection.close()
        self._file.remove()

    def _permitted(self, peer: Peer) -> bool:
        if peer.uid in (0, os.geteuid()):
            return True
        return self._group is not None and (peer.gid == self._group or self._group in peer.groups)

    # -- connections

    def _opened(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def _closed(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def permits(self, peer: Peer) -> bool:
        """Whether peer may use the socket."""
        return self._authorise(peer)


class _Connection(asyncio.Protocol):
    """One client: cuts lines, starts calls, sends replies."""

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._calls = 0
        self.unread = False
        self._paused = False
        self._refused = False
        self.ended_input = False
        self.watchers: dict[Call, Callable[[], None]] = {}
        self._transport: asyncio.Transport | None = None
        self.peer = Peer(-1, -1, -1)

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server._opened(self)
        self.peer = _peer(transport.get_extra_info("socket"))
        if not self._server.permits(self.peer):
            self._refuse(
                OperatorError(
                    f"control socket {self._server.path}",
                    f"user {self.peer.uid} is not permitted to use it",
                    "run the command as root or as a member of the group that owns the socket",
                    ExitCode.NOT_PERMITTED,
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server._closed(self)
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        for watcher in tuple(self.watchers.values()):
            watcher()

    def pause_writing(self) -> None:
        """The client reads slowly: no more requests of it for now."""
        self.unread = True
        self._throttle()

    def resume_writing(self) -> None:
        self.unread = False
        self._take_lines()
        self._tell_watchers()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._buffer += data
        self._take_lines()

    def eof_received(self) -> bool:
        """A client may close its sending half at once; it still gets its answers."""
        self.ended_input = True
        self._close_when_done()
        self._tell_watchers()
        return True

    def _close_when_done(self) -> None:
        if self.ended_input and self._calls == 0:
            self.close()

    # -- requests

    def _take_lines(self) -> None:
        start = 0
        while not self._refused and not self._full and (end := self._buffer.find(b"\n", start)) >= 0:
            line = bytes(self._buffer[start:end])
            start = end + 1
            if len(line) > MAX_LINE:
                self._refuse(_bad_request(f"longer than {MAX_LINE} bytes"))
            elif line.strip():
                self._request(line)
        del self._buffer[:start]
        if len(self._buffer) > MAX_LINE and b"\n" not in self._buffer:
            self._refuse(_bad_request(f"longer than {MAX_LINE} bytes"))
        self._throttle()

    @property
    def _full(self) -> bool:
        return self.unread or self._calls >= MAX_CALLS

    def _throttle(self) -> None:
        full = self._full
        if self._transport is None or full == self._paused:
            return
        self._paused = full
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _request(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            self._error(None, _bad_request("not a JSON document"))
            return
        if not isinstance(request, dict):
            self._error(None, _bad_request("not a JSON object"))
            return
        request_id, method, params = request.get("id"), request.get("method"), request.get("params", {})
        if not isinstance(request_id, int | str):
            self._error(None, _bad_request('no "id"'))
        elif not isinstance(method, str):
            self._error(request_id, _bad_request('no "method"'))
        elif not isinstance(params, dict):
            self._error(request_id, _bad_request('"params" is not an object'))
        elif (handler := self._server.methods.get(method)) is None:
            self._error(
                request_id,
                OperatorError(
                    f"request {method[:64]!r}",
                    "this daemon has no such method",
                    "command and daemon may differ in version",
                ),
            )
        else:
            self._calls += 1
            call = Call(self, request_id, method)
            task = asyncio.get_running_loop().create_task(self._run(handler, params, request_id, call))
            self._server.tasks.add(task)
            task.add_done_callback(self._ended)

    async def _run(self, handler: Handler, params: dict[str, object], request_id: object, call: Call) -> None:
        try:
            result = await handler(params, call)
        except OperatorError as error:
            self._error(request_id, error)
        except asyncio.CancelledError:
            self._error(request_id, OperatorError(f"request {call.method}", "the daemon is stopping"))
            raise
        except Exception:
            log.exception("control request %s failed", call.method)
            self._error(request_id, _internal(f"request {call.method}"))
        else:
            self._result(request_id, result)
        finally:
            self.watchers.pop(call, None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._server.tasks.discard(task)
        self._calls -= 1
        if self._paused:
            self._take_lines()
        self._close_when_done()

    # -- replies

    def _result(self, request_id: object, result: object) -> None:
        try:
            self.send({"id": request_id, "result": {} if result is None else result})
        except (TypeError, ValueError):
            log.exception("control reply can't be written as JSON")
            self._error(
                request_id, OperatorError("request", "internal error in the daemon", "the daemon's log says more")
            )

    def _error(self, request_id: object, error: OperatorError) -> None:
        body = {"what": error.what, "why": error.why, "hint": error.hint, "code": int(error.code)}
        self.send({"id": request_id, "error": body})

    def _refuse(self, error: OperatorError) -> None:
        """Say why, and end the connection."""
        self._refused = True
        self._error(None, error)
        self.close()

    def send(self, document: Mapping[str, object]) -> None:
        """One line to the client; dropped when it has left."""
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        if self._transport is None or self._transport.is_closing():
            return
        # One reply may be as large as it is; what piles up behind it is the client's fault.
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            log.warning("control client %d does not read its answers; dropped", self.peer.pid)
            self._transport.abort()
            return
        self._transport.write(line)

    def close(self) -> None:
        """Send what is owed, then close."""
        if self._transport is not None:
            self._transport.close()


def _bad_request(why: str) -> OperatorError:
    return OperatorError("request", why, "docs/design/runtime.md describes the control protocol", ExitCode.USAGE)


def group_id(name: str) -> int:
    """The number of a group that may use a control socket. Raises OperatorError."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        hint = "groupadd --system, or change [control] group"
        raise OperatorError("control socket", f"there is no group {name!r}", hint, ExitCode.NOT_FOUND) from None


def _internal(what: str) -> OperatorError:
    return OperatorError(what, "internal error in the daemon", "the daemon's log says more")


def _peer(connection: socket.socket) -> Peer:
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups: frozenset[int] = frozenset()
    if uid not in (0, os.geteuid()):
        try:
            packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * 256)
            groups = frozenset(struct.unpack(f"{len(packed) // 4}I", packed))
        except OSError as error:  # more than 256 groups, or an old kernel: the primary group decides
            log.debug("SO_PEERGROUPS: %s", error)
    return Peer(uid, gid, pid, groups)
