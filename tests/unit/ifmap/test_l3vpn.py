"""The VPN schema's identifiers and metadata: made in canonical form, read back, also as others write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmap import identifiers, l3vpn
from ifmap.identifiers import Identifiers
from ifmap.items import identifier_xml
from ifmap.l3vpn import (
    CATALOGUE,
    NAMESPACE,
    Direction,
    IdentifierType,
    SchemaError,
    SchemaIdentifier,
    State,
    read_identifier,
)
from ifmap.values import Identifier, IdentifierKind, NewMetadata
from ifmap.xml import parse
from vpn.community import RouteTarget
from vpn.prefix import Prefix, parse_address

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\ufffe", "\uffff"])
    | st.sampled_from("\t\n\r&<>\"'"),
    min_size=1,
    max_size=40,
)


def xml(new: NewMetadata) -> bytes:
    return new.head + new.tail


def extended(text: str) -> Identifier:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return Identifier(IdentifierKind.IDENTITY, escaped, "other", "extended")


def test_identifiers_are_those_of_the_reference() -> None:
    assert l3vpn.connectivity_group("SimpleVPN") == extended(
        f'<connectivity-group xmlns="{NAMESPACE}" administrative-domain="" name="SimpleVPN"></connectivity-group>'
    )
    assert l3vpn.route_target(RouteTarget.parse("64512:1")) == extended(
        f'<route-target xmlns="{NAMESPACE}" administrative-domain="" value="64512:1"></route-target>'
    )
    assert l3vpn.customer_attachment("urn:dev:mac:010203ffff040506") == extended(
        f'<customer-attachment xmlns="{NAMESPACE}" administrative-domain="" uuid="urn:dev:mac:010203ffff040506">'
        "</customer-attachment>"
    )
    assert l3vpn.provider_attachment("192.0.2.1", "hv1", "gw1") == extended(
        f'<provider-attachment xmlns="{NAMESPACE}" administrative-domain="gw1" id="192.0.2.1" interface="hv1">'
        "</provider-attachment>"
    )


@given(TEXTS, TEXTS, TEXTS)
def test_any_text_survives_and_is_what_a_strict_server_takes(name: str, host: str, gateway: str) -> None:
    made = {
        l3vpn.connectivity_group(name): SchemaIdentifier(IdentifierType.CONNECTIVITY_GROUP, name),
        l3vpn.customer_attachment(name): SchemaIdentifier(IdentifierType.CUSTOMER_ATTACHMENT, name),
        l3vpn.provider_attachment(name, host, gateway): SchemaIdentifier(
            IdentifierType.PROVIDER_ATTACHMENT, name, host, gateway
        ),
    }
    for identifier, meaning in made.items():
        assert read_identifier(identifier) == meaning
        assert Identifiers(strict=True).read(parse(identifier_xml(identifier))) == identifier


def test_the_codec_makes_the_same() -> None:
    name = "a & <b> \"c\" 'd'\n"
    assert l3vpn.connectivity_group(name) == identifiers.extended("connectivity-group", NAMESPACE, {"name": name})
    assert identifiers.extended("vpn-catalogue", l3vpn.OWN_NAMESPACE, {}) == CATALOGUE
    for text in ("10.1.1.1", "2001:db8::1"):
        assert l3vpn.ip_address(parse_address(text)) == identifiers.ip_address(text)


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "\uffff"])
def test_text_that_xml_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        l3vpn.connectivity_group(text)
    with pytest.raises(SchemaError):
        l3vpn.customer_attachment(text)
    with pytest.raises(SchemaError):
        l3vpn.provider_attachment(text, "host", "gateway")


@pytest.mark.parametrize(
    "text",
    [
        f'<v:customer-attachment uuid="web &amp; 1" administrative-domain="" xmlns:v="{NAMESPACE}"/>',
        f"<customer-attachment id='web &#x26; 1' xmlns='{NAMESPACE}'></customer-attachment>",
        f' <customer-attachment xmlns="{NAMESPACE}"\n  uuid="web &#38; 1" > </customer-attachment> ',
    ],
)
def test_other_spellings_are_read(text: str) -> None:
    found = read_identifier(extended(text))
    assert found == SchemaIdentifier(IdentifierType.CUSTOMER_ATTACHMENT, "web & 1")


@pytest.mark.parametrize(
    "identifier",
    [
        CATALOGUE,
        extended('<connectivity-group xmlns="urn:example:x" administrative-domain="" name="a"></connectivity-group>'),
        extended('<connectivity-group administrative-domain="" name="a"></connectivity-group>'),
        extended(f'<connectivity-group xmlns="{NAMESPACE}" administrative-domain=""></connectivity-group>'),
        extended(f'<connectivity-group xmlns="{NAMESPACE}" administrative-domain="" name=""></connectivity-group>'),
        extended(f'<site xmlns="{NAMESPACE}" name="a"></site>'),
        extended("contrail:routing-instance:blue"),
        extended("<<<"),
        Identifier(IdentifierKind.IDENTITY, "blue", "username"),
        Identifier(IdentifierKind.DEVICE, "connectivity-group"),
        Identifier(IdentifierKind.IDENTITY, "blue", "other", "32473:site"),
    ],
)
def test_what_is_not_of_the_schema_is_nothing(identifier: Identifier) -> None:
    assert read_identifier(identifier) is None


def test_plain_identities_of_2_0_are_read() -> None:
    plain = Identifier(IdentifierKind.IDENTITY, "blue", "other", "32473:connectivity-group")
    assert read_identifier(plain) == SchemaIdentifier(IdentifierType.CONNECTIVITY_GROUP, "blue")
    foreign = plain._replace(domain="tenant-7")
    assert read_identifier(foreign) == SchemaIdentifier(IdentifierType.CONNECTIVITY_GROUP, "blue", domain="tenant-7")


@given(st.text(max_size=60))
def test_garbage_is_read_without_fault(text: str) -> None:
    read_identifier(Identifier(IdentifierKind.IDENTITY, text, "other", "extended"))
    read_identifier(extended(f'<connectivity-group xmlns="{NAMESPACE}" name="{text}"/>'))


def test_a_long_hostile_name_takes_no_time() -> None:
    attributes = ' a="b"' * 20_000
    assert read_identifier(extended(f"<connectivity-group{attributes} <")) is None
    assert read_identifier(extended("<" * 50_000)) is None


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("64512:1", "64512:1"),
        ("1:0.0.0.1", "1:1"),
        ("1:0.1.0.0", "1:65536"),
        ("target:64512:8000001", "64512:8000001"),
        ("192.0.2.1:5", "192.0.2.1:5"),
        ("65000L:1", "65000L:1"),
    ],
)
def test_route_targets(text: str, means: str) -> None:
    assert l3vpn.read_target(text) == RouteTarget.parse(means)


@pytest.mark.parametrize("text", ["", "64512", "64512:x", "1:0.0.0.300", "70000:0.1.0.0", "target:"])
def test_wrong_route_targets_are_named(text: str) -> None:
    with pytest.raises(SchemaError, match="route target"):
        l3vpn.read_target(text)


def test_metadata_is_well_formed_and_single() -> None:
    routes = [Prefix.parse("10.1.1.1/32"), Prefix.parse("2001:db8::/64")]
    for made in (
        l3vpn.listed(),
        l3vpn.provisioned(),
        l3vpn.group_target(),
        l3vpn.connection(),
        l3vpn.binding(),
        l3vpn.attachment_address(24),
        l3vpn.attachment_info(routes),
        l3vpn.attachment_state(State.UP),
        l3vpn.group_ce_protocol("bgp", "autonomous-system", "6 & 4 < 5"),
    ):
        element = parse(xml(made))
        assert element.name == f"{made.name.namespace}}}{made.name.local}"
        assert element.attributes["ifmap-cardinality"] == "singleValue" and made.single
        assert made.head.endswith(made.name.local.encode())


@pytest.mark.parametrize("direction", list(Direction))
def test_direction(direction: Direction) -> None:
    assert l3vpn.read_direction(xml(l3vpn.group_target(direction))) is direction
    assert (direction.imports, direction.exports) == (direction != "export", direction != "import")


def test_direction_as_others_write_it() -> None:
    assert l3vpn.read_direction(b"<x><import-export/></x>") is Direction.BOTH
    assert (
        l3vpn.read_direction(b'<x><a:import-export xmlns:a="urn:a"> import </a:import-export></x>') is Direction.IMPORT
    )
    with pytest.raises(SchemaError, match="'neither'"):
        l3vpn.read_direction(b"<x><import-export>neither</import-export></x>")


def test_addresses() -> None:
    host = l3vpn.ip_address(parse_address("10.1.1.0"))
    assert l3vpn.read_prefixes(host, xml(l3vpn.attachment_address())) == (Prefix.parse("10.1.1.0/32"),)
    both = (Prefix.parse("10.1.1.0/24"), Prefix.parse("10.1.1.0/32"))
    assert l3vpn.read_prefixes(host, xml(l3vpn.attachment_address(24, 32))) == both
    six = l3vpn.ip_address(parse_address("2001:db8::"))
    assert l3vpn.read_prefixes(six, xml(l3vpn.attachment_address(64))) == (Prefix.parse("2001:db8::/64"),)


@pytest.mark.parametrize("length", ["33", "x", "", "8"])
def test_wrong_prefix_lengths_are_named(length: str) -> None:
    with pytest.raises(SchemaError):
        l3vpn.read_prefixes(
            l3vpn.ip_address(parse_address("10.1.1.0")), f"<x><prefix-length>{length}</prefix-length></x>".encode()
        )


def test_state_and_routes() -> None:
    assert l3vpn.read_state(xml(l3vpn.attachment_state(State.ADMIN_DOWN))) is State.ADMIN_DOWN
    assert l3vpn.read_state(b"<x><state>Up</state></x>") is State.UP
    for wrong in (b"<x/>", b"<x><state>gone</state></x>", b"<x><state>up</state><state>down</state></x>"):
        with pytest.raises(SchemaError, match="state"):
            l3vpn.read_state(wrong)
    routes = (Prefix.parse("10.1.1.1/32"), Prefix.parse("2001:db8::/64"))
    assert l3vpn.read_routes(xml(l3vpn.attachment_info(routes))) == routes
    assert l3vpn.read_routes(xml(l3vpn.attachment_protocol("bgp", "autonomous-system", "64512"))) == ()
    with pytest.raises(SchemaError, match="route"):
        l3vpn.read_routes(b"<x><static><route>10.1.1.1/24</route></static></x>")


def test_ce_protocol() -> None:
    assert l3vpn.read_ce_protocol(xml(l3vpn.group_ce_protocol("bgp", "autonomous-system", "64512"))) == "bgp 64512"
    with pytest.raises(SchemaError):
        l3vpn.read_ce_protocol(b"<x><rip/></x>")


def test_hostile_metadata_is_refused() -> None:
    for body in (b"<x><state>up</state>", b'<!DOCTYPE x [<!ENTITY a "up">]><x><state>&a;</state></x>', b""):
        with pytest.raises(SchemaError, match="unreadable"):
            l3vpn.read_state(body)
