"""Identifiers of IF-MAP: made from what an operator writes, read from XML, checked, told apart. (IF-MAP 2.2, 3.3)

No I/O.
Canonical forms: IPv4 as dotted quad without leading zeros; IPv6 in eight groups of lower-case hex without leading
zeros and without "::" (so is the name of a hip-hit); MAC addresses as six pairs of lower-case hex with colons;
distinguished names as ifmap.distinguished_names writes them; extended identifiers as in ifmap.extended. Everything else
is compared as it is, case included.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from ifmap import distinguished_names
from ifmap.errors import ErrorCode, IfmapError
from ifmap.extended import ExtendedContent, canonical_name, check_name, make_name, read_name
from ifmap.namespaces import BASE, join
from ifmap.values import Identifier, IdentifierKind
from ifmap.xml import Element, is_text
from vpn.prefix import PrefixError, format_address, parse_address

IDENTIFIER_TYPES = frozenset(kind.value for kind in IdentifierKind)
"""Element names of identifiers, and names in terminal-identifier-type."""
IDENTITY_TYPES = frozenset(
    {
        *("aik-name", "distinguished-name", "dns-name", "email-address", "hip-hit", "kerberos-principal", "username"),
        *("sip-uri", "tel-uri", "other"),
    }
)
"""Values of an identity's type."""
EXTENDED = "extended"
"""other-type-definition of an extended identifier."""
MAX_TERMINAL_TYPES = 1000
"""Names in one terminal-identifier-type."""

_SEPARATOR = "\x1f"
_CACHED = 32_768
_CACHED_LENGTH = 1024
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_IPV6 = re.compile(r"(?:0|[1-9a-f][0-9a-f]{0,3})(?::(?:0|[1-9a-f][0-9a-f]{0,3})){7}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_ANY_MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}")
_TYPE_LOCAL = re.compile(r"[^\s:#,<>&\"']+")


# -- making


def ip_address(text: str, domain: str = "") -> Identifier:
    """An address in any usual spelling ("2001:db8::1"). Raises IfmapError (InvalidIdentifier), as all of these do."""
    try:
        packed = parse_address(text)
    except PrefixError as error:
        _invalid(str(error))
    return _checked(Identifier(IdentifierKind.IP_ADDRESS, *_spelt(packed), domain=domain))


def mac_address(text: str, domain: str = "") -> Identifier:
    """A MAC address: six pairs of hex digits with colons or hyphens, or three groups of four with dots."""
    if not _ANY_MAC.fullmatch(text.lower()):
        _invalid(f"{text!r} is not a MAC address")
    digits = re.sub("[:.-]", "", text.lower())
    canonical = ":".join(digits[at : at + 2] for at in range(0, 12, 2))
    return _checked(Identifier(IdentifierKind.MAC_ADDRESS, canonical, domain=domain))


def device(name: str) -> Identifier:
    """A device, by its name."""
    return _checked(Identifier(IdentifierKind.DEVICE, name))


def access_request(name: str, domain: str = "") -> Identifier:
    """An access request, by its name."""
    return _checked(Identifier(IdentifierKind.ACCESS_REQUEST, name, domain=domain))


def identity(name: str, type: str, definition: str = "", domain: str = "", strict: bool = True) -> Identifier:
    """An identity. type: one of IDENTITY_TYPES; definition: other-type-definition, for type "other" and only there.

    Addresses (hip-hit) and distinguished names are put into canonical form. strict: an extended identifier has to be in
    its canonical form; else any text will do, as in IF-MAP 2.0.
    """
    if type == "hip-hit":
        name = ip_address(name).name
    return _checked(_identity(name, type, definition, domain, _strict if strict else _opaque))


def extended(local: str, namespace: str, attributes: Mapping[str, str], domain: str = "") -> Identifier:
    """The extended identifier of one empty element, in canonical form (2.1).

    attributes: unprefixed ones, without administrative-domain, which is `domain`.
    """
    return Identifier(IdentifierKind.IDENTITY, make_name(local, namespace, attributes, domain), "other", EXTENDED)


def extended_xml(xml: str | bytes) -> Identifier:
    """The extended identifier of an element in any spelling; it is put into canonical form here.

    It needs a default namespace and an administrative-domain.
    """
    return Identifier(IdentifierKind.IDENTITY, canonical_name(xml), "other", EXTENDED)


def _checked(identifier: Identifier) -> Identifier:
    if not identifier.name:
        _invalid(f"{identifier.kind} without a name")
    if not all(map(is_text, identifier)):
        _invalid(f"{identifier.kind} with a character that XML can't carry")
    return identifier


# -- reading


