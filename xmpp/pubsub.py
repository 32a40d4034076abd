"""Publish-subscribe requests as the service sees them, and their results (XEP-0060 1.30).

A node is a VPN: nodes exist by configuration, so creating, deleting and configuring them is refused by policy. What a
request may do is the service's matter; here it is parsed into a value, or refused with the error pair of the XEP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from xml.etree.ElementTree import Element

from xmpp import namespaces as ns
from xmpp.jid import Jid, JidError
from xmpp.namespaces import VLAN_FIELD, split_tag
from xmpp.results import (
    Page,
    affiliations_result,
    items_result,
    options_result,
    publish_result,
    subscription_result,
    subscriptions_result,
)
from xmpp.stanza import Condition, Stanza, StanzaError

__all__ = [
    "INSTANCE_ID_MAX",
    "ITEM_ID_MAX",
    "NODE_MAX",
    "Affiliations",
    "Items",
    "OptionsGet",
    "OptionsSet",
    "Page",
    "Publish",
    "PublishItem",
    "Request",
    "ResultSet",
    "Retract",
    "Subscribe",
    "Subscriptions",
    "Unsubscribe",
    "affiliations_result",
    "is_request",
    "items_result",
    "options_result",
    "parse_request",
    "publish_result",
    "subscription_result",
    "subscriptions_result",
]

NODE_MAX = 128
"""Greatest size of a node id (VPN identifier) in octets (draft-ietf-l3vpn-end-system-06, section 6)."""
INSTANCE_ID_MAX = 0xFFFF
"""An instance id has 16 bits: it is the assigned number of a type 1 route distinguisher."""
ITEM_ID_MAX = 256
"""Longest item id taken, in characters; ours have at most 66 (two addresses, an instance id and a length)."""
_PUBSUB = f"{{{ns.PUBSUB}}}pubsub"
_OWNER = f"{{{ns.PUBSUB_OWNER}}}pubsub"
_FORM = f"{{{ns.DATA_FORMS}}}x"


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
    """Set the options of a subscription. cancelled: the form was, so that they stay as they are (XEP-0004, 2.1)."""

    node: str
    jid: Jid
    instance_id: int | None = None
    cancelled: bool = False


Request = Subscribe | Unsubscribe | Publish | Retract | Items | Subscriptions | Affiliations | OptionsGet | OptionsSet


def is_request(stanza: Stanza) -> bool:
    """Whether the stanza is an IQ request for this service (either pubsub namespace)."""
    payload = stanza.payload
    return stanza.is_request and payload is not None and payload.tag in (_PUBSUB, _OWNER)


def parse_request(stanza: Stanza) -> Request:
    """The request of an IQ get or set; raises StanzaError with the pair of conditions of XEP-0060."""
    payload = stanza.payload
    if payload is None or payload.tag not in (_PUBSUB, _OWNER):
        raise StanzaError(Condition.SERVICE_UNAVAILABLE)
    if payload.tag == _OWNER:
        raise _owner_refusal(payload)
    action, options = _split(payload)
    name = split_tag(action.tag)[1]
    handler = _HANDLERS.get((stanza.type, name))
    if handler is None:
        raise _unknown_action(name)
    if name == "subscribe":
        return _subscribe(action, options)
    if options is not None:
        raise StanzaError(Condition.BAD_REQUEST, "<options/> goes with <subscribe/> alone")
    request = handler(action)
    return request._replace(result_set=_result_set(payload)) if isinstance(request, Items) else request


def _split(payload: Element) -> tuple[Element, Element | None]:
    """The action of a <pubsub/> and the <options/> beside it; raises StanzaError."""
    children = [child for child in payload if split_tag(child.tag)[0] == ns.PUBSUB]
    if not children:
        raise StanzaError(Condition.BAD_REQUEST, "no request in <pubsub/>")
    action, *others = children
    if others and split_tag(action.tag)[1] == "options":
        # A sender may put the options of a subscription first.
        action, others = others[0], [action, *others[1:]]
    options: Element | None = None
    for child in others:
        name = split_tag(child.tag)[1]
        if name == "publish-options":
            raise _unsupported("publish-options", "publishing options are not supported")
        if name == "configure":
            raise _node_policy("create-nodes")
        if name != "options" or options is not None:
            raise StanzaError(Condition.BAD_REQUEST, "more than one request in <pubsub/>")
        options = child
    return action, options


def _unknown_action(name: str) -> StanzaError:
    if name == "create":
        return _node_policy("create-nodes")
    if any(known == name for _, known in _HANDLERS):
        return StanzaError(Condition.BAD_REQUEST, f"<{name}/> in an IQ of the wrong type")
    if name == "default":
        return _unsupported("retrieve-default-sub", "there are no default subscription options")
    return StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, "this publish-subscribe request is not supported")


def _node_policy(feature: str) -> StanzaError:
    return _unsupported(feature, "nodes are VPNs of the gateway's configuration: they can't be made or changed here")


def _unsupported(feature: str, text: str) -> StanzaError:
    return StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, text, app="unsupported", feature=feature)


_OWNER_FEATURES = {
    "configure": "config-node",
    "default": "retrieve-default",
    "delete": "delete-nodes",
    "purge": "purge-nodes",
    "subscriptions": "manage-subscriptions",
    "affiliations": "modify-affiliations",
}


def _owner_refusal(payload: Element) -> StanzaError:
    """Owners exist in configuration alone (XEP-0060, section 8: each use case has a feature to name in the refusal)."""
    for child in payload:
        feature = _OWNER_FEATURES.get(split_tag(child.tag)[1])
        if feature is not None:
            return _node_policy(feature)
    return StanzaError(Condition.BAD_REQUEST, "no request in <pubsub/>")


def _bad(app: str, text: str) -> StanzaError:
    return StanzaError(Condition.BAD_REQUEST, text, app=app)


def _node(element: Element) -> str:
    node = element.get("node", "")
    if not node:
        raise _bad("nodeid-required", "the request names no node")
    if not node.isascii() or len(node) > NODE_MAX:
        raise StanzaError(Condition.ITEM_NOT_FOUND, f"a node id is at most {NODE_MAX} ASCII characters")
    return node


def _optional_node(element: Element) -> str | None:
    return _node(element) if element.get("node") else None


def _jid(element: Element) -> Jid:
    text = element.get("jid", "")
    if not text:
        raise _bad("jid-required", "the request names no jid")
    try:
        return Jid.parse(text)
    except JidError as error:
        raise _bad("invalid-jid", str(error)) from None


def _subscribe(action: Element, options: Element | None = None) -> Subscribe:
    node, jid = _node(action), _jid(action)
    if options is None:
        return Subscribe(node, jid)
    # <options/> may repeat node and jid; they must then be the same (XEP-0060, section 6.3.7).
    if options.get("node", node) != node or ("jid" in options.attrib and _jid(options) != jid):
        raise _bad("invalid-options", "<options/> is for another node or jid than <subscribe/>")
    return Subscribe(node, jid, _instance_id(options))


def _instance_id(options: Element) -> int | None:
    """The draft's <instance-id/> or the data form field "vpn#vlan_id"; None when neither is there."""
    for child in options:
        if split_tag(child.tag)[1] == "instance-id":
            return _instance_number(child.text)
        if child.tag == _FORM:
            return _submitted(child)
    return None


