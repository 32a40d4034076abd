"""Addresses to listen at, as configuration writes them, and their sockets."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[\d.]+)):(?P<port>\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen at. port 0: any free one."""

    address: IPv4Address | IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Read "0.0.0.0:5222" or "[::]:5222"; raises ValueError."""
        match = _LISTEN.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise ValueError("must be ADDRESS:PORT, an IPv6 address in brackets")
        try:
            return cls(ipaddress.ip_address(match["v4"] or match["v6"]), int(match["port"]))
        except ValueError:
            raise ValueError("must be ADDRESS:PORT, and this is no IP address") from None

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def listening_socket(listen: Listen, backlog: int = 4096) -> socket.socket:
    """A TCP socket that listens there and doesn't block. backlog: connections that may wait to be accepted, at most
    what the kernel allows (net.core.somaxconn, 4096 by default). Raises OSError."""
    family = socket.AF_INET6 if listen.address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Beside 0.0.0.0 on the same port.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((str(listen.address), listen.port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
