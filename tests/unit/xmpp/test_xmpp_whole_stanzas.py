"""Stanzas that were received whole: read by the short way, or by the long one, with the same result."""

from __future__ import annotations

from unittest import mock
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.xmpp.driver import header
from xmpp import parser as parser_module
from xmpp.errors import StreamError
from xmpp.parser import DEPTH_MAX, StreamParser
from xmpp.whole_stanzas import WORTH, read_whole

ROOT = header(declaration=False)
LONG = b"<body>" + b"long " * (WORTH // 5) + b"</body>"
MESSAGE = b"<message to='a'>" + LONG + b"<x xmlns='urn:y' p:q='&gt;' xmlns:p='urn:p'>&#x41;</x></message>"
IQ = b"<iq type='get' id='1' xml:lang='en'><stream:a/></iq>"


def nested(depth: int) -> bytes:
    """A stanza with so many elements inside each other, the stream among them."""
    return b"<iq>" + LONG + b"<a>" * (depth - 2) + b"</a>" * (depth - 2) + b"</iq>"


def test_what_is_whole_is_read() -> None:
    found = read_whole(ROOT, IQ + b"\n" + MESSAGE, DEPTH_MAX)
    assert [stanza.tag for stanza in found] == ["{jabber:client}iq", "{jabber:client}message"]
    assert found[0].attrib["{http://www.w3.org/XML/1998/namespace}lang"] == "en"
    assert found[0][0].tag == "{http://etherx.jabber.org/streams}a"
    assert found[1][1].attrib == {"{urn:p}q": ">"}
    assert found[1][1].text == "A"
    assert [stanza.tail for stanza in found] == [None, None]


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(IQ, id="small"),
        pytest.param(MESSAGE[:-20], id="unfinished"),
        pytest.param(b"<iq>" + MESSAGE, id="unfinished around a whole one"),
        pytest.param(MESSAGE + b"</iq>", id="more ends than beginnings"),
        pytest.param(MESSAGE + b"</stream:stream>" + ROOT + IQ, id="another stream"),
        pytest.param(MESSAGE + b"</stream:stream><stream:stream>" + IQ, id="a second element"),
        pytest.param(MESSAGE + b"text" + IQ, id="text between"),
        pytest.param(b"text" + MESSAGE, id="text before"),
        pytest.param(MESSAGE.replace(b"&gt;", b"&no;"), id="entity"),
        pytest.param(MESSAGE.replace(b"&gt;", b"<"), id="not well-formed"),
        pytest.param(MESSAGE.replace(b"&#x41;", b"<![CDATA[a]]>"), id="CDATA"),
        pytest.param(MESSAGE.replace(b"&#x41;", b"<!-- a -->"), id="comment"),
        pytest.param(MESSAGE.replace(b"&#x41;", b"<?a b?>"), id="instruction"),
        pytest.param(b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + MESSAGE, id="DTD"),
        pytest.param(MESSAGE.replace(b"&#x41;", b"\xff"), id="not UTF-8"),
        pytest.param(MESSAGE.replace(b"&#x41;", b"\0"), id="NUL"),
        pytest.param(MESSAGE.replace(b"xmlns:p='urn:p'", b""), id="prefix"),
        pytest.param(nested(DEPTH_MAX + 1), id="too deep"),
    ],
)
def test_anything_else_goes_the_long_way(piece: bytes) -> None:
    assert read_whole(ROOT, piece, DEPTH_MAX) == []


def test_the_depth_is_that_of_the_long_way() -> None:
    assert len(read_whole(ROOT, nested(DEPTH_MAX), DEPTH_MAX)) == 1
    for depth, refused in ((DEPTH_MAX, False), (DEPTH_MAX + 1, True)):
        assert ("StreamError" in outcome([ROOT, nested(depth)], 1 << 16)[-1]) is refused
        assert ("StreamError" in outcome([ROOT, nested(depth)[:-1], b">"], 1 << 16)[-1]) is refused


def outcome(pieces: list[bytes], stanza_max: int) -> list[str]:
    """What a parser makes of the pieces after negotiation."""
    parser = StreamParser(stanza_max)
    parser.bulk = True
    found = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (item := parser.next()) is not None:
                found.append(ElementTree.tostring(item).decode() if isinstance(item, Element) else str(item))
        except StreamError as error:
            return [*found, f"StreamError {error.condition}"]
        assert parser.held == 0 or piece is not pieces[-1] or not piece.endswith(b"</iq>")
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([MESSAGE, IQ, b" ", b"\n", b"x", b"<iq>", b"</iq>", b"&no;", nested(DEPTH_MAX + 1), b"<a/>"]),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([1000, 3000, 1 << 16]),
)
def test_both_ways_say_the_same(parts: list[bytes], stanza_max: int) -> None:
    pieces = [ROOT, b"".join(parts), b" "]
    found = outcome(pieces, stanza_max)
    with mock.patch.object(parser_module, "read_whole", return_value=[]):
        assert outcome(pieces, stanza_max) == found


def test_a_parser_takes_the_short_way_only_between_stanzas(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = []

    def noted(root: bytes, piece: bytes, depth_max: int) -> list[Element]:
        ways.append(piece)
        return read_whole(root, piece, depth_max)

    monkeypatch.setattr(parser_module, "read_whole", noted)
    parser = StreamParser(1 << 16)
    parser.feed(ROOT)
    parser.next()
    parser.feed(IQ + MESSAGE)
    assert [item.tag for item in iter(parser.next, None) if isinstance(item, Element)] == [
        "{jabber:client}iq",
        "{jabber:client}message",
    ]
    assert ways == []
    parser.bulk = True
    for piece in (IQ + MESSAGE, MESSAGE[:-10], MESSAGE[-10:], MESSAGE):
        parser.feed(piece)
        while parser.next() is not None:
            pass
    # Of the second piece as much as ends with a token; the third one ends a stanza that is under way.
    assert ways == [IQ + MESSAGE, MESSAGE[:-10], MESSAGE]
    parser.rest()
    parser.feed(MESSAGE)
    assert isinstance(parser.next(), Element)
    parser.stanza_max = len(MESSAGE)
    parser.feed(MESSAGE + MESSAGE)
    assert isinstance(parser.next(), Element)
    assert isinstance(parser.next(), Element)
    assert ways[3:] == [MESSAGE]
