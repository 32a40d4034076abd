"""Stanzas: the value handed to the server, errors (RFC 6120, section 8.3) and builders of bytes."""

from __future__ import annotations

import enum
import re
from typing import NamedTuple
from xml.etree.ElementTree import Element

from xmpp import namespaces as ns
from xmpp.jid import Jid


class ErrorType(enum.StrEnum):
    """What the sender of a refused stanza can do about it (RFC 6120, section 8.3.2)."""

    AUTH = "auth"
    CANCEL = "cancel"
    CONTINUE = "continue"
    MODIFY = "modify"
    WAIT = "wait"


class Condition(enum.StrEnum):
    """Defined conditions of a stanza error (RFC 6120, section 8.3.3)."""

    BAD_REQUEST = "bad-request"
    CONFLICT = "conflict"
    FEATURE_NOT_IMPLEMENTED = "feature-not-implemented"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    ITEM_NOT_FOUND = "item-not-found"
    JID_MALFORMED = "jid-malformed"
    NOT_ACCEPTABLE = "not-acceptable"
    NOT_ALLOWED = "not-allowed"
    NOT_AUTHORIZED = "not-authorized"
    POLICY_VIOLATION = "policy-violation"
    RECIPIENT_UNAVAILABLE = "recipient-unavailable"
    REDIRECT = "redirect"
    REGISTRATION_REQUIRED = "registration-required"
    REMOTE_SERVER_NOT_FOUND = "remote-server-not-found"
    REMOTE_SERVER_TIMEOUT = "remote-server-timeout"
    RESOURCE_CONSTRAINT = "resource-constraint"
    SERVICE_UNAVAILABLE = "service-unavailable"
    SUBSCRIPTION_REQUIRED = "subscription-required"
    UNDEFINED_CONDITION = "undefined-condition"
    UNEXPECTED_REQUEST = "unexpected-request"


# The error type that RFC 6120, section 8.3.3, recommends for each condition; "cancel" where it isn't named.
_USUAL_TYPE = {
    Condition.BAD_REQUEST: ErrorType.MODIFY,
    Condition.FORBIDDEN: ErrorType.AUTH,
    Condition.JID_MALFORMED: ErrorType.MODIFY,
    Condition.NOT_ACCEPTABLE: ErrorType.MODIFY,
    Condition.NOT_AUTHORIZED: ErrorType.AUTH,
    Condition.POLICY_VIOLATION: ErrorType.MODIFY,
    Condition.RECIPIENT_UNAVAILABLE: ErrorType.WAIT,
    Condition.REDIRECT: ErrorType.MODIFY,
    Condition.REGISTRATION_REQUIRED: ErrorType.AUTH,
    Condition.REMOTE_SERVER_TIMEOUT: ErrorType.WAIT,
    Condition.RESOURCE_CONSTRAINT: ErrorType.WAIT,
    Condition.SUBSCRIPTION_REQUIRED: ErrorType.AUTH,
    Condition.UNEXPECTED_REQUEST: ErrorType.WAIT,
}


class StanzaError(Exception):
    """A stanza is refused.

    condition: the defined condition; text: one line for people, in English; type: what the sender can do (the usual one
    of the condition when None); app: local name of the application-specific condition, "" for none; app_namespace: its
    namespace; feature: the "feature" attribute of XEP-0060's <unsupported/>.
    """

    def __init__(
        self,
        condition: Condition,
        text: str = "",
        *,
        type: ErrorType | None = None,
        app: str = "",
        app_namespace: str = ns.PUBSUB_ERRORS,
        feature: str = "",
    ) -> None:
        super().__init__(f"{condition}{f' ({app})' if app else ''}{f': {text}' if text else ''}")
        self.condition = condition
        self.text = text
        self.type = type if type is not None else _USUAL_TYPE.get(condition, ErrorType.CANCEL)
        self.app = app
        self.app_namespace = app_namespace
        self.feature = feature

    def to_xml(self) -> bytes:
        """The <error/> element."""
        parts = [f"<error type='{self.type}'><{self.condition} xmlns='{ns.STANZA_ERRORS}'/>"]
        if self.text:
            parts.append(f"<text xmlns='{ns.STANZA_ERRORS}' xml:lang='en'>{escape(self.text)}</text>")
        if self.app:
            feature = f" feature='{escape(self.feature)}'" if self.feature else ""
            parts.append(f"<{self.app} xmlns='{escape(self.app_namespace)}'{feature}/>")
        parts.append("</error>")
        return "".join(parts).encode()


