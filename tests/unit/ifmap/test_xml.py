"""The XML reader: what it takes, what it refuses, and that it says why."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ifmap.errors import ErrorCode, IfmapError
from ifmap.xml import Limits, cut, escape, is_uri, parse

CONTAINER = frozenset({"metadata"})


def refusal(body: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(IfmapError) as caught:
        parse(body, limits or Limits(), CONTAINER)
    assert caught.value.code is ErrorCode.FAILURE
    text = str(caught.value)
    assert text and "\n" not in text
    return text


# -- what is read


def test_names_attributes_and_text() -> None:
    root = parse(b'<p:a xmlns:p="urn:x" b="1" p:c="2"><d>t<!-- no -->e<![CDATA[<x>]]>t<?pi?>!</d>\n <e/></p:a>')
    assert (root.name, root.attributes) == ("urn:x}a", {"b": "1", "urn:x}c": "2"})
    assert [child.name for child in root.children] == ["d", "e"]
    assert root.children[0].text == "te<x>t!"
    assert root.children[1].text == ""
    assert root.scope.prefixes == {"p": "urn:x"}


@pytest.mark.parametrize(
    "body",
    [
        "<a>é</a>".encode(),
        b"\xef\xbb\xbf" + "<a>é</a>".encode(),
        '<?xml version="1.0" encoding="UTF-8"?><a>é</a>'.encode(),
        "<?xml version='1.0' encoding='utf-8' standalone=\"yes\" ?>\r\n<a>é</a>".encode(),
        b'<?xml version="1.0" encoding="us-ascii"?><a>&#xe9;</a>',
        '<?xml version="1.1"?><a>é</a>'.encode(),
        '<?xml version="1.0" encoding="UTF-16"?><a>é</a>'.encode("utf-16"),
        "<a>é</a>".encode("utf-16-le"),
        "<a>é</a>".encode("utf-16-be"),
        "\ufeff<a>é</a>".encode("utf-16-be"),
        '<?xml version="1.0" encoding="utf-16le"?><a>é</a>'.encode("utf-16-le"),
        "<!-- <!DOCTYPE a> --><?pi <!DOCTYPE a>?> <a>é</a>".encode(),
    ],
)
def test_encodings_and_prologues(body: bytes) -> None:
    assert parse(body).text == "é"


def test_a_document_type_within_is_none() -> None:
    assert parse(b"<a><![CDATA[<!DOCTYPE a>]]></a>").text == "<!DOCTYPE a>"
    assert parse(b"<a><!-- <!DOCTYPE a> --></a>").children == []


def test_scopes_nest_and_are_undone() -> None:
    root = parse(b'<a xmlns="urn:1" xmlns:p="urn:p"><b xmlns="" xmlns:p="urn:q"/><c/></a>')
    assert root.scope.prefixes == {"": "urn:1", "p": "urn:p"}
    assert [(child.name, child.scope.prefixes) for child in root.children] == [
        ("b", {"p": "urn:q"}),
        ("urn:1}c", {"": "urn:1", "p": "urn:p"}),
    ]


def test_elements_are_cut_out_as_they_are() -> None:
    inner = [
        b"<x/>",
        b'<x a=">"   />',
        b"<x\n>text &lt; <!-- </x> --><x><x/></x></x\n>",
        b"<p:x b='\"' xmlns:p='urn:q'><![CDATA[</x>]]></p:x>",
        "<ü>ß</ü>".encode(),
    ]
    body = b'<a xmlns:p="urn:p"><metadata>\n' + b" <!-- c --> ".join(inner) + b"</metadata><z/></a>"
    for encoded in (body, body.decode().encode("utf-16")):
        root = parse(encoded, raw=CONTAINER)
        raws = root.children[0].children
        assert [raw.xml for raw in raws] == inner
        assert [raw.name for raw in raws] == ["x", "x", "x", "urn:q}x", "ü"]
        assert [raw.attributes for raw in raws] == [{}, {"a": ">"}, {}, {"b": '"'}, {}]
        assert [raw.xml[raw.tag - 1 : raw.tag] for raw in raws] == [b">"] * 5
        assert [set(raw.declared) for raw in raws] == [set(), set(), set(), {"p"}, set()]
        assert raws[0].scope.prefixes == {"p": "urn:p"}
        assert root.children[1].name == "z"


def test_a_root_is_cut_out() -> None:
    raw = cut(b'<?xml version="1.0"?>\n<p:x xmlns:p="urn:p"><y/></p:x>\n<!-- end -->')
    assert (raw.name, raw.xml) == ("urn:p}x", b'<p:x xmlns:p="urn:p"><y/></p:x>')
    for wrong in (b"", b"<a>", b"<a/><b/>", b"</metadata>", b"<a/>text"):
        with pytest.raises(IfmapError):
            cut(wrong)


def test_cut_out_elements_in_many_pieces() -> None:
    """The parser gets a body of more than a mebibyte in pieces; places are those in the whole."""
    inner = [b"<x a='%d'>%s</x>" % (size, b"y" * size) for size in (3, 700_000, 700_001, 5, 5_000_000, 7)]
    root = parse(b"<a><metadata>" + b"\n".join(inner) + b"</metadata></a>", raw=CONTAINER)
    assert [raw.xml for raw in root.children[0].children] == inner


def test_folds_take_the_place_of_elements() -> None:
    order = []

    def fold(element: object, parent: object) -> str:
        order.append(len(parent.children))  # type: ignore[attr-defined]
        return f"<{element.text}>"  # type: ignore[attr-defined]

    root = parse(b"<a><b>1</b><c/><b>2</b></a>", folds={"b": fold})
    assert [getattr(child, "name", child) for child in root.children] == ["<1>", "c", "<2>"]
    assert order == [0, 2]


def test_folded_elements_do_not_count() -> None:
    limits = Limits(elements=10)
    body = b"<a>" + b"<b><c/><c/></b>" * 1000 + b"</a>"
    assert parse(body, limits, folds={"b": lambda *_: 1}).children == [1] * 1000
    assert "more than 10 elements" in refusal(body, limits)


# -- what is refused


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "malformed"),
        (b"   ", "malformed"),
        (b"<", "malformed"),
        (b"not XML", "malformed"),
        (b"<a>", "malformed"),
        (b"<a></b>", "malformed"),
        (b"<a/><b/>", "malformed"),
        (b"<a/>text", "malformed"),
        (b"<a b=1/>", "malformed"),
        (b'<a b="<"/>', "malformed"),
        (b'<a b="1" b="2"/>', "malformed"),
        (b'<a xmlns:p="urn:x" xmlns:q="urn:x" p:b="1" q:b="2"/>', "malformed"),
        (b"<p:a/>", "unbound prefix"),
        (b"<a p:b=''/>", "unbound prefix"),
        (b"<a xmlns:p=''/>", "malformed"),
        (b"<a:b:c xmlns:a='urn:x'/>", "malformed"),
        (b"<a>&nbsp;</a>", "undefined entity"),
        (b"<a>]]></a>", "malformed"),
        (b"<a><!-- -- --></a>", "malformed"),
        (b"<a>\0</a>", "malformed"),
        (b"<a/>\0", "malformed"),
        (b"<a>\x1f</a>", "malformed"),
        (b"<a>&#1;</a>", "malformed"),
        (b'<?xml version="1.1"?><a>&#1;</a>', "malformed"),
        (b"<a>&#xD800;</a>", "malformed"),
        ("<a>\uffff</a>".encode(), "malformed"),
        (b"<a>\xff</a>", "not UTF-8"),
        (b"<a>\xc0\x80</a>", "not UTF-8"),
        (b"<a>\xed\xa0\x80</a>", "not UTF-8"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>', "not UTF-8"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "iso-8859-1"),
        (b'<?xml version="1.0" encoding="UTF-16"?><a/>', "utf-16"),
        ('<?xml version="1.0" encoding="UTF-8"?><a/>'.encode("utf-16"), "utf-8"),
        ("<a/>".encode("utf-16")[:-1], "utf-16"),
        ("<a/>".encode("utf-32"), "UTF-32"),
        (b"\xff\xfe<\0a\0/\0>\0\x00\xd8", "utf-16"),
        (b'<?xml version="2.0"?><a/>', "XML declaration"),
        (b"<?xml?><a/>", "malformed"),
        (b' <?xml version="1.0"?><a/>', "malformed"),
        (b"<!DOCTYPE a><a/>", "document type"),
        (b"<?xml version='1.0'?><!-- --><?p ?>\n<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "document type"),
        ("<!DOCTYPE a><a/>".encode("utf-16"), "document type"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type"),
        (b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://192.0.2.1/">%p;]><a/>', "document type"),
        (b"<a xmlns='c d'/>", "URI"),
        (b"<a><b xmlns:p='http://[x'/></a>", "URI"),
        (b"<metadata><x><y xmlns='c d'/></x></metadata>", "URI"),
    ],
)
def test_refusals(body: bytes, says: str) -> None:
    assert says in refusal(body)


def test_entity_bombs_cost_nothing() -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 20))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "{"x" * 1000}">{levels}]><a b="&e19;">&e19;</a>'.encode()
    tracemalloc.start()
    try:
        assert "document type" in refusal(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("limits", "body", "says"),
    [
        (Limits(bytes=10), b"<a>4567890</a>", "14 bytes"),
        (Limits(depth=3), b"<a><b><c><d/></c></b></a>", "deeper than 3"),
        (Limits(depth=4), b"<a><metadata><c><d><e/></d></c></metadata></a>", "deeper than 4"),
        (Limits(elements=3), b"<a><b/><b/><b/></a>", "more than 3 elements"),
        (Limits(elements=3), b"<a><metadata><c><d/><d/></c><c/></metadata></a>", "more than 3 elements"),
        (Limits(attributes=2), b"<a b='' c='' d=''/>", "3 attributes"),
        (Limits(prefixes=2), b"<a xmlns:b='u' xmlns:c='u' xmlns:d='u'/>", "2 namespace declarations"),
        (Limits(prefixes=2), b"<a xmlns:b='u' xmlns:c='u'><e xmlns:d='u'/></a>", "in scope"),
        (Limits(name=9), b"<a234567890/>", "10 characters"),
        (Limits(name=9), b"<metadata><a234567890/></metadata>", "10 characters"),
        (Limits(text=9), b"<a>12345<b/>67890</a>", "more than 9 characters"),
        (Limits(marks=9), b"<metadata><x><a/><a/><a/><a/><a/><a/></x></metadata>", "more than 9 tags"),
        (Limits(marks=9), b"<x a='' b='' c='' d='' e='' f='' g='' h='' i=''/>", "more than 9 tags"),
    ],
)
def test_limits(limits: Limits, body: bytes, says: str) -> None:
    assert says in refusal(body, limits)


def test_at_the_limits() -> None:
    parse(b"<a><b><c/></b></a>", Limits(depth=3, elements=3, attributes=0, text=0))
    parse(b"<a><metadata><c><d/><d/></c></metadata></a>", Limits(depth=4, elements=3), CONTAINER)
    parse(b"<a xmlns:b='u' xmlns:c='u'/>", Limits(prefixes=2))
    parse(b"<abcdefghi>12345<b/>6789</abcdefghi>", Limits(name=9, text=9))


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" * 1_000_000,
        b"<metadata>" + b"<a>" * 1_000_000,
        b"<a " + b"".join(b"a%d='' " % n for n in range(500_000)) + b"/>",
        b"<a>" + b"<b/>" * 1_000_000 + b"</a>",
        b"<a b='" + b"x" * 10_000_000 + b"'/>",
        b"<a>" + b"x" * 10_000_000 + b"</a>",
    ],
    ids=["deep", "deep metadata", "attributes", "elements", "long attribute", "long text"],
)
def test_big_things_do_not_take_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        refusal(body, Limits(elements=1000, attributes=100))
        assert tracemalloc.get_traced_memory()[1] < 200_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"<a>{text}</a>".encode(errors="replace")))
def test_garbage_raises_nothing_else(body: bytes) -> None:
    for raw in (frozenset[str](), frozenset({"a"})):
        try:
            parse(body, raw=raw)
        except IfmapError as error:
            assert str(error)


_SNIPPETS = st.lists(
    st.sampled_from(
        [
            *(
                "<a>",
                "</a>",
                "<a/>",
                "<p:b c='d'>",
                "</p:b>",
                "<metadata>",
                "</metadata>",
                "text",
                "&lt;",
                "&#9;",
                "\r\n",
            ),
            *(
                "<!-- c -->",
                "<![CDATA[<]]>",
                "<?pi x?>",
                " ",
                "<x xmlns='urn:d'/>",
                "<p:x xmlns:q='http://e/%41' q:r=''/>",
            ),
            *(
                "<y xmlns='é'/>",
                "<y xmlns='a:b:c'/>",
                "<y xmlns='1:b'/>",
                "<?a:b?>",
                "<!DOCTYPE r>",
                "é",
                "<y a:b='1'/>",
            ),
            *("<y xmlns:x='//h:1/'/>", "<y xmlns:x='http://a:b/'/>", "<y xmlns:x='?#'/>", "<y xmlns:x='%4'/>", "\x85"),
        ]
    ),
    max_size=12,
).map(lambda parts: f"<r xmlns:p='urn:p'>{''.join(parts)}</r>".encode())


@given(_SNIPPETS)
def test_what_is_taken_libxml2_takes_too(body: bytes) -> None:
    """What one client publishes the others have to be able to read, whatever parser they use."""
    try:
        ours = parse(body)
    except IfmapError:
        return
    theirs = etree.fromstring(body, etree.XMLParser(resolve_entities=False))
    names = [str(child.tag).lstrip("{") for child in theirs.iterchildren("*")]
    assert [child.name for child in ours.children] == names


@given(st.text())
def test_escaped_text_is_read_back(text: str) -> None:
    try:
        escaped = escape(text)
    except IfmapError as error:
        assert "XML" in str(error)
        return
    root = parse(f'<a b="{escaped}">{escaped}</a>'.encode())
    assert (root.attributes["b"], root.text) == (text, text)


@pytest.mark.parametrize("text", ["\0", "\x1f", "\ud800", "\ufffe", "a\x0bb"])
def test_what_cannot_be_escaped(text: str) -> None:
    with pytest.raises(IfmapError, match=r"U\+[0-9A-F]{4} can't be carried"):
        escape(text)


def test_names_of_namespaces() -> None:
    good = ("urn:x", "http://a.example:8080/b?c=d#e", "http://u@h/", "a/b", "", "#f", "//h", "urn:%41", "tag:a,2026:b")
    bad = (" urn:x", "urn:x\n", "a b", "http://[::1]/", "%4", "1:b", "a<b", "http://h:port/", "a\\b", "é", "x" * 2000)
    assert [text for text in good if not is_uri(text)] == []
    assert [text for text in bad if is_uri(text)] == []
