"""What a gateway tells a host about the host's own items and nodes, unasked, and how the host reads it; no I/O.

Four notices, all of them event messages (XEP-0060), which a client that doesn't know them leaves alone:

    withheld    <event><items node="VPN"><retract id="ITEM"/>...</items></event><notice>REASON</notice>
    admitted    <event><items node="VPN"><item id="ITEM"/>...</items></event><notice/>
    deleted     <event><delete node="VPN"/></event>                  section 8.4: the VPN and all that was in it is gone
    available   <event><configuration node="VPN"/></event>           section 8.2.5: the VPN has come (back)

The first two are about items that the recipient has *published*, by the ids that it gave them. <notice
xmlns="urn:vrfwire:notice:1"> beside <event/> tells them from route events, whose ids are prefixes; its text is the
reason. Withheld: the gateway has taken the items out of its tables, remembers them, and will admit them without being
asked again. The answer to a later publish request of an item is newer than any notice about it that came before.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from xmpp import namespaces as ns
from xmpp.jid import Jid
from xmpp.stanza import escape, message

MAX_ITEMS = 100
"""Items of one message."""
REASON_MAX = 500
"""Characters of a reason, as read."""


class NoticeKind(enum.StrEnum):
    """What has become of the node, or of the items."""

    WITHHELD = "withheld"
    ADMITTED = "admitted"
    DELETED = "deleted"
    AVAILABLE = "available"


class Notice(NamedTuple):
    """A notice about a node (VPN). ids: items of withheld and admitted, as published; reason: of withheld, maybe ""."""

    kind: NoticeKind
    node: str
    ids: tuple[str, ...] = ()
    reason: str = ""


_EVENT = f"{{{ns.PUBSUB_EVENT}}}event"
_ITEMS = f"{{{ns.PUBSUB_EVENT}}}items"
_OF_ITEM = {
    f"{{{ns.PUBSUB_EVENT}}}retract": NoticeKind.WITHHELD,
    f"{{{ns.PUBSUB_EVENT}}}item": NoticeKind.ADMITTED,
}
_OF_NODE = {
    f"{{{ns.PUBSUB_EVENT}}}delete": NoticeKind.DELETED,
    f"{{{ns.PUBSUB_EVENT}}}configuration": NoticeKind.AVAILABLE,
}
_NOTICE = f"{{{ns.VRFWIRE_NOTICE}}}notice"


def encode_notice(sender: Jid, to: Jid, notice: Notice) -> bytes:
    """The message; the caller cuts ids into MAX_ITEMS (see `cut`)."""
    node = f"node='{escape(notice.node)}'"
    mark = ""
    match notice.kind:
        case NoticeKind.DELETED:
            content = f"<delete {node}/>"
        case NoticeKind.AVAILABLE:
            content = f"<configuration {node}/>"
        case kind:
            element = "retract" if kind is NoticeKind.WITHHELD else "item"
            items = "".join([f"<{element} id='{escape(item_id)}'/>" for item_id in notice.ids])
            content = f"<items {node}>{items}</items>"
            mark = f"<notice xmlns='{ns.VRFWIRE_NOTICE}'>{escape(notice.reason)}</notice>"
    return message(sender, to, f"<event xmlns='{ns.PUBSUB_EVENT}'>{content}</event>{mark}".encode())


def cut(kind: NoticeKind, node: str, ids: Iterable[str], reason: str = "") -> Iterator[Notice]:
    """Notices of at most MAX_ITEMS items each."""
    every = list(ids)
    for start in range(0, len(every), MAX_ITEMS):
        yield Notice(kind, node, tuple(every[start : start + MAX_ITEMS]), reason)


def read_notices(element: Element) -> list[Notice]:
    """The notices of a <message/>, in order; none when it is something else, such as an event with routes.

    Call it before notification.parse_event(), which reads a notice of items as retractions of routes.
    """
    event = element.find(_EVENT)
    if event is None:
        return []
    mark = element.find(_NOTICE)
    found = []
    for child in event:
        node = child.get("node", "")
        if (of_node := _OF_NODE.get(child.tag)) is not None:
            found.append(Notice(of_node, node))
        elif child.tag == _ITEMS and mark is not None:
            found += _of_items(node, child, " ".join((mark.text or "").split())[:REASON_MAX])
    return found


def _of_items(node: str, items: Element, reason: str) -> Iterator[Notice]:
    """Runs of one kind, so that the order of the message is kept."""
    run: list[str] = []
    kind: NoticeKind | None = None
    for child in items:
        this, item_id = _OF_ITEM.get(child.tag), child.get("id")
        if this is None or not item_id:
            continue
        if kind is not None and this is not kind:
            yield _notice(kind, node, run, reason)
            run = []
        kind = this
        run.append(item_id)
    if kind is not None:
        yield _notice(kind, node, run, reason)


def _notice(kind: NoticeKind, node: str, ids: list[str], reason: str) -> Notice:
    return Notice(kind, node, tuple(ids), reason if kind is NoticeKind.WITHHELD else "")
