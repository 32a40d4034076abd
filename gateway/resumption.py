"""Sessions that outlive their stream, and hosts that come back to them (XEP-0198, section 5); no I/O.

    stream lost --> suspend() --resume_time--> expire(): the session ends
                      |
                      +-- resume(): the host has authenticated itself anew and names the session by its id

While a session is suspended nothing is queued for it: what is owed is a cursor for each subscription (vpn.cursor), and
a bounded number of answers (xmpp.outbox). Its items are stale, as those of any session that was lost.
"""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from gateway.hosts import Permit
from gateway.service import Service
from gateway.session import Session
from xmpp.errors import StreamError
from xmpp.jid import Jid
from xmpp.outbox import Outbox
from xmpp.stream_management import EnableWish, Management

ID_OCTETS = 18
REMEMBERED = 4096
"""Ended sessions of which it is known how many stanzas had come."""


@dataclass(slots=True)
class _Entry:
    """A session that can be resumed. deadline: when it ends, None while it has a stream."""

    session: Session
    management: Management
    deadline: float | None = None


class NotResumable(Exception):
    """There is no such session, or it can't go on. handled: how many of its stanzas had come, when that is known."""

    def __init__(self, reason: str, handled: int | None = None) -> None:
        super().__init__(reason)
        self.handled = handled


class Resumption:
    """The sessions of a service that can be resumed. Times are seconds of any monotonic clock.

    random: source of unpredictable bytes; resume_time: how long a session outlives its stream, 0: not at all; most:
    sessions that may wait at a time.
    """

    def __init__(
        self, service: Service, random: Callable[[int], bytes], resume_time: float, *, most: int = 10_000
    ) -> None:
        self.resume_time = resume_time
        self.on_end: Callable[[str], None] = _nothing
        """Called with its host when a session has ended that nobody can resume any more."""
        self._service = service
        self._random = random
        self._most = most
        self._entries: dict[str, _Entry] = {}
        """By id, with a stream or without."""
        self._ids: dict[Session, str] = {}
        self._waiting: dict[str, dict[Session, None]] = {}
        """Suspended ones by host, oldest first."""
        self._deadlines: list[tuple[float, str]] = []
        """A heap; what isn't suspended until then is passed over."""
        self._ended: dict[str, tuple[str, int]] = {}
        """Host and number of stanzas of sessions that have ended, oldest first."""

    def __len__(self) -> int:
        """Sessions that wait."""
        return len(self._service.suspended)

    def enable(self, session: Session, wish: EnableWish) -> Management:
        """A session is to be counted; its Management, with an id when it can be resumed."""
        # Its items must be there as long as it can be resumed: a host that resumes doesn't publish them again.
        time = min(self.resume_time, self._service.rib.stale_time)
        time = time if wish.most is None else min(time, wish.most)
        if wish.resume and time > 0:
            identifier = base64.urlsafe_b64encode(self._random(ID_OCTETS)).decode()
            management = Management(identifier, time)
            self._entries[identifier] = _Entry(session, management)
            self._ids[session] = identifier
        else:
            management = Management(outbox=Outbox(recoverable=False))
        session.count(management.outbox)
        return management

    # -- waiting

    def suspend(self, session: Session, now: float) -> int | None:
        """A stream was lost: keep its session. How many of the host's items are stale by that; None: it can't be kept,
        and has to be closed."""
        entry = self._entry(session)
        if entry is None:
            return None
        stale = self._service.suspend(session, now)
        entry.deadline = now + entry.management.resume_time
        heapq.heappush(self._deadlines, (entry.deadline, entry.management.id))
        self._waiting.setdefault(session.host, {})[session] = None
        while len(self) > self._most:
            self.end(next(iter(self._service.suspended.values())), now)
        return stale

    def timer(self) -> float | None:
        """When expire() is to be called next."""
        while self._deadlines:
            deadline, identifier = self._deadlines[0]
            entry = self._entries.get(identifier)
            if entry is not None and entry.deadline == deadline:
                return deadline
            heapq.heappop(self._deadlines)
        return None

    def expire(self, now: float) -> list[Session]:
        """End the sessions that nobody has come back to in time."""
        expired = []
        while (due := self.timer()) is not None and due <= now:
            session = self._entries[self._deadlines[0][1]].session
            self.end(session, now)
            expired.append(session)
        return expired

    def waiting(self, host: str) -> int:
        """Number of sessions of a host that wait."""
        return len(self._waiting.get(host, ()))

    # -- coming back

    def find(self, identifier: str, host: str) -> Session:
        """The session of this id, suspended or not, if it is the host's; raises NotResumable."""
        entry = self._entries.get(identifier)
        if entry is not None and entry.session.host == host:
            return entry.session
        owner, handled = self._ended.get(identifier, ("", 0))
        self._service.counters["refused/item-not-found"] += 1
        raise NotResumable("there is no such session (any more)", handled if owner == host else None)

    def resume(self, session: Session, permit: Permit, handled: int, now: float) -> Management:
        """Go on with a suspended session, of whose stanzas the host has handled so many.

        permit: what the host may do now. Raises NotResumable, and StreamError when the count is impossible; the session
        has ended then.
        """
        entry = self._entry(session)
        if entry is None or entry.deadline is None:
            raise RuntimeError("the session doesn't wait")
        management = entry.management
        outbox = management.outbox
        try:
            session.acknowledged(outbox.acknowledge(handled, final=True))
        except StreamError:
            self._refuse(session, now)
            raise
        if not outbox.complete or permit != session.permit:
            self._refuse(session, now)
            why = "answers were lost" if not outbox.complete else "what the host may do has changed"
            raise NotResumable(why, management.handled)
        self._stop_waiting(entry)
        self._service.resume(session, now)
        session.replay(outbox.take_back())
        self._service.counters["resume"] += 1
        return management

    def _refuse(self, session: Session, now: float) -> None:
        self._service.counters["refused/item-not-found"] += 1
        self.end(session, now)

    # -- the end

    def supersede(self, jid: Jid, now: float) -> None:
        """A new session of this JID begins: the newest wins."""
        for session in [session for session in self._waiting.get(jid.localpart, ()) if session.jid == jid]:
            self.end(session, now)

    def make_room(self, host: str, most: int, now: float) -> None:
        """Another session of the host begins: end the oldest that wait, so that there are fewer than so many."""
        while (waiting := self.waiting(host)) and waiting + self._service.connected[host] >= most:
            self.end(next(iter(self._waiting[host])), now)

    def end_host(self, host: str, now: float) -> None:
        """None of the host's sessions that wait may be resumed any more."""
        for session in list(self._waiting.get(host, ())):
            self.end(session, now)

    def end(self, session: Session, now: float) -> int:
        """A session is over, whether it waited or had a stream until now; how many items are stale by that."""
        entry = self._entry(session)
        if entry is not None:
            self._stop_waiting(entry)
            identifier = self._ids.pop(session)
            del self._entries[identifier]
            self._ended[identifier] = (session.host, entry.management.handled)
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]
        stale = self._service.close(session, now)
        self.on_end(session.host)
        return stale

    def _entry(self, session: Session) -> _Entry | None:
        identifier = self._ids.get(session)
        return self._entries[identifier] if identifier is not None else None

    def _stop_waiting(self, entry: _Entry) -> None:
        if entry.deadline is None:
            return
        entry.deadline = None
        waiting = self._waiting[entry.session.host]
        del waiting[entry.session]
        if not waiting:
            del self._waiting[entry.session.host]


def _nothing(host: str) -> None:
    """Nobody listens."""
