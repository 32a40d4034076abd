"""Route targets (RFC 4360, section 4; RFC 5668) and route distinguishers (RFC 4364, section 4.2)."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from vpn.prefix import format_address, parse_address

_TEXT = re.compile(r"(?P<ip>\d+\.\d+\.\d+\.\d+):(?P<ipn>\d+)|(?P<asn>\d+)(?P<long>L?):(?P<n>\d+)", re.ASCII)


class CommunityError(ValueError):
    """A text or number is no route target or route distinguisher."""


def _pack(text: str, what: str) -> tuple[int, bytes]:
    """(type 0, 1 or 2; six bytes of value) of "ASN:N", "A.B.C.D:N"; "ASNL:N" forces the 4-octet form."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise CommunityError(f"{text!r} is not a {what}: expected ASN:NUMBER or A.B.C.D:NUMBER")
    try:
        if match["ip"]:
            return 1, parse_address(match["ip"]) + struct.pack("!H", int(match["ipn"]))
        asn, number = int(match["asn"]), int(match["n"])
        if asn <= 0xFFFF and not match["long"]:
            return 0, struct.pack("!HI", asn, number)
        return 2, struct.pack("!IH", asn, number)
    except (struct.error, ValueError):
        raise CommunityError(f"{text!r} is not a {what}: a number is too large") from None


def _text(kind: int, value: bytes) -> str:
    if kind == 1:
        return f"{format_address(value[:4])}:{struct.unpack('!H', value[4:])[0]}"
    if kind == 2:
        asn, number = struct.unpack("!IH", value)
        return f"{asn}{'L' if asn <= 0xFFFF else ''}:{number}"
    asn, number = struct.unpack("!HI", value)
    return f"{asn}:{number}"


class RouteTarget(NamedTuple):
    """A route-target extended community: type 0 (2-octet AS), 1 (IPv4 address), 2 (4-octet AS); six bytes of value."""

    kind: int
    value: bytes

    @classmethod
    def parse(cls, text: str) -> RouteTarget:
        """Read "64512:1", "192.0.2.1:1" or "4200000000:1"; raises CommunityError."""
        return cls(*_pack(text, "route target"))

    def __str__(self) -> str:
        return _text(self.kind, self.value)


class RouteDistinguisher(NamedTuple):
    """A route distinguisher: type 0, 1 or 2 and six bytes of value."""

    kind: int
    value: bytes

    @classmethod
    def parse(cls, text: str) -> RouteDistinguisher:
        """Read "64512:1", "192.0.2.1:1" or "4200000000:1"; raises CommunityError."""
        return cls(*_pack(text, "route distinguisher"))

    @classmethod
    def of_host(cls, address: str, instance_id: int) -> RouteDistinguisher:
        """Type 1 of a host's IPv4 address and a VPN instance id (0..65535), draft-ietf-l3vpn-end-system-06."""
        return cls(1, parse_address(address) + struct.pack("!H", instance_id))

    def __str__(self) -> str:
        return _text(self.kind, self.value)
