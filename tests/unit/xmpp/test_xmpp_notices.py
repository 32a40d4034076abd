"""Notices about a host's own items and nodes: what a gateway builds a host reads, and nothing else passes for one."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xmpp.driver import DOMAIN, FULL
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp import entry
from xmpp.entry import Entry
from xmpp.jid import Jid
from xmpp.notices import MAX_ITEMS, Notice, NoticeKind, cut, encode_notice, read_notices
from xmpp.notification import EventBuilder, parse_event, recipient

GATEWAY = Jid("", DOMAIN)
ITEM = "192.0.2.7:1:10.1.1.1/32"


def read(data: bytes) -> list[Notice]:
    return read_notices(ElementTree.fromstring(data))


def sent(notice: Notice) -> Element:
    return ElementTree.fromstring(encode_notice(GATEWAY, FULL, notice))


def test_the_forms() -> None:
    head = f"<message from='{DOMAIN}' to='{FULL}'><event xmlns='http://jabber.org/protocol/pubsub#event'>".encode()
    mark = b"<notice xmlns='urn:vrfwire:notice:1'>"
    withheld = Notice(NoticeKind.WITHHELD, "blue", (ITEM,), "attachment web-1 is not bound to blue")
    assert encode_notice(GATEWAY, FULL, withheld) == (
        head + b"<items node='blue'><retract id='192.0.2.7:1:10.1.1.1/32'/></items></event>"
        b"" + mark + b"attachment web-1 is not bound to blue</notice></message>"
    )
    assert encode_notice(GATEWAY, FULL, Notice(NoticeKind.ADMITTED, "blue", (ITEM,))) == (
        head
        + b"<items node='blue'><item id='192.0.2.7:1:10.1.1.1/32'/></items></event>"
        + mark
        + b"</notice></message>"
    )
    assert encode_notice(GATEWAY, FULL, Notice(NoticeKind.DELETED, "blue")) == (
        head + b"<delete node='blue'/></event></message>"
    )
    assert encode_notice(GATEWAY, FULL, Notice(NoticeKind.AVAILABLE, "blue")) == (
        head + b"<configuration node='blue'/></event></message>"
    )


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@given(st.sampled_from(NoticeKind), texts, st.lists(texts, min_size=1, max_size=5), texts)
def test_what_is_built_is_read(kind: NoticeKind, node: str, ids: list[str], reason: str) -> None:
    of_items = kind in (NoticeKind.WITHHELD, NoticeKind.ADMITTED)
    said = " ".join(reason.split()) if kind is NoticeKind.WITHHELD else ""
    notice = Notice(kind, node, tuple(ids) if of_items else (), said)
    clean = Notice(*(_carried(part) for part in notice))  # type: ignore[arg-type]
    assert read_notices(sent(notice)) == [clean]


def _carried(part: object) -> object:
    """What XML 1.0 can't carry is replaced when it is sent."""
    if isinstance(part, tuple):
        return tuple(map(_carried, part))
    if isinstance(part, str) and not isinstance(part, NoticeKind):
        return part.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    return part


def test_many_items_are_cut() -> None:
    ids = [f"192.0.2.7:1:10.1.{n >> 8}.{n & 255}/32" for n in range(2 * MAX_ITEMS + 1)]
    notices = list(cut(NoticeKind.WITHHELD, "blue", ids, "why"))
    assert [len(notice.ids) for notice in notices] == [MAX_ITEMS, MAX_ITEMS, 1]
    assert [item_id for notice in notices for item_id in notice.ids] == ids
    assert {notice.reason for notice in notices} == {"why"}
    assert list(cut(NoticeKind.ADMITTED, "blue", [])) == []


def test_route_events_are_no_notices() -> None:
    route = Entry(Prefix.parse("10.1.1.1/32"), Path((NextHop(parse_address("192.0.2.7"), 100),)))
    changes = [("10.1.1.1/32", entry.encode(route)), ("10.1.1.2/32", None)]
    [batch] = EventBuilder(GATEWAY, "blue").batches(changes)
    assert read(batch.to(recipient(FULL))) == []


@pytest.mark.parametrize(
    "inner",
    [
        b"",
        b"<body>x</body>",
        b"<notice xmlns='urn:vrfwire:notice:1'>x</notice>",
        b"<event xmlns='http://jabber.org/protocol/pubsub#event'/>",
        b"<event xmlns='http://jabber.org/protocol/pubsub#event'><purge node='blue'/></event>",
        b"<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='blue'><retract/></items></event>"
        b"<notice xmlns='urn:vrfwire:notice:1'/>",
    ],
)
def test_messages_that_are_none(inner: bytes) -> None:
    assert read(b"<message xmlns='jabber:client'>" + inner + b"</message>") == []


def test_a_mixed_message_keeps_its_order() -> None:
    assert read(
        b"<message><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='blue'><retract id='a'/>"
        b"<retract id='b'/><item id='a'/><other id='x'/><item id='c'/><retract id='c'/></items></event>"
        b"<notice xmlns='urn:vrfwire:notice:1'> not\n bound </notice></message>"
    ) == [
        Notice(NoticeKind.WITHHELD, "blue", ("a", "b"), "not bound"),
        Notice(NoticeKind.ADMITTED, "blue", ("a", "c")),
        Notice(NoticeKind.WITHHELD, "blue", ("c",), "not bound"),
    ]


def test_a_deleted_node_is_an_event_for_those_who_know_no_notices() -> None:
    event = parse_event(sent(Notice(NoticeKind.DELETED, "blue")))
    assert event is not None and event.purged and event.node == "blue"
    assert parse_event(sent(Notice(NoticeKind.AVAILABLE, "blue"))) is None
