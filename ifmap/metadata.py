"""Metadata of IF-MAP: elements cut out, checked, stamped by the server, read back by clients. No I/O. (IF-MAP 2.2, 3.4)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ifmap.namespaces import STANDARD_METADATA
from ifmap.values import Metadata, MetadataName, NewMetadata
from ifmap.xml import Raw

STANDARD: Mapping[MetadataName, bool] = {
    MetadataName(STANDARD_METADATA, "ip-mac"): False,
}
"""Standard metadata: whether it is singleValue."""


class Content(NamedTuple):
    """An element of metadata as a client reads it. Attributes and children in no namespace go by their local names."""

    name: MetadataName
    attributes: Mapping[str, str]
    text: str
    children: tuple[Content, ...]

    def child(self, local: str) -> Content | None:
        """The first child of that local name."""
        return next((child for child in self.children if child.name.local == local), None)

    def texts(self, local: str) -> tuple[str, ...]:
        """Text of each child of that local name, without blanks around it."""
        return tuple(child.text.strip() for child in self.children if child.name.local == local)


Node = tuple[str, "str | Iterable[Node]"]
"""A child element to write: its local name (it is in no namespace), and text or children."""


def build(
    name: MetadataName,
    single: bool,
    content: str | Iterable[Node] = (),
    attributes: Mapping[str, str] | None = None,
    prefix: str = "x",
) -> NewMetadata:
    """A metadatum made by a client; all is escaped. Raises IfmapError (InvalidMetadata) for names XML doesn't know."""
    raise NotImplementedError


def parse(xml: str | bytes) -> NewMetadata:
    """A metadatum from a document that holds its element alone. Raises IfmapError."""
    raise NotImplementedError


def from_raw(raw: Raw, max_bytes: int) -> NewMetadata:
    """A metadatum from a publish. Raises IfmapError (InvalidMetadata, MetadataTooLong)."""
    raise NotImplementedError


def timestamp(seconds: float) -> str:
    """xsd:dateTime of an ifmap-timestamp in UTC from seconds since 1970: "2026-01-05T10:11:12+00:00"."""
    raise NotImplementedError


def stamped(new: NewMetadata, publisher_id: str, time: str) -> bytes:
    """The element as the server keeps it. time: what `timestamp` gives."""
    raise NotImplementedError


def content(metadata: Metadata | NewMetadata | bytes) -> Content:
    """What a metadatum says. Raises IfmapError (Failure) for bytes that are no element."""
    raise NotImplementedError
