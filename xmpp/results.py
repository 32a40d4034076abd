"""Payloads of the answers to publish-subscribe requests (XEP-0060 1.30); put them into stanza.iq_result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xmpp import namespaces as ns
from xmpp.jid import Jid
from xmpp.namespaces import VLAN_FIELD
from xmpp.stanza import escape


class Page(NamedTuple):
    """Where a page of items lies in the whole (XEP-0059).

    total: number of items in all; first, last: ids of the page's ends, "" when it is empty; offset: index of first,
    None when it isn't known.
    """

    total: int
    first: str = ""
    last: str = ""
    offset: int | None = 0


def _pubsub(content: str) -> bytes:
    return f"<pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub>".encode()


def subscription_result(node: str, jid: Jid, subscription: str = "subscribed") -> bytes:
    """Payload of the answer to Subscribe (section 6.1.2)."""
    return _pubsub(f"<subscription node='{escape(node)}' jid='{escape(str(jid))}' subscription='{subscription}'/>")


def publish_result(node: str, ids: Iterable[str]) -> bytes:
    """Payload of the answer to Publish: the ids echoed (section 7.1.2)."""
    items = "".join([f"<item id='{escape(item_id)}'/>" for item_id in ids])
    return _pubsub(f"<publish node='{escape(node)}'>{items}</publish>")


def items_result(node: str, items: Iterable[tuple[str, bytes]], page: Page | None = None) -> bytes:
    """Payload of the answer to Items: (id, encoded entry) each (section 6.5.2); page: what XEP-0059 adds."""
    parts = [f"<pubsub xmlns='{ns.PUBSUB}'><items node='{escape(node)}'>".encode()]
    parts += [b"<item id='%b'>%b</item>" % (escape(item_id).encode(), entry) for item_id, entry in items]
    parts.append(b"</items>")
    if page is not None:
        ends = ""
        if page.first:
            index = f" index='{page.offset}'" if page.offset is not None else ""
            ends = f"<first{index}>{escape(page.first)}</first><last>{escape(page.last)}</last>"
        parts.append(f"<set xmlns='{ns.RSM}'>{ends}<count>{page.total}</count></set>".encode())
    parts.append(b"</pubsub>")
    return b"".join(parts)


def subscriptions_result(subscriptions: Iterable[tuple[str, Jid]], node: str | None = None) -> bytes:
    """Payload of the answer to Subscriptions: (node, jid) each (section 5.6)."""
    rows = "".join(
        [
            f"<subscription node='{escape(name)}' jid='{escape(str(jid))}' subscription='subscribed'/>"
            for name, jid in subscriptions
        ]
    )
    return _pubsub(f"<subscriptions{_of_node(node)}>{rows}</subscriptions>")


def affiliations_result(nodes: Iterable[str], node: str | None = None, affiliation: str = "publisher") -> bytes:
    """Payload of the answer to Affiliations (section 5.7)."""
    rows = "".join([f"<affiliation node='{escape(name)}' affiliation='{affiliation}'/>" for name in nodes])
    return _pubsub(f"<affiliations{_of_node(node)}>{rows}</affiliations>")


def options_result(node: str, jid: Jid, instance_id: int | None) -> bytes:
    """Payload of the answer to OptionsGet: a data form with the field "vpn#vlan_id" (section 6.3.2)."""
    value = f"<value>{instance_id}</value>" if instance_id is not None else ""
    return _pubsub(
        f"<options node='{escape(node)}' jid='{escape(str(jid))}'><x xmlns='{ns.DATA_FORMS}' type='form'>"
        f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_OPTIONS}</value></field>"
        f"<field var='{VLAN_FIELD}' type='text-single' label='Instance id'>{value}</field></x></options>"
    )


def _of_node(node: str | None) -> str:
    return f" node='{escape(node)}'" if node is not None else ""