class Identifiers:
    """Reads identifiers from their elements (a server: refuses what isn't canonical; a client: makes it so)."""

    def __init__(self, strict: bool, lenient: bool = False) -> None:
        """strict: extended identifiers have to be in the form of IF-MAP 2.1; else any text will do (2.0).

        lenient: what isn't canonical is made so, what isn't known is taken as it is.
        """
        mode = _lenient if lenient else _strict if strict else _opaque
        self._address, self._mac, self._identity = mode.address, mode.mac, mode.identity
        self._lenient = lenient
        self._readers: dict[str, Callable[[Element], Identifier]] = {}
        for name, reader in (
            ("access-request", self._read_access_request),
            ("device", self._read_device),
            ("identity", self._read_identity),
            ("ip-address", self._read_address),
            ("mac-address", self._read_mac),
        ):
            self._readers[name] = self._readers[join(BASE, name)] = reader

    def knows(self, name: str) -> bool:
        """Whether an element of this name is an identifier."""
        return name in self._readers

    def read(self, element: Element) -> Identifier:
        """The identifier of an element. Raises IfmapError (InvalidIdentifier, InvalidIdentifierType)."""
        reader = self._readers.get(element.name)
        if reader is None:
            raise IfmapError(ErrorCode.INVALID_IDENTIFIER_TYPE, f"{element.name[:200]!r} is not an identifier")
        return reader(element)

    def _read_address(self, element: Element) -> Identifier:
        get = element.attributes.get
        return self._address(_required(element, "value"), get("type", "IPv4"), get("administrative-domain", ""))

    def _read_mac(self, element: Element) -> Identifier:
        return self._mac(_required(element, "value"), element.attributes.get("administrative-domain", ""))

    def _read_access_request(self, element: Element) -> Identifier:
        domain = element.attributes.get("administrative-domain", "")
        return Identifier(IdentifierKind.ACCESS_REQUEST, _required(element, "name"), domain=domain)

    def _read_identity(self, element: Element) -> Identifier:
        get = element.attributes.get
        name, type_ = _required(element, "name"), _required(element, "type")
        return self._identity(name, type_, get("other-type-definition", ""), get("administrative-domain", ""))

    def _read_device(self, element: Element) -> Identifier:
        if element.attributes.get("administrative-domain") and not self._lenient:
            _invalid("device with an administrative-domain")
        names = [child for child in element.children if child.name in _NAME_ELEMENT]
        if len(names) != 1 or (len(element.children) > 1 and not self._lenient):
            _invalid("device that doesn't consist of one name (aik-name is not supported)")
        name: str = names[0].text
        if not name:
            _invalid("device without a name")
        return Identifier(IdentifierKind.DEVICE, name)


_NAME_ELEMENT = ("name", join(BASE, "name"))


def _required(element: Element, name: str) -> str:
    value = element.attributes.get(name)
    if not value:
        _invalid(f"{element.name.rpartition('}')[2]} without {name}")
    return value


class _Mode:
    """Checked identifiers in one of the three ways to check; those often seen are made once."""

    def __init__(self, strict: bool, lenient: bool) -> None:
        self.strict = strict
        self.lenient = lenient
        self._addresses = functools.lru_cache(_CACHED)(self._make_address)
        self._macs = functools.lru_cache(_CACHED)(self._make_mac)
        self._identities = functools.lru_cache(_CACHED)(self._make_identity)

    def address(self, value: str, type_: str, domain: str) -> Identifier:
        long = len(value) + len(type_) + len(domain) > _CACHED_LENGTH
        return (self._make_address if long else self._addresses)(value, type_, domain)

    def mac(self, value: str, domain: str) -> Identifier:
        return (self._make_mac if len(value) + len(domain) > _CACHED_LENGTH else self._macs)(value, domain)

    def identity(self, name: str, type_: str, definition: str, domain: str) -> Identifier:
        long = len(name) + len(type_) + len(definition) + len(domain) > _CACHED_LENGTH
        return (self._make_identity if long else self._identities)(name, type_, definition, domain)

    def _make_address(self, value: str, type_: str, domain: str) -> Identifier:
        if self.lenient:
            return ip_address(value, domain)
        if type_ not in _ADDRESS_TYPES:
            raise IfmapError(ErrorCode.INVALID_IDENTIFIER_TYPE, f"ip-address of type {type_[:200]!r}, not IPv4 or IPv6")
        if not _ADDRESS_TYPES[type_].fullmatch(value):
            _not_canonical(value, type_)
        return Identifier(IdentifierKind.IP_ADDRESS, value, type_, domain=domain)

    def _make_mac(self, value: str, domain: str) -> Identifier:
        if self.lenient:
            return mac_address(value, domain)
        if not _MAC.fullmatch(value):
            _invalid(f"{value[:200]!r} is not a MAC address in the form 02:00:5e:00:00:07, with lower-case hex digits")
        return Identifier(IdentifierKind.MAC_ADDRESS, value, domain=domain)

    def _make_identity(self, name: str, type_: str, definition: str, domain: str) -> Identifier:
        return _identity(name, type_, definition, domain, self)


_ADDRESS_TYPES = {"IPv4": _IPV4, "IPv6": _IPV6}
_strict, _opaque, _lenient = _Mode(True, False), _Mode(False, False), _Mode(False, True)


