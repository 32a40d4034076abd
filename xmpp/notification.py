"""Event notifications of the publish-subscribe service, both directions (XEP-0060, sections 7.1.2.1 and 7.2.2.1).

The server serialises a batch of changes once; what differs between subscribers is the "to" attribute alone, spliced
between head and tail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from xmpp import namespaces as ns
from xmpp.entry import Entry, EntryError, EntryReason, decode
from xmpp.jid import Jid
from xmpp.stanza import escape

MAX_ITEMS = 100
"""Items and retractions in one message."""
MAX_BYTES = 64 * 1024
"""Size at which a message is cut; one item alone may exceed it."""


class EventBatch(NamedTuple):
    """One event message for all subscribers: bytes before and after the value of its "to" attribute."""

    head: bytes
    tail: bytes
    changes: int

    def to(self, recipient: bytes) -> bytes:
        """The message for one subscriber; recipient: its JID, escaped (see `recipient`)."""
        return b"%b%b%b" % (self.head, recipient, self.tail)


def recipient(jid: Jid) -> bytes:
    """What EventBatch.to takes; make it once for each session."""
    return escape(str(jid)).encode()


def item(item_id: str, entry: bytes | None) -> bytes:
    """A change as a message has it: an item with its encoded entry, or its retraction (None)."""
    identifier = escape(item_id).encode()
    if entry is None:
        return b"<retract id='%b'/>" % identifier
    return b"<item id='%b'>%b</item>" % (identifier, entry)


class EventBuilder:
    """Makes the event messages of one node.

    sender: address of the service; max_items, max_bytes: where a message is cut.
    """

    __slots__ = ("_close", "_head", "_max_bytes", "_max_items", "_open")

    def __init__(self, sender: Jid, node: str, *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self._head = f"<message from='{escape(str(sender))}' to='".encode()
        self._open = f"'><event xmlns='{ns.PUBSUB_EVENT}'><items node='{escape(node)}'>".encode()
        self._close = b"</items></event></message>"
        self._max_items = max_items
        self._max_bytes = max_bytes

    def batches(self, changes: Iterable[tuple[str, bytes | None]]) -> Iterator[EventBatch]:
        """Cut changes into messages, in order: (item id, encoded entry), or (item id, None) for a retraction."""
        return self.messages([item(*change) for change in changes])

    def messages(self, items: Sequence[bytes]) -> Iterator[EventBatch]:
        """The same of what item() has made."""
        fixed = len(self._head) + len(self._open) + len(self._close)
        if 0 < len(items) <= self._max_items and fixed + sum(map(len, items)) <= self._max_bytes:
            # As most are: nothing to cut.
            yield self._batch(items)
            return
        start, size = 0, fixed
        for end, part in enumerate(items):
            if start < end and (end - start >= self._max_items or size + len(part) > self._max_bytes):
                yield self._batch(items[start:end])
                start, size = end, fixed
            size += len(part)
        if start < len(items):
            yield self._batch(items[start:])

    def _batch(self, items: Sequence[bytes]) -> EventBatch:
        return EventBatch(self._head, b"".join([self._open, *items, self._close]), len(items))


class Event(NamedTuple):
    """What an event message says of one node.

    changes: (item id, entry), or (item id, None) for a retraction, in order; bad: items that could not be read, each
    with its reason; purged: all items were removed (the node was purged or deleted).
    """

    node: str
    changes: list[tuple[str, Entry | None]]
    bad: list[tuple[str, EntryError]]
    purged: bool = False


_EVENT = f"{{{ns.PUBSUB_EVENT}}}event"
_ITEMS = f"{{{ns.PUBSUB_EVENT}}}items"
_ITEM = f"{{{ns.PUBSUB_EVENT}}}item"
_RETRACT = f"{{{ns.PUBSUB_EVENT}}}retract"
_EMPTIED = (f"{{{ns.PUBSUB_EVENT}}}purge", f"{{{ns.PUBSUB_EVENT}}}delete")


def parse_event(message: Element) -> Event | None:
    """Read a <message/> (or its <event/>) element; None when it holds no event of a node's items.

    One item that can't be read is reported in `bad` and doesn't lose the others.
    """
    event = message if message.tag == _EVENT else message.find(_EVENT)
    if event is None:
        return None
    for child in event:
        if child.tag == _ITEMS:
            return read_items(child, _ITEM, _RETRACT)
        if child.tag in _EMPTIED:
            return Event(child.get("node", ""), [], [], purged=True)
    return None


def read_items(items: Element, item_tag: str, retract_tag: str) -> Event:
    """Read an <items/> element as an event; the tags are those of an item and of a retraction in its namespace."""
    changes: list[tuple[str, Entry | None]] = []
    bad: list[tuple[str, EntryError]] = []
    for child in items:
        tag = child.tag
        item_id = child.get("id", "")
        if tag == item_tag:
            try:
                changes.append((item_id, _read_item(item_id, child)))
            except EntryError as error:
                bad.append((item_id, error))
        elif tag == retract_tag:
            if item_id:
                changes.append((item_id, None))
            else:
                bad.append((item_id, EntryError(EntryReason.MALFORMED, "a retraction has no item id")))
    return Event(items.get("node", ""), changes, bad)


def _read_item(item_id: str, item: Element) -> Entry:
    if not item_id:
        raise EntryError(EntryReason.MALFORMED, "an item has no id")
    if len(item) != 1:
        raise EntryError(EntryReason.MALFORMED, f"the item has {len(item)} payload elements instead of one")
    return decode(item[0])
