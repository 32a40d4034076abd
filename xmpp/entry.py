"""The VPN route entry (draft-ietf-l3vpn-end-system-06, sections 6 and 11): one prefix, its next hops, its preference.

Strict in what is sent: every element of the schema, in its order, the address with its mask. Tolerant in what is read:
elements in any order and namespace-qualified or not (the draft's schema and its examples differ), unknown elements
ignored, the address with or without a mask, everything optional that has a natural default.

One element is ours: <attachment xmlns="urn:vrfwire:entry:1">, at the end, names the attachment (the VM interface, as
orchestration knows it) that the prefix is behind. Hosts send it, gateways judge by it and pass it on to nobody.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple, Protocol
from xml.etree import ElementTree

from vpn.label import LABEL_MAX, LABEL_MIN
from vpn.path import DEFAULT_LOCAL_PREFERENCE, Encapsulation, NextHop, Path
from vpn.prefix import AFI_IPV4, AFI_IPV6, Prefix, PrefixError, format_address
from xmpp.namespaces import ENTRY, VRFWIRE_ENTRY
from xmpp.stanza import escape

MAX_NEXT_HOPS = 64
"""Next hops of one entry; more is refused (a multipath route of that width can't be programmed)."""
MAX_BYTES = 64 * 1024
"""Size of an entry read from bytes."""

ATTACHMENT_MAX = 255
"""Longest name of an attachment, in characters."""

TAG = f"{{{ENTRY}}}entry"
"""ElementTree tag of the entry element."""
_ATTACHMENT = f"{{{VRFWIRE_ENTRY}}}attachment"
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

_UINT32_MAX = 0xFFFFFFFF
_NUMBER_DIGITS = 10
_ADDRESS_MAX = 64
_AFI_OF_SIZE = {4: AFI_IPV4, 16: AFI_IPV6}
_ALONE: dict[str, tuple[Encapsulation, ...]] = {e.value: (e,) for e in Encapsulation}
_ENCAPSULATION_XML = {e: f"<tunnel-encapsulation>{e.value}</tunnel-encapsulation>" for e in Encapsulation}


class Entry(NamedTuple):
    """A route as carried by one publish-subscribe item. attachment: which it is behind, "" when that isn't said."""

    prefix: Prefix
    path: Path
    attachment: str = ""


class EntryReason(enum.StrEnum):
    """Why an entry is refused."""

    MALFORMED = "malformed"
    NO_NLRI = "no-nlri"
    NO_NEXT_HOP = "no-next-hop"
    BAD_PREFIX = "bad-prefix"
    BAD_FAMILY = "bad-family"
    BAD_ADDRESS = "bad-address"
    BAD_LABEL = "bad-label"
    BAD_NUMBER = "bad-number"
    BAD_ATTACHMENT = "bad-attachment"
    TOO_LARGE = "too-large"


class EntryError(ValueError):
    """An entry can't be sent or was refused; the message is one line fit for a log and for a stanza error."""

    def __init__(self, reason: EntryReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class XmlElement(Protocol):
    """What is read of an element, whoever parsed it (ElementTree or lxml)."""

    @property
    def tag(self) -> Any: ...

    @property
    def text(self) -> str | None: ...

    def __iter__(self) -> Iterator[Any]: ...


def encode(entry: Entry) -> bytes:
    """The <entry/> element in UTF-8, with its namespace declared; raises EntryError."""
    (packed, length), path, attachment = entry
    if not path.next_hops:
        raise EntryError(EntryReason.NO_NEXT_HOP, "the entry has no next hop")
    if len(path.next_hops) > MAX_NEXT_HOPS:
        raise EntryError(EntryReason.TOO_LARGE, f"the entry has more than {MAX_NEXT_HOPS} next hops")
    sequence, preference = path.sequence_number, path.local_preference
    if not (0 <= sequence <= _UINT32_MAX and 0 <= preference <= _UINT32_MAX):
        raise EntryError(EntryReason.BAD_NUMBER, "a sequence number or local preference has more than 32 bits")
    hops = "".join([_encode_next_hop(next_hop) for next_hop in path.next_hops])
    named = ""
    if attachment:
        named = f"<attachment xmlns='{VRFWIRE_ENTRY}'>{escape(check_attachment(attachment))}</attachment>"
    return (
        f"<entry xmlns='{ENTRY}'><nlri><af>{_AFI_OF_SIZE[len(packed)]}</af><safi>1</safi>"
        f"<address>{format_address(packed)}/{length}</address></nlri><next-hops>{hops}</next-hops>"
        f"<sequence-number>{sequence}</sequence-number><local-preference>{preference}</local-preference>"
        f"{named}</entry>"
    ).encode()


def check_attachment(name: str) -> str:
    """The name of an attachment, if an entry can carry it: 1 to ATTACHMENT_MAX characters, none of them a control
    character, no space at either end. Raises EntryError."""
    if not 0 < len(name) <= ATTACHMENT_MAX:
        text = f"the name of an attachment has {len(name)} characters instead of 1 to {ATTACHMENT_MAX}"
        raise EntryError(EntryReason.BAD_ATTACHMENT, text)
    if name != name.strip() or _CONTROL.search(name):
        text = "the name of an attachment has a control character, or a space at its end"
        raise EntryError(EntryReason.BAD_ATTACHMENT, text)
    return name


def _encode_next_hop(next_hop: NextHop) -> str:
    address, label, encapsulations = next_hop
    if not LABEL_MIN <= label <= LABEL_MAX:
        raise EntryError(EntryReason.BAD_LABEL, f"label {label} is outside {LABEL_MIN}..{LABEL_MAX}")
    if not encapsulations:
        raise EntryError(EntryReason.NO_NEXT_HOP, "a next hop has no tunnel encapsulation")
    tunnels = "".join([_ENCAPSULATION_XML[e] for e in encapsulations])
    return (
        f"<next-hop><af>{_AFI_OF_SIZE[len(address)]}</af><address>{format_address(address)}</address>"
        f"<label>{label}</label><tunnel-encapsulation-list>{tunnels}</tunnel-encapsulation-list></next-hop>"
    )


def to_element(entry: Entry) -> ElementTree.Element:
    """The <entry/> element as a standard library element; raises EntryError."""
    return ElementTree.fromstring(encode(entry))


def decode(element: XmlElement) -> Entry:
    """Read an <entry/> element of ElementTree or lxml; raises EntryError.

    Missing: local-preference means 100, sequence-number 0, safi unicast, af that of the address, the encapsulation
    list gre, no attachment. A next hop with only unknown encapsulations is left out.
    """
    if _local(element) != "entry":
        raise EntryError(EntryReason.MALFORMED, "the payload is not an entry")
    prefix: Prefix | None = None
    next_hops: tuple[NextHop, ...] | None = None
    sequence, preference = 0, DEFAULT_LOCAL_PREFERENCE
    attachment = ""
    seen = set()
    for child in element:
        name = _ATTACHMENT if child.tag == _ATTACHMENT else _local(child)
        if name not in _ENTRY_CHILDREN:
            continue
        if name in seen:
            raise EntryError(EntryReason.MALFORMED, f"the entry has {name} twice")
        seen.add(name)
        if name == "nlri":
            prefix = _decode_nlri(child)
        elif name == "next-hops":
            next_hops = _decode_next_hops(child)
        elif name == "sequence-number":
            sequence = _number(child, name, _UINT32_MAX)
        elif name == _ATTACHMENT:
            attachment = check_attachment((child.text or "").strip())
        else:
            preference = _number(child, name, _UINT32_MAX)
    if prefix is None:
        raise EntryError(EntryReason.NO_NLRI, "the entry has no nlri")
    if not next_hops:
        raise EntryError(EntryReason.NO_NEXT_HOP, "the entry has no usable next hop")
    return Entry(prefix, Path(next_hops, preference, sequence), attachment)


_LOCAL: dict[object, str] = {
    tag: name
    for name in (
        *("entry", "nlri", "next-hops", "next-hop", "af", "safi", "address", "label", "sequence-number"),
        *("local-preference", "tunnel-encapsulation-list", "tunnel-encapsulation"),
    )
    for tag in (name, f"{{{ENTRY}}}{name}")
}
"""Names of the schema by tag, qualified and not."""
_ENTRY_CHILDREN = frozenset({"nlri", "next-hops", "sequence-number", "local-preference", _ATTACHMENT})


def _local(element: XmlElement) -> str:
    """Local name of an element of the schema; "" of a foreign one and of a comment or processing instruction."""
    return _LOCAL.get(element.tag, "")


def _decode_nlri(element: XmlElement) -> Prefix:
    family: int | None = None
    prefix: Prefix | None = None
    for child in element:
        name = _local(child)
        if name == "address":
            prefix = _prefix(child)
        elif name == "af":
            family = _number(child, name, 0xFFFF)
        elif name == "safi" and _number(child, name, 0xFF) != 1:
            raise EntryError(EntryReason.BAD_FAMILY, "the nlri is not of safi 1 (unicast)")
    if prefix is None:
        raise EntryError(EntryReason.NO_NLRI, "the nlri has no address")
    _check_family(family, prefix.packed, "nlri")
    return prefix


def _prefix(element: XmlElement) -> Prefix:
    try:
        return Prefix.parse(_text(element))
    except PrefixError as error:
        raise EntryError(EntryReason.BAD_PREFIX, str(error)) from None


def _check_family(family: int | None, packed: bytes, what: str) -> None:
    if family is not None and family != _AFI_OF_SIZE[len(packed)]:
        raise EntryError(EntryReason.BAD_FAMILY, f"af {family} of the {what} is not the family of its address")


def _decode_next_hops(element: XmlElement) -> tuple[NextHop, ...]:
    hops: list[NextHop] = []
    total = 0
    for child in element:
        if _local(child) != "next-hop":
            continue
        total += 1
        if total > MAX_NEXT_HOPS:
            raise EntryError(EntryReason.TOO_LARGE, f"the entry has more than {MAX_NEXT_HOPS} next hops")
        hop = _decode_next_hop(child)
        if hop.encapsulations and hop not in hops:
            hops.append(hop)
    return tuple(hops)


def _decode_next_hop(element: XmlElement) -> NextHop:
    family: int | None = None
    address: bytes | None = None
    label: int | None = None
    encapsulations: tuple[Encapsulation, ...] = (Encapsulation.GRE,)
    for child in element:
        name = _local(child)
        if name == "address":
            address = _host_address(child)
        elif name == "label":
            label = _number(child, name, _UINT32_MAX, EntryReason.BAD_LABEL)
        elif name == "tunnel-encapsulation-list":
            encapsulations = _decode_encapsulations(child)
        elif name == "af":
            family = _number(child, name, 0xFFFF)
    if address is None:
        raise EntryError(EntryReason.NO_NEXT_HOP, "a next hop has no address")
    if label is None:
        raise EntryError(EntryReason.BAD_LABEL, "a next hop has no label")
    if not LABEL_MIN <= label <= LABEL_MAX:
        raise EntryError(EntryReason.BAD_LABEL, f"label {label} is outside {LABEL_MIN}..{LABEL_MAX}")
    _check_family(family, address, "next hop")
    return NextHop(address, label, encapsulations)


def _host_address(element: XmlElement) -> bytes:
    try:
        return _host_packed(_text(element))
    except PrefixError as error:
        raise EntryError(EntryReason.BAD_ADDRESS, f"next hop: {error}") from None


@functools.lru_cache(maxsize=4096)
def _host_packed(text: str) -> bytes:
    """Packed form of a single address. Next hops are the hosts of a network, many routes each. Raises PrefixError."""
    prefix = Prefix.parse(text)
    if not prefix.is_host:
        raise EntryError(EntryReason.BAD_ADDRESS, f"next hop {prefix} is not a single address")
    return prefix.packed


def _decode_encapsulations(element: XmlElement) -> tuple[Encapsulation, ...]:
    """The known encapsulations, each once; unknown ones are left out, as RFC 9012, section 3.1 does in BGP."""
    known: tuple[Encapsulation, ...] = ()
    for child in element:
        if _local(child) == "tunnel-encapsulation":
            more = _ALONE.get((child.text or "").strip(), ())
            if not known:
                # The same tuple for every next hop.
                known = more
            elif more and more[0] not in known:
                known += more
    return known


def _text(element: XmlElement) -> str:
    text = (element.text or "").strip()
    return text if len(text) <= _ADDRESS_MAX else text[:_ADDRESS_MAX] + "..."


def _number(element: XmlElement, name: str, most: int, reason: EntryReason = EntryReason.BAD_NUMBER) -> int:
    text = element.text or ""
    if len(text) < _NUMBER_DIGITS and text.isdigit() and text.isascii() and (value := int(text)) <= most:
        return value  # as everybody writes it
    text = text.strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0")
        if len(digits) <= _NUMBER_DIGITS and (value := int(digits or "0")) <= most:
            return value
    raise EntryError(reason, f"{name} {_text(element)!r} is not a number in 0..{most}")


def decode_bytes(data: bytes) -> Entry:
    """Read an <entry/> document through a parser that takes no DTD and no entity; raises EntryError.

    data: at most MAX_BYTES of UTF-8.
    """
    # Only a daemon that reads entries from bytes pays for the import.
    from lxml import etree

    if len(data) > MAX_BYTES:
        raise EntryError(EntryReason.TOO_LARGE, f"the entry is larger than {MAX_BYTES} bytes")
    # lxml would take a DTD and, with recover off, still undeclared prefixes and other encodings: none is ever ours.
    if b"<!" in data or b"<?" in data or b"\0" in data:
        raise EntryError(EntryReason.MALFORMED, "the entry has a declaration, comment, DTD or NUL")
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False
    )
    try:
        element = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise EntryError(EntryReason.MALFORMED, f"the entry is not well-formed: {error}") from None
    return decode(element)


def schema() -> bytes:
    """The XML schema (XSD 1.0) of what is sent."""
    return resources.files("xmpp").joinpath("entry.xsd").read_bytes()
