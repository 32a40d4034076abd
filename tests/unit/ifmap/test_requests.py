"""Requests: what a client writes a server reads; what other clients write; what is refused with which code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmap import filters
from ifmap import identifiers as make
from ifmap.errors import ErrorCode, IfmapError
from ifmap.metadata import build
from ifmap.namespaces import BASE, SOAP, STANDARD_METADATA
from ifmap.requests import ReadSettings, read
from ifmap.requests_writer import write_request
from ifmap.values import (
    Delete,
    EndSession,
    Filter,
    Lifetime,
    Metadata,
    MetadataName,
    NewMetadata,
    NewSession,
    Notify,
    Poll,
    Publish,
    PurgePublisher,
    RenewSession,
    Request,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Unsubscription,
    Update,
    link,
    node,
)

IP = make.ip_address("192.0.2.7")
MAC = make.mac_address("02:00:5e:00:00:07")
GROUP = make.extended("connectivity-group", "http://www.ietf.org/I.D-l3vpn-schema", {"name": "<Simple & 'VPN'>"})
META = MetadataName("urn:x", "m")


def envelope(operation: str, outer: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope xmlns:s="{SOAP}" xmlns:m="{BASE}" {outer}>\n'
        f"  <s:Body>{operation}</s:Body></s:Envelope>"
    ).encode()


def publish(operations: str, outer: str = "") -> bytes:
    return envelope(f'<m:publish session-id="81-af">{operations}</m:publish>', outer)


def refusal(body: bytes, settings: ReadSettings | None = None) -> tuple[ErrorCode, str]:
    with pytest.raises(IfmapError) as caught:
        read(body, settings or ReadSettings())
    return caught.value.code, str(caught.value)


# -- as the reference has them


def test_publish() -> None:
    """The example of reference 2.4, with blanks between the elements and the namespaces on the envelope."""
    body = publish(
        """
  <update lifetime="forever">
    <ip-address value="192.0.2.7" type="IPv4"/>
    <mac-address value="02:00:5e:00:00:07"/>
    <metadata>
      <meta:ip-mac ifmap-cardinality="multiValue"><dhcp-server>dhcp-3</dhcp-server></meta:ip-mac>
      <!-- another -->
      <x:m xmlns:x="urn:x" ifmap-cardinality="singleValue"/>
    </metadata>
  </update>
  <notify>
    <mac-address value="02:00:5e:00:00:07"/>
    <metadata><x:seen xmlns:x="urn:x" ifmap-cardinality="multiValue"/></metadata>
  </notify>
  <delete filter="x:old[@k='1']" xmlns:x="urn:x">
    <ip-address value="192.0.2.7" type="IPv4"/>
  </delete>
  <delete filter=""><mac-address value="02:00:5e:00:00:07"/><ip-address value="192.0.2.7"/></delete>
  <delete><device><name>pe1</name></device></delete>
