"""Events and the host's requests: what one side builds the other reads."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xmpp.driver import DOMAIN, FULL
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp import client, entry, pubsub
from xmpp.entry import Entry, EntryReason
from xmpp.jid import Jid
from xmpp.notification import Event, EventBuilder, parse_event, recipient
from xmpp.stanza import Kind, Stanza

GATEWAY = Jid("", DOMAIN)


def route(number: int) -> Entry:
    prefix = Prefix(bytes([10, 0, number >> 8, number & 255]), 32)
    return Entry(prefix, Path((NextHop(parse_address("192.0.2.7"), 10000 + number),)))


def event_xml(inner: str) -> ElementTree.Element:
    return ElementTree.fromstring(
        f"<message xmlns='jabber:client'><event xmlns='http://jabber.org/protocol/pubsub#event'>{inner}</event></message>"
    )


def test_one_batch_spliced_for_two_subscribers() -> None:
    builder = EventBuilder(GATEWAY, "bl'ue")
    (batch,) = builder.batches([("10.0.0.1/32", entry.encode(route(1))), ("10.0.0.2/32", None)])
    assert batch.changes == 2
    for jid in (FULL, Jid("hv2", DOMAIN, "<&'")):
        message = ElementTree.fromstring(batch.to(recipient(jid)))
        assert message.get("to") == str(jid)
        assert message.get("from") == DOMAIN
        assert parse_event(message) == Event("bl'ue", [("10.0.0.1/32", route(1)), ("10.0.0.2/32", None)], [])


def test_the_form_of_the_draft() -> None:
    (batch,) = EventBuilder(GATEWAY, "blue").batches([("a", b"<entry/>"), ("b", None), ("c", b"<entry/>")])
    assert batch.to(b"hv1@x") == (
        b"<message from='vpn.example.net' to='hv1@x'><event xmlns='http://jabber.org/protocol/pubsub#event'>"
        b"<items node='blue'><item id='a'><entry/></item><retract id='b'/><item id='c'><entry/></item></items>"
        b"</event></message>"
    )


@given(st.lists(st.tuples(st.text("ab&'", min_size=1, max_size=4), st.none() | st.binary(max_size=0)), max_size=30))
def test_batches_keep_order_and_limits(changes: list[tuple[str, bytes | None]]) -> None:
    filled = [(key, None if value is None else entry.encode(route(1))) for key, value in changes]
    batches = list(EventBuilder(GATEWAY, "blue", max_items=7, max_bytes=1500).batches(filled))
    assert sum(batch.changes for batch in batches) == len(changes)
    assert all(0 < batch.changes <= 7 for batch in batches)
    assert all(len(batch.head) + len(batch.tail) <= 1500 for batch in batches)
    read: list[tuple[str, Entry | None]] = []
    for batch in batches:
        event = parse_event(ElementTree.fromstring(batch.to(b"a@b")))
        assert event is not None
        read += event.changes
    assert read == [(key, None if value is None else route(1)) for key, value in filled]


def test_batches_are_cut_at_64_kib_and_100_items_and_a_giant_goes_alone() -> None:
    builder = EventBuilder(GATEWAY, "blue")
    sizes = [batch.changes for batch in builder.batches((str(n), None) for n in range(250))]
    assert sizes == [100, 100, 50]
    sizes = [batch.changes for batch in builder.batches((str(n), b"x" * 30000) for n in range(5))]
    assert sizes == [2, 2, 1]
    sizes = [batch.changes for batch in builder.batches([("a", None), ("b", b"x" * 70000), ("c", None)])]
    assert sizes == [1, 1, 1]
    assert list(builder.batches([])) == []


def test_a_bad_item_does_not_lose_the_others() -> None:
    good = entry.encode(route(1)).decode()
    event = parse_event(
        event_xml(
            f"<items node='blue'><item id='a'>{good}</item><item id='b'><entry/></item><item id='c'/>"
            f"<item>{good}</item><retract/><item id='d'>{good}{good}</item>"
            f"<item id='e'>{good.replace('10001', '3')}</item><retract id='f'/><other/></items>"
        )
    )
    assert event is not None
    assert event.changes == [("a", route(1)), ("f", None)]
    assert [(item, error.reason) for item, error in event.bad] == [
        ("b", EntryReason.MALFORMED),
        ("c", EntryReason.MALFORMED),
        ("", EntryReason.MALFORMED),
        ("", EntryReason.MALFORMED),
        ("d", EntryReason.MALFORMED),
        ("e", EntryReason.BAD_LABEL),
    ]


def test_other_messages_and_events() -> None:
    assert parse_event(ElementTree.fromstring("<message xmlns='jabber:client'><body/></message>")) is None
    assert parse_event(event_xml("<subscription node='blue'/>")) is None
    assert parse_event(event_xml("")) is None
    assert parse_event(event_xml("<purge node='blue'/>")) == Event("blue", [], [], purged=True)
    assert parse_event(event_xml("<delete node='blue'/>")) == Event("blue", [], [], purged=True)
    assert parse_event(event_xml("<items node='blue'/>")[0]) == Event("blue", [], [])


def received(payload: ElementTree.Element, type: str = "set") -> pubsub.Request:
    """What the service makes of a request of the host, after a way over the wire."""
    iq = ElementTree.Element("{jabber:client}iq")
    iq.append(payload)
    return pubsub.parse_request(
        Stanza(Kind.IQ, type, "1", FULL, GATEWAY, ElementTree.fromstring(ElementTree.tostring(iq)))
    )


def test_requests_of_the_host() -> None:
    assert received(client.subscribe("blue", FULL, 7)) == pubsub.Subscribe("blue", FULL, 7)
    assert received(client.subscribe("blue", str(FULL))) == pubsub.Subscribe("blue", FULL)
    assert received(client.unsubscribe("blue", FULL)) == pubsub.Unsubscribe("blue", FULL)
    assert received(client.retract("blue", ["a", "b"])) == pubsub.Retract("blue", ("a", "b"))
    assert received(client.retract("blue", ["a"], notify=True)) == pubsub.Retract("blue", ("a",), True)
    assert received(client.retrieve("blue"), "get") == pubsub.Items("blue")
    items = [(client.item_id("192.0.2.7", 1, route(n).prefix), route(n)) for n in range(3)]
    assert items[1][0] == "192.0.2.7:1:10.0.0.1/32"
    request = received(client.publish("blue", items))
    assert isinstance(request, pubsub.Publish)
    assert [(item.id, entry.decode(item.payload)) for item in request.items] == items


def test_retrieved_items() -> None:
    answer = pubsub.items_result("blue", [("10.0.0.1/32", entry.encode(route(1))), ("x", b"<entry/>")])
    iq = ElementTree.fromstring(b"<iq xmlns='jabber:client'>" + answer + b"</iq>")
    event = client.parse_items(iq)
    assert event is not None
    assert event.node == "blue"
    assert event.changes == [("10.0.0.1/32", route(1))]
    assert [item for item, _ in event.bad] == ["x"]
    assert client.parse_items(iq[0]) is not None
    assert client.parse_items(ElementTree.fromstring("<iq/>")) is None


def test_nothing_wrong_is_published() -> None:
    with pytest.raises(entry.EntryError):
        client.publish("blue", [("a", Entry(route(1).prefix, Path(())))])
