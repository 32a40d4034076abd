"""Event notifications of the publish-subscribe service, both directions (XEP-0060, sections 6.1.7, 7.1.2.1 and 7.2.2.1).

The server serialises a batch of changes once; what differs between subscribers is the "to" attribute alone, spliced
between head and tail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from xmpp.entry import Entry, EntryError
from xmpp.jid import Jid

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
    raise NotImplementedError


class EventBuilder:
    """Makes the event messages of one node."""

    def __init__(self, sender: Jid, node: str, *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        raise NotImplementedError

    def batches(self, changes: Iterable[tuple[str, bytes | None]]) -> Iterator[EventBatch]:
        """Cut changes into messages, in order: (item id, encoded entry), or (item id, None) for a retraction."""
        raise NotImplementedError


class Event(NamedTuple):
    """What an event message says of one node.

    changes: (item id, entry), or (item id, None) for a retraction, in order; bad: items that could not be read, each
    with its reason; purged: all items were removed (the node was purged or deleted).
    """

    node: str
    changes: list[tuple[str, Entry | None]]
    bad: list[tuple[str, EntryError]]
    purged: bool = False


def parse_event(message: Element) -> Event | None:
    """Read a <message/> (or its <event/>) element; None when it holds no event. One bad item doesn't lose the others."""
    raise NotImplementedError
