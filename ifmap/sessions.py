"""Sessions and their two channels (IF-MAP 2.2, 4.3 and 4.4; no I/O).

A session has an SSRC, the connection of its requests, and an ARC, the connection of its polls. Which a connection is
depends on what it was used for, not on when it was opened:

    connection                 request of the SSRC          poll
    is the SSRC                done                         Failure
    is the ARC                 Failure                      done, or the session ends if one waits already
    was the SSRC or the ARC    AccessDenied                 AccessDenied
    any other of the client    becomes the SSRC             becomes the ARC, or the session ends if a poll waits

So clients that open a connection for each request work. A session whose connections are both closed ends after a time;
also one whose ARC closes while a poll waits only loses that poll: as long as the SSRC is open or the client comes back
in time, it may poll again, and misses nothing, since a poll takes results only when it is answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ifmap.errors import ErrorCode, IfmapError
from ifmap.results import ResultQueue

REMEMBERED = 1_000
"""Ended sessions whose reason is remembered."""


@dataclass(slots=True, eq=False)
class Session:
    """A live session. queue: its undelivered results. began: on the clock of `now`. peer: the client's address last
    seen. ssrc, arc: its connections, None while closed. polling: a poll waits on the ARC. ending: why it is about to
    end, "" if it isn't. stale: connections that others replaced, and the error they get."""

    id: str
    client: str
    publisher_id: str
    queue: ResultQueue
    began: float
    peer: str
    ssrc: int | None = None
    arc: int | None = None
    polling: bool = False
    ending: str = ""
    stale: dict[int, str] = field(default_factory=dict)


class Sessions:
    """All live sessions of this server, at most one for each client. timeout: seconds without a connection.

    Errors are raised as IfmapError, fit for an errorResult.
    """

    def __init__(self, timeout: float, remembered: int = REMEMBERED) -> None:
        self._timeout = timeout
        self._remembered = remembered
        self._by_id: dict[str, Session] = {}
        self._by_client: dict[str, Session] = {}
        self._by_channel: dict[int, dict[Session, None]] = {}
        # Deadlines by session; equal time-outs keep them in order.
        self._idle: OrderedDict[Session, float] = OrderedDict()
        self._ended: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def get(self, session_id: str) -> Session | None:
        """The live session of this id."""
        return self._by_id.get(session_id)

    def of_client(self, client: str) -> Session | None:
        """The live session of a client."""
        return self._by_client.get(client)

    def start(self, session: Session, channel: int | None, now: float) -> None:
        """A session begins; its client's earlier one has ended. channel: the SSRC, None if it has closed meanwhile."""
        self._by_id[session.id] = session
        self._by_client[session.client] = session
        if channel is None:
            self._check_idle(session, now)
        else:
            session.ssrc = channel
            self._attach(session, channel)

    def end(self, session: Session, reason: str) -> None:
        """Its id is invalid from now on; `reason` is remembered for whoever uses it."""
        del self._by_id[session.id]
        del self._by_client[session.client]
        for channel in (session.ssrc, session.arc, *session.stale):
            if channel is not None:
                self._detach(session, channel)
        session.ssrc = session.arc = None
        session.polling = False
        self._idle.pop(session, None)
        self._ended[session.id] = session.client, reason
        if len(self._ended) > self._remembered:
            self._ended.popitem(last=False)

    def find(self, session_id: str, client: str) -> Session:
        """The live session. Raises InvalidSessionID, and says why it ended if it was the client's."""
        session = self._by_id.get(session_id)
        if session is None or session.client != client:
            client_then, reason = self._ended.get(session_id, ("", ""))
            # A foreign session is none of the client's business: not even that it exists.
            text = f"session ended: {reason}" if client_then == client and reason else "no such session"
            raise IfmapError(ErrorCode.INVALID_SESSION_ID, text)
        if session.ending:
            raise IfmapError(ErrorCode.INVALID_SESSION_ID, f"session ended: {session.ending}")
        return session

    def synchronous(self, session_id: str, client: str, channel: int, peer: str) -> Session:
        """The session for a request other than poll on this connection, which becomes the SSRC. Raises
        InvalidSessionID, Failure (it is the ARC), AccessDenied (it was replaced)."""
        session = self._usable(session_id, client, channel)
        if channel == session.arc:
            text = "this connection is the session's ARC, which is for poll alone; use another"
            raise IfmapError(ErrorCode.FAILURE, text)
        if channel != session.ssrc:
            if session.ssrc is not None:
                session.stale[session.ssrc] = _replaced("SSRC", peer)
            session.ssrc = channel
            self._taken_over(session, channel, peer)
        return session

    def asynchronous(self, session_id: str, client: str, channel: int, peer: str) -> Session:
        """The session for a poll on this connection, which becomes the ARC unless a poll waits already (then the
        caller ends the session). Raises InvalidSessionID, Failure (it is the SSRC), AccessDenied (it was replaced)."""
        session = self._usable(session_id, client, channel)
        if channel == session.ssrc:
            text = "this connection is the session's SSRC; poll on a second one (the ARC)"
            raise IfmapError(ErrorCode.FAILURE, text)
        if channel != session.arc and not session.polling:
            if session.arc is not None:
                session.stale[session.arc] = _replaced("ARC", peer)
            session.arc = channel
            self._taken_over(session, channel, peer)
        return session

    def channel_closed(self, channel: int, now: float) -> None:
        """A connection is gone: a poll that waited on it is void, and the timer of its session may start."""
        for session in self._by_channel.pop(channel, ()):
            session.stale.pop(channel, None)
            if session.ssrc == channel:
                session.ssrc = None
            if session.arc == channel:
                session.arc = None
                session.polling = False
            self._check_idle(session, now)

    def timer(self) -> float | None:
        """When the next session's time without a connection is over."""
        return next(iter(self._idle.values()), None)

    def overdue(self, now: float) -> list[Session]:
        """Sessions whose time without a connection is over; each is told once."""
        found = []
        while self._idle:
            session, deadline = next(iter(self._idle.items()))
            if deadline > now:
                break
            del self._idle[session]
            found.append(session)
        return found

    def _usable(self, session_id: str, client: str, channel: int) -> Session:
        session = self.find(session_id, client)
        if text := session.stale.get(channel):
            raise IfmapError(ErrorCode.ACCESS_DENIED, text)
        return session

    def _taken_over(self, session: Session, channel: int, peer: str) -> None:
        session.peer = peer
        self._attach(session, channel)
        self._idle.pop(session, None)

    def _check_idle(self, session: Session, now: float) -> None:
        if session.ssrc is None and session.arc is None and session not in self._idle:
            self._idle[session] = now + self._timeout

    def _attach(self, session: Session, channel: int) -> None:
        self._by_channel.setdefault(channel, {})[session] = None

    def _detach(self, session: Session, channel: int) -> None:
        sessions = self._by_channel.get(channel)
        if sessions is not None:
            sessions.pop(session, None)
            if not sessions:
                del self._by_channel[channel]


def _replaced(role: str, peer: str) -> str:
    origin = f" from {peer}" if peer else ""
    return f"another connection{origin} took this one's place as the session's {role}"
