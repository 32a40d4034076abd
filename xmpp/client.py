"""Publish-subscribe requests as the host makes them: standard library elements to append to an IQ.

With slixmpp: `iq = client.make_iq_set(ito=gateway); iq.append(publish(node, items))`. All are sent as IQ type "set".
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from vpn.prefix import Prefix
from xmpp.entry import Entry
from xmpp.jid import Jid


def item_id(address: str, instance_id: int, prefix: Prefix) -> str:
    """The id of a published item: "UNDERLAY-ADDRESS:INSTANCE-ID:PREFIX", the text form of the VPN NLRI."""
    raise NotImplementedError


def subscribe(node: str, jid: Jid | str, instance_id: int | None = None) -> Element:
    """Subscribe jid (with its resource) to a VPN; instance_id (0..65535) goes in the draft's <options/>."""
    raise NotImplementedError


def unsubscribe(node: str, jid: Jid | str) -> Element:
    """End a subscription."""
    raise NotImplementedError


def publish(node: str, items: Iterable[tuple[str, Entry]]) -> Element:
    """Publish (item id, entry) pairs in one request; keep to about 100 items. Raises EntryError."""
    raise NotImplementedError


def retract(node: str, ids: Iterable[str], *, notify: bool = False) -> Element:
    """Withdraw items in one request."""
    raise NotImplementedError
