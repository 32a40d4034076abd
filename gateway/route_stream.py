"""Prints routes of which the daemon gives a page at a time: those of BGP as they come, so that a million fill nobody's
memory."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from runtime.client import ControlClient
from runtime.command import Options, Reply, items
from runtime.output import Column, Row, Stream, use_colour, warn

PAGE = 500
"""Routes asked for at once."""
TIMEOUT = 60.0
"""Seconds for one page."""
PATIENCE = 2.0
"""Seconds between reports of how far it is."""


def _pages(options: Options, method: str, params: Mapping[str, object]) -> Iterator[Reply]:
    """Page after page, by one connection."""
    after: object = None
    with ControlClient(options.socket, options.daemon) as client:
        while True:
            position = {} if after is None else {"after": after}
            page = client.call(method, {"limit": PAGE, **params, **position}, timeout=TIMEOUT)
            yield page
            after = page.get("after")
            if after is None:
                return


def list_routes(options: Options, params: Mapping[str, object], columns: Sequence[Column]) -> None:
    """Print the routes of VPNs, by VPN and prefix. The daemon hands them out in pages, so that it goes on meanwhile."""

    def look() -> None:
        found = {
            (row["vpn"], row["prefix"]): row for page in _pages(options, "route.list", params) for row in items(page)
        }
        reply = {"items": sorted(found.values(), key=_by_prefix)}
        options.show(reply, lambda colour: options.table(items(reply), columns, colour))

    options.repeat(look)


def _by_prefix(row: Row) -> tuple[str, int, bytes, int]:
    text, _, length = str(row["prefix"]).partition("/")
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return str(row["vpn"]), family, socket.inet_pton(family, text), int(length)


def stream_routes(options: Options, params: Mapping[str, object], columns: Sequence[Column]) -> None:
    """Print all routes that bgp.routes has for params: a table, or one JSON document with a row a line."""
    table = Stream(columns, legend=options.legend, colour=use_colour(sys.stdout))
    # On a terminal the rows themselves are the report.
    reporting = sys.stderr.isatty() and not sys.stdout.isatty()
    due = time.monotonic() + PATIENCE
    count = 0
    if options.json:
        options.print('{"items": [')
    for page in _pages(options, "bgp.routes", params):
        rows = items(page)
        if options.json:
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            options.print("".join(f"{',' if count or index else ''}\n{line}" for index, line in enumerate(lines)))
        elif rows or not count:
            options.print(table.rows(rows))
        count += len(rows)
        if reporting and time.monotonic() >= due:
            due = time.monotonic() + PATIENCE
            warn(f"{count} routes so far, of {page.get('total')} in the tables", options.program)
    if options.json:
        options.print("\n]}\n")
