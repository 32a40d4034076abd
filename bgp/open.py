"""OPEN (RFC 4271, section 4.2), with extended optional parameters (RFC 9072)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from bgp.as_path import AS_TRANS
from bgp.capabilities import Capabilities, UnknownCapability, decode_capabilities, split_capabilities
from bgp.errors import BgpError, EncodeError, ErrorCode, OpenSubcode
from bgp.message import MessageType, frame

VERSION = 4
_CAPABILITIES = 2
"""Type of the parameter that carries capabilities."""
_EXTENDED = 255
"""In place of the parameters' length and of the first type: the lengths that follow have two octets."""
_FIXED = struct.Struct("!BHH4sB")


@dataclass(frozen=True, slots=True)
class Open:
    """What a speaker says of itself.

    asn: its AS number, that of the four-octet capability where it has it; hold_time: seconds, 0 or 3..65535;
    router_id: BGP identifier, 4 bytes, not all zero (RFC 6286).
    """

    asn: int
    hold_time: int
    router_id: bytes
    capabilities: Capabilities = field(default_factory=Capabilities)

    def encode(self) -> bytes:
        """The message. asn must be that of the capability where there is one; raises EncodeError otherwise."""
        four_octet = self.capabilities.four_octet_as
        if (four_octet is None and not 0 < self.asn <= 0xFFFF) or (four_octet is not None and four_octet != self.asn):
            raise EncodeError(f"AS {self.asn} with the capability's {four_octet}")
        if len(self.router_id) != 4:
            raise EncodeError("a router id has 4 bytes")
        two_octet = self.asn if self.asn <= 0xFFFF else AS_TRANS
        # One capability a parameter: every speaker reads that, not every one several.
        capabilities = self.capabilities.encode()
        size = sum(2 + len(one) for one in capabilities)
        extended = size >= _EXTENDED or any(len(one) > 255 for one in capabilities)
        layout = struct.Struct("!BH" if extended else "!BB")
        parameters = b"".join(layout.pack(_CAPABILITIES, len(one)) + one for one in capabilities)
        try:
            head = _FIXED.pack(VERSION, two_octet, self.hold_time, self.router_id, _EXTENDED if extended else size)
        except struct.error:
            raise EncodeError(f"hold time {self.hold_time} is outside 0..65535") from None
        if extended:
            head += layout.pack(_EXTENDED, len(parameters))
        return frame(MessageType.OPEN, head + parameters)


def decode_open(body: bytes) -> Open:
    """Read the body (without header, at least 10 bytes) of an OPEN.

    Raises BgpError 2/1 (data: the version that we speak), 2/2 for AS 0 (RFC 7607), 2/3 for router id 0, 2/6 for a hold
    time of 1 or 2, 2/4 for a parameter that is no capability, 2/0 for what can't be read. Whether the values are the
    expected ones is the session's question.
    """
    version, two_octet, hold_time, router_id, length = _FIXED.unpack_from(body)
    if version != VERSION:
        raise _error(OpenSubcode.UNSUPPORTED_VERSION, f"version {version}", VERSION.to_bytes(2, "big"))
    found: list[UnknownCapability] = []
    for kind, value in _parameters(body[_FIXED.size :], length):
        if kind != _CAPABILITIES:
            raise _error(OpenSubcode.UNSUPPORTED_OPTIONAL_PARAMETER, f"optional parameter {kind}")
        found += split_capabilities(value)
    capabilities = decode_capabilities(found)
    asn = two_octet if capabilities.four_octet_as is None else capabilities.four_octet_as
    if asn == 0 or two_octet == 0:
        raise _error(OpenSubcode.BAD_PEER_AS, "AS 0")
    if router_id == bytes(4):
        raise _error(OpenSubcode.BAD_BGP_IDENTIFIER, "router id 0.0.0.0")
    if hold_time in (1, 2):
        raise _error(OpenSubcode.UNACCEPTABLE_HOLD_TIME, f"hold time {hold_time}")
    return Open(asn, hold_time, router_id, capabilities)


def _parameters(data: bytes, length: int) -> list[tuple[int, bytes]]:
    """Type and value of each optional parameter in what follows the length octet."""
    layout = struct.Struct("!BB")
    # RFC 9072, section 2: the type decides; the length octet before it is 255 by custom only, but not zero.
    if length and data[:1] == bytes((_EXTENDED,)):
        layout = struct.Struct("!BH")
        if len(data) < layout.size:
            raise _error(OpenSubcode.UNSPECIFIC, "the extended optional parameters have no length")
        length = layout.unpack_from(data)[1]
        data = data[layout.size :]
    if length != len(data):
        raise _error(OpenSubcode.UNSPECIFIC, f"optional parameters of {length} bytes in {len(data)}")
    found, position = [], 0
    while position < length:
        start = position + layout.size
        if start > length:
            raise _error(OpenSubcode.UNSPECIFIC, "an optional parameter is cut off")
        kind, size = layout.unpack_from(data, position)
        position = start + size
        if position > length:
            raise _error(OpenSubcode.UNSPECIFIC, "an optional parameter is longer than all of them")
        found.append((kind, data[start:position]))
    return found


def _error(subcode: OpenSubcode, why: str, data: bytes = b"") -> BgpError:
    return BgpError(ErrorCode.OPEN_MESSAGE, subcode, data, why)
