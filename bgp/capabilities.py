"""Capabilities that a speaker announces in its OPEN (RFC 5492)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bgp.errors import BgpError, EncodeError, ErrorCode, OpenSubcode
from bgp.family import IPV4_UNICAST, Family


class CapabilityCode(enum.IntEnum):
    """Capability codes that mean something to us."""

    MULTIPROTOCOL = 1
    ROUTE_REFRESH = 2
    EXTENDED_NEXT_HOP = 5
    EXTENDED_MESSAGE = 6
    GRACEFUL_RESTART = 64
    FOUR_OCTET_AS = 65
    ENHANCED_ROUTE_REFRESH = 70
    LONG_LIVED_GRACEFUL_RESTART = 71


class RestartFamily(NamedTuple):
    """A family whose state survives a restart; forwarding: the F bit, it has been kept in this one."""

    family: Family
    forwarding: bool = False


@dataclass(frozen=True, slots=True)
class GracefulRestart:
    """Graceful restart (RFC 4724, section 3; RFC 8538).

    restart_time: seconds, 0..4095; restarting: the R bit; notification: the N bit, a NOTIFICATION starts graceful
    restart too.
    """

    restart_time: int
    families: tuple[RestartFamily, ...] = ()
    restarting: bool = False
    notification: bool = False


class LongLivedFamily(NamedTuple):
    """A family of long-lived graceful restart (RFC 9494, section 3.1); stale_time: seconds, 0..2**24-1."""

    family: Family
    stale_time: int
    forwarding: bool = False


class NextHopEncoding(NamedTuple):
    """Routes of the family may have next hops of the AFI (RFC 8950, section 4)."""

    family: Family
    next_hop_afi: int


class UnknownCapability(NamedTuple):
    """A capability that is nothing to us."""

    code: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one side announces.

    families: of MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760); four_octet_as: its AS number if it speaks RFC 6793;
    route_refresh: RFC 2918; enhanced_route_refresh: RFC 7313; extended_message: RFC 8654; long_lived: None without the
    capability (RFC 9494).
    """

    families: tuple[Family, ...] = ()
    four_octet_as: int | None = None
    route_refresh: bool = False
    enhanced_route_refresh: bool = False
    extended_message: bool = False
    graceful_restart: GracefulRestart | None = None
    long_lived: tuple[LongLivedFamily, ...] | None = None
    extended_next_hops: tuple[NextHopEncoding, ...] = ()
    unknown: tuple[UnknownCapability, ...] = ()

    @property
    def effective_families(self) -> frozenset[Family]:
        """The families that the speaker takes: IPv4 unicast where it names none (RFC 4760, section 8)."""
        return frozenset(self.families) or frozenset((IPV4_UNICAST,))

    def encode(self) -> list[bytes]:
        """The capabilities, each as code, length, value. Raises EncodeError for a number that doesn't fit."""
        found = []
        try:
            for code, value in self._values():
                if len(value) > 255:
                    raise EncodeError(f"capability {code} is longer than 255 bytes")
                found.append(bytes((code, len(value))) + value)
        except (struct.error, OverflowError) as error:
            raise EncodeError(f"capabilities: {error}") from None
        return found

    def _values(self) -> Iterator[tuple[int, bytes]]:
        for family in self.families:
            yield CapabilityCode.MULTIPROTOCOL, struct.pack("!HxB", *family)
        if self.route_refresh:
            yield CapabilityCode.ROUTE_REFRESH, b""
        if self.extended_next_hops:
            packed = (struct.pack("!HHH", *family, afi) for family, afi in self.extended_next_hops)
            yield CapabilityCode.EXTENDED_NEXT_HOP, b"".join(packed)
        if self.extended_message:
            yield CapabilityCode.EXTENDED_MESSAGE, b""
        if (restart := self.graceful_restart) is not None:
            if not 0 <= restart.restart_time <= 0xFFF:
                raise EncodeError(f"restart time {restart.restart_time} is outside 0..4095")
            head = restart.restarting << 15 | restart.notification << 14 | restart.restart_time
            packed = (struct.pack("!HBB", *family, kept << 7) for family, kept in restart.families)
            yield CapabilityCode.GRACEFUL_RESTART, head.to_bytes(2, "big") + b"".join(packed)
        if self.four_octet_as is not None:
            yield CapabilityCode.FOUR_OCTET_AS, self.four_octet_as.to_bytes(4, "big")
        if self.enhanced_route_refresh:
            yield CapabilityCode.ENHANCED_ROUTE_REFRESH, b""
        if self.long_lived is not None:
            packed = (
                struct.pack("!HBB", *family, kept << 7) + stale_time.to_bytes(3, "big")
                for family, stale_time, kept in self.long_lived
            )
            yield CapabilityCode.LONG_LIVED_GRACEFUL_RESTART, b"".join(packed)
        yield from self.unknown


