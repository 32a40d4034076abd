"""Records of the journal as text for the log that servers share, and back.

The text is one JSON document. Of metadata that goes only the key is in it: whoever replays the log in order holds the
same graph, and finds the rest there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ifmap.delta import Change, Delta
from ifmap.identifiers import from_text
from ifmap.journal import Began, NewPublisher, Record
from ifmap.server.rows import ends, type_name, type_text
from ifmap.values import Edge, Metadata

FORMAT = 1
"""Of the text. A server that meets a newer one loads the map again instead of replaying it."""

Contents = Callable[[Edge], Mapping[int, Metadata]]
"""The metadata on an edge by key, as Graph.contents gives it."""


class LogEntry(NamedTuple):
    """A line of the log. text: the record."""

    sequence: int
    text: str


class Unreplayable(Exception):
    """The text isn't one that this version wrote; or it removes what isn't there, and this graph isn't the one that it
    was made for. One line."""


def record_to_text(record: Record) -> str:
    """One JSON document, in ASCII."""
    document = {
        "format": FORMAT,
        "client": record.client,
        "time": record.wall_time,
        "changes": [
            {
                "edge": ends(change.edge),
                "added": [_metadata_to_list(metadata) for metadata in change.added],
                "removed": [metadata.key for metadata in change.removed],
                "replaced": [metadata.key for metadata in change.replaced],
            }
            for change in record.delta.changes
        ],
        "notified": [
            {"edge": ends(edge), "metadata": _metadata_to_list(metadata)} for edge, metadata in record.delta.notified
        ],
        "types": [[type_text(name), single] for name, single in record.delta.types],
        "ended": record.ended,
        "began": record.began,
        "publisher": record.publisher,
    }
    return json.dumps(document, separators=(",", ":"))


def record_from_text(text: str, contents: Contents) -> Record:
    """The inverse of record_to_text. contents: of the graph as it is right before the record.

    Raises Unreplayable.
    """
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise Unreplayable("a server of a newer version wrote it: install the same version on all servers")
        return _record(document, contents)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unreplayable(f"it isn't a record of the map: {type(error).__name__} {error}") from None


def _record(document: dict[str, Any], contents: Contents) -> Record:
    return Record(
        delta=Delta(
            changes=tuple(_change(item, contents) for item in document["changes"]),
            notified=tuple((_edge(item["edge"]), _metadata(item["metadata"])) for item in document["notified"]),
            types=tuple((type_name(text), bool(single)) for text, single in document["types"]),
        ),
        client=str(document["client"]),
        wall_time=float(document["time"]),
        ended=tuple(str(session) for session in document["ended"]),
        began=None if document["began"] is None else Began(*document["began"]),
        publisher=None if document["publisher"] is None else NewPublisher(*document["publisher"]),
    )


def _change(item: dict[str, Any], contents: Contents) -> Change:
    edge = _edge(item["edge"])
    held = contents(edge)
    try:
        removed = tuple(held[key] for key in item["removed"])
        replaced = tuple(held[key] for key in item["replaced"])
    except KeyError as error:
        raise Unreplayable(f"metadata {error} is not on {edge}") from None
    return Change(edge, tuple(_metadata(values) for values in item["added"]), removed, replaced)


def _edge(item: list[str | None]) -> Edge:
    first, second = item
    if first is None:
        raise ValueError("an edge without its first identifier")
    return Edge(from_text(first), None if second is None else from_text(second))


def _metadata_to_list(metadata: Metadata) -> list[object]:
    return [
        *(metadata.key, type_text(metadata.name), metadata.single),
        *(metadata.publisher, metadata.session, metadata.xml.decode()),
    ]


def _metadata(values: list[Any]) -> Metadata:
    key, name, single, publisher, session, xml = values
    return Metadata(int(key), type_name(name), bool(single), str(publisher), str(session), xml.encode())
