"""Identifiers of IF-MAP: made from what an operator writes, read from XML, checked, told apart. No I/O. (IF-MAP 2.2, 3.3)"""

from __future__ import annotations

from ifmap.values import Identifier
from ifmap.xml import Element

IDENTIFIER_TYPES = frozenset({"access-request", "device", "identity", "ip-address", "mac-address"})
"""Element names of identifiers, and names in terminal-identifier-type."""
IDENTITY_TYPES = frozenset(
    {
        *("aik-name", "distinguished-name", "dns-name", "email-address", "hip-hit", "kerberos-principal", "username"),
        *("sip-uri", "tel-uri", "other"),
    }
)
"""Values of an identity's type."""


def ip_address(text: str, domain: str = "") -> Identifier:
    """An address in any usual spelling ("2001:db8::1"). Raises IfmapError (InvalidIdentifier)."""
    raise NotImplementedError


def mac_address(text: str, domain: str = "") -> Identifier:
    """A MAC address: six pairs of hex digits with colons or hyphens, or three groups of four with dots."""
    raise NotImplementedError


def device(name: str) -> Identifier:
    raise NotImplementedError


def access_request(name: str, domain: str = "") -> Identifier:
    raise NotImplementedError


def identity(name: str, type: str, definition: str = "", domain: str = "") -> Identifier:
    """type: one of IDENTITY_TYPES; definition: other-type-definition, for type "other" and only there."""
    raise NotImplementedError


def extended(local: str, namespace: str, attributes: dict[str, str], domain: str = "") -> Identifier:
    """An extended identifier of one empty element, in canonical form (2.1).

    attributes: unprefixed, without administrative-domain, which is `domain`.
    """
    raise NotImplementedError


def extended_xml(xml: str | bytes) -> Identifier:
    """An extended identifier of any element; it is put into canonical form here."""
    raise NotImplementedError


class ExtendedContent:
    """What an extended identifier says: name and attributes of its element."""


def read_extended(identifier: Identifier) -> ExtendedContent | None:
    """The element of an extended identifier; None for any other one, opaque ones included."""
    raise NotImplementedError


class Identifiers:
    """Reads identifiers from their elements."""

    def __init__(self, strict: bool, lenient: bool = False) -> None:
        raise NotImplementedError

    def read(self, element: Element) -> Identifier:
        raise NotImplementedError


def type_names(identifier: Identifier) -> frozenset[str]:
    """Names by which a terminal-identifier-type may mean this identifier (2.0, and the forms that 2.2 adds)."""
    raise NotImplementedError


def terminal_types(text: str) -> frozenset[str]:
    """Read terminal-identifier-type. Raises IfmapError (InvalidIdentifier) for a name that means nothing."""
    raise NotImplementedError


def to_text(identifier: Identifier) -> str:
    """The form that stores keep: five fields joined by U+001F, which XML can't carry."""
    return "\x1f".join(identifier)


def from_text(text: str) -> Identifier:
    """The contrary of to_text. Raises ValueError for anything else."""
    raise NotImplementedError
