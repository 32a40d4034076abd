"""Address families as BGP names them: AFI and SAFI (RFC 4760)."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """An address family (IANA AFI, 16 bits) and subsequent address family (SAFI, 8 bits)."""

    afi: int
    safi: int

    def __str__(self) -> str:
        return _NAMES.get(self, f"{self.afi}/{self.safi}")

    @property
    def packed(self) -> bytes:
        """AFI in two bytes, SAFI in one."""
        return self.afi.to_bytes(2, "big") + bytes((self.safi,))


IPV4_UNICAST = Family(1, 1)
IPV6_UNICAST = Family(2, 1)
VPNV4 = Family(1, 128)
"""VPN-IPv4 (RFC 4364)."""
VPNV6 = Family(2, 128)
"""VPN-IPv6 (RFC 4659)."""
RTC = Family(1, 132)
"""Route-target membership (RFC 4684)."""

_NAMES = {IPV4_UNICAST: "ipv4", IPV6_UNICAST: "ipv6", VPNV4: "vpnv4", VPNV6: "vpnv6", RTC: "rtc"}

FAMILY_NAMES = {name: family for family, name in _NAMES.items()}
"""Family by the name that configuration and commands use."""
