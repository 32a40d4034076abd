"""Publish-subscribe requests as the host makes them: standard library elements to append to an IQ.

With slixmpp: `iq = client.make_iq_set(ito=gateway); iq.append(publish(node, items))`. All are sent as IQ type "set"
but `retrieve`.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement

from vpn.prefix import Prefix
from xmpp import namespaces as ns
from xmpp.entry import Entry, to_element
from xmpp.jid import Jid
from xmpp.notification import Event, read_items

_PUBSUB = f"{{{ns.PUBSUB}}}"
_ITEM = f"{_PUBSUB}item"


def item_id(address: str, instance_id: int, prefix: Prefix) -> str:
    """The id of a published item: "UNDERLAY-ADDRESS:INSTANCE-ID:PREFIX", the text form of the VPN NLRI."""
    return f"{address}:{instance_id}:{prefix}"


def subscribe(node: str, jid: Jid | str, instance_id: int | None = None) -> Element:
    """Subscribe jid (with its resource) to a VPN; instance_id (0..65535) goes in the draft's <options/>."""
    pubsub = Element(f"{_PUBSUB}pubsub")
    SubElement(pubsub, f"{_PUBSUB}subscribe", {"node": node, "jid": str(jid)})
    if instance_id is not None:
        options = SubElement(pubsub, f"{_PUBSUB}options")
        SubElement(options, f"{_PUBSUB}instance-id").text = str(instance_id)
    return pubsub


def unsubscribe(node: str, jid: Jid | str) -> Element:
    """End a subscription."""
    pubsub = Element(f"{_PUBSUB}pubsub")
    SubElement(pubsub, f"{_PUBSUB}unsubscribe", {"node": node, "jid": str(jid)})
    return pubsub


def publish(node: str, items: Iterable[tuple[str, Entry]]) -> Element:
    """Publish (item id, entry) pairs in one request; keep to about 100 items. Raises EntryError."""
    pubsub = Element(f"{_PUBSUB}pubsub")
    action = SubElement(pubsub, f"{_PUBSUB}publish", {"node": node})
    for identifier, entry in items:
        SubElement(action, _ITEM, {"id": identifier}).append(to_element(entry))
    return pubsub


def retract(node: str, ids: Iterable[str], *, notify: bool = False) -> Element:
    """Withdraw items in one request."""
    pubsub = Element(f"{_PUBSUB}pubsub")
    attributes = {"node": node, "notify": "true"} if notify else {"node": node}
    action = SubElement(pubsub, f"{_PUBSUB}retract", attributes)
    for identifier in ids:
        SubElement(action, _ITEM, {"id": identifier})
    return pubsub


def retrieve(node: str) -> Element:
    """Ask for all items of a VPN (IQ type "get"); read the answer with parse_items."""
    pubsub = Element(f"{_PUBSUB}pubsub")
    SubElement(pubsub, f"{_PUBSUB}items", {"node": node})
    return pubsub


def parse_items(result: Element) -> Event | None:
    """The items in an IQ result (or its <pubsub/>), in the form of an event; None when there are none inside."""
    pubsub = result if result.tag == f"{_PUBSUB}pubsub" else result.find(f"{_PUBSUB}pubsub")
    items = pubsub.find(f"{_PUBSUB}items") if pubsub is not None else None
    return read_items(items, _ITEM, "") if items is not None else None
