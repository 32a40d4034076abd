"""XMPP addresses (RFC 7622): localpart@domainpart/resourcepart."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import NamedTuple

PART_OCTETS = 1023
"""Greatest size of each part in UTF-8 (RFC 7622, sections 3.2 to 3.4)."""

_TEXT_MAX = 3 * PART_OCTETS + 2
# RFC 7622, section 3.3.1: characters a localpart can't have although PRECIS allows them.
_LOCAL_FORBIDDEN = frozenset("\"&'/:<>@")
_PLAIN_LOCAL = re.compile(r"[a-z0-9._~+\-]+", re.ASCII)
_PLAIN_DOMAIN = re.compile(r"(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*", re.ASCII)
_IPV6_DOMAIN = re.compile(r"\[[0-9a-f:.]{2,45}\]", re.ASCII)
_PLAIN_RESOURCE = re.compile(r"[!-~]+", re.ASCII)
# Control, format (default-ignorable), surrogate, private use, unassigned: in no part of an address (RFC 8264, 9.).
_NEVER = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# PRECIS IdentifierClass: letters, digits and marks; printable ASCII besides (RFC 8264, section 4.2).
_IDENTIFIER = frozenset({"Ll", "Lu", "Lo", "Lm", "Lt", "Mn", "Mc", "Nd"})


class JidError(ValueError):
    """A text is no XMPP address; the message says why."""


def _sized(part: str, what: str) -> str:
    if not part:
        raise JidError(f"the {what} is empty")
    try:
        octets = len(part.encode())
    except UnicodeEncodeError:
        raise JidError(f"the {what} has a character that is not allowed") from None
    if octets > PART_OCTETS:
        raise JidError(f"the {what} is longer than {PART_OCTETS} octets")
    return part


def prepare_localpart(text: str) -> str:
    """The localpart in its comparable form (UsernameCaseMapped, RFC 8265 section 3.3); raises JidError."""
    if _PLAIN_LOCAL.fullmatch(text) is None:
        # Width mapping (fullwidth forms to ASCII) comes before the check for forbidden characters.
        narrow = "".join(
            unicodedata.normalize("NFKC", c) if unicodedata.east_asian_width(c) in "FH" else c for c in text
        )
        text = unicodedata.normalize("NFC", narrow.lower())
        for c in text:
            if c in _LOCAL_FORBIDDEN or not ("!" <= c <= "~" or unicodedata.category(c) in _IDENTIFIER):
                raise JidError("the localpart has a character that is not allowed")
    return _sized(text, "localpart")


def prepare_domain(text: str) -> str:
    """The domainpart in lower case without the root's dot: a name, an IPv4 address or "[IPv6]"; raises JidError."""
    text = unicodedata.normalize("NFC", text.lower()).removesuffix(".")
    if _PLAIN_DOMAIN.fullmatch(text) or _IPV6_DOMAIN.fullmatch(text):
        return _sized(text, "domainpart")
    for label in text.split("."):
        if not label:
            raise JidError("the domainpart has an empty label")
        if label[0] == "-" or len(label) > 63:
            raise JidError("the domainpart has a label that is no host name")
        for c in label:
            if not (
                c == "-" or (c.isascii() and c.isalnum()) or (c > "\x7f" and unicodedata.category(c) in _IDENTIFIER)
            ):
                raise JidError("the domainpart has a character that is not allowed")
    return _sized(text, "domainpart")


def prepare_resource(text: str) -> str:
    """The resourcepart in its comparable form (OpaqueString, RFC 8265 section 4.2); raises JidError."""
    if _PLAIN_RESOURCE.fullmatch(text) is None:
        text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
        text = unicodedata.normalize("NFC", text)
        if any(unicodedata.category(c) in _NEVER for c in text):
            raise JidError("the resourcepart has a character that is not allowed")
    return _sized(text, "resourcepart")


class Jid(NamedTuple):
    """An XMPP address; equal values are the same address. "" stands for an absent localpart or resource."""

    localpart: str
    domain: str
    resource: str = ""

    @classmethod
    def parse(cls, text: str) -> Jid:
        """Read "[localpart@]domain[/resource]" and prepare each part; raises JidError."""
        return _parse(text)

    @classmethod
    def of(cls, localpart: str, domain: str, resource: str = "") -> Jid:
        """Prepare the given parts; raises JidError. An empty localpart or resource means none."""
        return cls(
            prepare_localpart(localpart) if localpart else "",
            prepare_domain(domain),
            prepare_resource(resource) if resource else "",
        )

    @property
    def bare(self) -> Jid:
        """The address without its resource."""
        return self if not self.resource else Jid(self.localpart, self.domain)

    @property
    def is_bare(self) -> bool:
        """Whether there is no resource."""
        return not self.resource

    def with_resource(self, resource: str) -> Jid:
        """The same account with a resource; raises JidError."""
        return Jid(self.localpart, self.domain, prepare_resource(resource))

    def __str__(self) -> str:
        bare = f"{self.localpart}@{self.domain}" if self.localpart else self.domain
        return f"{bare}/{self.resource}" if self.resource else bare


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Jid:
    """Cached, since a session's stanzas repeat a handful of addresses."""
    if len(text) > _TEXT_MAX:
        raise JidError("the address is too long")
    rest, slash, resource = text.partition("/")
    localpart, at, domain = rest.partition("@")
    if not at:
        localpart, domain = "", rest
    return Jid(
        prepare_localpart(localpart) if at else "",
        prepare_domain(domain),
        prepare_resource(resource) if slash else "",
    )
