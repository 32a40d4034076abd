"""The ifalias of a port holds the guest's end, whatever its names contain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath import port_alias
from datapath.devices import Device, alias_of, read_alias
from datapath.values import Port, PortKind

names = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=1, max_size=12)
addresses = st.lists(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), max_size=3)
ports = st.builds(
    Port,
    st.just("vw-1"),
    st.just(PortKind.VETH),
    st.just("vw-blue"),
    names,
    netns=names,
    guest_name=names,
    guest_mac=st.binary(min_size=6, max_size=6),
    guest_addresses=addresses.map(tuple),
)


def device(alias: str) -> Device:
    return Device(3, "vw-1", "veth", 1, 2, b"", 1500, alias, {}, (), 1)


@given(ports, st.booleans())
def test_read_back(port: Port, adopted: bool) -> None:
    alias = port_alias.write(port, adopted)
    assert len(alias) <= 255 and alias.isascii() and alias.isprintable()
    claim = port_alias.read(device(alias))
    assert claim is not None
    assert (claim.attachment, claim.adopted) == (port.attachment, adopted)
    if claim.details is None:
        assert claim.digest == port_alias.digest(port)
    else:
        assert claim.details == port_alias.details_of(port)


def test_a_tap_has_a_short_one() -> None:
    tap = Port("tap0", PortKind.TAP, "vw-blue", "web-1", guest_mac=bytes(6))
    assert port_alias.write(tap, True) == "vrfwire:port:web-1:adopted:m=000000000000"
    claim = port_alias.read(device(port_alias.write(tap, True)))
    assert claim is not None and claim.details == port_alias.details_of(tap)


def test_what_is_too_long_becomes_a_digest() -> None:
    port = Port("vw-1", PortKind.VETH, "vw-blue", "web-1", "n" * 60, "eth0", bytes(6), (bytes(16),) * 12)
    claim = port_alias.read(device(port_alias.write(port, False)))
    assert claim is not None and claim.details is None
    assert claim.digest == port_alias.digest(port) != port_alias.digest(replace(port, guest_name="eth1"))


@pytest.mark.parametrize("alias", ["", "somebody", "vrfwire:vrf:blue", "vrfwire"])
def test_other_aliases_are_no_ports(alias: str) -> None:
    assert port_alias.read(device(alias)) is None


@pytest.mark.parametrize("field", ["m=zz", "a=!!", "a=AA"])
def test_edited_alias_is_a_port_to_be_written_again(field: str) -> None:
    claim = port_alias.read(device(f"vrfwire:port:web-1:{field}"))
    assert claim is not None and claim.details is None and claim.digest == ""


def test_colons_are_kept_apart() -> None:
    assert alias_of("vrf", "a:b c") == "vrfwire:vrf:a%3Ab c"
    assert read_alias(device("vrfwire:vrf:a%3Ab c"), "vrf") == ("a:b c", [])
    with pytest.raises(ValueError, match="255"):
        alias_of("vrf", ":" * 100)
