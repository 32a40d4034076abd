"""Identifiers: canonical forms, what is refused, extended ones, types, the form for stores."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmap import identifiers as make
from ifmap.distinguished_names import canonical
from ifmap.errors import ErrorCode, IfmapError
from ifmap.identifiers import Identifiers, from_text, read_extended, terminal_types, to_text, type_names
from ifmap.items import identifier_xml
from ifmap.values import Identifier, IdentifierKind
from ifmap.xml import parse

VPN = "http://www.ietf.org/I.D-l3vpn-schema"
BASE = "http://www.trustedcomputinggroup.org/2010/IFMAP/2"
STRICT, OPAQUE, CLIENT = Identifiers(strict=True), Identifiers(strict=False), Identifiers(strict=False, lenient=True)
GROUP = make.extended("connectivity-group", VPN, {"name": "SimpleVPN"})
SPELT = (
    "&lt;connectivity-group xmlns=&quot;http://www.ietf.org/I.D-l3vpn-schema&quot; "
    "administrative-domain=&quot;&quot; name=&quot;SimpleVPN&quot;&gt;&lt;/connectivity-group&gt;"
)
EXTENDED = '<identity type="other" other-type-definition="extended" name="{}"/>'


def read(xml: str, reader: Identifiers = STRICT) -> Identifier:
    return reader.read(parse(xml.encode()))


def refusal(xml: str, reader: Identifiers = STRICT) -> tuple[ErrorCode, str]:
    with pytest.raises(IfmapError) as caught:
        read(xml, reader)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ('<ip-address value="192.0.2.7"/>', make.ip_address("192.0.2.7")),
        ('<ip-address value="192.0.2.7" type="IPv4" administrative-domain="d"/>', make.ip_address("192.0.2.7", "d")),
        ('<ip-address value="2001:db8:0:0:0:0:0:1" type="IPv6"/>', make.ip_address("2001:DB8::1")),
        ('<mac-address value="02:00:5e:00:00:07"/>', make.mac_address("02-00-5E-00-00-07")),
        ('<mac-address value="02:00:5e:00:00:07" administrative-domain="d"/>', make.mac_address("0200.5e00.0007", "d")),
        ("<device><name>pe1</name></device>", make.device("pe1")),
        ("<device><name>p<!-- -->e&#x31;</name></device>", make.device("pe1")),
        ('<access-request name="ar-17" administrative-domain="d"/>', make.access_request("ar-17", "d")),
        ('<identity name="bob" type="username"/>', make.identity("bob", "username")),
        ('<identity name="a" type="other" other-type-definition="1:b"/>', make.identity("a", "other", "1:b")),
        ('<identity name="fe80:0:0:0:0:0:0:1" type="hip-hit"/>', make.identity("fe80::1", "hip-hit")),
        (EXTENDED.format(SPELT.replace("&", "&amp;")), GROUP),
        (f'<i:ip-address xmlns:i="{BASE}" value="192.0.2.7"/>', make.ip_address("192.0.2.7")),
        (f'<device xmlns="{BASE}"><name>pe1</name></device>', make.device("pe1")),
    ],
)
def test_forms(xml: str, expected: Identifier) -> None:
    for reader in (STRICT, OPAQUE, CLIENT):
        assert read(xml, reader) == expected
    assert read(identifier_xml(expected).decode()) == expected
    assert from_text(to_text(expected)) == expected


@pytest.mark.parametrize(
    ("xml", "code", "says"),
    [
        ("<ip-address/>", ErrorCode.INVALID_IDENTIFIER, "without value"),
        ('<ip-address value=""/>', ErrorCode.INVALID_IDENTIFIER, "without value"),
        ('<ip-address value="192.0.2.007"/>', ErrorCode.INVALID_IDENTIFIER, "not an IPv4 address"),
        ('<ip-address value="192.0.2"/>', ErrorCode.INVALID_IDENTIFIER, "not an IPv4 address"),
        ('<ip-address value="192.0.2.256"/>', ErrorCode.INVALID_IDENTIFIER, "not an IPv4 address"),
        ('<ip-address value="192.0.2.7&#10;"/>', ErrorCode.INVALID_IDENTIFIER, "not an IPv4 address"),
        ('<ip-address value="fe80::1" type="IPv6"/>', ErrorCode.INVALID_IDENTIFIER, "fe80:0:0:0:0:0:0:1"),
        ('<ip-address value="FE80:0:0:0:0:0:0:1" type="IPv6"/>', ErrorCode.INVALID_IDENTIFIER, "to be written"),
        ('<ip-address value="fe80:0:0:0:0:0:0:01" type="IPv6"/>', ErrorCode.INVALID_IDENTIFIER, "to be written"),
        ('<ip-address value="fe80:0:0:0:0:0:0:1"/>', ErrorCode.INVALID_IDENTIFIER, "IPv6 address, but its type"),
        ('<ip-address value="192.0.2.7" type="IPv6"/>', ErrorCode.INVALID_IDENTIFIER, "IPv4 address, but its type"),
        ('<ip-address value="192.0.2.7" type="ipv4"/>', ErrorCode.INVALID_IDENTIFIER_TYPE, "ipv4"),
        ('<mac-address value="02:00:5E:00:00:07"/>', ErrorCode.INVALID_IDENTIFIER, "lower-case"),
        ('<mac-address value="02-00-5e-00-00-07"/>', ErrorCode.INVALID_IDENTIFIER, "not a MAC address"),
        ('<mac-address value="02:00:5e:00:00"/>', ErrorCode.INVALID_IDENTIFIER, "not a MAC address"),
        ("<device/>", ErrorCode.INVALID_IDENTIFIER, "one name"),
        ("<device><name/></device>", ErrorCode.INVALID_IDENTIFIER, "without a name"),
        ("<device><aik-name>a</aik-name></device>", ErrorCode.INVALID_IDENTIFIER, "aik-name"),
        ("<device><name>a</name><name>b</name></device>", ErrorCode.INVALID_IDENTIFIER, "one name"),
        ('<device administrative-domain="d"><name>a</name></device>', ErrorCode.INVALID_IDENTIFIER, "domain"),
        ('<access-request name=""/>', ErrorCode.INVALID_IDENTIFIER, "without name"),
        ('<identity name="a"/>', ErrorCode.INVALID_IDENTIFIER, "without type"),
        ('<identity type="username"/>', ErrorCode.INVALID_IDENTIFIER, "without name"),
        ('<identity name="a" type="trusted-platform-module"/>', ErrorCode.INVALID_IDENTIFIER_TYPE, "trusted"),
        ('<identity name="a" type="other"/>', ErrorCode.INVALID_IDENTIFIER, "without other-type-definition"),
        ('<identity name="a" type="username" other-type-definition="x"/>', ErrorCode.INVALID_IDENTIFIER, "with other"),
        ('<identity name="fe80::1" type="hip-hit"/>', ErrorCode.INVALID_IDENTIFIER, "to be written"),
        ('<identity name="x" type="hip-hit"/>', ErrorCode.INVALID_IDENTIFIER, "not an IPv6"),
        ('<identity name="bob" type="distinguished-name"/>', ErrorCode.INVALID_IDENTIFIER, "distinguished name"),
        ('<connectivity-group name="x"/>', ErrorCode.INVALID_IDENTIFIER_TYPE, "connectivity-group"),
        ('<ip-address xmlns="urn:other" value="192.0.2.7"/>', ErrorCode.INVALID_IDENTIFIER_TYPE, "not an identifier"),
    ],
)
def test_refusals(xml: str, code: ErrorCode, says: str) -> None:
    found, text = refusal(xml)
    assert found is code
    assert says in text


def test_a_client_takes_other_spellings() -> None:
    assert read('<ip-address value="FE80::1" type="IPv6"/>', CLIENT) == make.ip_address("fe80::1")
    assert read('<ip-address value="fe80::1"/>', CLIENT) == make.ip_address("fe80::1")
    assert read('<mac-address value="02-00-5E-00-00-07"/>', CLIENT) == make.mac_address("02:00:5e:00:00:07")
    assert read('<identity name="a" type="of-2040"/>', CLIENT).type == "of-2040"
    assert read("<device><name>a</name><aik-name>b</aik-name></device>", CLIENT) == make.device("a")
    assert refusal('<ip-address value="x"/>', CLIENT)[0] is ErrorCode.INVALID_IDENTIFIER


# -- extended identifiers


def test_the_name_is_escaped_once_in_the_value_and_twice_on_the_wire() -> None:
    assert GROUP.name == SPELT
    wire = identifier_xml(GROUP).decode()
    assert 'name="&amp;lt;connectivity-group xmlns=&amp;quot;http://www.ietf.org/' in wire
    assert wire.startswith("<identity ") and 'other-type-definition="extended"' in wire
    assert "administrative-domain" not in wire.partition(" name=")[2].partition('" ')[2]


def extended(text: str, times: int = 2, domain: str = "") -> str:
    """The wire form of an identifier whose name is a text, escaped so many times."""
    for _ in range(times):
        for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;")):
            text = text.replace(character, entity)
    return EXTENDED.format(text).replace("/>", f' administrative-domain="{domain}"/>' if domain else "/>")


GOOD = '<a xmlns="urn:x" administrative-domain="" b="1"></a>'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        '<a xmlns="urn:x" administrative-domain="d"></a>',
        '<a xmlns="urn:x" Z="&gt;" administrative-domain="" z="\'"></a>'.replace("&gt;", ">"),
        '<a xmlns="urn:x" administrative-domain="" b="&amp;&lt;&quot;&#x9;&#xA;&#xD;"></a>',
        '<a xmlns="urn:x" administrative-domain="" b="c d=" e=" f="></a>',
        '<a xmlns="urn:x" administrative-domain="Büro" b="ß"></a>',
        '<a xmlns="urn:x" administrative-domain=""><b>t &gt; u</b><c xmlns="urn:y"></c></a>',
        '<a xmlns="urn:x" xmlns:p="urn:p" administrative-domain="" p:b="1"><p:c></p:c></a>',
        '<a xmlns="urn:x?a=1&amp;b=2" administrative-domain=""></a>',
    ],
)
def test_canonical_extended_identifiers(text: str) -> None:
    identifier = read(extended(text))
    assert identifier == make.extended_xml(text) == read(extended(text), OPAQUE)
    assert read(identifier_xml(identifier).decode()) == identifier
    content = read_extended(identifier)
    assert content is not None and content.xml == text


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (extended(GOOD, times=1), "escaped once"),
        (extended(GOOD, times=3), "canonical|malformed"),
        (extended("some text"), "malformed"),
        (extended("<a>"), "malformed"),
        (extended('<a xmlns="urn:x" b="1" administrative-domain=""></a>'), "canonical"),
        (extended('<a administrative-domain="" xmlns="urn:x"></a>'), "canonical"),
        (extended('<a xmlns="urn:x" administrative-domain="" b="1"/>'), "canonical"),
        (extended('<a  xmlns="urn:x" administrative-domain=""></a>'), "canonical"),
        (extended('<a xmlns="urn:x" administrative-domain=""></a>\n'), "canonical"),
        (extended("<a xmlns='urn:x' administrative-domain=''></a>"), "canonical"),
        (extended('<a xmlns="urn:x" administrative-domain="" b="&gt;"></a>'), "canonical"),
        (extended('<a xmlns="urn:x" xmlns:q="urn:q" administrative-domain=""></a>'), "canonical"),
        (extended('<a xmlns="urn:x" administrative-domain="" b="1" b="2"></a>'), "malformed"),
        (extended('<a xmlns="urn:x" administrative-domain=""><!-- c --></a>'), "canonical"),
        (extended('<a xmlns="urn:x" administrative-domain="" b="&apos;"></a>'), "canonical"),
        (extended('<a xmlns="urn:x" administrative-domain="" b="&#9;"></a>'), "canonical"),
        (extended('<a xmlns="urn:x" administrative-domain="" b="&nbsp;"></a>'), "malformed"),
        (extended('<a xmlns="urn:x"></a>'), "without administrative-domain"),
        (extended('<a xmlns="urn:x" b="1"></a>'), "without administrative-domain"),
        (extended('<a administrative-domain=""></a>'), "no namespace"),
        (extended('<p:a xmlns:p="urn:x" administrative-domain=""></p:a>'), "prefix"),
        (extended('<a xmlns="urn:x" xmlns:p="urn:x" administrative-domain="" p:b=""></a>'), "prefix|canonical"),
        (extended('<!DOCTYPE a><a xmlns="urn:x" administrative-domain=""></a>'), "document type"),
        (extended(GOOD, domain="d"), "outside"),
        (extended('<a xmlns="urn x" administrative-domain=""></a>'), "URI"),
        (extended("<a>" * 100_000), "bytes"),
        (extended("<a>" * 10_000), "deeper"),
    ],
)
def test_extended_identifiers_that_are_refused(wire: str, says: str) -> None:
    code, text = refusal(wire)
    assert code is ErrorCode.INVALID_IDENTIFIER
    assert any(word in text for word in says.split("|"))
    if "administrative-domain=" not in wire.rpartition('"extended"')[2].partition('" ')[2]:
        assert read(wire, OPAQUE).definition == "extended"


def test_opaque_names_are_any_text() -> None:
    wire = '<identity name="contrail:routing-instance:a:b" type="other" other-type-definition="extended"/>'
    identifier = read(wire, OPAQUE)
    assert identifier == make.identity("contrail:routing-instance:a:b", "other", "extended", strict=False)
    assert read_extended(identifier) is None
    assert refusal(wire)[0] is ErrorCode.INVALID_IDENTIFIER
    with pytest.raises(IfmapError):
        make.identity("contrail:routing-instance:a:b", "other", "extended")


def test_what_an_extended_identifier_says() -> None:
    identifier = make.extended("a", "urn:x", {"name": "<\"&'> \t", "B": ""}, "d & e")
    assert read(identifier_xml(identifier).decode()) == identifier
    content = read_extended(identifier)
    assert content is not None
    assert (content.namespace, content.local, content.domain) == ("urn:x", "a", "d & e")
    assert content.attributes == {"name": "<\"&'> \t", "B": ""}
    assert read_extended(make.device("a")) is None


def test_any_spelling_becomes_canonical() -> None:
    assert make.extended_xml(f"<connectivity-group  name='SimpleVPN' administrative-domain='' xmlns='{VPN}'/>") == GROUP
    for wrong in ("", "x", "<a/>", "<a xmlns='urn:x'/>", "<!DOCTYPE a><a/>", "\ud800"):
        with pytest.raises(IfmapError) as caught:
            make.extended_xml(wrong)
        assert caught.value.code is ErrorCode.INVALID_IDENTIFIER


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z_][\w.\-]{0,5}", fullmatch=True), st.text(max_size=9)), st.text(max_size=9)
)
def test_what_is_made_is_canonical(attributes: dict[str, str], domain: str) -> None:
    try:
        identifier = make.extended("a", "urn:x", attributes, domain)
    except IfmapError as error:
        assert error.code is ErrorCode.INVALID_IDENTIFIER
        return
    assert read(identifier_xml(identifier).decode()) == identifier
    content = read_extended(identifier)
    assert content is not None and make.extended_xml(content.xml) == identifier


# -- makers


@given(st.ip_addresses())
def test_addresses_of_any_spelling(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    made = make.ip_address(str(address))
    assert made == make.ip_address(address.exploded.upper())
    assert read(identifier_xml(made).decode()) == made
    assert ipaddress.ip_address(made.name) == address


@pytest.mark.parametrize("text", ["", "x", "192.0.2.07", "192.0.2", "fe80::1%eth0", "1::2::3", "192.0.2.7/32"])
def test_texts_that_are_no_addresses(text: str) -> None:
    with pytest.raises(IfmapError, match="not an IPv4 or IPv6 address"):
        make.ip_address(text)


@pytest.mark.parametrize("text", ["", "x", "02:00:5e:00:00", "02:00-5e:00:00:07", "0200.5e00.00077", "02005e000007"])
def test_texts_that_are_no_mac_addresses(text: str) -> None:
    with pytest.raises(IfmapError, match="not a MAC address"):
        make.mac_address(text)


def test_makers_refuse_what_cannot_be_sent() -> None:
    for name in ("", "a\0", "a\x1fb", "\ud800"):
        for maker in (make.device, make.access_request, lambda text: make.identity(text, "username")):
            with pytest.raises(IfmapError) as caught:
                maker(name)
            assert caught.value.code is ErrorCode.INVALID_IDENTIFIER
    with pytest.raises(IfmapError):
        make.access_request("a", "\x1f")
    with pytest.raises(IfmapError):
        make.extended("a b", "urn:x", {})
    with pytest.raises(IfmapError):
        make.extended("a", "", {})
    with pytest.raises(IfmapError):
        make.extended("a", "urn:x", {"xmlns": "urn:y"})
    with pytest.raises(IfmapError):
        make.extended("a", "urn:x", {"b": "\0"})


# -- comparison


def test_what_tells_identifiers_apart() -> None:
    ones = [
        make.identity("a", "username"),
        make.identity("A", "username"),
        make.identity("a", "username", domain="d"),
        make.identity("a", "dns-name"),
        make.identity("a", "other", "1:x"),
        make.identity("a", "other", "1:y"),
        make.device("a"),
        make.access_request("a"),
        make.access_request("a", "d"),
    ]
    assert len(set(ones)) == len(ones)
    assert len({to_text(one) for one in ones}) == len(ones)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CN=Bob,O=Acme", "CN=Bob,O=Acme"),
        ("cn = Bob ;  2.5.4.10=Acme", "CN=Bob,O=Acme"),
        ("CN=Bob, OID.2.5.4.10=Acme ", "CN=Bob,O=Acme"),
        ('O="Acme, Inc"', r"O=Acme\, Inc"),
        (r"O=Acme\2c Inc", r"O=Acme\, Inc"),
        ("ou=b+cn=a", "CN=a+OU=b"),
        (r"CN= \ a\ ", r"CN=\ a\ "),
        (r"CN=\23x", r"CN=\#x"),
        ("CN=#0AfF", "CN=#0aff"),
        (r"CN=Lu\C4\8Di\C4\87", "CN=Lučić"),
        (r"CN=a\00\1f\EF\BF\BF", r"CN=a\00\1f\ef\bf\bf"),
        ("CN=", "CN="),
        ('CN=""', "CN="),
        ("1.2.3=x", "1.2.3=x"),
        ("CN=a=b", "CN=a=b"),
        ("", None),
        ("x", None),
        ("CN=a,", None),
        ("CN=a,,O=b", None),
        ("CN=<a>", None),
        ('CN="a"b', None),
        ('CN="a', None),
        ("CN=a\\", None),
        (r"CN=\C4", None),
        ("=a", None),
    ],
)
def test_distinguished_names(text: str, expected: str | None) -> None:
    assert canonical(text) == expected
    if expected is not None:
        assert canonical(expected) == expected
        assert make.identity(text, "distinguished-name") == make.identity(expected, "distinguished-name")


@given(st.text(max_size=30) | st.from_regex(r'(?:[A-Z]+=[^\n]{0,5}[,+;"\\]?){0,4}', fullmatch=True))
def test_distinguished_names_are_stable(text: str) -> None:
    once = canonical(text)
    assert once is None or canonical(once) == once


def test_an_opaque_server_and_a_client_compare_other_names_exactly() -> None:
    wire = '<identity name="bob" type="distinguished-name"/>'
    assert read(wire, OPAQUE).name == read(wire, CLIENT).name == "bob"


# -- types


def test_names_of_types() -> None:
    assert type_names(make.device("a")) == {"device"}
    assert type_names(make.ip_address("192.0.2.7")) == {"ip-address"}
    assert type_names(make.identity("a", "username")) == {"identity", "identity:username", "identity:nonextended"}
    assert type_names(make.identity("a", "other", "32473:cfg")) == {
        *("identity", "identity:other", "identity:nonextended", "identity:other:32473:cfg"),
    }
    extended_names = {"identity", "identity:other", "identity:other:extended"}
    assert type_names(GROUP) == extended_names | {f"{VPN}#connectivity-group"}
    assert type_names(make.identity("a:b", "other", "extended", strict=False)) == extended_names
    untidy = make.identity("&lt;a b=&quot;&quot; xmlns=&quot;urn:x&quot;/&gt;", "other", "extended", strict=False)
    assert type_names(untidy) == extended_names | {"urn:x#a"}


def test_terminal_types_are_read() -> None:
    assert terminal_types("device, access-request") == {"device", "access-request"}
    assert terminal_types("") == terminal_types(" , ") == frozenset()
    text = f"identity:username,identity:nonextended,identity:other:extended,identity:other:1:x,{VPN}#route-target"
    assert terminal_types(text) == set(text.split(","))
    for wrong in ("Device", "host", "identity:", "identity:x", "identity:other:", "urn:x#", "#a", "device:x", "urn:x"):
        with pytest.raises(IfmapError) as caught:
            terminal_types(f"device,{wrong}")
        assert caught.value.code is ErrorCode.INVALID_IDENTIFIER
    with pytest.raises(IfmapError, match="more than"):
        terminal_types(",".join(f"urn:x#a{n}" for n in range(2000)))


# -- stores


def test_texts_of_stores() -> None:
    assert (
        to_text(Identifier(IdentifierKind.IDENTITY, "n", "other", "1:d", "e")) == "identity\x1fn\x1fother\x1f1:d\x1fe"
    )
    for wrong in ("", "identity", "host\x1fa\x1f\x1f\x1f", "device\x1fa\x1f\x1f\x1f\x1f"):
        with pytest.raises(ValueError, match=r"identifier|IdentifierKind"):
            from_text(wrong)


# -- anything


@given(
    st.sampled_from(["ip-address", "mac-address", "identity", "access-request", "device", "x"]),
    st.dictionaries(
        st.sampled_from(["name", "value", "type", "administrative-domain", "other-type-definition"]),
        st.sampled_from(["", "IPv4", "IPv6", "other", "extended", "hip-hit", "distinguished-name", "::", "1.2.3.4"])
        | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='<&"\ufffe\uffff'), max_size=9),
    ),
)
def test_whatever_is_read_is_stable(tag: str, attributes: dict[str, str]) -> None:
    xml = f"<{tag} " + " ".join(f'{key}="{value}"' for key, value in attributes.items()) + "/>"
    for reader in (STRICT, OPAQUE, CLIENT):
        try:
            identifier = read(xml, reader)
        except IfmapError:
            continue
        assert read(identifier_xml(identifier).decode(), reader) == identifier
        assert from_text(to_text(identifier)) == identifier
        assert type_names(identifier)
