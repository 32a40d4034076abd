"""What may be attached, what is refused and with which words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.attachment import Attachment, format_mac, parse_attach, parse_mac
from agent.names import TUNNEL_DEVICE, check_vpn, derived_device, made_mac
from datapath.values import PortKind
from runtime.errors import ExitCode, OperatorError
from vpn.prefix import Prefix, parse_address

TAP: dict[str, object] = {"name": "web-1", "vpn": "blue", "addresses": ["10.1.1.1"], "interface": "tap0"}
VETH: dict[str, object] = {"name": "db", "vpn": "blue", "addresses": ["10.1.1.2", "fd00::2"], "netns": "db"}


def attach(base: Mapping[str, object] = TAP, **changes: object) -> Attachment:
    return parse_attach({**base, **changes}, "hv1")


def test_a_tap() -> None:
    attachment = attach(prefixes=["10.9.0.0/16"], mac="02:00:00:00:00:0A")
    assert attachment == Attachment(
        "web-1",
        "blue",
        PortKind.TAP,
        "tap0",
        None,
        "",
        (parse_address("10.1.1.1"),),
        (Prefix.parse("10.9.0.0/16"),),
        bytes.fromhex("02000000000a"),
        "web-1",
    )
    assert [str(prefix) for prefix in attachment.announced()] == ["10.1.1.1/32", "10.9.0.0/16"]


def test_orchestration_may_call_it_otherwise() -> None:
    assert attach(attachment="urn:dev:mac:020000fffe00000a").known_as == "urn:dev:mac:020000fffe00000a"
    with pytest.raises(OperatorError) as caught:
        attach(attachment="a\nb")
    assert caught.value.code is ExitCode.USAGE and "control character" in str(caught.value)


def test_a_veth_gets_a_device_and_a_mac_that_are_the_same_every_time() -> None:
    one, again = attach(VETH), attach(VETH)
    assert one == again
    assert one.kind is PortKind.VETH
    assert one.interface.startswith("vw-db-") and len(one.interface) == 15
    assert one.guest_interface == "eth0"
    assert one.mac[0] & 3 == 2
    assert parse_attach(VETH, "hv2").mac != one.mac


def test_an_address_may_be_written_as_a_host_prefix_and_counts_once() -> None:
    assert attach(addresses=["10.1.1.1/32", "10.1.1.1"], prefixes=["10.1.1.1/32"]).announced() == (
        Prefix.parse("10.1.1.1/32"),
    )


def test_traffic_is_handed_to_the_address_itself_or_to_the_first_of_its_family() -> None:
    attachment = attach(addresses=["10.1.1.1", "10.1.1.2", "fd00::1"], prefixes=["10.9.0.0/16", "fd09::/64"])
    assert attachment.gateway_of(Prefix.parse("10.1.1.2/32")) == parse_address("10.1.1.2")
    assert attachment.gateway_of(Prefix.parse("10.9.0.0/16")) == parse_address("10.1.1.1")
    assert attachment.gateway_of(Prefix.parse("fd09::/64")) == parse_address("fd00::1")
    assert attach().gateway_of(Prefix.parse("fd09::/64")) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": ""}, "name is missing"),
        ({"name": "-x"}, "not a port name"),
        ({"name": "a b"}, "not a port name"),
        ({"name": "x" * 65}, "not a port name"),
        ({"name": 5}, "name is not a text"),
        ({"vpn": "x" * 129}, "not a VPN name"),
        ({"vpn": "blå"}, "not a VPN name"),
        ({"vpn": "two words"}, "not a VPN name"),
        ({"addresses": []}, "no address"),
        ({"addresses": "10.1.1.1"}, "addresses is not a list"),
        ({"addresses": ["10.1.1"]}, "is not an IPv4 or IPv6 address"),
        ({"addresses": ["10.1.1.0/24"]}, "is a prefix, not an address"),
        ({"addresses": ["224.0.0.5"]}, "multicast"),
        ({"addresses": ["127.0.0.1"]}, "not a unicast address"),
        ({"addresses": ["0.0.0.0"]}, "not a unicast address"),
        ({"addresses": ["169.254.1.1"]}, "the first hop"),
        ({"addresses": ["fe80::1"]}, "the first hop"),
        ({"addresses": ["fe80::2"]}, "link-local"),
        ({"addresses": ["ff02::1"]}, "multicast"),
        ({"addresses": ["::1"]}, "not a unicast address"),
        ({"addresses": ["::ffff:10.1.1.1"]}, "IPv4-mapped"),
        ({"addresses": [f"10.1.1.{n}" for n in range(1, 70)]}, "more than 64"),
        ({"prefixes": ["10.9.0.1/16"]}, "host bits set"),
        ({"prefixes": ["10.9.0.0/33"]}, "greater than 32"),
        ({"prefixes": ["fd09::/64"]}, "no address of its family"),
        ({"prefixes": ["224.0.0.0/4"]}, "multicast"),
        ({"prefixes": [f"10.{n}.0.0/16" for n in range(64)]}, "more than 64"),
        ({"mac": "02:00:00:00:00"}, "not a MAC"),
        ({"mac": "03:00:00:00:00:01"}, "multicast"),
        ({"mac": "00:00:00:00:00:00"}, "no VM can have it"),
        ({"mac": "00:00:5e:00:01:01"}, "no VM can have it"),
        ({"interface": None}, "a tap or a namespace"),
        ({"netns": "db"}, "a tap or a namespace"),
        ({"kind": "veth"}, "a tap or a namespace"),
        ({"interface": "sixteen-letters-"}, "not an interface name"),
        ({"interface": "a/b"}, "not an interface name"),
        ({"interface": "vw-mine"}, "vrfwire's own"),
        ({"adresses": ["10.1.1.1"]}, "unknown parameter 'adresses'"),
    ],
)
def test_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(OperatorError) as caught:
        attach(TAP, **changes)
    assert why in str(caught.value)
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize("netns", ["a/b", "..", "", "x" * 70])
def test_names_of_namespaces(netns: str) -> None:
    with pytest.raises(OperatorError):
        attach(VETH, netns=netns)


def test_a_default_route_behind_a_vm_is_allowed() -> None:
    assert attach(prefixes=["0.0.0.0/0"]).prefixes == (Prefix.parse("0.0.0.0/0"),)


@given(st.binary(min_size=5, max_size=5))
def test_macs_go_round(rest: bytes) -> None:
    mac = b"\x02" + rest
    assert parse_mac(format_mac(mac)) == parse_mac(format_mac(mac).replace(":", "-").upper()) == mac


@given(st.from_regex(r"[!-~]{1,128}", fullmatch=True), st.integers(0, 3))
def test_derived_devices_fit_and_are_distinct_by_kind_and_attempt(name: str, attempt: int) -> None:
    device = derived_device("vrf", check_vpn(name), attempt)
    assert len(device) == 15 and device.startswith("vw-") and device.isascii()
    assert device not in (
        derived_device("port", name, attempt),
        derived_device("vrf", name, attempt + 1),
        TUNNEL_DEVICE,
    )
    assert device == derived_device("vrf", name, attempt)


def test_made_macs_differ_by_host_and_name() -> None:
    assert len({made_mac(host, name) for host in ("hv1", "hv2") for name in ("a", "b")}) == 4