class Kind(enum.StrEnum):
    """The three kinds of stanzas."""

    IQ = "iq"
    MESSAGE = "message"
    PRESENCE = "presence"


class Stanza(NamedTuple):
    """A stanza received on a bound stream, its addresses checked.

    type: "get", "set", "result" or "error" for an IQ, else whatever was sent ("" when absent); id: "" when absent;
    sender: full JID of the session; to: None when the stanza names no recipient; element: the whole stanza.
    """

    kind: Kind
    type: str
    id: str
    sender: Jid
    to: Jid | None
    element: Element

    @property
    def payload(self) -> Element | None:
        """The first child element: of an IQ request the only one."""
        return next(iter(self.element), None)

    @property
    def is_request(self) -> bool:
        """Whether it is an IQ that must be answered exactly once."""
        return self.kind is Kind.IQ and self.type in ("get", "set")


_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "'": "&apos;",
    '"': "&quot;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}
_UNSAFE = re.compile("[&<>'\"\x00-\x1f\ud800-\udfff\ufffe\uffff]")


def escape(text: str) -> str:
    """Text safe in attribute values (of either quote) and in character data.

    Characters that XML 1.0 can't carry in any form (section 2.2) become U+FFFD: a text for diagnosis may hold anything.
    """
    return _UNSAFE.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), text)


def iq_result(request: Stanza, payload: bytes = b"") -> bytes:
    """The result of an IQ request: addresses swapped, id kept.

    An IQ without "to" is answered without "from": the client takes that as its own account's answer (RFC 6120, 10.3.3).
    """
    head = f"<iq type='result'{_reply_attributes(request)}"
    return b"%b>%b</iq>" % (head.encode(), payload) if payload else head.encode() + b"/>"


def iq_error(request: Stanza, error: StanzaError) -> bytes:
    """The refusal of an IQ request."""
    return stanza_error(request, error)


def stanza_error(stanza: Stanza, error: StanzaError) -> bytes:
    """The refusal of any stanza: same kind, addresses swapped, id kept, type "error" (RFC 6120, section 8.3.1)."""
    return (
        f"<{stanza.kind} type='error'{_reply_attributes(stanza)}>".encode()
        + error.to_xml()
        + f"</{stanza.kind}>".encode()
    )


def _reply_attributes(stanza: Stanza) -> str:
    given_id = f" id='{escape(stanza.id)}'" if stanza.id else ""
    sender = f" from='{escape(str(stanza.to))}'" if stanza.to is not None else ""
    return f"{given_id}{sender} to='{escape(str(stanza.sender))}'"


def message(sender: Jid, to: Jid, payload: bytes, type: str = "") -> bytes:
    """A message with the given payload."""
    kind = f" type='{escape(type)}'" if type else ""
    return f"<message{kind} from='{escape(str(sender))}' to='{escape(str(to))}'>".encode() + payload + b"</message>"


def ping(id: str, sender: Jid, to: Jid) -> bytes:
    """The question whether somebody is there, who has to answer it (XEP-0199)."""
    addresses = f"from='{escape(str(sender))}' to='{escape(str(to))}'"
    return f"<iq type='get' id='{escape(id)}' {addresses}><ping xmlns='{ns.PING}'/></iq>".encode()
