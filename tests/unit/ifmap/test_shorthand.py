"""Documents to publish: shorthand ones as they are printed, mended where the print lost something, and real IF-MAP."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmap import l3vpn
from ifmap.describe import edge_words
from ifmap.l3vpn import Direction, State
from ifmap.mending import mend
from ifmap.publish_file import Document, DocumentError, read_document
from ifmap.requests import ReadSettings, read
from ifmap.requests_writer import write_request
from ifmap.values import Delete, Lifetime, MetadataName, NewMetadata, Notify, Publish, Update, link
from vpn.prefix import Prefix

NAMESPACE = "http://ietf.org/I-D.marques-l3vpn-schema"
MARK = ("vpn-catalogue", "provisioned", "")
PRESENTATION = (Path(__file__).parents[2] / "data/presentation-example.xml").read_text()
MEANING = [
    ("connectivity-group SimpleVPN", "customer-attachment vm:00:00:00:01:02:03", "binding", ""),
    ("customer-attachment vm:00:00:00:01:02:03", "provider-attachment 192.168.0.1", "attachment-state", "up"),
    ("connectivity-group SimpleVPN", "vpn-catalogue", "listed", ""),
    MARK,
]


def shorthand(inner: str) -> Document:
    return read_document(f'<ifmap:publish xmlns:ifmap="{NAMESPACE}">{inner}</ifmap:publish>'.encode())


def said(document: Document) -> list[tuple[str, ...]]:
    """Ends in words, type and state of each update."""
    found = []
    for operation in document.operations:
        assert isinstance(operation, Update)
        (new,) = operation.metadata
        state = l3vpn.read_state(new.head + new.tail) if new.name == l3vpn.ATTACHMENT_STATE else ""
        ends = (words for words in edge_words(operation.edge) if words)
        found.append((*ends, new.name.local, state))
    return found


def test_the_presentations_document_as_printed() -> None:
    document = read_document(PRESENTATION.encode())
    assert said(document) == MEANING
    assert document.shorthand and not document.mended
    lifetimes = [operation.lifetime for operation in document.operations if isinstance(operation, Update)]
    assert lifetimes == [Lifetime.FOREVER] * 4


def test_the_presentations_document_in_mended_spelling() -> None:
    assert said(read_document(PRESENTATION.replace("attachement", "attachment").encode())) == MEANING


def test_it_is_real_if_map_then() -> None:
    document = read_document(PRESENTATION.encode())
    body = write_request(Publish("s", document.operations))
    request = read(body, ReadSettings(strict=True))
    assert isinstance(request, Publish)
    assert [(one.edge, one.lifetime) for one in request.operations if isinstance(one, Update)] == [
        (one.edge, one.lifetime) for one in document.operations if isinstance(one, Update)
    ]


def test_lifetime_of_what_does_not_say_its_own() -> None:
    document = read_document(PRESENTATION.replace("<update>", '<update lifetime="session">').encode())
    assert [one.lifetime for one in document.operations if isinstance(one, Update)] == ["session"] * 2 + ["forever"] * 2
    document = read_document(PRESENTATION.encode(), Lifetime.SESSION)
    assert [one.lifetime for one in document.operations if isinstance(one, Update)] == ["session"] * 2 + ["forever"] * 2


def test_a_route_target_inside_of_a_group_target() -> None:
    document = shorthand(
        '<update><connectivity-group name="SimpleVPN"/><metadata><group-target><route-target value="1:0.0.0.1"/>'
        "<route-target>1:2</route-target></group-target></metadata></update>"
    )
    assert said(document) == [
        ("connectivity-group SimpleVPN", "route-target 1:1", "group-target", ""),
        ("connectivity-group SimpleVPN", "route-target 1:2", "group-target", ""),
        ("connectivity-group SimpleVPN", "vpn-catalogue", "listed", ""),
        MARK,
    ]


def test_identifiers_right_in_the_operation() -> None:
    document = shorthand(
        '<update><customer-attachment uuid="urn:dev:mac:010203ffff040506"/>'
        '<provider-attachment id="192.0.2.1" interface="ge-0/0/0.0"/>'
        "<metadata><attachment-info/><attachment-state><state>adminDown</state></attachment-state></metadata></update>"
        '<update><connectivity-group name="a"/><connectivity-group name="b"/>'
        "<metadata><connection/></metadata></update>"
        '<update><link><identifier><customer-attachment uuid="x"/></identifier>'
        '<identifier><ip-address value="2001:db8::"/></identifier></link>'
        "<metadata><attachment-address><prefix-length>64</prefix-length></attachment-address></metadata>"
        "</update>"
    )
    attachment = "customer-attachment urn:dev:mac:010203ffff040506"
    provider = "provider-attachment 192.0.2.1 at ge-0/0/0.0"
    assert said(document) == [
        (attachment, provider, "attachment-info", ""),
        (attachment, provider, "attachment-state", State.ADMIN_DOWN),
        ("connectivity-group a", "connectivity-group b", "connection", ""),
        ("customer-attachment x", "ip-address 2001:db8:0:0:0:0:0:0", "attachment-address", ""),
        ("connectivity-group a", "vpn-catalogue", "listed", ""),
        ("connectivity-group b", "vpn-catalogue", "listed", ""),
        MARK,
    ]


def contents(document: Document) -> list[NewMetadata]:
    return [one.metadata[0] for one in document.operations if isinstance(one, Update)]


def test_what_metadata_says_is_kept() -> None:
    document = shorthand(
        '<update><connectivity-group name="a"/><route-target value="1:1"/><metadata><group-target>'
        "<import-export>import</import-export></group-target></metadata></update>"
        '<update><customer-attachment uuid="x"/><metadata>'
        "<attachment-address><address>10.1.0.0/16</address></attachment-address>"
        "<attachment-info><provider-edge>192.0.2.1</provider-edge>"
        "<static><route>10.1.0.0/16</route></static></attachment-info>"
        '</metadata></update><update><connectivity-group name="a"/><metadata><group-ce-protocol>'
        "<bgp><autonomous-system>7</autonomous-system></bgp></group-ce-protocol></metadata></update>"
    )
    assert contents(document)[:-2] == [
        l3vpn.group_target(Direction.IMPORT),
        l3vpn.attachment_address(16),
        l3vpn.attachment_info([Prefix.parse("10.1.0.0/16")]),
        l3vpn.group_ce_protocol("bgp", "autonomous-system", "7"),
    ]


def test_deletes_and_notifies() -> None:
    document = shorthand(
        '<delete filter="ifmap:binding or attachement-state">'
        '<customer-attachement id="x"/><connectivity-group name="a"/></delete>'
        '<delete><customer-attachment id="x"/>'
        "<metadata><binding><table-name>a</table-name></binding></metadata></delete>"
        '<delete><customer-attachment id="x"/></delete>'
        '<notify><customer-attachment id="x"/><connectivity-group name="a"/><metadata><binding/></metadata></notify>'
    )
    filtered, named, bare, notify = document.operations
    edge = link(l3vpn.customer_attachment("x"), l3vpn.connectivity_group("a"))
    assert isinstance(filtered, Delete) and filtered.edge == edge and filtered.filter is not None
    assert filtered.filter.names == frozenset({l3vpn.BINDING, l3vpn.ATTACHMENT_STATE})
    assert isinstance(named, Delete) and named.edge == edge and named.filter is not None
    assert named.filter.names == frozenset({l3vpn.BINDING})
    assert isinstance(bare, Delete) and bare.filter is None and bare.edge.second is None
    assert notify == Notify(edge, (l3vpn.binding(),)), "and nothing is listed that wasn't updated"


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        ("", "nothing in it"),
        ("<replace/>", "replace is no operation"),
        ("<update/>", "no identifiers"),
        ('<update><customer-attachment id="x"/></update>', "no metadata"),
        ("<update><customer-attachment/><metadata><binding/></metadata></update>", "customer-attachment has no uuid"),
        ('<update><switch id="x"/><metadata><binding/></metadata></update>', "switch is no identifier"),
        ('<update><customer-attachment id="x"/><metadata><colour/></metadata></update>', "colour is no metadata"),
        ('<update><customer-attachment id="x"/><metadata><binding/></metadata></update>', "doesn't name the other end"),
        (
            '<update><route-target value="1:1"/>'
            "<metadata><binding><table-name>a</table-name></binding></metadata></update>",
            "binding belongs between customer-attachment and connectivity-group",
        ),
        (
            '<update><customer-attachment id="x"/><connectivity-group name="a"/><metadata><binding><table-name>b'
            "</table-name></binding></metadata></update>",
            "names a table-name",
        ),
        (
            '<update lifetime="long"><customer-attachment id="x"/><connectivity-group name="a"/><metadata><binding/>'
            "</metadata></update>",
            "lifetime is 'long'",
        ),
        (
            '<update><connectivity-group name="a"/><route-target value="1:x"/>'
            "<metadata><group-target/></metadata></update>",
            "'1:x' is not a route target",
        ),
        ('<delete filter="x:y or z[1]"><customer-attachment id="x"/></delete>', "is no list"),
        (
            '<update><customer-attachment id="x"/><provider-attachment id="y"/>'
            "<metadata><attachment-state/></metadata></update>",
            "state is ''",
        ),
    ],
)
def test_what_means_nothing_is_refused(inner: str, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        shorthand(inner)


@pytest.mark.parametrize(
    ("lost", "instead"),
    [
        ('"', "\u201d"),
        ("<update>", "update>"),
        ("</table-name>", "</table-name"),
        ("<provider-edge>", "<provider-edge"),
        ('id="vm:00:00:00:01:02:03"', "id=vm:00:00:00:01:02:03"),
        ('03"/>', '03">'),
        ("</metadata>", "/metadata>"),
        ("customer-attachement", "customer\u2010attachement"),
        ("   <binding", "\u00a0\u00a0 <binding"),
    ],
)
def test_what_print_lost_is_put_back(lost: str, instead: str) -> None:
    printed = PRESENTATION.replace(lost, instead)
    assert printed != PRESENTATION
    document = read_document(printed.encode())
    assert said(document) == MEANING
    # A no-break space where a blank may be is well-formed, and needs no mending.
    assert document.mended or instead.startswith("\u00a0")


def test_a_document_that_lost_many_characters() -> None:
    printed = (
        PRESENTATION.replace('"', "\u201c")
        .replace("<update>", "update>")
        .replace("</state>", "</state")
        .replace("03\u201c/>", "03\u201c>")
    )
    document = read_document(printed.encode())
    assert said(document) == MEANING and len(document.mended) == 4


def test_what_lost_too_much_is_refused_with_its_own_fault() -> None:
    with pytest.raises(DocumentError, match="malformed XML"):
        read_document(PRESENTATION.replace("</metadata>", "").encode())
    with pytest.raises(DocumentError, match="malformed XML"):
        read_document(PRESENTATION.replace("<binding ", "< ").encode())


def test_well_formed_text_stays_as_it_is() -> None:
    assert mend(PRESENTATION) == (PRESENTATION, ())


@given(st.text(max_size=200) | st.text("<>/= \"'abc:&\n", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    mend(text)
    with pytest.raises(DocumentError):
        read_document(text.encode(errors="surrogatepass"))


@pytest.mark.timeout(20)
def test_mending_hostile_text_takes_no_time() -> None:
    for piece in ("<a ", '<a b="', ' b="c"', "a:", "<a b=", "<a", "<ab</a", "<a>b</", " \n", " a=b", "a \n"):
        mend("<a" + piece * 20_000)


# -- real IF-MAP

IFMAP = "http://www.trustedcomputinggroup.org/2010/IFMAP/2"
REAL = f"""<m:publish xmlns:m="{IFMAP}" xmlns:x="urn:example:x" session-id="old">
  <update><ip-address value="192.0.2.7"/><metadata><x:seen ifmap-cardinality="multiValue"><x:at>here</x:at></x:seen>
  <x:once ifmap-cardinality="singleValue"/></metadata></update>
  <update lifetime="session"><device><name>pe1</name></device>
  <metadata><x:seen ifmap-cardinality="multiValue"/></metadata></update>
  <notify><device><name>pe1</name></device><metadata><x:seen ifmap-cardinality="multiValue"/></metadata></notify>
  <delete filter="x:seen"><ip-address value="192.0.2.7"/></delete><delete><device><name>pe1</name></device></delete>
