"""Who a client's certificate says it is (RFC 6120, section 13.7; XEP-0178).

A certificate that names JIDs (subject alternative names of type id-on-xmppAddr) speaks for those of our domain, and for
nothing else. One without JIDs speaks for NAME@DOMAIN of each of its DNS names; without those, of its common name.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from xmpp.jid import Jid, JidError

_XMPP_ADDRESS = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
_DER_UTF8_STRING = 0x0C
ALPN = "xmpp-client"
"""Protocol name of direct TLS (XEP-0368)."""


class Identity(NamedTuple):
    """What a certificate proves. jids: bare addresses of our domain; addresses: packed IP addresses."""

    jids: tuple[Jid, ...] = ()
    addresses: frozenset[bytes] = frozenset()


def identity_of(der: bytes | None, domain: str) -> Identity:
    """The identity of a certificate that was verified against our authorities; nothing when there is none.

    domain: ours, prepared. A certificate that can't be read, or with names that are no addresses, proves nothing by
    those.
    """
    if der is None:
        return Identity()
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    except ValueError:
        return Identity()
    addresses = frozenset(
        address.packed
        for address in names.get_values_for_type(x509.IPAddress)
        if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    )
    others = [name.value for name in names.get_values_for_type(x509.OtherName) if name.type_id == _XMPP_ADDRESS]
    if others:
        jids = [_jid(text) for text in map(_utf8_string, others) if text is not None]
    else:
        hosts = names.get_values_for_type(x509.DNSName) or [
            str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ]
        jids = [_jid(f"{name}@{domain}") for name in hosts]
    ours = dict.fromkeys(jid for jid in jids if jid is not None and jid.localpart and jid.domain == domain)
    return Identity(tuple(jid.bare for jid in ours), addresses)


def _jid(text: str) -> Jid | None:
    try:
        return Jid.parse(text)
    except JidError:
        return None


def _utf8_string(der: bytes) -> str | None:
    """The text of a DER UTF8String (X.690, section 8.1.3), or None for anything else."""
    if len(der) < 2 or der[0] != _DER_UTF8_STRING:
        return None
    length, start = der[1], 2
    if length & 0x80:
        octets = length & 0x7F
        length, start = int.from_bytes(der[2 : 2 + octets], "big"), 2 + octets
    if len(der) != start + length:
        return None
    try:
        return der[start:].decode()
    except UnicodeDecodeError:
        return None
