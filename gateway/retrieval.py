"""Answers to who asks for the items of a VPN (XEP-0060, section 6.5), page by page (XEP-0059); no I/O."""

from __future__ import annotations

from collections.abc import Callable

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
    if request.result_set is not None:
        return _page(table, request.node, request.result_set)
    if request.max_items is not None:
        routes = table.newest(min(request.max_items, PAGE_ITEMS))
    else:
        routes = table.page(None, PAGE_ITEMS)
    items = _fitting(routes)
    page = None if len(items) == len(table) else _described(table, items, 0)
    return pubsub.items_result(request.node, items, page)


def _page(table: VrfTable[Source], node: str, asked: pubsub.ResultSet) -> bytes:
    """A page behind or before an item, or the last one (`before` without an item). Raises StanzaError."""
    limit = PAGE_ITEMS if asked.max is None else min(asked.max, PAGE_ITEMS)
    if asked.before is None:
        items = _fitting(_from(lambda: table.page(_parsed(asked.after), limit), asked.after))
        # Where another page than an end begins isn't known without counting (XEP-0059 leaves it out then).
        offset = None if asked.after else 0
    else:
        # What doesn't fit is left out at the far end of the page.
        items = _fitting(_from(lambda: table.newest(limit, _parsed(asked.before)), asked.before))[::-1]
        offset = None if asked.before else len(table) - len(items)
    return pubsub.items_result(node, items, _described(table, items, offset))


def _from(read: Callable[[], list[tuple[Prefix, Path]]], item: str | None) -> list[tuple[Prefix, Path]]:
    """Routes that are read on from an item."""
    try:
        return read()
    except (KeyError, PrefixError):
        text = f"there is no item {item!r} to go on from; start again"
        raise StanzaError(Condition.ITEM_NOT_FOUND, text) from None


def _parsed(item: str | None) -> Prefix | None:
    return Prefix.parse(item) if item else None


def _described(table: VrfTable[Source], items: list[tuple[str, bytes]], offset: int | None) -> pubsub.Page:
    ends = (items[0][0], items[-1][0]) if items else ("", "")
    return pubsub.Page(len(table), *ends, offset=offset)


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