def _identity(name: str, type_: str, definition: str, domain: str, mode: _Mode) -> Identifier:
    if not mode.lenient:
        _check_identity(name, type_, definition, domain, mode.strict)
    if type_ == "distinguished-name":
        canonical = distinguished_names.canonical(name)
        if canonical is None and mode.strict:
            _invalid(f"{name[:200]!r} is not a distinguished name")
        name = name if canonical is None else canonical
    return Identifier(IdentifierKind.IDENTITY, name, type_, definition, domain)


def _check_identity(name: str, type_: str, definition: str, domain: str, strict: bool) -> None:
    if type_ not in IDENTITY_TYPES:
        raise IfmapError(ErrorCode.INVALID_IDENTIFIER_TYPE, f"identity of unknown type {type_[:200]!r}")
    if (type_ == "other") != bool(definition):
        without = "without" if type_ == "other" else "with"
        _invalid(f"identity of type {type_} {without} other-type-definition")
    if definition == EXTENDED and strict:
        if domain:
            _invalid("extended identifier with an administrative-domain outside of its element")
        check_name(name)
    elif type_ == "hip-hit" and not _IPV6.fullmatch(name):
        _not_canonical(name, "IPv6")


def _spelt(packed: bytes) -> tuple[str, str]:
    """The canonical form of an address, and its type."""
    if len(packed) == 4:
        return format_address(packed), "IPv4"
    return ":".join(f"{int.from_bytes(packed[at : at + 2], 'big'):x}" for at in range(0, 16, 2)), "IPv6"


def _not_canonical(value: str, type_: str) -> NoReturn:
    try:
        canonical, actual = _spelt(parse_address(value))
    except PrefixError:
        _invalid(f"{value[:200]!r} is not an {type_} address")
    if actual != type_:
        _invalid(f"{value} is an {actual} address, but its type is {type_}")
    _invalid(f"{value} is to be written {canonical}")


# -- types


def read_extended(identifier: Identifier) -> ExtendedContent | None:
    """The element of an extended identifier; None for any other one, opaque ones included."""
    return read_name(identifier.name) if identifier.definition == EXTENDED and identifier.type == "other" else None


def type_names(identifier: Identifier) -> frozenset[str]:
    """Names by which a terminal-identifier-type may mean this identifier.

    2.0: the element's name. 2.2: "identity:TYPE", "identity:nonextended", "identity:other:DEFINITION" (with "extended"
    for any extended identifier), "NAMESPACE#ELEMENT" for one type of them.
    """
    kind, _, type_, definition, _ = identifier
    if kind is not IdentifierKind.IDENTITY:
        return _OF_KIND[kind]
    if definition != EXTENDED:
        return _identity_names(type_, definition) if len(definition) <= _CACHED_LENGTH else _of(type_, definition)
    content = read_extended(identifier)
    if content is None or not content.namespace:
        return _OF_EXTENDED
    return _extended_names(content.namespace, content.local)


_OF_KIND = {kind: frozenset({kind.value}) for kind in IdentifierKind}
_OF_EXTENDED = frozenset({"identity", "identity:other", "identity:other:extended"})


def _of(type_: str, definition: str) -> frozenset[str]:
    names = {"identity", "identity:nonextended", f"identity:{type_}"}
    if definition:
        names.add(f"identity:other:{definition}")
    return frozenset(names)


_identity_names = functools.lru_cache(1024)(_of)


@functools.lru_cache(1024)
def _extended_names(namespace: str, local: str) -> frozenset[str]:
    return _OF_EXTENDED | {f"{namespace}#{local}"}


def terminal_types(text: str) -> frozenset[str]:
    """Read terminal-identifier-type: names as in `type_names`, with commas between.

    Raises IfmapError (InvalidIdentifier) for a name that means nothing.
    """
    names = frozenset(name for part in text.split(",") if (name := part.strip()))
    if len(names) > MAX_TERMINAL_TYPES:
        _invalid(f"more than {MAX_TERMINAL_TYPES} names in terminal-identifier-type")
    for name in names:
        if name not in IDENTIFIER_TYPES and not _is_type(name):
            _invalid(f"{name[:200]!r} is not a type of identifiers")
    return names


def _is_type(name: str) -> bool:
    if name.startswith("identity:"):
        subtype = name.removeprefix("identity:")
        if subtype in IDENTITY_TYPES or subtype == "nonextended":
            return True
        return subtype.startswith("other:") and len(subtype) > len("other:")
    namespace, hash_, local = name.rpartition("#")
    return bool(hash_ and namespace and _TYPE_LOCAL.fullmatch(local))


# -- for stores


def to_text(identifier: Identifier) -> str:
    """The form that stores keep: five fields joined by U+001F, which XML can't carry."""
    return _SEPARATOR.join(identifier)


def from_text(text: str) -> Identifier:
    """The contrary of to_text. Raises ValueError for anything else."""
    fields = text.split(_SEPARATOR)
    if len(fields) != len(Identifier._fields):
        raise ValueError(f"not an identifier as stores keep it: {text[:200]!r}")
    return Identifier(IdentifierKind(fields[0]), *fields[1:])


def _invalid(text: str) -> NoReturn:
    raise IfmapError(ErrorCode.INVALID_IDENTIFIER, text)
