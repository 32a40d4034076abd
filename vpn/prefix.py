"""IPv4 and IPv6 prefixes, the keys of every VRF table.

A named tuple and not a dataclass: a table of 100,000 routes hashes and compares prefixes in C, and one prefix costs two
small objects.
"""

from __future__ import annotations

import functools
import socket
from typing import NamedTuple

AFI_IPV4 = 1
"""IANA address family number of IPv4."""
AFI_IPV6 = 2
"""IANA address family number of IPv6."""

_SIZE = {AFI_IPV4: 4, AFI_IPV6: 16}
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}


class PrefixError(ValueError):
    """A text is no address or prefix; the message says why, fit for an operator."""


def parse_address(text: str) -> bytes:
    """The packed form (4 or 16 bytes) of an IPv4 or IPv6 address in text form.

    Raises PrefixError. Zone indices ("%eth0") and IPv4 short forms ("10.1") are refused.
    """
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):
        raise PrefixError(f"{text!r} is not an IPv4 or IPv6 address") from None


def not_unicast(packed: bytes) -> str | None:
    """Why no interface of a VM can have an address (4 or 16 bytes), in words such as "a multicast address"; else None.

    Link-local addresses count: they mean something on one link alone, so no VPN can carry them.
    """
    if len(packed) == 4:
        if packed[0] in (0, 127):
            return "not a unicast address"
        return "a multicast or reserved address" if packed[0] >= 224 else None
    if packed[0] == 0xFF:
        return "a multicast address"
    if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
        return "a link-local address"
    if packed[:12] == bytes(10) + b"\xff\xff":
        return "an IPv4-mapped address"
    return "not a unicast address" if packed[:15] == bytes(15) and packed[15] <= 1 else None


def format_address(packed: bytes) -> str:
    """Text form of a packed address (4 or 16 bytes; IPv6 as in RFC 5952)."""
    return socket.inet_ntop(_FAMILY[len(packed)], packed)


class Prefix(NamedTuple):
    """An IP prefix: network address in packed form (4 or 16 bytes, host bits zero) and length in bits."""

    packed: bytes
    length: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read "address/length", or "address" for a host prefix. Host bits set are an error (PrefixError)."""
        return _parse(text)

    @property
    def afi(self) -> int:
        """IANA address family number, 1 or 2."""
        return AFI_IPV4 if len(self.packed) == 4 else AFI_IPV6

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return _FAMILY[len(self.packed)]

    @property
    def is_host(self) -> bool:
        """Whether the prefix is a single address (/32 or /128)."""
        return self.length == len(self.packed) * 8

    @property
    def address(self) -> str:
        """Network address in text form."""
        return format_address(self.packed)

    def contains(self, packed: bytes) -> bool:
        """Whether the packed address (4 or 16 bytes) lies in the prefix."""
        if len(packed) != len(self.packed):
            return False
        shift = len(packed) * 8 - self.length
        return int.from_bytes(packed, "big") >> shift == int.from_bytes(self.packed, "big") >> shift

    def __str__(self) -> str:
        return f"{format_address(self.packed)}/{self.length}"


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Prefix:
    """Cached, since a route says its prefix twice, and is told by several gateways."""
    address, slash, length_text = text.partition("/")
    packed = parse_address(address)
    bits = len(packed) * 8
    if not slash:
        return Prefix(packed, bits)
    if not (length_text.isascii() and length_text.isdigit() and len(length_text) <= 3):
        raise PrefixError(f"{text!r}: the prefix length is not a number")
    length = int(length_text)
    if length > bits:
        raise PrefixError(f"{text!r}: the prefix length is greater than {bits}")
    if int.from_bytes(packed, "big") & ((1 << (bits - length)) - 1):
        network = int.from_bytes(packed, "big") >> (bits - length) << (bits - length)
        meant = format_address(network.to_bytes(len(packed), "big"))
        raise PrefixError(f"{text!r} has host bits set: the prefix is {meant}/{length}")
    return Prefix(packed, length)
