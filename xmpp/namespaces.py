"""XML namespaces of the stream, of the extensions spoken here and of the VPN entry."""

from __future__ import annotations

STREAMS = "http://etherx.jabber.org/streams"
CLIENT = "jabber:client"
COMPONENT = "jabber:component:accept"
"""Of a stream between a server and a component of it (XEP-0114)."""
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SESSION = "urn:ietf:params:xml:ns:xmpp-session"
ROSTER = "jabber:iq:roster"
PING = "urn:xmpp:ping"
SM = "urn:xmpp:sm:3"
"""Stream management (XEP-0198)."""
DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
DATA_FORMS = "jabber:x:data"
RSM = "http://jabber.org/protocol/rsm"
PUBSUB = "http://jabber.org/protocol/pubsub"
PUBSUB_ERRORS = "http://jabber.org/protocol/pubsub#errors"
PUBSUB_EVENT = "http://jabber.org/protocol/pubsub#event"
PUBSUB_OWNER = "http://jabber.org/protocol/pubsub#owner"
PUBSUB_OPTIONS = "http://jabber.org/protocol/pubsub#subscribe_options"
ENTRY = "urn:ietf:params:xml:ns:bgp:l3vpn:unicast"
"""The route entry of draft-ietf-l3vpn-end-system-06, section 11."""
VRFWIRE_ENTRY = "urn:vrfwire:entry:1"
"""What we add to an entry: <attachment/>. Others leave out what they don't know."""
VRFWIRE_NOTICE = "urn:vrfwire:notice:1"
"""The mark of a message about the recipient's own items (xmpp.notices)."""
VRFWIRE_ITEMS = "urn:vrfwire:items:1"
"""The mark of a host that it has published all its items of a VPN (xmpp.end_of_items)."""

VLAN_FIELD = "vpn#vlan_id"
"""Data form field (XEP-0004) with which the draft's external forwarders give an instance id."""


def split_tag(tag: str) -> tuple[str, str]:
    """(namespace, local name) of an ElementTree tag; the namespace is "" when there is none."""
    if tag[:1] == "{":
        namespace, _, local = tag[1:].partition("}")
        return namespace, local
    return "", tag
