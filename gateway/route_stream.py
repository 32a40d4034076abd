"""Prints routes of which the daemon gives a page at a time: those of BGP as they come, so that a million fill nobody's
memory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence

from runtime.command import Options, items
from runtime.output import Column, Stream, use_colour, warn
from runtime.paging import pages

PATIENCE = 2.0
"""Seconds between reports of how far it is."""


def stream_routes(options: Options, params: Mapping[str, object], columns: Sequence[Column]) -> None:
    """Print all routes that bgp.routes has for params: a table, or one JSON document with a row a line."""
    table = Stream(columns, legend=options.legend, colour=use_colour(sys.stdout))
    # On a terminal the rows themselves are the report.
    reporting = sys.stderr.isatty() and not sys.stdout.isatty()
    due = time.monotonic() + PATIENCE
    count = 0
    if options.json:
        options.print('{"items": [')
    for page in pages(options, "bgp.routes", params):
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