def _submitted(form: Element) -> int | None:
    """What a form of subscription options says of the instance (XEP-0060, 6.3.5); unknown fields don't count."""
    if form.get("type") != "submit":
        raise _bad("invalid-options", "the form is not submitted")
    fields = {field.get("var"): _value(field) for field in form if field.tag == f"{{{ns.DATA_FORMS}}}field"}
    # Without a type a form can't be another one (XEP-0068, section 3).
    if fields.get("FORM_TYPE") not in (None, ns.PUBSUB_OPTIONS):
        raise _bad("invalid-options", "the form is not one for options of a subscription")
    return _instance_number(fields[VLAN_FIELD]) if VLAN_FIELD in fields else None


def _value(field: Element) -> str | None:
    return next((value.text for value in field if split_tag(value.tag)[1] == "value"), None)


def _instance_number(text: str | None) -> int:
    digits = (text or "").strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= INSTANCE_ID_MAX:
        return int(digits)
    raise _bad("invalid-options", f"the instance id is not a number in 0..{INSTANCE_ID_MAX}")


def _unsubscribe(action: Element) -> Unsubscribe:
    return Unsubscribe(_node(action), _jid(action), action.get("subid", ""))


def _items_of(action: Element) -> list[tuple[str, Element]]:
    found = []
    for child in action:
        if split_tag(child.tag) == (ns.PUBSUB, "item"):
            item_id = child.get("id", "")
            if not item_id:
                raise _bad("item-required", "an item has no id")
            if len(item_id) > ITEM_ID_MAX:
                raise StanzaError(Condition.NOT_ACCEPTABLE, f"an item id is longer than {ITEM_ID_MAX} characters")
            found.append((item_id, child))
    return found


