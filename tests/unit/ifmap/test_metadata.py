"""Metadata: cut out of a publish, stamped, made by a client and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ifmap.errors import ErrorCode, IfmapError
from ifmap.metadata import STANDARD, Node, build, content, from_raw, parse, stamped, timestamp
from ifmap.namespaces import STANDARD_METADATA
from ifmap.values import Metadata, MetadataName, NewMetadata
from ifmap.xml import parse as parse_xml

NAME = MetadataName("urn:x", "m")


def published(element: str, around: str = "") -> NewMetadata:
    """A metadatum as it comes out of a document; around: attributes of the elements further out."""
    body = f'<s:a xmlns:s="urn:s" {around}><s:metadata>{element}</s:metadata></s:a>'.encode()
    return from_raw(parse_xml(body, raw=frozenset({"urn:s}metadata"})).children[0].children[0])


def whole(new: NewMetadata) -> bytes:
    return new.head + new.tail


def test_an_element_is_kept_as_it_is() -> None:
    new = published('<x:m xmlns:x="urn:x" ifmap-cardinality="singleValue" k=\'"\'><c d="1"/> t &amp; <!-- c --></x:m>')
    assert (new.name, new.single) == (NAME, True)
    assert new.head == b"<x:m"
    assert new.tail == (b' xmlns:x="urn:x" ifmap-cardinality="singleValue" k=\'"\'><c d="1"/> t &amp; <!-- c --></x:m>')


@pytest.mark.parametrize(
    ("element", "around", "expected"),
    [
        # Needed by the element, by a child, by an attribute; and what is not.
        ("<x:m CARD/>", 'xmlns:x="urn:x" xmlns:y="urn:y"', '<x:m xmlns:x="urn:x" CARD/>'),
        ("<m CARD><y:c/></m>", 'xmlns:x="urn:x" xmlns:y="urn:y"', '<m xmlns:y="urn:y" CARD><y:c/></m>'),
        ('<m CARD y:k=""/>', 'xmlns:y="urn:y"', '<m xmlns:y="urn:y" CARD y:k=""/>'),
        # Qualified names in values and text.
        ('<m CARD k="y:t"/>', 'xmlns:y="urn:y"', '<m xmlns:y="urn:y" CARD k="y:t"/>'),
        ("<m CARD>y:t</m>", 'xmlns:y="urn:y"', '<m xmlns:y="urn:y" CARD>y:t</m>'),
        ("<m CARD>xy:t .s:x -s:x</m>", 'xmlns:y="urn:y"', "<m CARD>xy:t .s:x -s:x</m>"),
        # The default namespace.
        ("<m CARD/>", 'xmlns="urn:d"', '<m xmlns="urn:d" CARD/>'),
        ('<m xmlns="" CARD/>', 'xmlns="urn:d"', '<m xmlns="" CARD/>'),
        # Declared on the element itself, maybe as something else.
        ('<x:m xmlns:x="urn:2" CARD/>', 'xmlns:x="urn:1"', '<x:m xmlns:x="urn:2" CARD/>'),
        ('<x:m  CARD xmlns:x="urn:2"  />', 'xmlns:x="urn:1"', '<x:m xmlns:x="urn:2" CARD/>'),
        ("<x:m CARD/>", 'xmlns:x="urn:?a=1&amp;b=%22"', '<x:m xmlns:x="urn:?a=1&amp;b=%22" CARD/>'),
    ],
)
def test_namespaces_from_further_out(element: str, around: str, expected: str) -> None:
    cardinality = 'ifmap-cardinality="multiValue"'
    new = published(element.replace("CARD", cardinality), around)
    assert whole(new).decode() == expected.replace("CARD", cardinality)
    etree.fromstring(whole(new))


def test_the_default_namespace_taken_back_is_not_declared() -> None:
    body = b'<a xmlns="urn:d"><metadata xmlns=""><m ifmap-cardinality="multiValue"/></metadata></a>'
    raw = parse_xml(body, raw=frozenset({"metadata"})).children[0].children[0]
    assert whole(from_raw(raw)) == b'<m ifmap-cardinality="multiValue"/>'
    assert from_raw(raw).name == MetadataName("", "m")


def test_operational_attributes_of_a_client_are_dropped() -> None:
    new = published(
        "<m ifmap-publisher-id='me' ifmap-cardinality = 'singleValue' ifmap-timestamp='x' ifmap-x='&gt;/>' "
        "ifmapped='1'/>"
    )
    assert whole(new) == b"<m ifmap-cardinality=\"singleValue\" ifmapped='1'/>"


@pytest.mark.parametrize(
    ("element", "says"),
    [
        ("<m/>", "''"),
        ('<m ifmap-cardinality=""/>', "''"),
        ('<m ifmap-cardinality="single"/>', "'single'"),
        ('<m ifmap-cardinality="SingleValue"/>', "'SingleValue'"),
        ('<m x:ifmap-cardinality="singleValue" xmlns:x="urn:x"/>', "''"),
        (f'<ip-mac xmlns="{STANDARD_METADATA}" ifmap-cardinality="singleValue"/>', "multiValue by the standard"),
        (f'<device-ip xmlns="{STANDARD_METADATA}" ifmap-cardinality="multiValue"/>', "singleValue by the standard"),
    ],
)
def test_bad_cardinalities(element: str, says: str) -> None:
    with pytest.raises(IfmapError) as caught:
        published(element)
    assert caught.value.code is ErrorCode.INVALID_METADATA
    assert says in str(caught.value)


def test_the_standard_table() -> None:
    assert sum(STANDARD.values()) == 8
    assert len(STANDARD) == 19
    assert published(f'<device-ip xmlns="{STANDARD_METADATA}" ifmap-cardinality="singleValue"/>').single
    assert not published('<ip-mac xmlns="urn:other" ifmap-cardinality="multiValue"/>').single


def test_too_long() -> None:
    element = b"<m ifmap-cardinality='singleValue'>123</m>"
    raw = parse_xml(b"<metadata>" + element + b"</metadata>", raw=frozenset({"metadata"})).children[0]
    assert from_raw(raw, len(element)).single
    with pytest.raises(IfmapError) as caught:
        from_raw(raw, len(element) - 1)
    assert caught.value.code is ErrorCode.METADATA_TOO_LONG


# -- stamping


def test_stamped() -> None:
    new = published('<m ifmap-cardinality="singleValue"/>')
    assert stamped(new, "pe1-0001", timestamp(1767607872.9)) == (
        b'<m ifmap-publisher-id="pe1-0001" ifmap-timestamp="2026-01-05T10:11:12+00:00"'
        b' ifmap-cardinality="singleValue"/>'
    )
    assert etree.fromstring(stamped(new, "\"<&'", "t")).get("ifmap-publisher-id") == "\"<&'"


def test_timestamps() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00+00:00"
    assert timestamp(1767607872.0) == timestamp(1767607872.999) == "2026-01-05T10:11:12+00:00"


# -- made by a client


def test_built() -> None:
    children: list[Node] = [("static", [("route", "10.0.0.0/8"), ("route", "a<&b")]), ("e", ""), ("f", ())]
    new = build(NAME, True, children, {"k": '"<'}, prefix="vpn")
    assert whole(new) == (
        b'<vpn:m xmlns:vpn="urn:x" ifmap-cardinality="singleValue" k="&quot;&lt;"><static><route>10.0.0.0/8</route>'
        b"<route>a&lt;&amp;b</route></static><e/><f/></vpn:m>"
    )
    read = content(new)
    assert (read.name, read.attributes, read.text) == (NAME, {"k": '"<'}, "")
    static = read.child("static")
    assert static is not None and static.texts("route") == ("10.0.0.0/8", "a<&b")
    assert read.child("x") is None and read.texts("x") == ()


def test_built_with_text_and_without_a_namespace() -> None:
    new = build(MetadataName("", "m"), False, " t ")
    assert whole(new) == b'<m ifmap-cardinality="multiValue"> t </m>'
    assert content(new).text == " t "


@pytest.mark.parametrize(
    ("name", "children", "attributes", "prefix"),
    [
        (MetadataName("urn:x", "a b"), (), {}, "x"),
        (MetadataName("urn:x", ""), (), {}, "x"),
        (MetadataName("urn:x", "x:m"), (), {}, "x"),
        (MetadataName('u"', "m"), (), {}, "x"),
        (NAME, (), {}, "a b"),
        (NAME, [("a/><b", "")], {}, "x"),
        (NAME, (), {"a b": ""}, "x"),
        (NAME, (), {"ifmap-publisher-id": "me"}, "x"),
        (NAME, (), {"xmlns": "urn:y"}, "x"),
    ],
)
def test_names_that_cannot_be_built(
    name: MetadataName, children: list[Node], attributes: dict[str, str], prefix: str
) -> None:
    with pytest.raises(IfmapError) as caught:
        build(name, True, children, attributes, prefix)
    assert caught.value.code is ErrorCode.INVALID_METADATA


@given(st.text(), st.text(), st.booleans())
def test_what_is_built_is_read_back(text: str, value: str, single: bool) -> None:
    try:
        new = build(NAME, single, [("c", text)], {"k": value})
    except IfmapError as error:
        assert "can't be carried" in str(error)
        return
    assert parse(whole(new)) == new
    read = content(Metadata(1, NAME, single, "p", "", stamped(new, "p", "t")))
    assert (read.children[0].text, read.attributes) == (text, {"k": value})


def test_parsed_from_a_document() -> None:
    new = parse('<?xml version="1.0"?>\n<!-- c --><x:m xmlns:x="urn:x" ifmap-cardinality="singleValue"/>\n')
    assert new == build(NAME, True)
    for wrong in ("", "x", "<m/><m/>", "</metadata>", "<m/></metadata><metadata>", "\ud800", "<!DOCTYPE m><m/>"):
        with pytest.raises(IfmapError) as caught:
            parse(wrong)
        assert caught.value.code is ErrorCode.FAILURE
    with pytest.raises(IfmapError) as caught:
        parse("<m/>")
    assert caught.value.code is ErrorCode.INVALID_METADATA


def test_content_of_what_is_no_element() -> None:
    with pytest.raises(IfmapError):
        content(b"<m>")


_INNER = st.recursive(
    st.sampled_from(
        ["t", "&lt;", "p:t", "<!-- p:x -->", "<![CDATA[<p:x>]]>", "<c/>", "<p:c k='q:v'/>", "<d xmlns='urn:3'/>"]
    ),
    lambda inner: st.builds("<e>{}<p:f xmlns:p='urn:4'>{}</p:f></e>".format, inner, inner),
    max_leaves=5,
)


@given(
    st.sampled_from(["m", "p:m", "q:m"]),
    st.lists(
        st.sampled_from(['a="1"', "b='>'", 'p:a="p:b"', 'xmlns:p="urn:5"', 'xmlns="urn:6"', "ifmap-x=''"]), unique=True
    ),
    st.lists(_INNER, max_size=3),
)
def test_an_element_alone_means_what_it_meant_in_its_document(
    tag: str, attributes: list[str], inner: list[str]
) -> None:
    around = 'xmlns="urn:0" xmlns:p="urn:1" xmlns:q="urn:2"'
    element = f"<{tag} {' '.join(attributes)} ifmap-cardinality='multiValue'>{''.join(inner)}</{tag}>"
    xml = whole(published(element, around))
    document = etree.fromstring(f"<s:a xmlns:s='urn:s' {around}><metadata>{element}</metadata></s:a>".encode())
    before, after = document[0][0], etree.fromstring(xml)
    # Exclusive canonical XML renders what names use; prefixes in values are looked at apart.
    for name in list(before.attrib):
        if str(name).startswith("ifmap-") and name != "ifmap-cardinality":
            del before.attrib[name]
    assert etree.tostring(after, method="c14n", exclusive=True) == etree.tostring(before, method="c14n", exclusive=True)
    for prefix in ("p", "q"):
        if f"{prefix}:" in element:
            assert after.nsmap[prefix] == before.nsmap[prefix]
