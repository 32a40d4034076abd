"""Filters of IF-MAP (match-links, result-filter, filter of a delete): lists of names, or XPath 1.0. No I/O.

A filter is evaluated against one metadatum at a time. Nearly all are lists of names, which cost a look-up; for any
other, the names that it can be true of are looked at first, and the element only then. Evaluation is bounded: of a
metadatum that would take longer than MAX_STEPS allow, a filter isn't true.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers.expat import ExpatError

from ifmap import xpath
from ifmap.errors import ErrorCode, IfmapError
from ifmap.values import Metadata, MetadataName
from ifmap.xpath_tokens import SyntaxProblem
from ifmap.xpath_tree import TooCostlyError

MAX_LENGTH = 16 * 1024
"""Characters of a filter."""
MAX_STEPS = 50_000
"""Nodes that one evaluation may make or visit: some 20 milliseconds at worst."""
_FEWEST_STEPS = 4_000
"""Of that, what a filter may take for the smallest metadatum; each byte allows one more."""
_CACHED = 1024
_CACHED_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """A filter of ifmap.values.Filter, with its text and the namespaces that the text uses, so that it can be sent.

    namespaces: prefix and URI, sorted. names: see ifmap.values.Filter.
    """

    text: str
    namespaces: tuple[tuple[str, str], ...]
    names: frozenset[MetadataName] | None
    _expression: xpath.Expression | None = field(default=None, repr=False, compare=False)

    def matches(self, metadata: Metadata) -> bool:
        """Whether the filter is true of this metadatum."""
        if self.names is not None:
            return metadata.name in self.names
        expression = self._expression
        if expression is None:
            return True
        if expression.first is not None and metadata.name not in expression.first:
            return False
        try:
            return xpath.evaluate(expression, metadata.xml, min(MAX_STEPS, _FEWEST_STEPS + len(metadata.xml)))
        except (TooCostlyError, RecursionError, ExpatError):
            return False


NOTHING = CompiledFilter("", (), frozenset())
"""The filter that matches nothing. None stands for the one that matches everything."""


def compile(text: str, namespaces: Mapping[str, str]) -> CompiledFilter:
    """A filter from its text. namespaces: prefix to URI, in scope where the text stands.

    "" matches nothing. Raises IfmapError (Failure): syntax, undeclared prefix, functions that aren't supported.
    """
    if len(text) > MAX_LENGTH:
        raise IfmapError(ErrorCode.FAILURE, f"filter of {len(text)} characters; {MAX_LENGTH} are allowed")
    if not text.strip():
        return NOTHING
    # Only declarations that the text may use, so that equal filters are compiled once.
    used = tuple(sorted((prefix, uri) for prefix, uri in namespaces.items() if prefix and f"{prefix}:" in text))
    if len(text) + sum(map(len, (part for pair in used for part in pair))) > _CACHED_LENGTH:
        return _compile(text, used)
    return _compile_cached(text, used)


def _compile(text: str, namespaces: tuple[tuple[str, str], ...]) -> CompiledFilter:
    if text.strip() == "*":
        return CompiledFilter(text, (), None)
    try:
        expression, prefixes = xpath.parse(text, dict(namespaces))
    except SyntaxProblem as error:
        raise IfmapError(ErrorCode.FAILURE, f"filter {text[:200]!r}: {error}") from None
    used = tuple(pair for pair in namespaces if pair[0] in prefixes)
    if expression.exact:
        return CompiledFilter(text, used, expression.first)
    return CompiledFilter(text, used, None, expression)


_compile_cached = functools.lru_cache(_CACHED)(_compile)


def of_names(*names: MetadataName, stem: str = "n") -> CompiledFilter:
    """The filter that is true of metadata of these types; the text's prefixes are made up, from a stem."""
    uris = sorted({name.namespace for name in names if name.namespace})
    prefixes = {uri: f"{stem}{at}" for at, uri in enumerate(uris)}
    terms = [f"{prefixes[name.namespace]}:{name.local}" if name.namespace else name.local for name in sorted(names)]
    namespaces = tuple(sorted((prefix, uri) for uri, prefix in prefixes.items()))
    return CompiledFilter(" or ".join(terms), namespaces, frozenset(names))
