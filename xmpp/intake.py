"""What every element of a bound stream must pass before it is a Stanza (RFC 6120, section 8)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from xmpp import namespaces as ns
from xmpp.errors import StreamCondition, StreamError
from xmpp.jid import Jid, JidError
from xmpp.namespaces import split_tag
from xmpp.stanza import Condition, Kind, Stanza, StanzaError

_KINDS = {f"{{{ns.CLIENT}}}{kind.value}": kind for kind in Kind}
_IQ_TYPES = frozenset({"get", "set", "result", "error"})


class Refused(Exception):
    """A stanza that must be answered with an error at once (or, of other kinds than an IQ request, dropped)."""

    def __init__(self, stanza: Stanza, error: StanzaError) -> None:
        super().__init__(str(error))
        self.stanza = stanza
        self.error = error

    @property
    def answered(self) -> bool:
        """Whether the sender is told: an error must never answer an error (section 8.3.1), results need no answer."""
        return self.stanza.type not in ("error", "result") and self.stanza.kind is not Kind.PRESENCE


def check(element: Element, session: Jid) -> Stanza:
    """The stanza of an element sent by the session with this full JID; raises StreamError or Refused."""
    kind = _KINDS.get(element.tag)
    if kind is None:
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, f"<{split_tag(element.tag)[1][:64]}/> is no stanza")
    sender = element.get("from")
    if sender is not None:
        _check_sender(sender, session)
    to_text = element.get("to")
    stanza = Stanza(kind, element.get("type", ""), element.get("id", ""), session, None, element)
    if to_text is not None:
        try:
            stanza = stanza._replace(to=Jid.parse(to_text))
        except JidError as error:
            raise Refused(stanza, StanzaError(Condition.JID_MALFORMED, str(error))) from None
    if kind is Kind.IQ:
        check_iq(stanza)
    return stanza


def _check_sender(text: str, session: Jid) -> None:
    """Section 8.1.2.1: the full or the bare JID of the session, else the stream ends."""
    try:
        sender = Jid.parse(text)
    except JidError:
        sender = None
    if sender not in (session, session.bare):
        raise StreamError(StreamCondition.INVALID_FROM, "'from' is not the address of this session")


def check_iq(stanza: Stanza) -> None:
    """Section 8.2.3; raises Refused."""
    problem = ""
    if stanza.type not in _IQ_TYPES:
        problem = "the type of an IQ is get, set, result or error"
    elif stanza.is_request:
        if not stanza.id:
            problem = "an IQ has no id"
        elif len(stanza.element) != 1:
            problem = f"an IQ request has {len(stanza.element)} child elements instead of one"
    if problem:
        raise Refused(stanza, StanzaError(Condition.BAD_REQUEST, problem))
