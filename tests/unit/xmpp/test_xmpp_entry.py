"""The entry codec: what is sent validates, what is read is read tolerantly, everything else has a reason."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from vpn.path import Encapsulation, NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp import entry as codec
from xmpp.entry import Entry, EntryError, EntryReason

NS = "urn:ietf:params:xml:ns:bgp:l3vpn:unicast"
SCHEMA = etree.XMLSchema(etree.fromstring(codec.schema()))


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    size = draw(st.sampled_from([4, 16]))
    length = draw(st.integers(0, size * 8))
    value = draw(st.integers(0, 2 ** (size * 8) - 1)) >> (size * 8 - length) << (size * 8 - length)
    return Prefix(value.to_bytes(size, "big"), length)


next_hops = st.builds(
    NextHop,
    st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    st.integers(16, 2**20 - 1),
    st.lists(st.sampled_from(list(Encapsulation)), min_size=1, max_size=3, unique=True).map(tuple),
)
uint32 = st.integers(0, 2**32 - 1)
entries = st.builds(
    Entry,
    prefixes(),
    st.builds(Path, st.lists(next_hops, min_size=1, max_size=4, unique=True).map(tuple), uint32, uint32),
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=codec.ATTACHMENT_MAX),
)
ONE = Entry(
    Prefix.parse("10.1.1.1/32"),
    Path((NextHop(parse_address("192.0.2.7"), 10000, (Encapsulation.GRE, Encapsulation.UDP)),), 100, 1),
)


@given(entries)
def test_round_trip_and_schema(entry: Entry) -> None:
    data = codec.encode(entry)
    assert codec.decode_bytes(data) == entry
    assert codec.decode(ElementTree.fromstring(data)) == entry
    assert codec.decode(codec.to_element(entry)) == entry
    SCHEMA.assertValid(etree.fromstring(data))


def test_what_is_sent() -> None:
    assert codec.encode(ONE) == (
        b"<entry xmlns='urn:ietf:params:xml:ns:bgp:l3vpn:unicast'>"
        b"<nlri><af>1</af><safi>1</safi><address>10.1.1.1/32</address></nlri>"
        b"<next-hops><next-hop><af>1</af><address>192.0.2.7</address><label>10000</label><tunnel-encapsulation-list>"
        b"<tunnel-encapsulation>gre</tunnel-encapsulation><tunnel-encapsulation>udp</tunnel-encapsulation>"
        b"</tunnel-encapsulation-list></next-hop></next-hops>"
        b"<sequence-number>1</sequence-number><local-preference>100</local-preference></entry>"
    )


def test_the_attachment_comes_last() -> None:
    data = codec.encode(ONE._replace(attachment="urn:dev:mac:<1>"))
    assert data.endswith(
        b"<local-preference>100</local-preference>"
        b"<attachment xmlns='urn:vrfwire:entry:1'>urn:dev:mac:&lt;1&gt;</attachment></entry>"
    )
    assert read(data).attachment == "urn:dev:mac:<1>"


@pytest.mark.parametrize("name", ["a" * 256, " a", "a ", "a\nb", "a\x00", "a\x7f", "a\ufffe", "\ud800"])
def test_no_attachment_is_sent_that_could_not_be_read(name: str) -> None:
    with pytest.raises(EntryError) as caught:
        codec.encode(ONE._replace(attachment=name))
    assert caught.value.reason is EntryReason.BAD_ATTACHMENT
    with pytest.raises(EntryError):
        codec.check_attachment("")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (Path(()), EntryReason.NO_NEXT_HOP),
        (Path((NextHop(b"\1\2\3\4", 15),)), EntryReason.BAD_LABEL),
        (Path((NextHop(b"\1\2\3\4", 2**20),)), EntryReason.BAD_LABEL),
        (Path((NextHop(b"\1\2\3\4", 16, ()),)), EntryReason.NO_NEXT_HOP),
        (Path((NextHop(b"\1\2\3\4", 16),), 2**32), EntryReason.BAD_NUMBER),
        (Path((NextHop(b"\1\2\3\4", 16),), 100, -1), EntryReason.BAD_NUMBER),
        (Path((NextHop(b"\1\2\3\4", 16),) * 65), EntryReason.TOO_LARGE),
    ],
)
def test_nothing_wrong_is_sent(path: Path, reason: EntryReason) -> None:
    with pytest.raises(EntryError) as caught:
        codec.encode(Entry(Prefix.parse("10.0.0.0/8"), path))
    assert caught.value.reason is reason


def xml(
    nlri: str = "<nlri><af>1</af><address>10.1.1.1/32</address></nlri>",
    hop: str = "<next-hop><af>1</af><address>192.0.2.7</address><label>10000</label></next-hop>",
    rest: str = "",
    namespace: str = NS,
) -> bytes:
    return f"<entry xmlns='{namespace}'>{nlri}<next-hops>{hop}</next-hops>{rest}</entry>".encode()


def read(data: bytes) -> Entry:
    """Decoded by both parsers, which must agree."""
    one = codec.decode_bytes(data)
    assert codec.decode(ElementTree.fromstring(data)) == one
    return one


PLAIN = Entry(Prefix.parse("10.1.1.1/32"), Path((NextHop(parse_address("192.0.2.7"), 10000),)))


@pytest.mark.parametrize(
    "data",
    [
        xml(),
        xml(nlri="<nlri><af>1</af><address>10.1.1.1</address></nlri>"),
        xml(nlri="<nlri><address>10.1.1.1</address></nlri>"),
        xml(nlri="<nlri><address> 10.1.1.1/32\n</address><safi>1</safi><af> 1 </af></nlri>"),
        xml(namespace="").replace(b"xmlns=''", b""),
        xml(hop="<next-hop><label>010000</label><address>192.0.2.7/32</address></next-hop>"),
        xml(hop="<other/><next-hop><mac/><address>192.0.2.7</address><label>10000</label><vni>0</vni></next-hop>"),
        xml(rest="<version>1</version><med>100</med><mobility seqno='1'/><sequence-number>0</sequence-number>"),
        xml(rest="<sequence-number xmlns='urn:other'>x</sequence-number>"),
        xml(rest="<attachment>not ours</attachment><attachment xmlns='urn:other'>neither</attachment>"),
        f"<entry xmlns='{NS}'><local-preference>100</local-preference><next-hops><next-hop><label>10000</label>"
        "<address>192.0.2.7</address><af>1</af></next-hop></next-hops><nlri><address>10.1.1.1</address></nlri>"
        "</entry>".encode(),
        f"<e:entry xmlns:e='{NS}'><e:nlri><e:address>10.1.1.1</e:address></e:nlri><e:next-hops><e:next-hop>"
        "<e:address>192.0.2.7</e:address><e:label>10000</e:label></e:next-hop></e:next-hops></e:entry>".encode(),
        xml(
            hop="<next-hop><address>192.0.2.7</address><label>10000</label><tunnel-encapsulation-list>"
            "<tunnel-encapsulation>stt</tunnel-encapsulation><tunnel-encapsulation> gre </tunnel-encapsulation>"
            "<tunnel-encapsulation>gre</tunnel-encapsulation></tunnel-encapsulation-list></next-hop>"
            "<next-hop><address>192.0.2.8</address><label>10000</label><tunnel-encapsulation-list>"
            "<tunnel-encapsulation>stt</tunnel-encapsulation></tunnel-encapsulation-list></next-hop>"
        ),
    ],
)
def test_tolerance(data: bytes) -> None:
    assert read(data) == PLAIN


def test_both_families_and_several_next_hops() -> None:
    entry = read(
        xml(
            nlri="<nlri><af>2</af><address>2001:DB8::/64</address></nlri>",
            hop="<next-hop><address>192.0.2.7</address><label>16</label></next-hop>"
            "<next-hop><af>2</af><address>2001:db8::1</address><label>1048575</label></next-hop>",
            rest="<sequence-number>4294967295</sequence-number><local-preference>0</local-preference>",
        )
    )
    assert str(entry.prefix) == "2001:db8::/64"
    assert [hop.label for hop in entry.path.next_hops] == [16, 1048575]
    assert entry.path.sequence_number == 4294967295
    assert entry.path.local_preference == 0


def hop(inner: str) -> bytes:
    return xml(hop=f"<next-hop>{inner}</next-hop>")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<other/>", EntryReason.MALFORMED),
        (b"<entry xmlns='urn:other'/>", EntryReason.MALFORMED),
        (xml(nlri=""), EntryReason.NO_NLRI),
        (xml(nlri="<nlri><af>1</af></nlri>"), EntryReason.NO_NLRI),
        (xml(nlri="<nlri><address/></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri="<nlri><address>10.1.1.1/24</address></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri="<nlri><address>10.1.1.0/33</address></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri="<nlri><address>10.1.1.0/-1</address></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri="<nlri><address>10.1.1.0/</address></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri="<nlri><address>10.1</address></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri="<nlri><address>fe80::1%eth0</address></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri=f"<nlri><address>{'1' * 500}</address></nlri>"), EntryReason.BAD_PREFIX),
        (xml(nlri="<nlri><af>2</af><address>10.1.1.1</address></nlri>"), EntryReason.BAD_FAMILY),
        (xml(nlri="<nlri><af>25</af><address>10.1.1.1</address></nlri>"), EntryReason.BAD_FAMILY),
        (xml(nlri="<nlri><af>x</af><address>10.1.1.1</address></nlri>"), EntryReason.BAD_NUMBER),
        (xml(nlri="<nlri><safi>128</safi><address>10.1.1.1</address></nlri>"), EntryReason.BAD_FAMILY),
        (xml(nlri="<nlri><address>10.1.1.1</address></nlri>" * 2), EntryReason.MALFORMED),
        (xml(hop=""), EntryReason.NO_NEXT_HOP),
        (f"<entry xmlns='{NS}'><nlri><address>10.1.1.1</address></nlri></entry>".encode(), EntryReason.NO_NEXT_HOP),
        (hop("<label>16</label>"), EntryReason.NO_NEXT_HOP),
        (hop("<address>192.0.2.7</address>"), EntryReason.BAD_LABEL),
        (hop("<address>192.0.2.7</address><label>15</label>"), EntryReason.BAD_LABEL),
        (hop("<address>192.0.2.7</address><label>1048576</label>"), EntryReason.BAD_LABEL),
        (hop("<address>192.0.2.7</address><label>-1</label>"), EntryReason.BAD_LABEL),
        (hop("<address>192.0.2.7</address><label>1_000</label>"), EntryReason.BAD_LABEL),
        (hop("<address>192.0.2.7</address><label>1e3</label>"), EntryReason.BAD_LABEL),
        (hop(f"<address>192.0.2.7</address><label>{'9' * 5000}</label>"), EntryReason.BAD_LABEL),
        (hop("<address>192.0.2.0/24</address><label>16</label>"), EntryReason.BAD_ADDRESS),
        (hop("<address>hv1</address><label>16</label>"), EntryReason.BAD_ADDRESS),
        (hop("<af>2</af><address>192.0.2.7</address><label>16</label>"), EntryReason.BAD_FAMILY),
        (
            hop("<address>192.0.2.7</address><label>16</label><tunnel-encapsulation-list/>"),
            EntryReason.NO_NEXT_HOP,
        ),
        (xml(hop="<next-hop><address>192.0.2.7</address><label>16</label></next-hop>" * 65), EntryReason.TOO_LARGE),
        (xml(rest="<sequence-number>-1</sequence-number>"), EntryReason.BAD_NUMBER),
        (xml(rest="<sequence-number/>"), EntryReason.BAD_NUMBER),
        (xml(rest="<sequence-number>4294967296</sequence-number>"), EntryReason.BAD_NUMBER),
        (xml(rest="<local-preference>high</local-preference>"), EntryReason.BAD_NUMBER),
        (xml(rest="<sequence-number>\u0661</sequence-number>"), EntryReason.BAD_NUMBER),
        (xml(rest="<attachment xmlns='urn:vrfwire:entry:1'/>"), EntryReason.BAD_ATTACHMENT),
        (xml(rest=f"<attachment xmlns='urn:vrfwire:entry:1'>{'a' * 256}</attachment>"), EntryReason.BAD_ATTACHMENT),
        (xml(rest="<attachment xmlns='urn:vrfwire:entry:1'>a&#9;b</attachment>"), EntryReason.BAD_ATTACHMENT),
        (xml(rest="<attachment xmlns='urn:vrfwire:entry:1'>a</attachment>" * 2), EntryReason.MALFORMED),
    ],
)
def test_refusals(data: bytes, reason: EntryReason) -> None:
    for decode in (codec.decode_bytes, lambda data: codec.decode(ElementTree.fromstring(data))):
        with pytest.raises(EntryError) as caught:
            decode(data)
        assert caught.value.reason is reason
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<entry",
        b"<!DOCTYPE entry [<!ENTITY a 'b'>]>" + xml(),
        b"<?xml version='1.0' encoding='latin1'?>" + xml(),
        xml(rest="<!-- -->"),
        xml(rest="<?pi?>"),
        xml(rest="&undefined;"),
        xml(rest="<p:undeclared/>"),
        xml() + b"\0",
        xml().decode().encode("utf-16"),
        b"\xff" + xml(),
        xml(rest="<a>" * 300 + "</a>" * 300),
    ],
)
def test_hostile_bytes(data: bytes) -> None:
    with pytest.raises(EntryError) as caught:
        codec.decode_bytes(data)
    assert caught.value.reason is EntryReason.MALFORMED


def test_bytes_have_a_limit() -> None:
    with pytest.raises(EntryError) as caught:
        codec.decode_bytes(xml(rest=f"<a>{'x' * codec.MAX_BYTES}</a>"))
    assert caught.value.reason is EntryReason.TOO_LARGE


@pytest.mark.parametrize("number", ["0" * 5000 + "7", "+7"])
def test_long_and_signed_numbers(number: str) -> None:
    data = xml(rest=f"<sequence-number>{number}</sequence-number>")
    if number.startswith("0"):
        assert read(data).path.sequence_number == 7
    else:
        with pytest.raises(EntryError):
            read(data)


@given(st.binary(max_size=200))
def test_garbage_raises_only_entry_errors(data: bytes) -> None:
    with pytest.raises(EntryError):
        codec.decode_bytes(data)


NAMES = ["entry", "nlri", "af", "safi", "address", "next-hops", "next-hop", "label", "tunnel-encapsulation-list"]
Tree = tuple[str, str, list[Any]]
trees: st.SearchStrategy[Tree] = st.recursive(
    st.tuples(st.sampled_from([*NAMES, "tunnel-encapsulation", "sequence-number"]), st.text(max_size=8), st.just([])),
    lambda children: st.tuples(st.sampled_from(NAMES), st.just(""), st.lists(children, max_size=4)),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.lists(trees, max_size=4))
def test_any_tree_raises_only_entry_errors(children: list[Tree]) -> None:
    def build(node: Tree) -> ElementTree.Element:
        name, text, inner = node
        element = ElementTree.Element(f"{{{NS}}}{name}")
        element.text = text
        element.extend([build(child) for child in inner])
        return element

    root = ElementTree.Element(codec.TAG)
    root.extend([build(child) for child in children])
    try:
        codec.decode(root)
    except EntryError:
        return


def test_comments_inside_an_element_are_passed_over() -> None:
    root = etree.fromstring(xml(rest="<!-- a --><?b c?>"))
    assert codec.decode(root) == PLAIN
