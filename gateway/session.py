"""A host's session as the service sees it, and what it is still owed; no I/O.

Output is pulled: the shell asks for the next piece when the transport takes more. So a host that reads slowly costs one
piece, whatever happens in its VPNs, and gets only the newest state of each prefix when it reads again.

The pong of a ping that arrives while events are owed waits until all of them have been handed out: XMPP streams are
ordered, so it tells the host that it has the whole table as it was when the ping arrived. What has changed again since
then may come after the pong; but no prefix does that was there before the subscription, however often it changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gateway.host_notices import HostNotices
from gateway.hosts import Permit
from gateway.rib import Source
from vpn.cursor import Change, Cursor
from vpn.table import VrfTable
from xmpp.entry import Entry, encode
from xmpp.jid import Jid
from xmpp.notification import MAX_ITEMS, EventBatch, EventBuilder, recipient

_CACHE_BYTES = 1 << 20
"""Serialised messages of one VPN kept for other subscribers, at most about this much."""


class Feed:
    """Turns the changes of one table into event messages, once for all subscribers at the same position."""

    def __init__(self, domain: Jid, vpn: str, table: VrfTable[Source]) -> None:
        self.vpn = vpn
        self.table = table
        self.subscribers: dict[Session, Subscription] = {}
        self.announced = 0
        """Revision up to which the sessions have been told that there is something to pull."""
        self._builder = EventBuilder(domain, vpn)
        self._cache: dict[int | tuple[int, int], tuple[int, tuple[EventBatch, ...]]] = {}
        self._cached_bytes = 0
        self._cached_revision = 0

    def read(self, cursor: Cursor[Source]) -> tuple[EventBatch, ...]:
        """The next messages for a reader, and move it on; none when it has read everything."""
        if self._cached_revision != self.table.revision or self._cached_bytes > _CACHE_BYTES:
            self.forget()
            self._cached_revision = self.table.revision
        place = cursor.place
        if (known := self._cache.get(place)) is not None:
            end, batches = known
            cursor.advance(end)
            return batches
        batches = tuple(self._builder.batches(map(_encoded, cursor.read(MAX_ITEMS))))
        self._cache[place] = (cursor.revision, batches)
        self._cached_bytes += sum(len(batch.head) + len(batch.tail) for batch in batches)
        return batches

    def forget(self) -> None:
        """Drop the serialised messages."""
        self._cache.clear()
        self._cached_bytes = 0


def _encoded(change: Change) -> tuple[str, bytes | None]:
    prefix, path = change
    return str(prefix), None if path is None else encode(Entry(prefix, path))


class Subscription:
    """A session's subscription to a VPN. instance_id: as the host gave it, or None."""

    __slots__ = ("cursor", "feed", "instance_id", "jid")

    def __init__(self, feed: Feed, jid: Jid, instance_id: int | None = None) -> None:
        self.feed = feed
        self.jid = jid
        self.instance_id = instance_id
        self.cursor = feed.table.cursor()


class _Barrier:
    """A pong to send when each of the subscriptions has been read up to a revision."""

    __slots__ = ("_passed", "owed", "reply")

    def __init__(self, reply: bytes, owed: Iterable[tuple[Subscription, int]]) -> None:
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
        "changes_sent",
        "host",
        "jid",
        "notices",
        "number",
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
        self.changes_sent = 0
        """Items and retractions handed out in events."""
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
            self._barriers.append(_Barrier(stanza, owed))
            self._behind.update((subscription, None) for subscription, _ in owed)
        else:
            self._replies.append(stanza)

    @property
    def pending(self) -> bool:
        """Whether next_output() may have something."""
        return bool(self._replies or self.notices or self._barriers or self._behind)

    def fell_behind(self, subscription: Subscription) -> None:
        """A table has changes that the subscription has not been handed out."""
        self._behind[subscription] = None

    def next_reply(self) -> bytes:
        """The next answer that waits for no event; b"" when there is none."""
        return self._replies.popleft() if self._replies else b""

    def next_output(self) -> bytes:
        """The next piece to send, whole stanzas; b"" when nothing is owed now."""
        if self._replies:
            return self._replies.popleft()
        # After the answers: what an answer says of an item is older than a notice that is still waiting.
        if self.notices:
            return self.notices.take()
        while True:
            if self._barriers and self._barriers[0].passed(self):
                return self._barriers.popleft().reply
            subscription = next(iter(self._behind), None)
            if subscription is None:
                return b""
            # Behind the others, if it has more: a large table doesn't hold back a small one.
            del self._behind[subscription]
            if self.subscriptions.get(subscription.feed.vpn) is not subscription:
                continue
            batches = subscription.feed.read(subscription.cursor)
            if subscription.cursor.pending:
                self._behind[subscription] = None
            if batches:
                self.changes_sent += sum(batch.changes for batch in batches)
                return b"".join(batch.to(self._recipient) for batch in batches)
