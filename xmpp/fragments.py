"""Fixed pieces of XML that a server stream sends, and the error that either side may send (RFC 6120)."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from xmpp import namespaces as ns
from xmpp.errors import StreamCondition
from xmpp.namespaces import split_tag
from xmpp.stanza import escape

_CONDITIONS = frozenset(condition.value for condition in StreamCondition)

FOOTER = b"</stream:stream>"
PROCEED = f"<proceed xmlns='{ns.TLS}'/>".encode()
TLS_FAILURE = f"<failure xmlns='{ns.TLS}'/>".encode()
FEATURES_STARTTLS = f"<stream:features><starttls xmlns='{ns.TLS}'><required/></starttls></stream:features>".encode()
# Clients of RFC 3921 wait for the session feature; to those of RFC 6120 it is optional.
FEATURES_BIND = (
    f"<stream:features><bind xmlns='{ns.BIND}'/><session xmlns='{ns.SESSION}'><optional/></session>"
    f"<sm xmlns='{ns.SM}'/></stream:features>"
).encode()


def header(stream_id: str, domain: str, to: str, language: str) -> bytes:
    """The response header (section 4.7); to: address that the client gave as its own, or ""."""
    recipient = f" to='{escape(to)}'" if to else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' id='{escape(stream_id)}'"
        f" from='{escape(domain)}'{recipient} version='1.0' xml:lang='{escape(language)}'>"
    ).encode()


def features_sasl(mechanisms: Iterable[str]) -> bytes:
    """Features with the SASL mechanisms on offer (section 6.4.1)."""
    names = "".join([f"<mechanism>{name}</mechanism>" for name in mechanisms])
    return f"<stream:features><mechanisms xmlns='{ns.SASL}'>{names}</mechanisms></stream:features>".encode()


def challenge(data: str) -> bytes:
    """A SASL challenge with base64 data."""
    return f"<challenge xmlns='{ns.SASL}'>{data}</challenge>".encode()


def success(data: str) -> bytes:
    """SASL success with base64 data, "" for none."""
    return f"<success xmlns='{ns.SASL}'>{data}</success>".encode() if data else f"<success xmlns='{ns.SASL}'/>".encode()


def sasl_failure(condition: str, text: str) -> bytes:
    """SASL failure (section 6.4.5)."""
    detail = f"<text xml:lang='en'>{escape(text)}</text>" if text else ""
    return f"<failure xmlns='{ns.SASL}'><{condition}/>{detail}</failure>".encode()


def stream_error(condition: StreamCondition, text: str, detail: bytes = b"") -> bytes:
    """A stream error (section 4.9.2). detail: an application-specific condition, as XML."""
    said = f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>{escape(text)}</text>" if text else ""
    return f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>{said}".encode() + detail + b"</stream:error>"


def read_stream_error(element: Element) -> tuple[StreamCondition, str]:
    """Condition and text of a <stream:error/> that the peer sent (section 4.9.2)."""
    condition, text = StreamCondition.UNDEFINED_CONDITION, ""
    for child in element:
        namespace, name = split_tag(child.tag)
        if namespace == ns.STREAM_ERRORS and name == "text":
            text = (child.text or "")[:256]
        elif namespace == ns.STREAM_ERRORS and name in _CONDITIONS:
            condition = StreamCondition(name)
    return condition, text


def bind_result(request_id: str, jid: str) -> bytes:
    """The answer to a bind request (section 7.6.1), without addresses: before it the client has none."""
    bind = f"<bind xmlns='{ns.BIND}'><jid>{escape(jid)}</jid></bind>"
    return f"<iq type='result' id='{escape(request_id)}'>{bind}</iq>".encode()
