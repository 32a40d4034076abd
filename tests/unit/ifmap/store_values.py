"""Values that the tests of the map's store have in common."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import ParamSpec

from ifmap.delta import Change, Delta
from ifmap.journal import Began, NewPublisher, Record
from ifmap.values import Edge, Identifier, IdentifierKind, Metadata, MetadataName, link, node

BINDING = MetadataName("urn:example:vpn", "binding")
ALICE = Identifier(IdentifierKind.IDENTITY, "alice", "username")
BOB = Identifier(IdentifierKind.IDENTITY, "bob", "username", "", "example.net")
LINK = link(ALICE, BOB)
NODE = node(ALICE)

P = ParamSpec("P")
Fields = tuple[int, MetadataName, bool, str, str, bytes]


def metadata(key: int, *, session: str = "", name: MetadataName = BINDING, publisher: str = "cli-1") -> Metadata:
    """A metadatum; its content says its key."""
    return Metadata(
        key, name, True, publisher, session, f"<v:{name.local} xmlns:v='{name.namespace}'/>{key} é".encode()
    )


def fields(one: Metadata) -> Fields:
    """Everything of it, to compare."""
    return one.key, one.name, one.single, one.publisher, one.session, one.xml


def contents(rows: Iterable[tuple[Edge, Metadata]]) -> list[tuple[Edge, Fields]]:
    """Rows, to compare."""
    return [(edge, fields(one)) for edge, one in rows]


def record(
    *changes: Change,
    types: tuple[tuple[MetadataName, bool], ...] = (),
    ended: tuple[str, ...] = (),
    began: Began | None = None,
    publisher: NewPublisher | None = None,
) -> Record:
    """A record of a client "cli"."""
    return Record(Delta(changes, types=types), "cli", 1_750_000_000.25, ended, began, publisher)


def first() -> Record:
    """A record that a new store may get: type, publisher, metadata on a link."""
    return record(
        Change(LINK, (metadata(1), metadata(2, session="s1"))),
        types=((BINDING, True),),
        publisher=NewPublisher("cli", "cli-1"),
    )


def in_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A test that is a coroutine, in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