def _publish(action: Element) -> Publish:
    node = _node(action)
    items = []
    for item_id, item in _items_of(action):
        if len(item) == 0:
            raise _bad("payload-required", f"item {item_id} has no payload")
        if len(item) > 1:
            raise _bad("invalid-payload", f"item {item_id} has more than one payload element")
        items.append(PublishItem(item_id, item[0]))
    if not items:
        raise _bad("item-required", "nothing to publish")
    return Publish(node, tuple(items))


def _retract(action: Element) -> Retract:
    node = _node(action)
    ids = tuple([item_id for item_id, _ in _items_of(action)])
    if not ids:
        raise _bad("item-required", "nothing to retract")
    return Retract(node, ids, action.get("notify") in ("1", "true"))


def _items(action: Element) -> Items:
    node = _node(action)
    ids = tuple([item_id for item_id, _ in _items_of(action)])
    max_items = action.get("max_items")
    if max_items is None:
        return Items(node, ids)
    most = _count(max_items, "max_items")
    if most == 0:
        raise StanzaError(Condition.BAD_REQUEST, "max_items is not positive")
    return Items(node, ids, most)


def _count(text: str, name: str) -> int:
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= 9:
        return int(digits)
    raise StanzaError(Condition.BAD_REQUEST, f"{name} is not a number")


def _result_set(payload: Element) -> ResultSet | None:
    """<set/> of XEP-0059 beside <items/>."""
    element = payload.find(f"{{{ns.RSM}}}set")
    if element is None:
        return None
    values = {split_tag(child.tag)[1]: child.text or "" for child in element}
    if "index" in values:
        raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, "pages by index are not supported")
    most = _count(values["max"], "max") if "max" in values else None
    return ResultSet(most, values.get("after"), values.get("before"))


def _subscriptions(action: Element) -> Subscriptions:
    return Subscriptions(_optional_node(action))


def _affiliations(action: Element) -> Affiliations:
    return Affiliations(_optional_node(action))


def _options_get(action: Element) -> OptionsGet:
    return OptionsGet(_node(action), _jid(action))


def _options_set(action: Element) -> OptionsSet:
    node, jid = _node(action), _jid(action)
    form = action.find(_FORM)
    if form is not None and form.get("type") == "cancel":
        return OptionsSet(node, jid, cancelled=True)
    return OptionsSet(node, jid, _instance_id(action))


_HANDLERS: dict[tuple[str, str], Callable[[Element], Request]] = {
    ("set", "subscribe"): _subscribe,
    ("set", "unsubscribe"): _unsubscribe,
    ("set", "publish"): _publish,
    ("set", "retract"): _retract,
    ("get", "items"): _items,
    ("get", "subscriptions"): _subscriptions,
    ("get", "affiliations"): _affiliations,
    ("get", "options"): _options_get,
    ("set", "options"): _options_set,
}
