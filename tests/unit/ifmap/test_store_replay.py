"""Records of the journal as text in the log that servers share."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmap.delta import Change, Delta
from ifmap.journal import Began, NewPublisher, Record
from ifmap.server.replay import Unreplayable, record_from_text, record_to_text
from ifmap.values import Edge, Identifier, IdentifierKind, Metadata, MetadataName, link, node
from tests.unit.ifmap.store_values import LINK, fields, first, metadata, record

XML_TEXT = st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=12)
NAMES = st.builds(MetadataName, XML_TEXT, st.text("abc-", min_size=1, max_size=5))
IDENTIFIERS = st.builds(Identifier, st.sampled_from(IdentifierKind), XML_TEXT, XML_TEXT, XML_TEXT, XML_TEXT)
EDGES = st.one_of(st.builds(node, IDENTIFIERS), st.builds(link, IDENTIFIERS, IDENTIFIERS))
METADATA = st.builds(
    Metadata,
    st.integers(0, 2**62),
    NAMES,
    st.booleans(),
    XML_TEXT,
    XML_TEXT,
    XML_TEXT.map(str.encode),
)
SEVERAL = st.lists(METADATA, max_size=3, unique_by=lambda one: one.key).map(tuple)
CHANGES = st.lists(
    st.builds(Change, EDGES, SEVERAL, SEVERAL, SEVERAL), max_size=3, unique_by=lambda change: change.edge
)
RECORDS = st.builds(
    Record,
    st.builds(
        Delta,
        CHANGES.map(tuple),
        st.lists(st.tuples(EDGES, METADATA), max_size=2).map(tuple),
        st.lists(st.tuples(NAMES, st.booleans()), max_size=2).map(tuple),
    ),
    XML_TEXT,
    st.floats(0, 4e9),
    st.lists(XML_TEXT, max_size=2).map(tuple),
    st.none() | st.builds(Began, XML_TEXT, XML_TEXT),
    st.none() | st.builds(NewPublisher, XML_TEXT, XML_TEXT),
)


def nothing(edge: Edge) -> Mapping[int, Metadata]:
    return {}


def plain(delta: Delta) -> object:
    return (
        [(edge, *([fields(one) for one in group] for group in groups)) for edge, *groups in delta.changes],
        [(edge, fields(one)) for edge, one in delta.notified],
        delta.types,
    )


@given(RECORDS)
def test_what_is_written_is_read(one: Record) -> None:
    held = {change.edge: {m.key: m for m in (*change.replaced, *change.removed)} for change in one.delta.changes}
    back = record_from_text(record_to_text(one), lambda edge: held[edge])
    expected = Delta(
        tuple(
            Change(
                change.edge,
                change.added,
                tuple(held[change.edge][m.key] for m in change.removed),
                tuple(held[change.edge][m.key] for m in change.replaced),
            )
            for change in one.delta.changes
        ),
        one.delta.notified,
        one.delta.types,
    )
    assert plain(back.delta) == plain(expected)
    assert (back.client, back.wall_time, back.ended) == (one.client, one.wall_time, one.ended)
    assert (back.began, back.publisher) == (one.began, one.publisher)


def test_what_goes_is_the_object_that_the_graph_holds() -> None:
    held = {7: metadata(7), 8: metadata(8)}
    text = record_to_text(record(Change(LINK, (metadata(9),), (metadata(7),), (metadata(8),))))
    (change,) = record_from_text(text, lambda edge: held if edge == LINK else {}).delta.changes
    assert change.removed[0] is held[7] and change.replaced[0] is held[8]


def test_what_the_graph_does_not_hold_cannot_go() -> None:
    text = record_to_text(record(Change(LINK, removed=(metadata(7),))))
    with pytest.raises(Unreplayable, match="metadata 7 is not on"):
        record_from_text(text, nothing)


def test_a_newer_format_is_named() -> None:
    document = json.loads(record_to_text(first()))
    with pytest.raises(Unreplayable, match="newer version"):
        record_from_text(json.dumps({**document, "format": 2}), nothing)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_garbage_raises_nothing_else(data: st.DataObject) -> None:
    document = json.loads(record_to_text(first()))
    field = data.draw(st.sampled_from(sorted(document)))
    document[field] = data.draw(JSON)
    try:
        record_from_text(json.dumps(document), nothing)
    except Unreplayable as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '{"format":1}', '{"format":1,"changes":[{}]}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(Unreplayable):
        record_from_text(text, nothing)
