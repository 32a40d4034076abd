"""ROUTE-REFRESH (RFC 2918) and its marks of begin and end (RFC 7313)."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from bgp.errors import BgpError, ErrorCode, RefreshSubcode
from bgp.family import Family
from bgp.message import EXTENDED_MAX_LENGTH, MessageType, frame


class RefreshKind(enum.IntEnum):
    """Message subtypes (RFC 7313, section 3.2)."""

    REQUEST = 0
    """All routes of the family, again, please."""
    BEGIN = 1
    """BoRR: what follows is all routes of the family."""
    END = 2
    """EoRR: those were all; what wasn't among them is gone."""


class RouteRefresh(NamedTuple):
    """A request, or the begin or end of the answer."""

    family: Family
    kind: RefreshKind = RefreshKind.REQUEST

    def encode(self) -> bytes:
        """The message."""
        return frame(MessageType.ROUTE_REFRESH, struct.pack("!HBB", self.family.afi, self.kind, self.family.safi))


def decode_route_refresh(body: bytes) -> RouteRefresh | None:
    """Read the body (without header) of a ROUTE-REFRESH; None for a subtype to be ignored (RFC 7313, section 5).

    Raises BgpError 7/1 when it isn't 4 bytes long: outbound route filters, which make it longer, are never negotiated.
    """
    if len(body) != 4:
        whole = frame(MessageType.ROUTE_REFRESH, body, EXTENDED_MAX_LENGTH)
        raise BgpError(
            ErrorCode.ROUTE_REFRESH_MESSAGE,
            RefreshSubcode.INVALID_MESSAGE_LENGTH,
            whole,
            f"a ROUTE-REFRESH of {len(body)} bytes",
        )
    afi, kind, safi = struct.unpack("!HBB", body)
    if kind not in (0, 1, 2):
        return None
    return RouteRefresh(Family(afi, safi), RefreshKind(kind))
