"""Prints the BGP tables as their pages come, so that a million routes fill nobody's memory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from runtime.client import ControlClient
from runtime.command import Options, Reply, items
from runtime.output import Column, Stream, use_colour, warn

PAGE = 500
"""Routes asked for at once."""
TIMEOUT = 60.0
"""Seconds for one page."""
PATIENCE = 2.0
"""Seconds between reports of how far it is."""


def _pages(options: Options, params: Mapping[str, object]) -> Iterator[Reply]:
    """Page after page, by one connection."""
    after: object = None
    with ControlClient(options.socket, options.daemon) as client:
        while True:
            position = {} if after is None else {"after": after}
            page = client.call("bgp.routes", {"limit": PAGE, **params, **position}, timeout=TIMEOUT)
            yield page
            after = page.get("after")
            if after is None:
                return


def stream_routes(options: Options, params: Mapping[str, object], columns: Sequence[Column]) -> None:
    """Print all routes that bgp.routes has for params: a table, or one JSON document with a row a line."""
    table = Stream(columns, legend=options.legend, colour=use_colour(sys.stdout))
    # On a terminal the rows themselves are the report.
    reporting = sys.stderr.isatty() and not sys.stdout.isatty()
    due = time.monotonic() + PATIENCE
    count = 0
    if options.json:
        options.print('{"items": [')
    for page in _pages(options, params):
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
