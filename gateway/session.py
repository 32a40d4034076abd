"""A host's session as the service sees it, and what it is still owed; no I/O.

Output is pulled: the shell asks for the next piece when the transport takes more. So a host that reads slowly costs one
piece, whatever happens in its VPNs, and gets only the newest state of each prefix when it reads again.

The pong of a ping that arrives while events are owed waits until all of them have been handed out: XMPP streams are
ordered, so it tells the host that it has the whole table as it was when the ping arrived. What has changed again since
then may come after the pong; but no prefix does that was there before the subscription, however often it changes.

A session that can be resumed notes in its outbox (xmpp.outbox) what it hands out: answers themselves, and of events
only how far the cursor of a subscription went. When its stream was lost, answers that were not acknowledged are handed
out again, and events anew from where the host has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from gateway.host_notices import HostNotices
from gateway.hosts import Permit
from gateway.item_cache import ItemCache
from gateway.rib import Source
from vpn.cursor import Cursor, ReplayCursor
from vpn.table import VrfTable
from xmpp.jid import Jid
from xmpp.notification import MAX_ITEMS, EventBatch, EventBuilder, recipient
from xmpp.outbox import Outbox

_CACHE_BYTES = 1 << 20
"""Serialised messages of one VPN kept for other subscribers, at most about this much."""


class Feed:
    """Turns the changes of one table into event messages, once for all subscribers at the same position.

    items: as they were serialised for others. changed, warm: where it puts itself when its table has changed, and when
    it keeps messages.
    """

    def __init__(
        self,
        domain: Jid,
        vpn: str,
        table: VrfTable[Source],
        items: ItemCache,
        changed: dict[Feed, None],
        warm: dict[Feed, None],
    ) -> None:
        self.vpn = vpn
        self.table = table
        self._items = items
        self._changed = changed
        self._warm = warm
        self.subscribers: dict[Session, Subscription] = {}
        self.suspended: set[Session] = set()
        """Subscribers without a stream, which are told nothing before they have one again."""
        self.announced = 0
        """Revision up to which the sessions have been told that there is something to pull."""
        self._builder = EventBuilder(domain, vpn)
        self._cache: dict[int | tuple[int, int], _Cached] = {}
        self._cached_bytes = 0

    def announce(self) -> bool:
        """Whether the table has changed since the last call. All who are told so now read up to here, and no further
        before the next call (unless they have asked for more): they stay together."""
        news, self.announced = self.announced != self.table.revision, self.table.revision
        self.table.once(self._note)
        return news

    def _note(self) -> None:
        self._changed[self] = None

    def close(self) -> None:
        """Nobody listens any more."""
        self.table.once(None)
        self.forget()
        self._changed.pop(self, None)
        self._warm.pop(self, None)

    def read(self, cursor: Cursor[Source]) -> tuple[EventBatch, ...]:
        """The next messages for a reader, and move it on; none when it has read everything.

        They may have been made for another one at the same place, some changes ago. What has changed since is read
        next; and that no withdrawal is let go of meanwhile that a reader of these messages has to be told of, a cursor
        sees to that is kept with them.
        """
        if cursor.replaying:
            # It reads again, and may have been told of prefixes that others at its place know nothing of.
            return self._serialised(cursor)
        place = cursor.place
        if (known := self._cache.get(place)) is not None:
            cursor.advance(known.end)
            return known.batches
        if self._cached_bytes > _CACHE_BYTES:
            self.forget()
        batches = self._serialised(cursor)
        if batches:
            self._cache[place] = _Cached(cursor.revision, batches, self.table.cursor(from_start=False))
            self._cached_bytes += sum(len(batch.head) + len(batch.tail) for batch in batches)
            self._warm[self] = None
        return batches

    def _serialised(self, cursor: Cursor[Source]) -> tuple[EventBatch, ...]:
        items = self._items.table if cursor.revision < cursor.start else self._items.changes
        return tuple(self._builder.messages(items(cursor.nodes(MAX_ITEMS))))

    def forget(self) -> None:
        """Drop the serialised messages."""
        for cached in self._cache.values():
            cached.guard.close()
        self._cache.clear()
        self._cached_bytes = 0


class _Cached(NamedTuple):
    """Messages for readers at some place, and the revision they bring them to. guard: at the revision of the table when
    they were made."""

    end: int
    batches: tuple[EventBatch, ...]
    guard: Cursor[Source]


class Subscription:
    """A session's subscription to a VPN. instance_id: as the host gave it, or None."""

    __slots__ = ("cursor", "feed", "instance_id", "jid")

    def __init__(self, feed: Feed, jid: Jid, instance_id: int | None = None) -> None:
        self.feed = feed
        self.jid = jid
        self.instance_id = instance_id
        self.cursor: Cursor[Source] = feed.table.cursor()

    def keep(self) -> None:
        """Let it be read again from where it is now."""
        self.cursor = ReplayCursor(self.cursor)


Mark = tuple[Subscription, int]
"""A subscription and the revision that it was read up to."""


class _Pong(bytes):
    """An answer that must not overtake events, not even those that are sent again."""


class _Barrier:
    """A pong to send when each of the subscriptions has been read up to a revision."""

    __slots__ = ("_passed", "owed", "reply")

    def __init__(self, reply: bytes, owed: Iterable[Mark]) -> None:
        self.reply = reply
        self.owed = tuple(owed)
        self._passed = 0
        """How many of them, from the first on, have been read."""

    def passed(self, session: Session) -> bool:
        while self._passed < len(self.owed):
            subscription, revision = self.owed[self._passed]
            current = session.subscriptions.get(subscription.feed.vpn) is subscription
            if current and subscription.cursor.revision < revision:
                return False
            self._passed += 1
        return True


