"""Access rules: how they are written, and what they hide."""

from __future__ import annotations

import pytest

from ifmap.access import ALIASES, Access, Rules, parse_rules, readable, shown
from ifmap.errors import ErrorCode, IfmapError
from ifmap.values import Identifier, IdentifierKind, Metadata, MetadataName, SearchSpec

A = MetadataName("urn:a", "one")
B = MetadataName("urn:a", "two")
C = MetadataName("urn:b", "one")
BARE = MetadataName("", "one")


class ByAttribute:
    """A filter that looks into the element, as XPath does."""

    names = None

    def matches(self, metadata: Metadata) -> bool:
        return b'k="1"' in metadata.xml


class ByName:
    """A filter that is a list of names."""

    def __init__(self, *names: MetadataName) -> None:
        self.names = frozenset(names)

    def matches(self, metadata: Metadata) -> bool:
        return metadata.name in self.names


def metadatum(name: MetadataName, xml: bytes = b"<x/>") -> Metadata:
    return Metadata(1, name, True, "p", "", xml)


@pytest.mark.parametrize(
    ("texts", "inside"),
    [
        (["*"], {A, B, C, BARE}),
        ([], set()),
        (["{urn:a}one"], {A}),
        (["{urn:a}*"], {A, B}),
        (["{*}one"], {A, C, BARE}),
        (["{*}*"], {A, B, C, BARE}),
        (["one"], {BARE}),
        (["{urn:b}one", "{urn:a}two"], {B, C}),
    ],
)
def test_rules_name_types(texts: list[str], inside: set[MetadataName]) -> None:
    rules = parse_rules(texts)
    assert {name for name in (A, B, C, BARE) if name in rules} == inside


def test_short_names_stand_for_namespaces() -> None:
    rules = parse_rules(["vpn:binding", "meta:*"])
    assert MetadataName(ALIASES["vpn"], "binding") in rules
    assert MetadataName(ALIASES["vpn"], "connection") not in rules
    assert MetadataName(ALIASES["meta"], "ip-mac") in rules


@pytest.mark.parametrize(
    "text", ["", "{urn:a", "{urn:a}", "nobody:one", "vpn:", "vpn:bind*", "*one", "a b", "{urn:a}b:c", "vpn:a:b", "a/b"]
)
def test_rules_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"metadata type|short name|whole name"):
        parse_rules([text])


def test_write_is_refused_by_name_of_the_type() -> None:
    access = Access(write=parse_rules(["{urn:a}one"]))
    access.check_write(A)
    with pytest.raises(IfmapError, match=r"\{urn:a\}two") as raised:
        access.check_write(B)
    assert raised.value.code is ErrorCode.ACCESS_DENIED
    assert shown(BARE) == "one"


def test_who_may_read_everything_searches_as_asked() -> None:
    spec = SearchSpec(Identifier(IdentifierKind.DEVICE, "d"), 3, ByAttribute(), None, 500, frozenset({"device"}))
    assert Access().restrict(spec) is spec


def test_search_is_restricted_in_links_and_in_results_and_nothing_else() -> None:
    spec = SearchSpec(Identifier(IdentifierKind.DEVICE, "d"), 3, None, ByName(A, C), 500, frozenset({"device"}))
    restricted = Access(read=parse_rules(["{urn:a}*"])).restrict(spec)
    assert (restricted.start, restricted.max_depth, restricted.max_size, restricted.terminal_types) == (
        spec.start,
        spec.max_depth,
        spec.max_size,
        spec.terminal_types,
    )
    assert restricted.match_links is not None and restricted.result_filter is not None
    assert [restricted.match_links.matches(metadatum(name)) for name in (A, B, C)] == [True, True, False]
    assert [restricted.result_filter.matches(metadatum(name)) for name in (A, B, C)] == [True, False, False]


@pytest.mark.parametrize(
    ("rules", "inner", "names"),
    [
        (parse_rules(["{urn:a}one"]), None, {A}),
        (parse_rules(["{urn:a}*"]), None, None),
        (parse_rules(["{urn:a}*"]), ByName(A, B, C), {A, B}),
        (parse_rules([]), ByName(A), set()),
        (parse_rules([]), None, set()),
        (parse_rules(["{urn:a}one"]), ByAttribute(), None),
    ],
)
def test_lists_of_names_stay_lists_of_names(
    rules: Rules, inner: ByName | ByAttribute | None, names: set[MetadataName] | None
) -> None:
    """So that the graph's fast path is taken."""
    combined = readable(rules, inner)
    assert combined is not None
    assert combined.names == names


def test_filter_that_looks_inside_is_asked_only_about_what_may_be_read() -> None:
    combined = readable(parse_rules(["{urn:a}one"]), ByAttribute())
    assert combined is not None
    assert combined.matches(metadatum(A, b'<x k="1"/>'))
    assert not combined.matches(metadatum(A, b'<x k="2"/>'))
    assert not combined.matches(metadatum(B, b'<x k="1"/>'))
