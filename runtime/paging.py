"""Lists that a daemon hands out page by page, so that it goes on meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence

from runtime.client import ControlClient
from runtime.command import Options, Reply, items
from runtime.output import Column, Row

PAGE = 500
"""Rows asked for at once."""
TIMEOUT = 60.0
"""Seconds for one page."""


def pages(options: Options, method: str, params: Mapping[str, object], limit: int | None = PAGE) -> Iterator[Reply]:
    """Page after page, by one connection. limit: rows of a page; None: the daemon decides. Raises OperatorError."""
    after: object = None
    asked = dict(params) if limit is None else {"limit": limit, **params}
    with ControlClient(options.socket, options.daemon) as client:
        while True:
            page = client.call(method, asked if after is None else {**asked, "after": after}, timeout=TIMEOUT)
            yield page
            after = page.get("after")
            if after is None:
                return


def list_routes(options: Options, params: Mapping[str, object], columns: Sequence[Column]) -> None:
    """Print what `route.list` has, by VPN and prefix; of a route that changed meanwhile the later row holds."""

    def look() -> None:
        found = {
            (row["vpn"], row["prefix"]): row for page in pages(options, "route.list", params) for row in items(page)
        }
        reply = {"items": sorted(found.values(), key=by_prefix)}
        rows = items(reply)
        shown = [column for column in columns if column.field != "error" or any(row.get("error") for row in rows)]
        options.show(reply, lambda colour: options.table(rows, shown, colour))

    options.repeat(look)


def by_prefix(row: Row) -> tuple[str, int, bytes, int]:
    """What routes of VPNs are put in order by: VPN, family, address, length."""
    text, _, length = str(row["prefix"]).partition("/")
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return str(row["vpn"]), family, socket.inet_pton(family, text), int(length)
