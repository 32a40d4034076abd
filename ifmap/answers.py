"""Answers of an IF-MAP server as a client reads them. No I/O. (IF-MAP 2.2, 3.7; SOAP 1.2)

Tolerant: qualified or unqualified inner elements, unknown attributes, no errorString, identifiers in other spellings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ifmap.errors import ErrorCode
from ifmap.values import Edge, MetadataName, ResultKind
from ifmap.xml import MIB, Limits

ANSWER_LIMITS = Limits(bytes=1024 * MIB, elements=1_000_000)
"""Of a poll's or search's answer: a client trusts its server with more than a server its clients."""


class ReceivedMetadata(NamedTuple):
    """A metadatum as a client gets it. publisher, timestamp: "" when the server didn't say. xml: the element in UTF-8
    with all namespaces that it uses declared on it; ifmap.metadata.content reads it."""

    name: MetadataName
    single: bool
    publisher: str
    timestamp: str
    xml: bytes


class ReceivedItem(NamedTuple):
    """A resultItem."""

    edge: Edge
    metadata: tuple[ReceivedMetadata, ...]


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """A child of a pollResult. name: of the subscription. code, text: of an errorResult, else None and ""."""

    kind: ResultKind
    name: str
    items: tuple[ReceivedItem, ...] = ()
    code: ErrorCode | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class NewSessionResult:
    """Answer to newSession. max_poll_result_size: bytes, None when the server didn't say."""

    session_id: str
    publisher_id: str
    max_poll_result_size: int | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Answer to search."""

    items: tuple[ReceivedItem, ...]


@dataclass(frozen=True, slots=True)
class PollResult:
    """Answer to poll, to be applied in order."""

    parts: tuple[ReceivedPart, ...]


@dataclass(frozen=True, slots=True)
class EndSessionResult:
    """Answer to endSession; to a poll: the session has ended."""


@dataclass(frozen=True, slots=True)
class Received:
    """Answer to an operation that has no result. element: renewSessionResult, publishReceived, ..."""

    element: str


Answer = NewSessionResult | SearchResult | PollResult | EndSessionResult | Received


def read_answer(body: bytes, limits: Limits = ANSWER_LIMITS) -> Answer:
    """The answer in an HTTP body.

    Raises IfmapError: with the server's code and text for an errorResult, Failure for a SOAP Fault; UnreadableAnswer
    for anything that can't be read.
    """
    raise NotImplementedError