def split_capabilities(value: bytes) -> list[UnknownCapability]:
    """Code and value of each capability in the value of one capabilities parameter. Raises BgpError 2/0."""
    found, position, end = [], 0, len(value)
    while position < end:
        if position + 2 > end or (stop := position + 2 + value[position + 1]) > end:
            raise _malformed("a capability is longer than its parameter")
        found.append(UnknownCapability(value[position], value[position + 2 : stop]))
        position = stop
    return found


def decode_capabilities(found: Iterable[UnknownCapability]) -> Capabilities:
    """Put together what came in one or many parameters.

    Capabilities given twice count once; of graceful restart the last one counts (RFC 4724, section 3). Raises BgpError
    2/0 when the value of a known one has the wrong length.
    """
    families: dict[Family, None] = {}
    next_hops: dict[NextHopEncoding, None] = {}
    unknown: dict[UnknownCapability, None] = {}
    flags: set[int] = set()
    four_octet_as: int | None = None
    restart: GracefulRestart | None = None
    long_lived: tuple[LongLivedFamily, ...] | None = None
    for code, value in found:
        match code:
            case CapabilityCode.MULTIPROTOCOL:
                afi, safi = _unpack("!HxB", code, value)
                families[Family(afi, safi)] = None
            case CapabilityCode.ROUTE_REFRESH | CapabilityCode.ENHANCED_ROUTE_REFRESH | CapabilityCode.EXTENDED_MESSAGE:
                flags.add(code)
            case CapabilityCode.FOUR_OCTET_AS:
                (four_octet_as,) = _unpack("!I", code, value)
            case CapabilityCode.GRACEFUL_RESTART:
                restart = _graceful_restart(value)
            case CapabilityCode.LONG_LIVED_GRACEFUL_RESTART:
                long_lived = tuple(
                    LongLivedFamily(Family(afi, safi), high << 16 | low, bool(bits & 0x80))
                    for afi, safi, bits, high, low in _unpack_each("!HBBBH", code, value)
                )
            case CapabilityCode.EXTENDED_NEXT_HOP:
                for afi, safi, next_hop_afi in _unpack_each("!HHH", code, value):
                    next_hops[NextHopEncoding(Family(afi, safi), next_hop_afi)] = None
            case _:
                unknown[UnknownCapability(code, value)] = None
    return Capabilities(
        families=tuple(families),
        four_octet_as=four_octet_as,
        route_refresh=CapabilityCode.ROUTE_REFRESH in flags,
        enhanced_route_refresh=CapabilityCode.ENHANCED_ROUTE_REFRESH in flags,
        extended_message=CapabilityCode.EXTENDED_MESSAGE in flags,
        graceful_restart=restart,
        long_lived=long_lived,
        extended_next_hops=tuple(next_hops),
        unknown=tuple(unknown),
    )


def _graceful_restart(value: bytes) -> GracefulRestart:
    code = CapabilityCode.GRACEFUL_RESTART
    (head,) = _unpack("!H", code, value[:2])
    families = tuple(
        RestartFamily(Family(afi, safi), bool(bits & 0x80)) for afi, safi, bits in _unpack_each("!HBB", code, value[2:])
    )
    return GracefulRestart(head & 0xFFF, families, bool(head & 0x8000), bool(head & 0x4000))


def _unpack(layout: str, code: int, value: bytes) -> tuple[int, ...]:
    if len(value) != struct.calcsize(layout):
        raise _malformed(f"capability {code} has {len(value)} bytes")
    return struct.unpack(layout, value)


def _unpack_each(layout: str, code: int, value: bytes) -> Iterator[tuple[int, ...]]:
    if len(value) % struct.calcsize(layout):
        raise _malformed(f"capability {code} has {len(value)} bytes")
    return struct.iter_unpack(layout, value)


def _malformed(why: str) -> BgpError:
    return BgpError(ErrorCode.OPEN_MESSAGE, OpenSubcode.UNSPECIFIC, b"", why)
