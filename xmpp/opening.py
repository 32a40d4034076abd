"""The header with which a client opens, or after TLS and SASL reopens, its stream (RFC 6120, section 4.7)."""

from __future__ import annotations

import re

from xmpp import namespaces as ns
from xmpp.errors import StreamCondition, StreamError
from xmpp.jid import Jid, JidError, prepare_domain
from xmpp.namespaces import split_tag
from xmpp.parser import Header

DEFAULT_LANGUAGE = "en"

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,7}", re.ASCII)
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)


def language(header: Header) -> str:
    """The xml:lang to echo."""
    asked = header.attributes.get(_LANG, "")
    return asked if _LANGUAGE.fullmatch(asked) else DEFAULT_LANGUAGE


def client_address(header: Header) -> str:
    """The address a client gave as its own, to be echoed as "to"; "" when there is none or it is malformed."""
    try:
        return str(Jid.parse(header.attributes["from"]))
    except (KeyError, JidError):
        return ""


def check(header: Header, domain: str, authenticated: Jid | None) -> None:
    """Raise StreamError unless a client of this domain (and, after SASL, the authenticated one) opens a stream."""
    namespace, name = split_tag(header.tag)
    if namespace != ns.STREAMS or header.default_namespace != ns.CLIENT:
        raise StreamError(StreamCondition.INVALID_NAMESPACE, "a client's stream is expected")
    if name != "stream":
        raise StreamError(StreamCondition.BAD_FORMAT, "the root element is not <stream:stream/>")
    if not _is(header.attributes.get("to", ""), domain):
        raise StreamError(StreamCondition.HOST_UNKNOWN, f"this is {domain}")
    version = _VERSION.fullmatch(header.attributes.get("version", ""))
    if version is None or int(version[1]) < 1:
        raise StreamError(StreamCondition.UNSUPPORTED_VERSION, "version 1.0 is expected")
    if authenticated is not None and "from" in header.attributes:
        address = client_address(header)
        if not address or Jid.parse(address).bare != authenticated.bare:
            raise StreamError(StreamCondition.INVALID_FROM, "'from' is not who was authenticated")


def _is(text: str, domain: str) -> bool:
    try:
        return prepare_domain(text) == domain
    except JidError:
        return False
