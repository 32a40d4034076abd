"""The VPN route entry (draft-ietf-l3vpn-end-system-06, sections 6 and 11): one prefix, its next hops, its preference.

Strict in what is sent: every element of the schema, in its order, the address with its mask. Tolerant in what is read:
elements in any order and namespace-qualified or not (the draft's schema and its examples differ), unknown elements
ignored, the address with or without a mask, everything optional that has a natural default.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from importlib import resources
from typing import NamedTuple, Protocol
from xml.etree import ElementTree

from vpn.label import LABEL_MAX, LABEL_MIN
from vpn.path import DEFAULT_LOCAL_PREFERENCE, Encapsulation, NextHop, Path
from vpn.prefix import AFI_IPV4, AFI_IPV6, Prefix, PrefixError, format_address, parse_address
from xmpp.namespaces import ENTRY

MAX_NEXT_HOPS = 64
"""Next hops of one entry; more is refused (a multipath route of that width can't be programmed)."""
MAX_BYTES = 64 * 1024
"""Size of an entry read from bytes."""

_UINT32_MAX = 0xFFFFFFFF
_SAFI_UNICAST = 1
_NUMBER_DIGITS = 10
_TEXT_MAX = 64
TAG = f"{{{ENTRY}}}entry"
"""ElementTree tag of the entry element."""


class Entry(NamedTuple):
    """A route as carried by one publish-subscribe item."""

    prefix: Prefix
    path: Path


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
    TOO_LARGE = "too-large"


class EntryError(ValueError):
    """An entry can't be sent or was refused; the message is one line fit for a log and for a stanza error."""

    def __init__(self, reason: EntryReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class XmlElement(Protocol):
    """What is read of an element, whoever parsed it (ElementTree or lxml)."""

    @property
    def tag(self) -> object: ...

    @property
    def text(self) -> str | None: ...

    def __iter__(self) -> Iterable[XmlElement]: ...


def encode(entry: Entry) -> bytes:
    """The <entry/> element in UTF-8, with its namespace declared; raises EntryError."""
    raise NotImplementedError


def to_element(entry: Entry) -> ElementTree.Element:
    """The <entry/> element as a standard library element; raises EntryError."""
    return ElementTree.fromstring(encode(entry))


def decode(element: XmlElement) -> Entry:
    """Read an <entry/> element of ElementTree or lxml; raises EntryError."""
    raise NotImplementedError


def decode_bytes(data: bytes) -> Entry:
    """Read an <entry/> document of at most MAX_BYTES through a parser that takes no DTD or entity; raises EntryError."""
    raise NotImplementedError


def schema() -> bytes:
    """The XML schema (XSD 1.0) of what is sent."""
    return resources.files("xmpp").joinpath("entry.xsd").read_bytes()
