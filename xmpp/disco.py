"""Small services that every client expects: service discovery (XEP-0030), ping (XEP-0199), an empty roster.

Pure handlers: a stanza in, the answer's bytes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xmpp import namespaces as ns
from xmpp.jid import Jid
from xmpp.stanza import Condition, Stanza, StanzaError, escape, iq_error, iq_result

_PING = f"{{{ns.PING}}}ping"
_INFO = f"{{{ns.DISCO_INFO}}}query"
_ITEMS = f"{{{ns.DISCO_ITEMS}}}query"
_ROSTER = f"{{{ns.ROSTER}}}query"

PUBSUB_FEATURES = (
    "item-ids",
    "multi-items",
    "persistent-items",
    "publish",
    "retract-items",
    "retrieve-affiliations",
    "retrieve-items",
    "retrieve-subscriptions",
    "rsm",
    "subscribe",
    "subscription-options",
)
"""What of XEP-0060 the service does (its section 10), named after "http://jabber.org/protocol/pubsub#"."""


def is_ping(stanza: Stanza) -> bool:
    """Whether the stanza is a ping request (XEP-0199); answer it with an empty result, in order with other output."""
    payload = stanza.payload
    return stanza.type == "get" and stanza.is_request and payload is not None and payload.tag == _PING


class Disco:
    """Answers discovery requests for the domain and its nodes.

    domain: address of the service; nodes: VPN names the given host may see; has_node: whether it may see one.
    """

    def __init__(
        self, domain: Jid, nodes: Callable[[Jid], Iterable[str]], has_node: Callable[[Jid, str], bool]
    ) -> None:
        self._domain = domain
        self._nodes = nodes
        self._has_node = has_node

    def answer(self, stanza: Stanza) -> bytes | None:
        """The reply (result or error) to a discovery, ping or roster request; None when the stanza is none of these.

        Presence and messages are none of these: ignore them.
        """
        payload = stanza.payload
        if not stanza.is_request or payload is None:
            return None
        try:
            return self._answer(stanza, payload.tag, payload.get("node", ""))
        except StanzaError as error:
            return iq_error(stanza, error)

    def _answer(self, stanza: Stanza, tag: str, node: str) -> bytes | None:
        own_account = stanza.to is None or stanza.to == stanza.sender.bare
        if tag not in (_PING, _ROSTER, _INFO, _ITEMS) or not (own_account or stanza.to == self._domain):
            return None
        if stanza.type != "get":
            # Rosters can be set elsewhere; the others are get alone by their XEPs.
            condition = Condition.FEATURE_NOT_IMPLEMENTED if tag == _ROSTER else Condition.BAD_REQUEST
            raise StanzaError(condition, "only an IQ of type get is answered")
        if tag == _PING:
            return iq_result(stanza)
        if tag == _ROSTER:
            # Hosts have no contacts; many clients ask all the same (RFC 6121, section 2.1).
            return iq_result(stanza, f"<query xmlns='{ns.ROSTER}'/>".encode())
        if own_account:
            return iq_result(stanza, _account(tag, node))
        if node and not self._has_node(stanza.sender, node):
            raise StanzaError(Condition.ITEM_NOT_FOUND, "there is no such node")
        return iq_result(stanza, self._info(node) if tag == _INFO else self._items(stanza.sender, node))

    def _info(self, node: str) -> bytes:
        if node:
            return _query(ns.DISCO_INFO, node, _identity("pubsub", "leaf") + _features([ns.PUBSUB]))
        pubsub = [f"{ns.PUBSUB}#{feature}" for feature in PUBSUB_FEATURES]
        features = _features([ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.RSM, ns.VRFWIRE_ITEMS, ns.PUBSUB, *pubsub])
        return _query(ns.DISCO_INFO, "", _identity("server", "im") + _identity("pubsub", "service") + features)

    def _items(self, host: Jid, node: str) -> bytes:
        domain = escape(str(self._domain))
        names = () if node else self._nodes(host)
        rows = "".join([f"<item jid='{domain}' node='{escape(name)}'/>" for name in names])
        return _query(ns.DISCO_ITEMS, node, rows)


def _account(tag: str, node: str) -> bytes:
    """A request without "to" is for the sender's own account (RFC 6120, section 10.3.3)."""
    if node:
        raise StanzaError(Condition.ITEM_NOT_FOUND, "an account has no nodes")
    if tag == _ITEMS:
        return _query(ns.DISCO_ITEMS, "", "")
    features = _features([ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING])
    return _query(ns.DISCO_INFO, "", _identity("account", "registered") + features)


def _query(namespace: str, node: str, content: str) -> bytes:
    of_node = f" node='{escape(node)}'" if node else ""
    return f"<query xmlns='{namespace}'{of_node}>{content}</query>".encode()


def _identity(category: str, kind: str) -> str:
    return f"<identity category='{category}' type='{kind}'/>"


def _features(names: Iterable[str]) -> str:
    return "".join([f"<feature var='{name}'/>" for name in names])
