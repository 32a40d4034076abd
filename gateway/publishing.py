"""Whether a host may publish or retract items: decided for the whole request before anything is changed; no I/O.

An item id in the draft's form, ADDRESS:INSTANCE-ID:PREFIX, must name an underlay address of the host that publishes it,
so ids of other hosts are refused even before those have published. Ids of another form belong to the host that
published them first.
"""

from __future__ import annotations

from gateway.rib import ITEM_ID, Rib
from gateway.session import Session
from gateway.withheld import Withheld
from vpn.prefix import Prefix, PrefixError, format_address, parse_address
from xmpp import pubsub
from xmpp.entry import Entry, EntryError, decode
from xmpp.stanza import Condition, StanzaError


def check_publish(
    rib: Rib, withheld: Withheld, session: Session, request: pubsub.Publish, items_max: int
) -> dict[str, Entry]:
    """Entries by item id, all of them permitted; of an id given twice the last. Raises StanzaError else."""
    entries: dict[str, Entry] = {}
    fresh = set()
    for item in request.items:
        try:
            entry = decode(item.payload)
        except EntryError as error:
            text = f"item {item.id}: {error}"
            raise StanzaError(Condition.BAD_REQUEST, text, app="invalid-payload") from None
        _check_id(session, item.id, entry.prefix)
        if _owner(rib, withheld, session, request.node, item.id) is None:
            fresh.add(item.id)
        for next_hop in entry.path.next_hops:
            if next_hop.address not in session.permit.addresses:
                text = (
                    f"item {item.id}: next hop {format_address(next_hop.address)} is not an address of host "
                    f"{session.host} ({_addresses(session)})"
                )
                raise StanzaError(Condition.NOT_ACCEPTABLE, text)
        entries[item.id] = entry
    count = rib.count(session.host) + withheld.count(session.host)
    if fresh and count + len(fresh) > items_max:
        text = f"host {session.host} has {count} items, {len(fresh)} more would be over the {items_max} allowed"
        raise StanzaError(Condition.POLICY_VIOLATION, text)
    return entries


def check_retract(rib: Rib, withheld: Withheld, session: Session, request: pubsub.Retract) -> None:
    """Raises StanzaError unless every item is there and the host's own."""
    for item_id in request.ids:
        if _owner(rib, withheld, session, request.node, item_id) is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND, f"there is no item {item_id} in VPN {request.node!r}")


def _owner(rib: Rib, withheld: Withheld, session: Session, vpn: str, item_id: str) -> str | None:
    """The host's name when it owns the item, None when nobody does; raises StanzaError when another host does."""
    item = rib.item(vpn, item_id)
    held = withheld.get((vpn, item_id)) if item is None else None
    if item is not None:
        owner = item.publisher.host
    elif held is not None:
        owner = held.host
    else:
        return None
    if owner != session.host:
        raise StanzaError(Condition.FORBIDDEN, f"item {item_id} belongs to another host")
    return session.host


def _check_id(session: Session, item_id: str, prefix: Prefix) -> None:
    match = ITEM_ID.fullmatch(item_id)
    if match is None:
        return
    try:
        address = parse_address(match["address"].strip("[]"))
        named = Prefix.parse(match["prefix"])
    except PrefixError as error:
        raise StanzaError(Condition.BAD_REQUEST, f"item {item_id}: {error}", app="invalid-payload") from None
    if address not in session.permit.addresses:
        text = (
            f"item {item_id} is an id of another host: {format_address(address)} is not an address of host "
            f"{session.host} ({_addresses(session)})"
        )
        raise StanzaError(Condition.FORBIDDEN, text)
    if named != prefix:
        text = f"item {item_id}: the entry's prefix is {prefix}"
        raise StanzaError(Condition.BAD_REQUEST, text, app="invalid-payload")


def _addresses(session: Session) -> str:
    return ", ".join(sorted(map(format_address, session.permit.addresses)))
