"""Filters of IF-MAP (match-links, result-filter, filter of a delete): lists of names, or XPath 1.0. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ifmap.values import Metadata, MetadataName


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """A filter of ifmap.values.Filter, with its text and the namespaces that the text uses, so that it can be sent."""

    text: str
    namespaces: tuple[tuple[str, str], ...]
    names: frozenset[MetadataName] | None

    def matches(self, metadata: Metadata) -> bool:
        raise NotImplementedError


def compile(text: str, namespaces: Mapping[str, str]) -> CompiledFilter:
    """A filter from its text. namespaces: prefix to URI, in scope where the text stands.

    "" matches nothing. Raises IfmapError (Failure): syntax, undeclared prefix, what costs too much.
    """
    raise NotImplementedError


def of_names(*names: MetadataName) -> CompiledFilter:
    """The filter that is true of metadata of these types; the text's prefixes are made up."""
    raise NotImplementedError


NOTHING = CompiledFilter("", (), frozenset())
"""The filter that matches nothing. None stands for the one that matches everything."""
