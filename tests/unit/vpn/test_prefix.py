"""Prefixes and addresses from texts of operators."""

from __future__ import annotations

import pytest

from vpn.prefix import Prefix, PrefixError, not_unicast, parse_address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1", "not a unicast address"),
        ("0.0.0.0", "not a unicast address"),
        ("224.0.0.5", "a multicast or reserved address"),
        ("ff02::1", "a multicast address"),
        ("fe80::2", "a link-local address"),
        ("::ffff:10.1.1.1", "an IPv4-mapped address"),
        ("::1", "not a unicast address"),
        ("10.1.1.1", None),
        ("2001:db8::1", None),
        ("fd00::1", None),
    ],
)
def test_what_no_interface_of_a_vm_can_have(text: str, why: str | None) -> None:
    assert not_unicast(parse_address(text)) == why


@pytest.mark.parametrize(
    ("text", "meant"), [("10.1.1.1/16", "10.1.0.0/16"), ("2001:db8::1/64", "2001:db8::/64"), ("1.2.3.4/0", "0.0.0.0/0")]
)
def test_host_bits_are_refused_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(PrefixError, match=f"the prefix is {meant}$"):
        Prefix.parse(text)
