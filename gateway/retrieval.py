"""Answers to who asks for the items of a VPN (XEP-0060, section 6.5), page by page (XEP-0059); no I/O."""

from __future__ import annotations

from gateway.rib import Source
from vpn.path import Path
from vpn.prefix import Prefix, PrefixError
from vpn.table import VrfTable
from xmpp import pubsub
from xmpp.entry import Entry, encode
from xmpp.stanza import Condition, StanzaError

PAGE_ITEMS = 1000
"""Items in one answer to a retrieval; the rest by result set management (XEP-0059)."""
PAGE_BYTES = 256 * 1024


def retrieve(table: VrfTable[Source], request: pubsub.Items) -> bytes:
    """The payload of the answer: routes as selected, least recently changed first, in pages. Raises StanzaError."""
    if request.ids:
        named = ((prefix, table.get(prefix)) for prefix in map(_prefix, request.ids[:PAGE_ITEMS]) if prefix)
        found = [(prefix, path) for prefix, path in named if path is not None]
        return pubsub.items_result(request.node, _fitting(found))
    result_set = request.result_set
    if result_set is not None and result_set.before is not None:
        raise StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, "pages can be had forwards only (after)")
    if request.max_items is not None and result_set is None:
        routes = table.newest(min(request.max_items, PAGE_ITEMS))
    else:
        limit = PAGE_ITEMS if result_set is None or result_set.max is None else min(result_set.max, PAGE_ITEMS)
        after = result_set.after if result_set is not None else None
        try:
            routes = table.page(None if after is None else Prefix.parse(after), limit)
        except (KeyError, PrefixError):
            text = f"there is no item {after!r} to go on from; start again"
            raise StanzaError(Condition.ITEM_NOT_FOUND, text) from None
    items = _fitting(routes)
    if result_set is None and len(items) == len(table):
        return pubsub.items_result(request.node, items)
    ends = (items[0][0], items[-1][0]) if items else ("", "")
    # Where a later page begins isn't known without counting (XEP-0059 leaves it out then).
    page = pubsub.Page(len(table), *ends, offset=0 if result_set is None or result_set.after is None else None)
    return pubsub.items_result(request.node, items, page)


def _prefix(text: str) -> Prefix | None:
    try:
        return Prefix.parse(text)
    except PrefixError:
        return None


def _fitting(routes: list[tuple[Prefix, Path]]) -> list[tuple[str, bytes]]:
    """As many of the routes, encoded, as fit one answer; at least one."""
    items: list[tuple[str, bytes]] = []
    size = 0
    for prefix, path in routes:
        encoded = encode(Entry(prefix, path))
        size += len(encoded) + 80
        if size > PAGE_BYTES and items:
            break
        items.append((str(prefix), encoded))
    return items
