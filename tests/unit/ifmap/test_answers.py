"""Responses and answers: what a server writes a client reads; what other servers write; garbage."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ifmap import identifiers as make
from ifmap import responses
from ifmap.answers import (
    EndSessionResult,
    NewSessionResult,
    PollResult,
    Received,
    ReceivedItem,
    ReceivedMetadata,
    SearchResult,
    read_answer,
)
from ifmap.errors import ErrorCode, IfmapError, UnreadableAnswer
from ifmap.items import identifier_xml, item_xml
from ifmap.metadata import build, stamped
from ifmap.namespaces import BASE, SOAP
from ifmap.values import Edge, Identifier, IdentifierKind, Metadata, MetadataName, ResultKind, link, node

IP = make.ip_address("192.0.2.7")
MAC = make.mac_address("02:00:5e:00:00:07")
NAME = MetadataName("urn:x", "m")


def metadatum(text: str = "", publisher: str = "pe1-0001", single: bool = True) -> Metadata:
    new = build(NAME, single, text)
    return Metadata(1, NAME, single, publisher, "", stamped(new, publisher, "2026-01-05T10:11:12+00:00"))


def received(metadata: Iterable[Metadata]) -> tuple[ReceivedMetadata, ...]:
    return tuple(ReceivedMetadata(m.name, m.single, m.publisher, "2026-01-05T10:11:12+00:00", m.xml) for m in metadata)


def envelope(result: str, outer: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?><e:Envelope xmlns:e="{SOAP}" xmlns:i="{BASE}" {outer}><e:Body><i:response>{result}'
        "</i:response></e:Body></e:Envelope>"
    ).encode()


def refusal(body: bytes) -> tuple[ErrorCode, str]:
    with pytest.raises(IfmapError) as caught:
        read_answer(body)
    return caught.value.code, str(caught.value)


# -- the form on the wire


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (
            responses.new_session_result("81-af", "pe1-0001", 6000000),
            b'<newSessionResult session-id="81-af" ifmap-publisher-id="pe1-0001" max-poll-result-size="6000000"/>',
        ),
        (
            responses.new_session_result("81-af", "pe1-0001"),
            b'<newSessionResult session-id="81-af" ifmap-publisher-id="pe1-0001"/>',
        ),
        (responses.renew_session_result(), b"<renewSessionResult/>"),
        (responses.end_session_result(), b"<endSessionResult/>"),
        (responses.publish_received(), b"<publishReceived/>"),
        (responses.subscribe_received(), b"<subscribeReceived/>"),
        (responses.purge_publisher_received(), b"<purgePublisherReceived/>"),
        (responses.search_result([]), b"<searchResult></searchResult>"),
        (
            responses.poll_result(
                [
                    responses.part(ResultKind.SEARCH, "vpn-root", [item_xml(node(IP), [])]),
                    responses.error_part("too-wide", ErrorCode.SEARCH_RESULTS_TOO_BIG, "no"),
                ]
            ),
            b'<pollResult><searchResult name="vpn-root"><resultItem><ip-address value="192.0.2.7" type="IPv4"/>'
            b'</resultItem></searchResult><errorResult errorCode="SearchResultsTooBig" name="too-wide">'
            b"<errorString>no</errorString></errorResult></pollResult>",
        ),
        (
            responses.error_result(ErrorCode.INVALID_SESSION_ID, "no such <session>"),
            b'<errorResult errorCode="InvalidSessionID"><errorString>no such &lt;session&gt;</errorString>'
            b"</errorResult>",
        ),
    ],
)
def test_responses(body: bytes, result: bytes) -> None:
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope ')
    assert f'xmlns:m="{BASE}"><s:Body><m:response validation="None">'.encode() + result + b"</m:response>" in body
    response = etree.fromstring(body)[0][0]
    assert response.tag == f"{{{BASE}}}response"
    assert [etree.QName(child).namespace for child in response.iter()] == [BASE] + [None] * (
        len(list(response.iter())) - 1
    )


@pytest.mark.parametrize(
    ("identifier", "xml"),
    [
        (IP, b'<ip-address value="192.0.2.7" type="IPv4"/>'),
        (make.ip_address("::1", "d"), b'<ip-address value="0:0:0:0:0:0:0:1" type="IPv6" administrative-domain="d"/>'),
        (MAC, b'<mac-address value="02:00:5e:00:00:07"/>'),
        (make.device("<pe1>"), b"<device><name>&lt;pe1&gt;</name></device>"),
        (make.access_request("ar", '"'), b'<access-request name="ar" administrative-domain="&quot;"/>'),
        (make.identity("a\tb\n", "username"), b'<identity name="a&#9;b&#10;" type="username"/>'),
        (make.identity("r", "other", "1:c"), b'<identity name="r" type="other" other-type-definition="1:c"/>'),
    ],
)
def test_identifiers_in_results(identifier: Identifier, xml: bytes) -> None:
    assert identifier_xml(identifier) == xml
    assert identifier_xml(identifier._replace(name=identifier.name)) is identifier_xml(identifier), "made once"


def test_identifiers_that_cannot_be_written() -> None:
    with pytest.raises(IfmapError, match="can't be carried"):
        identifier_xml(Identifier(IdentifierKind.DEVICE, "\0"))


def test_items() -> None:
    one, other = metadatum("1"), metadatum("2")
    ip, mac = identifier_xml(IP), identifier_xml(MAC)
    assert item_xml(node(IP), []) == b"<resultItem>" + ip + b"</resultItem>"
    assert item_xml(link(MAC, IP), iter([one, other])) == (
        b"<resultItem>" + ip + mac + b"<metadata>" + one.xml + other.xml + b"</metadata></resultItem>"
    )
    assert item_xml(link(IP, IP), [one]).count(ip) == 2


def test_texts_of_errors_are_made_fit() -> None:
    code, text = refusal(responses.error_result(ErrorCode.FAILURE, "a\0\ud800<b>"))
    assert (code, text) == (ErrorCode.FAILURE, "'a\\x00\\ud800<b>'")


# -- written and read


def test_answers_without_results() -> None:
    assert read_answer(responses.new_session_result("a<", "p&", 5)) == NewSessionResult("a<", "p&", 5)
    assert read_answer(responses.new_session_result("a", "p")) == NewSessionResult("a", "p")
    assert read_answer(responses.renew_session_result()) == Received("renewSessionResult")
    assert read_answer(responses.publish_received()) == Received("publishReceived")
    assert read_answer(responses.subscribe_received()) == Received("subscribeReceived")
    assert read_answer(responses.purge_publisher_received()) == Received("purgePublisherReceived")
    assert read_answer(responses.end_session_result()) == EndSessionResult()


# Without colons: what looks like a prefix of the document is declared in what is cut out of it, needed or not.
_TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters=":\ufffe\uffff"), min_size=1, max_size=9
)
_IDENTIFIERS = st.one_of(
    st.builds(make.device, _TEXTS), st.builds(make.access_request, _TEXTS, _TEXTS), st.just(IP), st.just(MAC)
)
_EDGES = st.builds(node, _IDENTIFIERS) | st.builds(link, _IDENTIFIERS, _IDENTIFIERS)
_ITEMS = st.lists(
    st.tuples(_EDGES, st.lists(st.builds(metadatum, _TEXTS, _TEXTS, st.booleans()), max_size=3)),
    max_size=3,
)


def both(items: list[tuple[Edge, list[Metadata]]]) -> tuple[list[bytes], tuple[ReceivedItem, ...]]:
    """Items as written and as they are to be read."""
    return [item_xml(*item) for item in items], tuple(
        ReceivedItem(edge, received(metadata)) for edge, metadata in items
    )


@given(_ITEMS)
def test_search_results(items: list[tuple[Edge, list[Metadata]]]) -> None:
    written, read = both(items)
    assert read_answer(responses.search_result(written)) == SearchResult(read)


@given(
    st.lists(
        st.tuples(st.sampled_from([kind for kind in ResultKind if kind is not ResultKind.ERROR]), _TEXTS, _ITEMS),
        max_size=4,
    )
)
def test_poll_results(parts: list[tuple[ResultKind, str, list[tuple[Edge, list[Metadata]]]]]) -> None:
    written = [responses.part(kind, name, both(items)[0]) for kind, name, items in parts]
    answer = read_answer(
        responses.poll_result([*written, responses.error_part("e", ErrorCode.SEARCH_RESULTS_TOO_BIG, "x")])
    )
    assert isinstance(answer, PollResult)
    *results, error = answer.parts
    assert [(part.kind, part.name, part.items) for part in results] == [
        (kind, name, both(items)[1]) for kind, name, items in parts
    ]
    assert (error.kind, error.name, error.code, error.text) == (
        *(ResultKind.ERROR, "e", ErrorCode.SEARCH_RESULTS_TOO_BIG, "x"),
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_error_results(code: ErrorCode) -> None:
    assert refusal(responses.error_result(code, "a & b")) == (code, "a & b")


def test_what_cannot_be_read_is_told_from_what_was_refused() -> None:
    """After the former nobody knows what became of the request."""
    for body in (
        b"",
        envelope("<x/>"),
        envelope("<pollResult><searchResult><resultItem/></searchResult></pollResult>"),
    ):
        with pytest.raises(UnreadableAnswer):
            read_answer(body)
    with pytest.raises(IfmapError) as caught:
        read_answer(responses.error_result(ErrorCode.FAILURE, "x"))
    assert not isinstance(caught.value, UnreadableAnswer)


# -- other servers


def test_namespaces_from_further_out_are_put_on_the_metadata() -> None:
    item = "<resultItem><device><name>a</name></device><metadata>{}</metadata></resultItem>"
    for element, expected in (
        ('<x:m ifmap-cardinality="singleValue"/>', b'<x:m xmlns:x="urn:x" ifmap-cardinality="singleValue"/>'),
        ("<x:m/>", b'<x:m xmlns:x="urn:x"/>'),
        ("<x:m><x:n/></x:m>", b'<x:m xmlns:x="urn:x"><x:n/></x:m>'),
        ('<m xmlns="urn:x"/>', b'<m xmlns="urn:x"/>'),
    ):
        answer = read_answer(
            envelope(f"<searchResult>{item.format(element)}</searchResult>", 'xmlns:x="urn:x" xmlns:y="urn:y"')
        )
        assert isinstance(answer, SearchResult)
        (metadata,) = answer.items[0].metadata
        assert (metadata.name, metadata.xml, metadata.publisher, metadata.timestamp) == (NAME, expected, "", "")


def test_qualified_results_and_other_spellings() -> None:
    body = (
        f'<Envelope xmlns="{SOAP}"><Body><response xmlns="{BASE}" validation="BaseOnly"><pollResult>'
        '<updateResult name="a"><resultItem><ip-address value="FE80::1" type="IPv6"/>'
        '<mac-address value="02-00-5E-00-00-07"/><metadata><m xmlns="" ifmap-cardinality="multiValue"'
        ' ifmap-publisher-id="p"/></metadata></resultItem></updateResult></pollResult></response></Body></Envelope>'
    ).encode()
    answer = read_answer(body)
    assert isinstance(answer, PollResult)
    (item,) = answer.parts[0].items
    assert item.edge == link(make.ip_address("fe80::1"), MAC)
    assert item.metadata[0][:3] == (MetadataName("", "m"), False, "p")


def test_a_large_metadatum() -> None:
    items = [item_xml(node(IP), [metadatum("x" * 6_000_000)])]
    answer = read_answer(responses.search_result(items))
    assert isinstance(answer, SearchResult)
    assert len(answer.items[0].metadata[0].xml) > 6_000_000


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (envelope('<errorResult errorCode="InvalidSessionID"/>'), ErrorCode.INVALID_SESSION_ID, "no reason given"),
        (
            envelope('<errorResult errorCode="New"><errorString>t</errorString></errorResult>'),
            ErrorCode.FAILURE,
            "t .*'New'",
        ),
        (envelope("<errorResult/>"), ErrorCode.FAILURE, "no reason given"),
        (
            f'<e:Envelope xmlns:e="{SOAP}"><e:Body><e:Fault><e:Code><e:Value>e:Sender</e:Value></e:Code><e:Reason>'
            '<e:Text xml:lang="en">bad\n request</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>'.encode(),
            ErrorCode.FAILURE,
            "SOAP Fault: bad request",
        ),
        (
            f'<e:Envelope xmlns:e="{SOAP}"><e:Body><e:Fault/></e:Body></e:Envelope>'.encode(),
            ErrorCode.FAILURE,
            "no reason given",
        ),
        (b"", ErrorCode.FAILURE, "malformed"),
        (b"<html><body>502 Bad Gateway</body></html>", ErrorCode.FAILURE, "not a SOAP 1.2 envelope"),
        (envelope(""), ErrorCode.FAILURE, "one result"),
        (envelope("<publishReceived/><publishReceived/>"), ErrorCode.FAILURE, "one result"),
        (envelope("<metadata><x/></metadata>"), ErrorCode.FAILURE, "unknown result 'metadata'"),
        (envelope("<nothing/>"), ErrorCode.FAILURE, "unknown result 'nothing'"),
        (envelope("<resultItem><device><name>a</name></device></resultItem>"), ErrorCode.FAILURE, "one result"),
        (envelope("<newSessionResult/>"), ErrorCode.FAILURE, "without session-id"),
        (envelope("<newSessionResult session-id='1'/>"), ErrorCode.FAILURE, "ifmap-publisher-id"),
        (envelope("<pollResult><publishReceived/></pollResult>"), ErrorCode.FAILURE, "within a pollResult"),
        (envelope("<pollResult><searchResult><x/></searchResult></pollResult>"), ErrorCode.FAILURE, "'x' within"),
        (envelope("<searchResult><metadata><x/></metadata></searchResult>"), ErrorCode.FAILURE, "'metadata' within"),
        (envelope("<searchResult><resultItem/></searchResult>"), ErrorCode.FAILURE, "0 identifiers"),
        (
            envelope("<searchResult><resultItem><x/></resultItem></searchResult>"),
            ErrorCode.FAILURE,
            "'x'",
        ),
        (envelope("<!DOCTYPE a>"), ErrorCode.FAILURE, "malformed"),
    ],
)
def test_refusals(body: bytes, code: ErrorCode, says: str) -> None:
    found, text = refusal(body)
    assert found is code
    assert re.search(says, text), text


@given(st.binary(max_size=60), st.integers(0, 5000), st.integers(0, 20), _ITEMS)
def test_damaged_answers_raise_nothing_else(
    noise: bytes, at: int, length: int, items: list[tuple[Edge, list[Metadata]]]
) -> None:
    body = responses.poll_result([responses.part(ResultKind.UPDATE, "a", both(items)[0])])
    at %= len(body)
    for damaged in (noise, body[:at] + noise + body[at + length :], body[:at] + body[at + length :], body[:at]):
        try:
            read_answer(damaged)
        except IfmapError as error:
            assert str(error)
