"""Addresses to listen at, as configuration writes them."""

from __future__ import annotations

import ipaddress
import re
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
