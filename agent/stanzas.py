"""Requests of the signaling core as XMPP payloads, and stanza errors as refusals. Pure."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from agent.requests import Ask, Refusal, Request
from vpn.prefix import Prefix, PrefixError
from xmpp import client
from xmpp.end_of_items import end_of_items
from xmpp.entry import Entry
from xmpp.namespaces import CLIENT, PING, PUBSUB_ERRORS, STANZA_ERRORS, split_tag
from xmpp.notices import Notice


@dataclass(frozen=True, slots=True)
class Identity:
    """This host as a gateway sees it. address: underlay address in text form, part of every item id."""

    jid: str
    address: str


def ping() -> tuple[str, Element]:
    """IQ type and payload of a ping (XEP-0199)."""
    return "get", Element(f"{{{PING}}}ping")


def payload(request: Request, identity: Identity) -> tuple[str, Element]:
    """IQ type ("get" or "set") and payload of a request. Raises EntryError for a path that can't be sent."""
    vpn, instance = request.vpn, request.instance_id
    match request.ask:
        case Ask.BARRIER:
            return ping()
        case Ask.END_OF_ITEMS:
            return "set", end_of_items(vpn)
        case Ask.SUBSCRIBE:
            return "set", client.subscribe(vpn, identity.jid, instance)
        case Ask.UNSUBSCRIBE:
            return "set", client.unsubscribe(vpn, identity.jid)
        case Ask.PUBLISH:
            return "set", client.publish(
                vpn,
                [
                    (client.item_id(identity.address, instance, prefix), Entry(prefix, offer.path, offer.attachment))
                    for prefix, offer in request.items
                    if offer is not None
                ],
            )
        case Ask.RETRACT:
            ids = [client.item_id(identity.address, instance, prefix) for prefix, _ in request.items]
            return "set", client.retract(vpn, ids)


def noticed(notice: Notice, identity: Identity) -> list[Prefix]:
    """Prefixes of the items that a notice is about; those that this host can't have published are left out."""
    prefixes = []
    for item in notice.ids:
        if item.startswith(f"{identity.address}:"):
            with contextlib.suppress(PrefixError):
                prefixes.append(Prefix.parse(item.removeprefix(f"{identity.address}:").partition(":")[2]))
    return prefixes


def refusal(answer: Element) -> Refusal | None:
    """What an answer to an IQ says: None for a result; for an error its condition (RFC 6120, 8.3.3) and text.

    The application's own condition (XEP-0060) goes in front of the text.
    """
    if answer.get("type") != "error":
        return None
    condition, details = "undefined-condition", []
    for error in answer.iter(f"{{{CLIENT}}}error"):
        for child in error:
            namespace, name = split_tag(child.tag) if isinstance(child.tag, str) else ("", "")
            if namespace == STANZA_ERRORS and name == "text":
                details.append((child.text or "").strip())
            elif namespace == STANZA_ERRORS:
                condition = name
            elif namespace == PUBSUB_ERRORS:
                details.insert(0, name)
    return Refusal(condition, ": ".join(detail for detail in details if detail))
