"""Outcome of pings: replies, losses and ICMP errors; and how an answer is recognised. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from lab.frames import (
    ECHO_REPLY,
    ECHO_REPLY6,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    IP,
    TIME_EXCEEDED,
    TIME_EXCEEDED6,
    TOO_BIG6,
    UNREACHABLE,
    UNREACHABLE6,
    Icmp,
    Icmp6,
    Packet,
    decode_ip,
)

IDENTITY_PORT = 9007
"""UDP port on which every VM of the lab answers with its name: overlapping addresses are told apart by it."""

MARK = b"vrfwire lab "
"""Start of the payload of every ping, followed by the name of the VM that sends it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An echo reply. rtt: seconds."""

    source: IP
    sequence: int
    rtt: float


@dataclass(frozen=True, slots=True)
class EchoError:
    """An ICMP error for a ping, or what the VM's own kernel refused to send. mtu: of "too big", else 0."""

    source: IP | None
    sequence: int
    text: str
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Pings:
    """Outcome of a series of pings."""

    sent: int
    replies: tuple[Reply, ...]
    errors: tuple[EchoError, ...] = ()

    @property
    def lost(self) -> int:
        """Pings without a reply."""
        return self.sent - len(self.replies)

    @property
    def ok(self) -> bool:
        """Every ping was answered."""
        return self.sent > 0 and self.lost == 0

    @property
    def rtt(self) -> float:
        """Shortest round trip in seconds; infinite without a reply."""
        return min((reply.rtt for reply in self.replies), default=float("inf"))

    @property
    def mtu(self) -> int:
        """The path MTU that an error told, or 0."""
        return next((error.mtu for error in self.errors if error.mtu), 0)

    def __str__(self) -> str:
        if not self.replies:
            why = f" ({self.errors[0].text})" if self.errors else ""
            return f"{self.sent} sent, no reply{why}"
        return f"{len(self.replies)}/{self.sent} in {self.rtt * 1000:.1f} ms"


def payload(name: str, size: int) -> bytes:
    """Payload of `size` bytes that names its sender, cut if it must be."""
    return (MARK + name.encode() + b"\n").ljust(size, b".")[:size]


def sender(data: bytes) -> str | None:
    """Name of the VM that sent an echo with this payload; None for foreign ones."""
    if not data.startswith(MARK):
        return None
    return data[len(MARK) :].partition(b"\n")[0].decode(errors="replace")


def match(packet: Packet, identifier: int) -> tuple[int, EchoError | None] | None:
    """What a received packet means for the pings with an identifier.

    Returns (sequence, None) for a reply, (sequence, error) for an error about one of them, None for anything else.
    """
    icmp = packet.layers[-1] if packet.layers else None
    if not isinstance(icmp, Icmp | Icmp6):
        return None
    if icmp.type == (ECHO_REPLY if isinstance(icmp, Icmp) else ECHO_REPLY6):
        return (icmp.sequence, None) if icmp.identifier == identifier else None
    text = _error_text(icmp)
    if text is None:
        return None
    about = decode_ip(packet.payload)
    echo = about.get(Icmp) or about.get(Icmp6)
    if echo is None or echo.identifier != identifier:
        return None
    source = packet.ip.src if packet.ip else None
    return echo.sequence, EchoError(source, echo.sequence, text, icmp.mtu)


def _error_text(icmp: Icmp | Icmp6) -> str | None:
    """An ICMP error in words; None if it is no error."""
    if isinstance(icmp, Icmp):
        if icmp.type == UNREACHABLE:
            return f"fragmentation needed, mtu {icmp.mtu}" if icmp.code == 4 else f"unreachable, code {icmp.code}"
        return "time exceeded" if icmp.type == TIME_EXCEEDED else None
    names = {
        UNREACHABLE6: f"unreachable, code {icmp.code}",
        TOO_BIG6: f"packet too big, mtu {icmp.mtu}",
        TIME_EXCEEDED6: "time exceeded",
    }
    return names.get(icmp.type)


def parse(address: IP | str) -> IP:
    """An address of either family from text. Raises ValueError."""
    if isinstance(address, IPv4Address | IPv6Address):
        return address
    return IPv6Address(address) if ":" in address else IPv4Address(address)


def senders(packets: Iterable[Packet]) -> set[str]:
    """Names of the VMs of the lab that sent the echo requests among some received packets."""
    requests = {Icmp: ECHO_REQUEST, Icmp6: ECHO_REQUEST6}
    found = set()
    for packet in packets:
        icmp = packet.layers[-1] if packet.layers else None
        if isinstance(icmp, Icmp | Icmp6) and icmp.type == requests[type(icmp)]:
            found.add(sender(packet.payload))
    return {name for name in found if name is not None}
