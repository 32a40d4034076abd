"""Who may read and write which metadata types, and purge whom (draft-marques-l3vpn-schema-00, section 3: SHOULD)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ifmap.errors import ErrorCode, IfmapError
from ifmap.values import Filter, Metadata, MetadataName, SearchSpec

ALIASES: Mapping[str, str] = {
    "vpn": "http://www.ietf.org/I.D-l3vpn-schema",
    "vrfwire": "urn:vrfwire:map:1",
    "meta": "http://www.trustedcomputinggroup.org/2010/IFMAP-METADATA/2",
}
"""Short names of namespaces in rules."""

ANY = "*"


@dataclass(frozen=True, slots=True)
class Rules:
    """Metadata types, as a list of rules: `*`, `{namespace}name`, `{namespace}*`, `{*}name`, `alias:name`, `alias:*`,
    or a bare `name` for one in no namespace.

    everything: all types. names: types named in full. namespaces: of which all types are in. locals: local names that
    are in whatever their namespace.
    """

    everything: bool = False
    names: frozenset[MetadataName] = frozenset()
    namespaces: frozenset[str] = frozenset()
    locals: frozenset[str] = frozenset()

    def __contains__(self, name: object) -> bool:
        if self.everything or name in self.names:
            return True
        return isinstance(name, MetadataName) and (name.namespace in self.namespaces or name.local in self.locals)

    @property
    def listed(self) -> frozenset[MetadataName] | None:
        """All types, if the rules name each in full; else None."""
        return None if self.everything or self.namespaces or self.locals else self.names


EVERYTHING = Rules(everything=True)
NOTHING = Rules()


@dataclass(frozen=True, slots=True)
class Access:
    """What one client may do. purge_others: may purge publishers that aren't itself."""

    read: Rules = EVERYTHING
    write: Rules = EVERYTHING
    purge_others: bool = False

    def check_write(self, name: MetadataName) -> None:
        """Raises AccessDenied if the client may not write, delete or notify metadata of this type."""
        if name not in self.write:
            text = f"this client may not write metadata of type {shown(name)}"
            raise IfmapError(ErrorCode.ACCESS_DENIED, text)

    def knows(self, name: MetadataName) -> bool:
        """Whether metadata of this type exists for the client: it may read it, or write it."""
        return name in self.read or name in self.write

    def restrict(self, spec: SearchSpec) -> SearchSpec:
        """The search as if metadata that the client may not read did not exist: it is neither shown, nor does it let
        a link be followed."""
        if self.read.everything:
            return spec
        return SearchSpec(
            spec.start,
            spec.max_depth,
            readable(self.read, spec.match_links),
            readable(self.read, spec.result_filter),
            spec.max_size,
            spec.terminal_types,
        )


class ReadableFilter:
    """A client's filter and what the client may read, both."""

    __slots__ = ("_inner", "_names", "_rules")

    def __init__(self, rules: Rules, inner: Filter | None) -> None:
        self._rules = rules
        self._inner = inner
        self._names: frozenset[MetadataName] | None = None
        if inner is None:
            self._names = rules.listed
        elif inner.names is not None:
            self._names = frozenset(name for name in inner.names if name in rules)

    @property
    def names(self) -> frozenset[MetadataName] | None:
        """As in values.Filter."""
        return self._names

    def matches(self, metadata: Metadata) -> bool:
        """Whether the client may read it and its own filter is true of it."""
        if self._names is not None:
            return metadata.name in self._names
        return metadata.name in self._rules and (self._inner is None or self._inner.matches(metadata))


def readable(rules: Rules, inner: Filter | None) -> Filter | None:
    """The filter with the client's read rules added to it. inner: None matches everything."""
    return inner if rules.everything else ReadableFilter(rules, inner)


def parse_rules(texts: Iterable[str], aliases: Mapping[str, str] = ALIASES) -> Rules:
    """Rules from their configured texts (see Rules). Raises ValueError, whose message names the text at fault."""
    everything = False
    names: set[MetadataName] = set()
    namespaces: set[str] = set()
    local_names: set[str] = set()
    for text in texts:
        namespace, local = _parse_rule(text, aliases)
        if namespace == ANY and local == ANY:
            everything = True
        elif namespace == ANY:
            local_names.add(local)
        elif local == ANY:
            namespaces.add(namespace)
        else:
            names.add(MetadataName(namespace, local))
    return Rules(everything, frozenset(names), frozenset(namespaces), frozenset(local_names))


def _parse_rule(text: str, aliases: Mapping[str, str]) -> tuple[str, str]:
    """Namespace and local name of a rule, either may be ANY."""
    if text == ANY:
        return ANY, ANY
    if text.startswith("{"):
        namespace, brace, local = text[1:].partition("}")
        if not brace:
            raise ValueError(f"{text!r} is no metadata type: the brace isn't closed, write {{namespace}}name")
    elif ":" in text:
        alias, _, local = text.partition(":")
        if alias not in aliases:
            known = ", ".join(sorted(aliases))
            raise ValueError(f"{text!r}: no such short name of a namespace as {alias!r} (there are {known})")
        namespace = aliases[alias]
    else:
        namespace, local = "", text
    if not local or any(character.isspace() or character in "{}:/" for character in local):
        raise ValueError(f"{text!r} is no metadata type: write *, {{namespace}}name, {{namespace}}* or alias:name")
    if ANY in local and local != ANY:
        raise ValueError(f"{text!r}: * stands for a whole name, not for a part of one")
    return namespace, local


def shown(name: MetadataName) -> str:
    """A metadata type as people and rules write it."""
    return f"{{{name.namespace}}}{name.local}" if name.namespace else name.local
