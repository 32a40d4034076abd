"""What a gateway sends, as slixmpp gets it."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from agent.reader import STANZA_MAX, Reader
from xmpp import namespaces as ns
from xmpp.errors import StreamCondition, StreamError

HEADER = f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' id='7' version='1.0'>"


def read(reader: Reader, text: str) -> list[tuple[str, str]]:
    reader.feed(text.encode())
    return [(event, ns.split_tag(element.tag)[1]) for event, element in reader.read_events()]


def test_only_what_is_left_is_handed_over() -> None:
    taken: list[Element] = []

    def take(element: Element) -> bool:
        if element.get("to"):
            taken.append(element)
        return bool(element.get("to"))

    reader = Reader(take)
    reader.bulk()
    assert read(reader, HEADER + "<message><body>1</body></message> <message to='me'><x/></message><iq/>") == [
        ("start", "stream"),
        *(("start", "message"), ("end", "message")),
        *(("start", "iq"), ("end", "iq")),
    ]
    assert [len(element) for element in taken] == [1]
    assert read(reader, "</stream:stream>") == [("end", "stream")]


def test_a_stanza_is_taken_when_what_came_before_was_handled() -> None:
    """So that the answer to a question of how much was received counts no more and no less."""
    order: list[str] = []

    def take(element: Element) -> bool:
        name = ns.split_tag(element.tag)[1]
        order.append(f"take {name}")
        return name == "message"

    reader = Reader(take)
    reader.bulk()
    reader.feed((HEADER + "<message/><iq/><message/>").encode())
    for event, element in reader.read_events():
        order.append(f"{event} {ns.split_tag(element.tag)[1]}")
    assert order == ["start stream", "take message", "take iq", "start iq", "end iq", "take message"]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("<!DOCTYPE x [<!ENTITY e 'eeeeeeee'>]>", StreamCondition.RESTRICTED_XML),
        (HEADER + "<!-- comment -->", StreamCondition.RESTRICTED_XML),
        (HEADER + "<message>&e;</message>", StreamCondition.RESTRICTED_XML),
        (HEADER + "<message></iq>", StreamCondition.NOT_WELL_FORMED),
        (HEADER + "<a>" * 100, StreamCondition.POLICY_VIOLATION),
        (HEADER + f"<message>{'x' * STANZA_MAX}", StreamCondition.POLICY_VIOLATION),
    ],
)
def test_what_no_gateway_sends(text: str, condition: StreamCondition) -> None:
    reader = Reader(lambda _: True)
    reader.bulk()
    with pytest.raises(StreamError) as caught:
        read(reader, text)
    assert caught.value.condition is condition


def test_a_reader_that_is_closed_reads_no_more() -> None:
    """Also when that happens on the way: a stream begins anew after a login."""
    seen: list[str] = []
    reader = Reader(lambda _: False)
    reader.feed((HEADER + "<success/><iq/>").encode())
    for event, element in reader.read_events():
        seen.append(f"{event} {ns.split_tag(element.tag)[1]}")
        if seen[-1] == "end success":
            reader.close()
    assert seen == ["start stream", "start success", "end success"]
    reader.feed(b"<iq/>")
    assert list(reader.read_events()) == []