class Session:
    """One bound session. number: unique in this process; host: localpart of its JID; since: when it began (seconds).

    sender: the gateway's address. notices: what the host is still to be told about its own items.
    """

    __slots__ = (
        "_barriers",
        "_behind",
        "_recipient",
        "_replies",
        "host",
        "jid",
        "notices",
        "number",
        "outbox",
        "permit",
        "since",
        "subscriptions",
    )

    def __init__(self, number: int, jid: Jid, permit: Permit, since: float, sender: Jid) -> None:
        self.number = number
        self.jid = jid
        self.host = jid.localpart
        self.permit = permit
        self.since = since
        self.subscriptions: dict[str, Subscription] = {}
        self.notices = HostNotices(sender, jid)
        """Items and retractions handed out in events."""
        self.outbox: Outbox[Mark] | None = None
        """What was handed out and not acknowledged; None: nobody counts."""
        self._recipient = recipient(jid)
        self._replies: deque[bytes] = deque()
        self._barriers: deque[_Barrier] = deque()
        self._behind: dict[Subscription, None] = {}

    def reply(self, stanza: bytes) -> None:
        """Queue an answer; it may overtake events."""
        self._replies.append(stanza)

    def reply_after_events(self, stanza: bytes) -> None:
        """Queue an answer behind every event that is owed now."""
        owed = []
        for subscription in self.subscriptions.values():
            if subscription.cursor.pending:
                subscription.cursor.renew()
                owed.append((subscription, subscription.feed.table.revision))
        if owed or self._barriers:
            self._barriers.append(_Barrier(_Pong(stanza), owed))
            self._behind.update((subscription, None) for subscription, _ in owed)
        else:
            self._replies.append(_Pong(stanza))

    @property
    def pending(self) -> bool:
        """Whether next_output() may have something."""
        return bool(self._replies or self.notices or self._barriers or self._behind)

    def fell_behind(self, subscription: Subscription) -> None:
        """A table has changes that the subscription has not been handed out."""
        self._behind[subscription] = None

    def next_reply(self) -> bytes:
        """The next answer that waits for no event; b"" when there is none."""
        return self._noted(self._replies.popleft()) if self._replies else b""

    def _noted(self, stanza: bytes) -> bytes:
        if self.outbox is not None:
            self.outbox.keep(stanza)
        return stanza

    def next_output(self) -> bytes:
        """The next piece to send, whole stanzas; b"" when nothing is owed now."""
        if self._replies:
            return self._noted(self._replies.popleft())
        # After the answers: what an answer says of an item is older than a notice that is still waiting.
        if self.notices:
            return self._noted(self.notices.take())
        while True:
            if self._barriers and self._barriers[0].passed(self):
                if self.outbox is not None:
                    # The end of a table: from here on the host should not be told of it again.
                    self.outbox.want()
                return self._noted(self._barriers.popleft().reply)
            subscription = next(iter(self._behind), None)
            if subscription is None:
                return b""
            # Behind the others, if it has more: a large table doesn't hold back a small one.
            del self._behind[subscription]
            if self.subscriptions.get(subscription.feed.vpn) is not subscription:
                continue
            cursor = subscription.cursor
            start = cursor.revision
            batches = subscription.feed.read(cursor)
            if cursor.revision < subscription.feed.announced or (self._barriers and cursor.pending):
                self._behind[subscription] = None
            if batches:
                if self.outbox is not None:
                    self.outbox.mark(len(batches), (subscription, cursor.revision))
                return b"".join([batch.to(self._recipient) for batch in batches])
            if cursor.floor == start:
                # Nothing was to be told and nothing is under way: nothing will have to be told again.
                self.acknowledged([(subscription, cursor.revision)])

    # -- acknowledgement and resumption

    @property
    def recoverable(self) -> bool:
        """Whether what was handed out can be handed out again."""
        return self.outbox is not None and self.outbox.recoverable

    def lose_answer(self) -> None:
        """An answer isn't made: who resumes the session would lack it."""
        if self.outbox is not None:
            self.outbox.lose()

    def count(self, outbox: Outbox[Mark]) -> None:
        """Note from now on what is handed out."""
        self.outbox = outbox
        if outbox.recoverable:
            for subscription in self.subscriptions.values():
                subscription.keep()

    def acknowledged(self, marks: Iterable[Mark]) -> None:
        """The host has got events up to these."""
        # Of several marks of a subscription the last one says it all.
        for subscription, revision in dict(marks).items():
            if isinstance(subscription.cursor, ReplayCursor):
                subscription.cursor.acknowledge(revision)

    def replay(self, lost: Iterable[bytes]) -> None:
        """Hand out again what the host lacks: these answers, then events from where it has them; pongs behind them."""
        answers = [*lost, *self._replies]
        owed = []
        for subscription in self.subscriptions.values():
            cursor = subscription.cursor
            if isinstance(cursor, ReplayCursor):
                owed.append((subscription, cursor.seen))
                cursor.rewind()
            if cursor.pending:
                self._behind[subscription] = None
        self._replies = deque(answer for answer in answers if not isinstance(answer, _Pong))
        self._barriers = deque(
            [
                *(_Barrier(answer, owed) for answer in answers if isinstance(answer, _Pong)),
                *(_Barrier(barrier.reply, (*barrier.owed, *owed)) for barrier in self._barriers),
            ]
        )
