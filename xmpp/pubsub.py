"""Publish-subscribe requests as the service sees them, and their results (XEP-0060 1.30).

A node is a VPN: nodes exist by configuration, so creating, deleting and configuring them is refused by policy. What a
request may do is the service's matter; here it is parsed into a value, or refused with the error pair of the XEP.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from xml.etree.ElementTree import Element

from xmpp.jid import Jid
from xmpp.stanza import Stanza

NODE_MAX = 128
"""Greatest size of a node id (VPN identifier) in octets (draft-ietf-l3vpn-end-system-06, section 6)."""
INSTANCE_ID_MAX = 0xFFFF


class Subscribe(NamedTuple):
    """Subscribe jid to node; instance_id (0..65535) as in the draft's options, None when not given."""

    node: str
    jid: Jid
    instance_id: int | None = None


class Unsubscribe(NamedTuple):
    """End the subscription of jid; subid "" when not given."""

    node: str
    jid: Jid
    subid: str = ""


class PublishItem(NamedTuple):
    """An item to publish: id unique in the node, and its payload element."""

    id: str
    payload: Element


class Publish(NamedTuple):
    """Publish items in the given order."""

    node: str
    items: tuple[PublishItem, ...]


class Retract(NamedTuple):
    """Withdraw items; notify as in XEP-0060, section 7.2.2.1 (subscribers are told of a withdrawn route regardless)."""

    node: str
    ids: tuple[str, ...]
    notify: bool = False


class ResultSet(NamedTuple):
    """A page asked for (XEP-0059): at most max items, after or before an item id; None: not given."""

    max: int | None = None
    after: str | None = None
    before: str | None = None


class Items(NamedTuple):
    """Retrieve items: the named ones, else all; max_items newest ones when given."""

    node: str
    ids: tuple[str, ...] = ()
    max_items: int | None = None
    result_set: ResultSet | None = None


class Subscriptions(NamedTuple):
    """List the requester's subscriptions, of one node when given."""

    node: str | None = None


class Affiliations(NamedTuple):
    """List the requester's affiliations, of one node when given."""

    node: str | None = None


class OptionsGet(NamedTuple):
    """Ask for the options of a subscription."""

    node: str
    jid: Jid


class OptionsSet(NamedTuple):
    """Set the options of a subscription."""

    node: str
    jid: Jid
    instance_id: int | None = None


Request = Subscribe | Unsubscribe | Publish | Retract | Items | Subscriptions | Affiliations | OptionsGet | OptionsSet


def is_request(stanza: Stanza) -> bool:
    """Whether the stanza is an IQ request for this service (either pubsub namespace)."""
    raise NotImplementedError


def parse_request(stanza: Stanza) -> Request:
    """The request of an IQ get or set; raises StanzaError with the pair of conditions of XEP-0060."""
    raise NotImplementedError


def subscription_result(node: str, jid: Jid, subscription: str = "subscribed") -> bytes:
    """Payload of the answer to Subscribe (XEP-0060, section 6.1.2)."""
    raise NotImplementedError


def publish_result(node: str, ids: Iterable[str]) -> bytes:
    """Payload of the answer to Publish: the ids echoed (section 7.1.2)."""
    raise NotImplementedError


def items_result(node: str, items: Iterable[tuple[str, bytes]], page: Page | None = None) -> bytes:
    """Payload of the answer to Items: (id, encoded entry) each (section 6.5.2); page: what XEP-0059 adds."""
    raise NotImplementedError


class Page(NamedTuple):
    """Where a page of items lies in the whole (XEP-0059): total number, first and last id of the page, index of first."""

    count: int
    first: str = ""
    last: str = ""
    index: int = 0


def subscriptions_result(subscriptions: Iterable[tuple[str, Jid]], node: str | None = None) -> bytes:
    """Payload of the answer to Subscriptions: (node, jid) each (section 5.6)."""
    raise NotImplementedError


def affiliations_result(nodes: Iterable[str], node: str | None = None, affiliation: str = "publisher") -> bytes:
    """Payload of the answer to Affiliations (section 5.7)."""
    raise NotImplementedError


def options_result(node: str, jid: Jid, instance_id: int | None) -> bytes:
    """Payload of the answer to OptionsGet: a data form with the field "vpn#vlan_id" (section 6.3.2)."""
    raise NotImplementedError
