"""Rows of the store's tables from records of the journal, and the map from rows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from ifmap.identifiers import from_text, to_text
from ifmap.journal import Record
from ifmap.metadata import STANDARD
from ifmap.server.schema import METADATA, PUBLISHER, TYPE
from ifmap.values import Edge, Identifier, Metadata, MetadataName

Row = dict[str, object]

_CHUNK = 10_000
"""Rows fetched at a time."""
_INSERT = METADATA.insert()
_DELETE = METADATA.delete().where(METADATA.c.key == sa.bindparam("gone"))
_SELECT = sa.select(
    *(METADATA.c.key, METADATA.c.first, METADATA.c.second, METADATA.c.type),
    *(METADATA.c.publisher, METADATA.c.session, METADATA.c.xml),
).order_by(METADATA.c.key)


def write(connection: sa.Connection, records: Iterable[Record], *, sessions: bool) -> None:
    """Write what records change in the graph, types and publishers included, in the caller's transaction.

    sessions: whether metadata of lifetime session is kept, too. What one record adds and a later one removes is never
    written.
    """
    added: dict[int, Row] = {}
    removed: list[Row] = []
    types: list[Row] = []
    publishers: list[Row] = []
    for record in records:
        for change in record.delta.changes:
            for metadata in (*change.removed, *change.replaced):
                if added.pop(metadata.key, None) is None and (sessions or not metadata.session):
                    removed.append({"gone": metadata.key})
            kept = [metadata for metadata in change.added if sessions or not metadata.session]
            if kept:
                first, second = ends(change.edge)
                for metadata in kept:
                    added[metadata.key] = _row(first, second, metadata)
        types.extend({"type": type_text(name), "single": single} for name, single in record.delta.types)
        if record.publisher is not None:
            publishers.append(record.publisher._asdict())
    if removed:
        connection.execute(_DELETE, removed)
    if added:
        connection.execute(_INSERT, list(added.values()))
    if types:
        connection.execute(TYPE.insert(), types)
    if publishers:
        connection.execute(PUBLISHER.insert(), publishers)


def read(connection: sa.Connection) -> list[tuple[Edge, Metadata]]:
    """All metadata, in the order of the keys. Equal identifiers, names and texts are the same object, since a graph has
    few of them many times. Raises ValueError: a row that no vrfwire-map wrote."""
    identifiers: dict[str, Identifier] = {}
    names: dict[str, MetadataName] = {}

    def identifier(text: str) -> Identifier:
        found = identifiers.get(text)
        if found is None:
            found = identifiers[text] = from_text(text)
        return found

    rows: list[tuple[Edge, Metadata]] = []
    # Standard types are never used for the first time: they are not among those stored.
    singles = {**STANDARD, **cardinality(connection)}
    result = connection.execute(_SELECT, execution_options={"yield_per": _CHUNK})
    for key, first, second, type_, publisher, session, xml in result:
        if not isinstance(xml, bytes):
            raise ValueError(f"the content of metadata {key} isn't bytes")
        name = names.get(type_)
        if name is None:
            name = names[type_] = type_name(type_)
            if name not in singles:
                raise ValueError(f"metadata {key} has the type {type_}, which isn't among the types")
        edge = Edge(identifier(first), None if second is None else identifier(second))
        publisher, session = sys.intern(publisher), sys.intern(session)
        rows.append((edge, Metadata(key, name, singles[name], publisher, session, xml)))
    return rows


def cardinality(connection: sa.Connection) -> dict[MetadataName, bool]:
    """Types that were used, and whether they are singleValue."""
    rows = connection.execute(sa.select(TYPE.c.type, TYPE.c.single))
    return {type_name(text): single for text, single in rows}


def publishers(connection: sa.Connection) -> dict[str, str]:
    """Client to publisher id."""
    rows = connection.execute(sa.select(PUBLISHER.c.client, PUBLISHER.c.publisher_id))
    return {row.client: row.publisher_id for row in rows}


def ends(edge: Edge) -> tuple[str, str | None]:
    """The identifiers of an edge in their text form."""
    return to_text(edge.first), None if edge.second is None else to_text(edge.second)


def type_text(name: MetadataName) -> str:
    """{namespace}local"""
    return f"{{{name.namespace}}}{name.local}"


def type_name(text: str) -> MetadataName:
    """The inverse of type_text. Raises ValueError."""
    namespace, closed, local = text.removeprefix("{").rpartition("}")
    if not text.startswith("{") or not closed or not local:
        raise ValueError(f"{text} isn't {{namespace}}local")
    return MetadataName(sys.intern(namespace), sys.intern(local))


def greatest_key(records: Sequence[Record]) -> int:
    """The greatest key among what records add; 0: they add nothing."""
    return max(
        (metadata.key for record in records for change in record.delta.changes for metadata in change.added), default=0
    )


def _row(first: str, second: str | None, metadata: Metadata) -> Row:
    return {
        "key": metadata.key,
        "first": first,
        "second": second,
        "type": type_text(metadata.name),
        "publisher": metadata.publisher,
        "session": metadata.session,
        "xml": metadata.xml,
    }
