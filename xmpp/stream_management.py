"""Stream management: acknowledgement and resumption (XEP-0198, version 1.6.3), the server's half, without I/O.

    bind -> <enable/> -> EnableRequested, accept_enable() -> <enabled/>     stanzas are counted from here on, both ways
    <r/> -> <a/>, at once                                                   <a/> -> Outbox.acknowledge, Acknowledged
    SASL -> <resume/> -> ResumeRequested, accept_resume() -> <resumed/>     the counts go on
                                          reject_resume() -> <failed/>      binding is still possible

A stanza counts as handled once it was received: what a stream has brought is dealt with, also after its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from xmpp import namespaces as ns
from xmpp.errors import StreamCondition, StreamError
from xmpp.outbox import COUNT_MODULUS, Outbox
from xmpp.stanza import Condition, escape

REQUEST = f"<r xmlns='{ns.SM}'/>".encode()
NAMES = {f"{{{ns.SM}}}{name}": name for name in ("enable", "resume", "r", "a")}
"""What a client may send, by its tag."""
_COUNT_DIGITS = 10


@dataclass(slots=True)
class Management:
    """The counts of one session. id: unguessable, by which it can be resumed, "" when it can't; resume_time: seconds
    that it outlives its stream; handled: stanzas received, modulo 2**32; outbox: those sent."""

    id: str = ""
    resume_time: float = 0.0
    handled: int = 0
    outbox: Outbox[Any] = field(default_factory=Outbox)

    def received(self) -> None:
        """One more stanza has come."""
        self.handled = (self.handled + 1) % COUNT_MODULUS


@dataclass(frozen=True, slots=True)
class EnableWish:
    """What a client asks by <enable/>. most: seconds that it wants to be waited for, None when it doesn't say."""

    resume: bool
    most: int | None


def read_enable(element: Element) -> EnableWish:
    """Section 5: what isn't a number of seconds counts as not said."""
    return EnableWish(element.get("resume") in ("true", "1"), _number(element.get("max")))


def read_count(element: Element) -> int:
    """The `h` of an <a/>; raises StreamError."""
    count = _number(element.get("h"))
    if count is None:
        raise StreamError(StreamCondition.BAD_FORMAT, "an acknowledgement has no count")
    return count


def read_resume(element: Element) -> tuple[str, int] | None:
    """Id and count of a <resume/>; None when one is missing or no count."""
    previous, count = element.get("previd"), _number(element.get("h"))
    return (previous, count) if previous and count is not None else None


def _number(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdecimal() and len(text) <= _COUNT_DIGITS):
        return None
    number = int(text)
    return number if number < COUNT_MODULUS else None


def enabled(management: Management) -> bytes:
    """The answer to <enable/>."""
    if not management.id:
        return f"<enabled xmlns='{ns.SM}'/>".encode()
    # A whole positive number, or nothing (its schema).
    most = f" max='{int(management.resume_time)}'" if management.resume_time >= 1 else ""
    return f"<enabled xmlns='{ns.SM}' id='{escape(management.id)}' resume='true'{most}/>".encode()


def resumed(management: Management) -> bytes:
    """The answer to <resume/>: what came of the client's stanzas."""
    return f"<resumed xmlns='{ns.SM}' previd='{escape(management.id)}' h='{management.handled}'/>".encode()


def failed(condition: Condition, handled: int | None = None) -> bytes:
    """A refusal, after which the stream goes on. handled: stanzas that came in the session asked for, when known."""
    known = f" h='{handled}'" if handled is not None else ""
    return f"<failed xmlns='{ns.SM}'{known}><{condition} xmlns='{ns.STANZA_ERRORS}'/></failed>".encode()


def answer(management: Management) -> bytes:
    """The answer to <r/>."""
    return f"<a xmlns='{ns.SM}' h='{management.handled}'/>".encode()
