"""Hardened intake: limits, forbidden XML, and the same result however the bytes are cut."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise
from time import process_time
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.xmpp.driver import END, header
from xmpp import parser as parser_module
from xmpp.errors import StreamCondition, StreamError
from xmpp.parser import DEPTH_MAX, HEADER_MAX, End, Header, StreamParser

STANZA = (
    b"<message to='a'><body>one &amp; two &#x41; &lt;three></body><x xmlns='urn:y' p:q='>' xmlns:p='urn:p'/></message>"
)
CDATA = b"<message><body><![CDATA[ <a b=\"'> ]] > & ]]></body></message>"


def parse(pieces: list[bytes], stanza_max: int = 4096, bulk: bool = True) -> list[object]:
    """What a parser makes of the pieces: headers, stanzas in text form, the end, the condition of an error."""
    parser = StreamParser(stanza_max)
    parser.bulk = bulk
    found: list[object] = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (item := parser.next()) is not None:
                found.append(ElementTree.tostring(item) if isinstance(item, Element) else item)
        except StreamError as error:
            return [*found, error.condition]
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def test_header_stanzas_and_end_come_out() -> None:
    found = parse([header(), STANZA, CDATA, END])
    assert isinstance(found[0], Header)
    assert found[0].tag == "{http://etherx.jabber.org/streams}stream"
    assert found[0].default_namespace == "jabber:client"
    assert found[0].attributes["to"] == "vpn.example.net"
    assert found[3] == End()
    one = ElementTree.fromstring(found[1])  # type: ignore[arg-type]
    assert one.tag == "{jabber:client}message"
    assert one[0].text == "one & two A <three>"
    assert one[1].attrib == {"{urn:p}q": ">"}
    two = ElementTree.fromstring(found[2])  # type: ignore[arg-type]
    assert two[0].text == " <a b=\"'> ]] > & "


TRANSCRIPTS = [
    header() + STANZA + b" \n" + CDATA + STANZA + END,
    header(declaration=False) + STANZA * 3,
    b" \n" + header() + b"<a/><b></b><c  >d</c  >" + END,
    header() + STANZA + b"<!-- no --><a/>",
    header() + STANZA + b"<?pi?><a/>",
    header() + STANZA + b"<a>&nosuch;</a>" + STANZA,
    header() + STANZA + b"text" + STANZA,
    header() + STANZA + b"<a><b></a></b>" + STANZA,
    header() + b"<a b='1' b='2'/>" + STANZA,
    header() + b"<a x:b='1'/>" + STANZA,
    header() + b"<a>\x00</a>" + STANZA,
    header() + b"<a>\xff</a>" + STANZA,
    header() + b"<a b='<c>'/>" + STANZA,
    header() + b"<iq a='" + b"x" * 150 + b"'>" + b"<b/>" * 10 + b"</iq>" + STANZA,
    header() + STANZA + b"<iq>" + b"y" * 400 + b"</iq>",
    header() + b"<d>" * (DEPTH_MAX - 1) + b"</d>" * (DEPTH_MAX - 1) + b"<a/>",
    header() + b"<d>" * DEPTH_MAX + b"</d>" * DEPTH_MAX + b"<a/>",
    b"<?xml version='1.0' encoding='ISO-8859-1'?>" + header(declaration=False),
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + header(declaration=False) + STANZA,
    b"\xef\xbb\xbf" + header(declaration=False) + STANZA,
    header(extra=f" a='{'x' * HEADER_MAX}'") + STANZA,
    header() + "<message><body>é ☃ 😀</body></message>".encode() + END,
]


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
@pytest.mark.parametrize("bulk", [True, False])
def test_every_cut_gives_the_same(transcript: bytes, bulk: bool) -> None:
    whole = parse([transcript], 300)
    assert parse([transcript[i : i + 1] for i in range(len(transcript))], 300, bulk) == whole
    generator = random.Random(1)
    for _ in range(15):
        places = [generator.randrange(len(transcript)) for _ in range(generator.randrange(1, 9))]
        assert parse(cut(transcript, places), 300, bulk) == whole


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([STANZA, CDATA, b" ", b"<a/>", b"<iq>" + b"z" * 320 + b"</iq>"]), max_size=6),
    st.lists(st.integers(0, 5000), max_size=12),
    st.booleans(),
)
def test_any_cut_of_stanzas_gives_the_same(stanzas: list[bytes], places: list[int], bulk: bool) -> None:
    data = header() + b"".join(stanzas) + END
    assert parse(cut(data, places), 300, bulk) == parse([data], 300)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"<", b">", b"'", b"<a", b"]]>", b"<![CDATA[", b"&", b";", STANZA])
    )
)
def test_garbage_raises_only_stream_errors(pieces: list[bytes]) -> None:
    for start in ([], [header()]):
        for bulk in (True, False):
            parse(start + pieces, 300, bulk)


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<!-- -->", StreamCondition.RESTRICTED_XML),
        (b"<!DOCTYPE stream>", StreamCondition.RESTRICTED_XML),
        (b"<?xml-stylesheet href='a'?>", StreamCondition.RESTRICTED_XML),
        (b"<a>&b;</a>", StreamCondition.RESTRICTED_XML),
        (b"<a></b>", StreamCondition.NOT_WELL_FORMED),
        (b"<a b=c/>", StreamCondition.NOT_WELL_FORMED),
        (b"<n:a/>", StreamCondition.NOT_WELL_FORMED),
        (b"<a>\x01</a>", StreamCondition.NOT_WELL_FORMED),
        (b"<a>\xc3(</a>", StreamCondition.NOT_WELL_FORMED),
        (b"hello", StreamCondition.BAD_FORMAT),
        (b"<a>" + b"b" * 5000 + b"</a>", StreamCondition.POLICY_VIOLATION),
        (b"<a" + b" " * 5000, StreamCondition.POLICY_VIOLATION),
        (b"<a>&" + b"b" * 5000, StreamCondition.POLICY_VIOLATION),
        (b"<a><![CDATA[" + b"b" * 5000, StreamCondition.POLICY_VIOLATION),
        (b"<a>" * 65, StreamCondition.POLICY_VIOLATION),
    ],
)
def test_conditions_inside_a_stream(data: bytes, condition: StreamCondition) -> None:
    assert parse([header(), data])[1:] == [condition]


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        ("<?xml version='1.0' encoding='utf-16'?><a/>".encode("utf-16"), StreamCondition.NOT_WELL_FORMED),
        (b"<?xml version='1.0' encoding='latin1'?>", StreamCondition.UNSUPPORTED_ENCODING),
        (b"<?xml" + b" " * 5000, StreamCondition.POLICY_VIOLATION),
        (b"<stream" + b" " * 5000, StreamCondition.POLICY_VIOLATION),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>", StreamCondition.RESTRICTED_XML),
        (b"GET / HTTP/1.1\r\n\r\n<a>", StreamCondition.NOT_WELL_FORMED),
    ],
)
def test_conditions_before_a_stream(data: bytes, condition: StreamCondition) -> None:
    assert parse([data]) == [condition]


def test_what_came_before_an_error_comes_out_first_and_the_error_stays() -> None:
    parser = StreamParser(4096)
    parser.bulk = True
    parser.feed(header() + b"<a/><b/></c>")
    found = [parser.next() for _ in range(3)]
    assert [item.tag for item in found if isinstance(item, Element)] == ["{jabber:client}a", "{jabber:client}b"]
    for _ in range(2):
        with pytest.raises(StreamError):
            parser.next()


def test_bytes_after_the_last_taken_element_belong_to_the_restarted_stream() -> None:
    parser = StreamParser(4096)
    parser.feed(header() + b"<auth/> \n" + header() + b"<iq/>")
    assert isinstance(parser.next(), Header)
    assert isinstance(parser.next(), Element)
    parser.restart()
    assert isinstance(parser.next(), Header)
    assert isinstance(parser.next(), Element)
    assert parser.next() is None


def test_a_flood_of_whitespace_takes_no_memory() -> None:
    parser = StreamParser(4096)
    parser.bulk = True
    parser.feed(header())
    parser.next()
    spaces = b" " * 65536
    tracemalloc.start()
    try:
        for _ in range(200):
            parser.feed(spaces)
            assert parser.next() is None
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


def test_stanzas_take_no_memory_once_handed_out() -> None:
    parser = StreamParser(4096)
    parser.bulk = True
    parser.feed(header())
    parser.next()
    tracemalloc.start()
    try:
        for _ in range(2000):
            parser.feed(STANZA)
            assert parser.next() is not None
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [b">'\"'\"x"[:1] + b"xxxxxxx", b"&#65;xxx", b"xxxxxxxx"])
def test_a_long_attribute_in_small_pieces_costs_time_by_its_length_only(piece: bytes) -> None:
    def cost(count: int) -> float:
        parser = StreamParser(1024 * 1024)
        parser.bulk = True
        parser.feed(header())
        parser.next()
        parser.feed(b"<a b='")
        start = process_time()
        for _ in range(count):
            parser.feed(piece)
            assert parser.next() is None
        parser.feed(b"'/>")
        assert isinstance(parser.next(), Element)
        return process_time() - start

    # Square cost would make it 64 times as long.
    assert min(cost(32000) for _ in range(2)) < 24 * max(cost(4000), 0.001)


def test_names_are_forgotten_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_module, "RECYCLE_BYTES", 1000)
    parser = StreamParser(4096)
    parser.bulk = True
    parser.feed(header())
    parser.next()
    seen = set()
    for number in range(200):
        parser.feed(b"<n%d xmlns='urn:%d' a='1'><b/></n%d><o><p" % (number, number, number))
        first = parser.next()
        assert isinstance(first, Element)
        assert first.tag == f"{{urn:{number}}}n{number}"
        parser.feed(b"/></o>")
        second = parser.next()
        assert isinstance(second, Element)
        assert [child.tag for child in second] == ["{jabber:client}p"]
        seen.add(id(parser._expat))
    assert len(seen) > 1
    parser.feed(END)
    assert parser.next() == End()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_parser_that_has_rested_goes_on_where_it_was(size: int) -> None:
    """After any piece: between stanzas what it holds is made anew, within one nothing happens."""
    data = header() + STANZA + b"  " + CDATA + STANZA + END
    pieces = [data[start : start + size] for start in range(0, len(data), size)]

    def rested() -> list[object]:
        parser = StreamParser(4096)
        found: list[object] = []
        for piece in pieces:
            parser.feed(piece)
            while (item := parser.next()) is not None:
                found.append(ElementTree.tostring(item) if isinstance(item, Element) else item)
                parser.rest()
            parser.rest()
            parser.rest()
        parser.close()
        return found

    assert rested() == parse(pieces)


def test_a_parser_that_rests_holds_little_and_can_be_closed() -> None:
    parsers = [StreamParser(4096) for _ in range(50)]
    for parser in parsers:
        parser.feed(header() + STANZA)
        while parser.next() is not None:
            pass
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for parser in parsers:
            parser.feed(STANZA)
            assert parser.next() is not None
            parser.rest()
        for parser in parsers:
            parser.feed(STANZA)
            assert parser.next() is not None
        awake = tracemalloc.get_traced_memory()[0] - before
        for parser in parsers:
            parser.rest()
        asleep = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert awake - asleep > 50 * 5000
    parsers[0].close()
    parsers[0].rest()


def test_text_longer_than_its_buffer_stays_whole() -> None:
    text = "word &amp; " * 5000
    [_, stanza] = parse([header(), f"<message><body>{text}</body></message>".encode()], 1_000_000)
    assert ElementTree.fromstring(stanza)[0].text == "word & " * 5000  # type: ignore[arg-type]
