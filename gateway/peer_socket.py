"""Sockets of BGP sessions: TCP-MD5 (RFC 2385), GTSM (RFC 5082), source addresses; and what the kernel counts of them.

Everything is set before a segment may flow: on a socket that connects before connect(), on a listener before the SYN
comes. An accepted socket has the listener's key of its peer.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv6Address
from pathlib import Path
from typing import NamedTuple

from gateway.peer_config import MAX_PASSWORD, MAX_TTL, Address, Link
from runtime.listen import Listen

UNSENT = 64 * 1024
"""Bytes that the kernel keeps unsent: a KEEPALIVE can't overtake what the kernel has."""
_TCP_MD5SIG = 14
_TCP_SAVE_SYN, _TCP_SAVED_SYN = 27, 28
_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73
_BACKLOG = 128
_NETSTAT = Path("/proc/net/netstat")


class FarAway(OSError):
    """A connection came from farther away than ttl_security allows."""


def set_password(sock: socket.socket, peer: Address, password: bytes) -> None:
    """Sign segments to and from a peer with a key; b"" removes it. Raises OSError.

    struct tcp_md5sig of linux/tcp.h: the peer as a sockaddr_storage, flags, prefix length, key length, interface, key.
    A socket with a key takes no unsigned segment of that peer, and of others only unsigned ones.
    """
    if isinstance(peer, IPv6Address):
        address = struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, peer.packed, 0)
    else:
        address = struct.pack("=HH4s120x", socket.AF_INET, 0, peer.packed)
    key = struct.pack(f"=BBHi{MAX_PASSWORD}s", 0, 0, len(password), 0, password)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, address + key)
    except OSError as error:
        # Removing what is not there.
        if password or error.errno != errno.ENOENT:
            raise


def set_ttl(sock: socket.socket, ttl: int, min_ttl: int = 0) -> None:
    """TTL of what is sent, and the least of what is taken (0: any). Raises OSError."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, min_ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, min_ttl)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def listener(address: Listen) -> socket.socket:
    """A socket that listens; keys are set by set_password(). Raises OSError."""
    sock = socket.socket(_family(address.address), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            # Beside 0.0.0.0 on the same port.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # The SYN-ACK is the listener's, and a peer with GTSM takes nothing less.
        set_ttl(sock, MAX_TTL)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)
        sock.bind((str(address.address), address.port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def dialler(link: Link) -> socket.socket:
    """A socket that is to connect to a peer. Raises OSError."""
    sock = socket.socket(_family(link.address), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if link.password:
            set_password(sock, link.address, link.password)
        prepare(sock, link)
        if link.local_address is not None:
            sock.bind((str(link.local_address), 0))
    except OSError:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket, link: Link) -> None:
    """What holds for accepted sockets, too. Raises OSError, FarAway for a SYN with too small a TTL."""
    sock.setblocking(False)
    if link.min_ttl and (ttl := _syn_ttl(sock)) is not None and ttl < link.min_ttl:
        raise FarAway(
            f"it connects with a TTL of {ttl}, and ttl_security takes no less than {link.min_ttl}: it probably has no "
            "TTL security for this gateway, or is farther away"
        )
    set_ttl(sock, link.ttl, link.min_ttl)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def _syn_ttl(sock: socket.socket) -> int | None:
    """TTL of the SYN of an accepted connection; None when the kernel hasn't kept it, or it is another's."""
    syn = sock.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, 256)
    if len(syn) < 40:
        return None
    return syn[7] if sock.family == socket.AF_INET6 else syn[8]


class Md5Counters(NamedTuple):
    """Segments that the kernel dropped because of their signature, since it started (names of /proc/net/netstat).

    failure: signed with another key; not_found: not signed and had to be; unexpected: signed, and no key is known.
    """

    failure: int = 0
    not_found: int = 0
    unexpected: int = 0

    def since(self, before: Md5Counters) -> Md5Counters:
        """What came since an earlier reading."""
        return Md5Counters(*(now - then for now, then in zip(self, before, strict=True)))


def md5_counters(path: Path = _NETSTAT) -> Md5Counters:
    """The kernel's counters; zeros where it has none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return Md5Counters()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("TcpExt:"):
            found = dict(zip(names.split(), values.split(), strict=False))
            wanted = ("TCPMD5Failure", "TCPMD5NotFound", "TCPMD5Unexpected")
            return Md5Counters(*(int(found.get(name, 0)) for name in wanted))
    return Md5Counters()