</m:publish>"""


@pytest.mark.parametrize(
    "text",
    [
        REAL,
        f'<?xml version="1.0"?>\n<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body>{REAL}</e:Body></e:Envelope>',
    ],
)
def test_real_documents_are_published_as_they_are(text: str) -> None:
    document = read_document(text.encode())
    assert not document.shorthand and not document.mended
    first, second, notify, filtered, bare = document.operations
    assert isinstance(first, Update) and [each.name.local for each in first.metadata] == ["seen", "once"]
    assert first.lifetime is Lifetime.FOREVER and not first.metadata[0].single
    assert isinstance(second, Update) and second.lifetime is Lifetime.SESSION
    assert isinstance(notify, Notify)
    assert isinstance(filtered, Delete) and filtered.filter is not None
    assert filtered.filter.names == frozenset({MetadataName("urn:example:x", "seen")})
    assert isinstance(bare, Delete) and bare.filter is None
    assert read_document(text.encode(), Lifetime.SESSION).operations[0] == Update(
        first.edge, first.metadata, Lifetime.SESSION
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<x/>", "no publish"),
        (f'<m:publish xmlns:m="{IFMAP}"/>', "no operation"),
        (REAL.replace("<device><name>pe1</name></device>", "", 1), "no identifiers"),
        (REAL.replace('value="192.0.2.7"', 'value="192.0.2.777"'), "192.0.2.777"),
        (REAL.replace(' ifmap-cardinality="singleValue"', ""), "cardinality"),
        (REAL.replace('"x:seen"', '"y:seen"'), "y"),
        (REAL.replace('"session"', '"week"'), "lifetime"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + REAL, "document type"),
    ],
)
def test_wrong_real_documents_are_refused(text: str, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        read_document(text.encode())
