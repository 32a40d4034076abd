"""The mark "these are all my items of this VPN", from a host to a gateway; no I/O.

    <iq type='set' id='e1' to='vpn.example.net'><end-of-items xmlns='urn:vrfwire:items:1' node='VPN'/></iq>

XEP-0060 has none. A host sends it in a new session when all that it wants published in the VPN has been published and
answered: whatever an earlier session of the host has left there besides, the gateway then needn't keep until its time
is up. The answer is an empty result, or an error as of a publish request: item-not-found (no such VPN), forbidden (the
host may not join it), bad-request with nodeid-required. A server that doesn't know it answers service-unavailable; one
that does says so by the feature "urn:vrfwire:items:1" (XEP-0030).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from xmpp.namespaces import VRFWIRE_ITEMS
from xmpp.pubsub import NODE_MAX
from xmpp.stanza import Condition, Stanza, StanzaError

_MARK = f"{{{VRFWIRE_ITEMS}}}end-of-items"


def end_of_items(node: str) -> Element:
    """The payload of the request, which is an IQ of type "set"."""
    return Element(_MARK, {"node": node})


def read_end_of_items(stanza: Stanza) -> str | None:
    """The VPN that a request is about; None when it is another request. Raises StanzaError for one that is wrong."""
    payload = stanza.payload
    if not stanza.is_request or payload is None or payload.tag != _MARK:
        return None
    if stanza.type != "set":
        raise StanzaError(Condition.BAD_REQUEST, "<end-of-items/> goes in an IQ of type set")
    node = payload.get("node", "")
    if not node:
        raise StanzaError(Condition.BAD_REQUEST, "<end-of-items/> names no node", app="nodeid-required")
    if not node.isascii() or len(node) > NODE_MAX:
        raise StanzaError(Condition.ITEM_NOT_FOUND, f"a node id is at most {NODE_MAX} ASCII characters")
    return node
