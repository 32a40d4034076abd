"""Whom a certificate of ours is for, and the names in it; no I/O.

What a certificate says is what its holder may do, so each role has names that serve for nothing else:

    host      DNS name and addresses           logs in at gateways as NAME, announces these next hops
    gateway   DNS name and JID of its domain   serves that domain; as a client it is nobody's host
    map       its DNS name and addresses       serves HTTPS; no client of anything
    client    a JID that is nobody's           logs in at a MAP server by its common name; is no host
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

XMPP_ADDRESS = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
"""id-on-xmppAddr (RFC 6120, section 13.7.1.4)."""
NOBODY = "client.invalid"
"""JID of clients. A gateway takes the common name of a certificate without names for a host's; this is none, and no
domain can have it (RFC 2606)."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
_CLIENT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?", re.ASCII)

_TAKEN = ("ca", "crl")
"""Names of files that are beside a holder's."""


class Role(enum.StrEnum):
    """What a certificate is for."""

    HOST = "host"
    GATEWAY = "gateway"
    MAP = "map"
    CLIENT = "client"


_WITH_DOMAIN = (Role.GATEWAY, Role.MAP)


@dataclass(frozen=True, slots=True)
class Subject:
    """A holder of certificates, made by of(). name: its own, and of its files; addresses: in the order given; domain:
    XMPP domain of a gateway, DNS name of a MAP server, "" for others."""

    name: str
    role: Role
    addresses: tuple[Address, ...] = ()
    domain: str = ""

    @classmethod
    def of(cls, name: str, role: Role, addresses: Sequence[str] = (), domain: str = "") -> Subject:
        """Check what an operator says. Raises ValueError with a text for them."""
        if role is Role.CLIENT:
            if not _CLIENT.fullmatch(name):
                raise ValueError("a client's name is 1 to 64 letters, digits and . _ @ -")
        else:
            name = _domain_name(name, "a name")
        if name in _TAKEN:
            raise ValueError(f"{name}.pem is another file of every holder")
        if domain and role not in _WITH_DOMAIN:
            raise ValueError("only a gateway or a MAP server has a domain")
        if addresses and role is Role.CLIENT:
            raise ValueError("a client has no address")
        if not addresses and role is Role.HOST:
            raise ValueError("a host needs the address that it may announce as next hop: --address")
        parsed = tuple(dict.fromkeys(map(_address, addresses)))
        domain = _domain_name(domain or name, "a domain") if role in _WITH_DOMAIN else ""
        return cls(name, role, parsed, domain)

    @property
    def common_name(self) -> x509.Name:
        """The subject."""
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def alternative_names(self) -> list[x509.GeneralName]:
        """The names that gateways, agents and MAP clients look for."""
        if self.role is Role.CLIENT:
            return [_jid(NOBODY)]
        names: list[x509.GeneralName] = [x509.DNSName(self.domain or self.name)]
        if self.role is Role.GATEWAY:
            names.append(_jid(self.domain))
        return names + [x509.IPAddress(address) for address in self.addresses]

    def purposes(self) -> list[ObjectIdentifier]:
        """What TLS lets it be. A gateway is a client, too, at a MAP server."""
        server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
        return {Role.HOST: [client], Role.GATEWAY: [server, client], Role.MAP: [server], Role.CLIENT: [client]}[
            self.role
        ]

    def clashes(self, other: Subject) -> str:
        """Why there can't be both of two holders of different names; "" when there can."""
        for one, two in ((self, other), (other, self)):
            if one.role is Role.HOST and two.role is Role.GATEWAY and one.name == two.domain:
                return f"host {one.name} would have the name of the domain that gateway {two.name} serves"
        shared = set(self.addresses) & set(other.addresses)
        if self.role is other.role is Role.HOST and shared:
            return f"hosts {self.name} and {other.name} would both announce {min(map(str, shared))} as next hop"
        return ""


def _domain_name(text: str, what: str) -> str:
    name = text.lower()
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{what} is 1 to 63 letters, digits, dots and dashes: {text[:80]!r} is not")
    return name


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not an IP address") from None


def _jid(text: str) -> x509.OtherName:
    """As otherName: a UTF8String of less than 128 bytes, since names are (X.690, section 8.1.3)."""
    value = text.encode()
    return x509.OtherName(XMPP_ADDRESS, bytes((0x0C, len(value))) + value)