""",
        f'xmlns:meta="{STANDARD_METADATA}"',
    )
    request = read(body)
    assert isinstance(request, Publish)
    update, notify, *deletes = request.operations
    ip_mac = NewMetadata(
        MetadataName(STANDARD_METADATA, "ip-mac"),
        False,
        b"<meta:ip-mac",
        f' xmlns:meta="{STANDARD_METADATA}" ifmap-cardinality="multiValue"><dhcp-server>dhcp-3</dhcp-server>'
        "</meta:ip-mac>".encode(),
    )
    assert update == Update(link(IP, MAC), (ip_mac, build(META, True)), Lifetime.FOREVER)
    assert notify == Notify(node(MAC), (build(MetadataName("urn:x", "seen"), False),))
    assert deletes == [
        Delete(node(IP), filters.compile("x:old[@k='1']", {"x": "urn:x"})),
        Delete(link(IP, MAC), filters.NOTHING),
        Delete(node(make.device("pe1"))),
    ]
    assert request.session_id == "81-af"


def test_search() -> None:
    body = envelope(
        '<m:search session-id="81-af" match-links="meta:ip-mac or meta:access-request-mac" max-depth="2"'
        ' max-size="500000" result-filter="meta:ip-mac" terminal-identifier-type="device,access-request"'
        ' validation="None">'
        '<ip-address value="192.0.2.7" type="IPv4"/></m:search>',
        f'xmlns:meta="{STANDARD_METADATA}"',
    )
    request = read(body)
    assert isinstance(request, Search)
    spec = request.spec
    assert (spec.start, spec.max_depth, spec.max_size) == (IP, 2, 500000)
    assert spec.terminal_types == {"device", "access-request"}
    ip_mac, request_mac = (MetadataName(STANDARD_METADATA, local) for local in ("ip-mac", "access-request-mac"))
    assert spec.match_links is not None and spec.match_links.names == frozenset({ip_mac, request_mac})
    assert spec.result_filter is not None and spec.result_filter.names == frozenset({ip_mac})


def test_defaults_of_a_search() -> None:
    start = '<ip-address value="192.0.2.7"/>'
    assert read(envelope(f'<m:search session-id="1">{start}</m:search>')) == Search("1", SearchSpec(IP))
    bare = read(envelope(f'<m:search session-id="1" match-links="" result-filter="">{start}</m:search>'))
    assert bare == Search("1", SearchSpec(IP, 0, filters.NOTHING, filters.NOTHING))


def test_subscribe() -> None:
    body = envelope(
        '<m:subscribe session-id="81-af"><update name="vpn-root" max-depth="255" max-size="50000000">'
        '<identity name="root" type="other" other-type-definition="32473:cfg"/></update><delete name="old-one"/>'
        "</m:subscribe>"
    )
    root = make.identity("root", "other", "32473:cfg")
    update = Subscription("vpn-root", SearchSpec(root, 255, max_size=50000000))
    assert read(body) == Subscribe("81-af", (update, Unsubscription("old-one")))


@pytest.mark.parametrize(
    ("xml", "request_"),
    [
        ("<m:newSession/>", NewSession()),
        ('<m:newSession max-poll-result-size="6000000"/>', NewSession(6000000)),
        ('<m:newSession max-poll-result-size=" +7&#10;"/>', NewSession(7)),
        ('<m:renewSession session-id="81-af"/>', RenewSession("81-af")),
        ('<m:endSession session-id="81-af"/>', EndSession("81-af")),
        ('<m:poll session-id="81-af" validation="All" x="y"/>', Poll("81-af")),
        ('<m:purgePublisher session-id="81-af" ifmap-publisher-id="pe1"/>', PurgePublisher("81-af", "pe1")),
    ],
)
def test_simple_requests(xml: str, request_: Request) -> None:
    assert read(envelope(xml)) == request_
    assert (
        read(envelope(xml.replace("m:", "").replace(" ", f' xmlns="{BASE}" ', 1))) == request_ if " " in xml else True
    )


def test_the_body_that_opencontrail_sends() -> None:
    """Namespaces on the envelope, names that are no XML: an opaque server takes them."""
    body = publish(
        '<update lifetime="forever"><identity name="contrail:routing-instance:default-domain:demo:blue:blue" '
        'type="other" other-type-definition="extended"/><identity name="contrail:route-target:target:64512:8000001" '
        'type="other" other-type-definition="extended"/><metadata>'
        '<contrail:instance-target ifmap-cardinality="singleValue">'
        "<import-export/></contrail:instance-target></metadata></update>"
        '<delete filter="contrail:instance-target"><identity name="contrail:config-root:root" type="other" '
        'other-type-definition="extended"/></delete>',
        'xmlns:contrail="http://www.contrailsystems.com/vnc_cfg.xsd"',
    )
    request = read(body, ReadSettings(strict=False))
    assert isinstance(request, Publish)
    update, delete = request.operations
    assert isinstance(update, Update) and isinstance(delete, Delete)
    name = MetadataName("http://www.contrailsystems.com/vnc_cfg.xsd", "instance-target")
    assert update.metadata[0].name == name
    assert delete.filter is not None and delete.filter.names == frozenset({name})
    assert refusal(body)[0] is ErrorCode.INVALID_IDENTIFIER


def test_qualified_inner_elements_are_understood() -> None:
    body = (
        f'<Envelope xmlns="{SOAP}"><Body><publish xmlns="{BASE}" session-id="1"><update>'
        '<device><name>pe1</name></device><metadata><x:m xmlns:x="urn:x" ifmap-cardinality="singleValue"/>'
        '</metadata></update><delete><ip-address value="192.0.2.7"/></delete></publish></Body></Envelope>'
    ).encode()
    request = read(body)
    assert isinstance(request, Publish)
    update = request.operations[0]
    assert isinstance(update, Update)
    assert (update.edge, update.metadata[0].name) == (node(make.device("pe1")), META)
    assert request.operations[1] == Delete(node(IP))


def test_headers_that_need_not_be_understood() -> None:
    for header, understood in (
        ("<x/>", True),
        ('<x s:mustUnderstand="false"/>', True),
        ('<x s:mustUnderstand="1"/>', False),
    ):
        body = envelope("<m:newSession/>").replace(b"<s:Body>", f"<s:Header>{header}</s:Header><s:Body>".encode())
        if understood:
            assert read(body) == NewSession()
        else:
            assert "not understood" in refusal(body)[1]


# -- refused

_UPDATE = '<update><ip-address value="192.0.2.7"/><metadata><m ifmap-cardinality="singleValue"/></metadata></update>'
_IP = '<ip-address value="192.0.2.7"/>'
_M = '<m ifmap-cardinality="singleValue"/>'


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"", ErrorCode.FAILURE, "malformed"),
        (b"<a/>", ErrorCode.FAILURE, "not a SOAP 1.2 envelope"),
        (
            envelope("<m:newSession/>").replace(SOAP.encode(), b"http://schemas.xmlsoap.org/soap/envelope/"),
            ErrorCode.FAILURE,
            "not a SOAP 1.2 envelope",
        ),
        (f'<s:Envelope xmlns:s="{SOAP}"/>'.encode(), ErrorCode.FAILURE, "0 bodies"),
        (f'<s:Envelope xmlns:s="{SOAP}"><s:Body/><s:Body/></s:Envelope>'.encode(), ErrorCode.FAILURE, "2 bodies"),
        (f'<s:Envelope xmlns:s="{SOAP}"><x/></s:Envelope>'.encode(), ErrorCode.FAILURE, "something else"),
        (
            f'<s:Envelope xmlns:s="{SOAP}"><metadata><x/></metadata></s:Envelope>'.encode(),
            ErrorCode.FAILURE,
            "something",
        ),
        (envelope(""), ErrorCode.FAILURE, "0 elements"),
        (envelope("<m:newSession/><m:newSession/>"), ErrorCode.FAILURE, "2 elements"),
        (envelope("<newSession/>"), ErrorCode.FAILURE, "unknown operation 'newSession'"),
        (envelope("<m:attachSession session-id='1'/>"), ErrorCode.FAILURE, "attachSession"),
        (envelope("<update/>"), ErrorCode.FAILURE, "unknown operation"),
        (envelope("<metadata/>"), ErrorCode.FAILURE, "unknown operation"),
        (envelope("<m:newSession max-poll-result-size='-1'/>"), ErrorCode.FAILURE, "'-1' is not a number"),
        (envelope("<m:newSession max-poll-result-size='x'/>"), ErrorCode.FAILURE, "not a number"),
        (envelope("<m:newSession max-poll-result-size='4294967296'/>"), ErrorCode.FAILURE, "not a number"),
        (envelope("<m:newSession><x/></m:newSession>"), ErrorCode.FAILURE, "with elements in it"),
        (envelope("<m:poll/>"), ErrorCode.FAILURE, "poll without session-id"),
        (envelope("<m:poll session-id=''/>"), ErrorCode.INVALID_SESSION_ID, "0 characters"),
        (envelope(f"<m:poll session-id='{'x' * 129}'/>"), ErrorCode.INVALID_SESSION_ID, "129"),
        (envelope("<m:renewSession/>"), ErrorCode.FAILURE, "renewSession without session-id"),
        (envelope("<m:endSession/>"), ErrorCode.FAILURE, "endSession without session-id"),
        (envelope(f"<m:publish>{_UPDATE}</m:publish>"), ErrorCode.FAILURE, "publish without session-id"),
        (envelope("<m:purgePublisher session-id='1'/>"), ErrorCode.FAILURE, "without an ifmap-publisher-id"),
        (publish(""), ErrorCode.FAILURE, "publish without operations"),
        (publish("<search/>"), ErrorCode.FAILURE, "'search' within publish"),
        (publish(f"<metadata>{_M}</metadata>"), ErrorCode.FAILURE, "'metadata' within publish"),
        (publish("<update xmlns='urn:other'/>"), ErrorCode.FAILURE, "'update' within publish"),
        (publish(f"<update>{_IP}</update>"), ErrorCode.FAILURE, "0 metadata elements"),
        (
            publish(f"<update>{_IP}<metadata>{_M}</metadata><metadata/></update>"),
            ErrorCode.FAILURE,
            "2 metadata elements",
        ),
        (publish(f"<update>{_IP}<metadata/></update>"), ErrorCode.INVALID_METADATA, "without metadata"),
        (publish(f"<notify>{_IP}<metadata/></notify>"), ErrorCode.INVALID_METADATA, "notify without metadata"),
        (publish(f"<update>{_IP}<metadata><m/></metadata></update>"), ErrorCode.INVALID_METADATA, "ifmap-cardinality"),
        (publish(f"<update><metadata>{_M}</metadata></update>"), ErrorCode.FAILURE, "0 identifiers"),
        (publish(f"<update>{_IP * 3}<metadata>{_M}</metadata></update>"), ErrorCode.FAILURE, "3 identifiers"),
        (publish(_UPDATE.replace("<update>", "<update lifetime='ever'>")), ErrorCode.FAILURE, "'ever'"),
        (publish("<delete/>"), ErrorCode.FAILURE, "0 identifiers"),
        (publish(f"<delete>{_IP}<metadata>{_M}</metadata></delete>"), ErrorCode.FAILURE, "metadata where"),
        (publish(f"<delete filter='x:y'>{_IP}</delete>"), ErrorCode.FAILURE, "prefix 'x' is not declared"),
        (publish(f"<delete filter='['>{_IP}</delete>"), ErrorCode.FAILURE, "filter '['"),
        (publish("<delete><ip-address value='x'/></delete>"), ErrorCode.INVALID_IDENTIFIER, "'x' is not"),
        (publish("<delete><host value='x'/></delete>"), ErrorCode.INVALID_IDENTIFIER_TYPE, "'host'"),
        (envelope("<m:search session-id='1'/>"), ErrorCode.FAILURE, "0 elements"),
        (envelope(f"<m:search session-id='1'>{_IP * 2}</m:search>"), ErrorCode.FAILURE, "2 elements"),
        (envelope(f"<m:search>{_IP}</m:search>"), ErrorCode.FAILURE, "without session-id"),
        (envelope(f"<m:search session-id='1' max-depth='-1'>{_IP}</m:search>"), ErrorCode.FAILURE, "max-depth '-1'"),
        (envelope(f"<m:search session-id='1' max-depth=''>{_IP}</m:search>"), ErrorCode.FAILURE, "max-depth"),
        (envelope(f"<m:search session-id='1' max-depth='1.5'>{_IP}</m:search>"), ErrorCode.FAILURE, "max-depth"),
        (
            envelope(f"<m:search session-id='1' max-depth='{'9' * 9999}'>{_IP}</m:search>"),
            ErrorCode.FAILURE,
            "max-depth",
        ),
        (envelope(f"<m:search session-id='1' max-depth='٣'>{_IP}</m:search>"), ErrorCode.FAILURE, "max-depth"),
        (envelope(f"<m:search session-id='1' max-size='-1'>{_IP}</m:search>"), ErrorCode.FAILURE, "max-size '-1'"),
        (envelope(f"<m:search session-id='1' match-links='x:y'>{_IP}</m:search>"), ErrorCode.FAILURE, "not declared"),
        (envelope(f"<m:search session-id='1' result-filter=']'>{_IP}</m:search>"), ErrorCode.FAILURE, "filter"),
        (
            envelope(f"<m:search session-id='1' terminal-identifier-type='host'>{_IP}</m:search>"),
            ErrorCode.INVALID_IDENTIFIER,
            "'host'",
        ),
        (envelope("<m:subscribe session-id='1'/>"), ErrorCode.FAILURE, "subscribe without operations"),
        (envelope("<m:subscribe session-id='1'><delete/></m:subscribe>"), ErrorCode.FAILURE, "without a name"),
        (envelope("<m:subscribe session-id='1'><notify/></m:subscribe>"), ErrorCode.FAILURE, "'notify' within"),
        (envelope(f"<m:subscribe session-id='1'><update>{_IP}</update></m:subscribe>"), ErrorCode.FAILURE, "a name"),
        (envelope("<m:subscribe session-id='1'><update name='a'/></m:subscribe>"), ErrorCode.FAILURE, "0 elements"),
        (
            envelope(f"<m:subscribe session-id='1'><update name='{'a' * 256}'>{_IP}</update></m:subscribe>"),
            ErrorCode.FAILURE,
            "1 to 255",
        ),
    ],
)
def test_refusals(body: bytes, code: ErrorCode, says: str) -> None:
    found, text = refusal(body)
    assert (found, says in text) == (code, True), text


def test_limits() -> None:
    body = publish(_UPDATE * 3)
    assert isinstance(read(body, ReadSettings(operations=3)), Publish)
    assert "more than 2 operations in one publish" in refusal(body, ReadSettings(operations=2))[1]
    subscribe = envelope("<m:subscribe session-id='1'>" + "<delete name='a'/>" * 3 + "</m:subscribe>")
    assert "more than 2 operations in one subscribe" in refusal(subscribe, ReadSettings(operations=2))[1]
    assert refusal(body, ReadSettings(metadata=35))[0] is ErrorCode.METADATA_TOO_LONG
    assert refusal(body, ReadSettings(identifier=8))[0] is ErrorCode.IDENTIFIER_TOO_LONG
    assert isinstance(read(body, ReadSettings(metadata=36, identifier=9)), Publish)
    many = publish(_UPDATE.replace(_M, _M * 4))
    assert isinstance(read(many, ReadSettings(operations=4)), Publish)
    assert "more than 3 metadata in one publish" in refusal(many, ReadSettings(operations=3))[1]


def test_a_metadatum_that_is_too_long_is_not_read_to_its_end() -> None:
    endless = publish(f"<update>{_IP}<metadata><m ifmap-cardinality='singleValue'>" + "<a/>" * 1_000_000)
    assert refusal(endless, ReadSettings(metadata=1000))[0] is ErrorCode.METADATA_TOO_LONG
    assert refusal(endless, ReadSettings(metadata=10_000_000))[0] is ErrorCode.FAILURE


def test_only_different_filters_count() -> None:
    same = publish(f'<delete filter="m:abc[1]">{_IP}</delete>' * 100)
    assert isinstance(read(same, ReadSettings(filters=8)), Publish)
    assert "filters of more than 7 characters" in refusal(same, ReadSettings(filters=7))[1]
    different = publish("".join(f'<delete filter="m:abc[{n}]">{_IP}</delete>' for n in range(10)))
    assert isinstance(read(different, ReadSettings(filters=80)), Publish)
    assert "filters of more than 79 characters" in refusal(different, ReadSettings(filters=79))[1]


# -- written and read


_NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=9
)
_IDENTIFIERS = st.one_of(
    st.builds(lambda address: make.ip_address(str(address)), st.ip_addresses()),
    st.builds(make.device, _NAMES),
    st.builds(make.access_request, _NAMES, _NAMES),
    st.builds(lambda name, domain: make.identity(name, "username", domain=domain), _NAMES, _NAMES),
    st.builds(lambda name, definition: make.identity(name, "other", definition + ":"), _NAMES, _NAMES),
    st.builds(lambda value: make.extended("a", "urn:x", {"b": value}), _NAMES),
    st.just(MAC),
)
_EDGES = st.builds(node, _IDENTIFIERS) | st.builds(link, _IDENTIFIERS, _IDENTIFIERS)
_METADATA_NAMES = st.builds(MetadataName, st.sampled_from(["", "urn:x", "urn:y?a=1&b=2", BASE]), st.sampled_from("abc"))
_METADATA = st.lists(
    st.builds(build, _METADATA_NAMES, st.booleans(), _NAMES, st.dictionaries(st.sampled_from("kl"), _NAMES)),
    min_size=1,
    max_size=3,
).map(tuple)
_SCOPE = {"s": "urn:x", "m": "urn:y", "n0": "urn:z", "mm": BASE}
_FILTERS: st.SearchStrategy[Filter | None] = st.one_of(
    st.none(),
    st.just(filters.NOTHING),
    st.builds(lambda names: filters.of_names(*names), st.lists(_METADATA_NAMES, max_size=3)),
    st.sampled_from(["*", "m:a[@k='<\"&']", "s:*", "mm:x or\tn0:y", "s:a\n/b"]).map(
        lambda text: filters.compile(text, _SCOPE)
    ),
)
_SPECS = st.builds(
    SearchSpec,
    _IDENTIFIERS,
    st.integers(0, 2**32 - 1),
    _FILTERS,
    _FILTERS,
    st.none() | st.integers(0, 2**32 - 1),
    st.frozensets(st.sampled_from(["device", "identity:other:a", "urn:x#b"])),
)
_SESSIONS = _NAMES
_REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.builds(NewSession, st.none() | st.integers(0, 2**32 - 1)),
    st.builds(RenewSession, _SESSIONS),
    st.builds(EndSession, _SESSIONS),
    st.builds(Poll, _SESSIONS),
    st.builds(PurgePublisher, _SESSIONS, _NAMES),
    st.builds(Search, _SESSIONS, _SPECS),
    st.builds(
        Publish,
        _SESSIONS,
        st.lists(
            st.builds(Update, _EDGES, _METADATA, st.sampled_from(Lifetime))
            | st.builds(Notify, _EDGES, _METADATA)
            | st.builds(Delete, _EDGES, _FILTERS),
            min_size=1,
            max_size=4,
        ).map(tuple),
    ),
    st.builds(
        Subscribe,
        _SESSIONS,
        st.lists(
            st.builds(Subscription, _NAMES, _SPECS) | st.builds(Unsubscription, _NAMES), min_size=1, max_size=4
        ).map(tuple),
    ),
)


def meaning(request: Request) -> object:
    """The request with filters as what they mean: names, or else the text and its namespaces."""

    def plain(value: object) -> object:
        if isinstance(value, filters.CompiledFilter):
            return value.names if value.names is not None else (value.text, value.namespaces)
        if hasattr(value, "__dataclass_fields__"):
            return type(value), [plain(getattr(value, name)) for name in value.__dataclass_fields__]
        return [plain(each) for each in value] if type(value) is tuple else value

    return plain(request)


@given(_REQUESTS)
def test_what_is_written_is_read(request_: Request) -> None:
    try:
        body = write_request(request_)
    except IfmapError as error:
        assert "use a prefix differently" in str(error)
        return
    assert meaning(read(body)) == meaning(request_)
    assert write_request(read(body)) == body or b"n0" in body


def test_nothing_is_injected() -> None:
    evil = '"/><delete><device><name>x</name></device></delete><x y="'
    body = write_request(
        Publish(
            evil,
            (
                Update(
                    link(make.access_request(evil, evil), make.device(evil)), (build(META, True, evil, {"k": evil}),)
                ),
                Delete(node(IP), filters.compile(f"s:m[@k = '{evil}']", _SCOPE)),
            ),
        )
    )
    request = read(body)
    assert isinstance(request, Publish)
    assert len(request.operations) == 2
    assert request.session_id == evil


def test_what_cannot_be_written() -> None:
    class Opaque:
        names = None

        def matches(self, metadata: Metadata) -> bool:
            return bool(metadata)

    class Named(Opaque):
        names = frozenset({META})  # type: ignore[assignment]

    with pytest.raises(IfmapError, match="without text"):
        write_request(Publish("1", (Delete(node(IP), Opaque()),)))
    request = read(write_request(Publish("1", (Delete(node(IP), Named()),))))
    assert request == Publish("1", (Delete(node(IP), filters.of_names(META)),))
    with pytest.raises(IfmapError, match="can't be carried"):
        write_request(Poll("\0"))
    one, other = (filters.compile("x:a[1]", {"x": uri}) for uri in ("urn:1", "urn:2"))
    with pytest.raises(IfmapError, match="use a prefix differently"):
        write_request(Search("1", SearchSpec(IP, 0, one, other)))


def test_two_lists_of_names_with_the_same_prefixes() -> None:
    one, other = filters.of_names(MetadataName("urn:1", "a")), filters.of_names(MetadataName("urn:2", "b"))
    request = read(write_request(Search("1", SearchSpec(IP, 0, one, other))))
    assert meaning(request) == meaning(Search("1", SearchSpec(IP, 0, one, other)))


# -- garbage


@given(st.binary(max_size=100), _REQUESTS, st.integers(0, 10_000), st.integers(0, 20))
def test_damaged_requests_raise_nothing_else(noise: bytes, request_: Request, at: int, length: int) -> None:
    try:
        body = write_request(request_)
    except IfmapError:
        return
    at %= len(body)
    for damaged in (noise, body[:at] + noise + body[at + length :], body[:at] + body[at + length :], body[:at]):
        try:
            read(damaged)
        except IfmapError as error:
            assert str(error)


_TAGS = [
    "m:publish session-id='1'",
    "m:subscribe session-id='1'",
    "m:search session-id='1'",
    "update name='a'",
    "notify",
]
_TAGS += ["delete", "metadata", "ip-address value='192.0.2.7'", "device", "name", "x ifmap-cardinality='singleValue'"]
_TREES = st.recursive(
    st.sampled_from([f"<{tag}/>" for tag in _TAGS] + ["text"]),
    lambda inner: st.builds(
        lambda tag, children: f"<{tag}>{''.join(children)}</{tag.split()[0]}>",
        st.sampled_from(_TAGS),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


@given(_TREES, st.booleans())
def test_any_tree_of_known_elements(xml: str, strict: bool) -> None:
    try:
        request = read(envelope(xml), ReadSettings(strict))
    except IfmapError as error:
        assert str(error)
        return
    assert meaning(read(write_request(request))) == meaning(request)


def test_the_form_on_the_wire() -> None:
    """What is sent has unqualified inner elements, double quotes and an XML declaration."""
    body = write_request(Publish("81-af", (Update(link(IP, GROUP), (build(META, True),), Lifetime.FOREVER),)))
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope')
    assert b'<update lifetime="forever"><identity' in body
    assert b'<ip-address value="192.0.2.7" type="IPv4"/>' in body
    assert b'<m:publish xmlns:m="http://www.trustedcomputinggroup.org/2010/IFMAP/2" session-id="81-af">' in body
    assert b"'" not in body
