"""Filters: lists of names, XPath against libxml2's, what is refused, what is cut short."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from ifmap import filters
from ifmap.errors import ErrorCode, IfmapError
from ifmap.filters import NOTHING, CompiledFilter, compile, of_names
from ifmap.values import Filter, Metadata, MetadataName
from ifmap.xpath_tree import Budget, TooCostlyError, build

V = "urn:v"
SCOPE = {"v": V, "w": "urn:w", "": "urn:default"}
XML = (
    b'<v:x xmlns:v="urn:v" ifmap-publisher-id="pe1-0001" k="1" v:q="z">head<v:c n="2">5</v:c><c> a  b </c><!-- note -->'
    b'<d><c n="x">7</c><e/></d><?pi data?>tail<c>7</c></v:x>'
)


def metadatum(xml: bytes = XML) -> Metadata:
    tag = str(etree.fromstring(xml).tag)
    name = MetadataName(*tag[1:].split("}")) if tag.startswith("{") else MetadataName("", tag)
    return Metadata(1, name, False, "pe1-0001", "", xml)


def matches(text: str, xml: bytes = XML) -> bool:
    compiled: Filter = compile(text, SCOPE)
    return compiled.matches(metadatum(xml))


def refusal(text: str) -> str:
    with pytest.raises(IfmapError) as caught:
        compile(text, SCOPE)
    assert caught.value.code is ErrorCode.FAILURE
    return str(caught.value)


# -- lists of names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("v:x", {(V, "x")}),
        ("v:x or w:y", {(V, "x"), ("urn:w", "y")}),
        (" v:x  or\n\tw:y or z ", {(V, "x"), ("urn:w", "y"), ("", "z")}),
        ("z", {("", "z")}),
        ("or or or", {("", "or")}),
        ("v:or or v:and", {(V, "or"), (V, "and")}),
        ("/v:x or v:x | z", {(V, "x"), ("", "z")}),
        ("v:a-b.c or v:ü", {(V, "a-b.c"), (V, "ü")}),
        ("", set()),
        ("  ", set()),
    ],
)
def test_lists_of_names_are_a_look_up(text: str, names: set[tuple[str, str]]) -> None:
    compiled = compile(text, SCOPE)
    assert compiled.names == frozenset(MetadataName(*name) for name in names)
    assert compiled.matches(metadatum()) == ((V, "x") in names)


@pytest.mark.parametrize(
    "text", ["v:*", "v:x[@k]", "v:x/c", "//v:x", "v:x and v:x", "v:x or v:y[1]", "*", "(v:x)", "@k"]
)
def test_everything_else_is_none(text: str) -> None:
    assert compile(text, SCOPE).names is None


def test_all_and_nothing() -> None:
    everything = compile(" * ", SCOPE)
    assert everything.matches(metadatum()) and everything.matches(metadatum(b"<a/>"))
    assert compile("", {}) is NOTHING
    assert not NOTHING.matches(metadatum())


def test_the_scope_decides() -> None:
    assert compile("v:x", {"v": "urn:other"}).names == frozenset({MetadataName("urn:other", "x")})
    assert compile("x", {"": V}).names == frozenset({MetadataName("", "x")}), "the default namespace is not for XPath"
    for text in ("u:x", "v:x or u:x", "v:x[u:c]", "v:x[@u:k]", "u:*"):
        assert "prefix 'u' is not declared" in refusal(text)


def test_text_and_namespaces_are_kept_for_sending() -> None:
    compiled = compile("v:x[@k='w:1']", SCOPE)
    assert (compiled.text, compiled.namespaces) == ("v:x[@k='w:1']", (("v", V),))
    assert compile(compiled.text, dict(compiled.namespaces)) == compiled
    assert compile("v:x or w:y", SCOPE).namespaces == (("v", V), ("w", "urn:w"))
    assert compile("xml:lang", SCOPE).namespaces == ()


def test_made_of_names() -> None:
    names = (MetadataName(V, "x"), MetadataName("", "z"), MetadataName("urn:w", "y"))
    made = of_names(*names)
    assert made.names == frozenset(names)
    assert compile(made.text, dict(made.namespaces)) == made
    assert of_names() == NOTHING


# -- XPath, as the reference says and as libxml2 does it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('v:x[@k="1"]', True),
        ("v:x[@k='2']", False),
        ('v:x[@ifmap-publisher-id="pe1-0001"]', True),
        ('[@k="1"]', True),
        ('[@k="2"] or [v:c]', True),
        ("v:x[[@n]]", True),
        ("v:y or v:x[v:c]", True),
        ("v:x and v:y", False),
        ('v:x[contains(@k,"1")]', True),
        ("//v:c", True),
        ("//v:y", False),
        ("/v:x", True),
        ("/", True),
        ("v:x/v:c", True),
        ("v:x/v:c/c", False),
        ("v:x/d/c = 7", True),
        ("v:x[text() = 'tail']", True),
        ("v:x[v:c > 4 and not(@k = 2)]", True),
        ("v:x[v:c/@n != 2]", False),
        ("@k", False),
        ("not(v:y)", True),
        ("'text'", True),
        ("''", False),
        ("0", False),
        ("v:x [@k]", True),
        ("v:x[d [e]]", True),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    assert matches(text) is expected


def theirs(text: str, xml: bytes = XML) -> bool:
    """What libxml2 says, with the root node as the context node."""
    namespaces = {prefix: uri for prefix, uri in SCOPE.items() if prefix}
    expression = etree.XPath(f"boolean(/self::node()[boolean({text})])", namespaces=namespaces)
    return bool(expression(etree.fromstring(xml)))


_AXES = ["child", "descendant", "descendant-or-self", "self", "attribute", "parent", "ancestor", "ancestor-or-self"]
_AXES += ["following-sibling", "preceding-sibling"]
_TESTS = ["*", "c", "v:c", "v:x", "v:*", "d", "e", "n", "node()", "text()", "comment()", "processing-instruction()"]
_STEPS = st.one_of(
    st.sampled_from([".", "..", "@*", "@n", "@v:q", "c", "*", "v:c", "text()", "processing-instruction('pi')"]),
    st.builds("{}::{}".format, st.sampled_from(_AXES), st.sampled_from(_TESTS)),
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    step = st.builds("{}[{}]".format, _STEPS.filter(lambda step: step not in (".", "..")), inner) | _STEPS
    path = st.builds(
        "{}{}".format,
        st.sampled_from(["", "", "/", "//"]),
        st.lists(step, min_size=1, max_size=3).flatmap(
            lambda steps: st.sampled_from([s.join(steps) for s in ("/", "//")])
        ),
    )
    binary = st.sampled_from(["or", "and", "=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "div", "mod"])
    return st.one_of(
        path,
        path,
        st.builds("{} | {}".format, path, path),
        st.builds("({} | {})[{}]/{}".format, path, path, inner, step),
        st.builds("{} {} {}".format, inner, binary, inner),
        st.builds("({}) {} ({})".format, inner, binary, inner),
        st.builds("-{}".format, inner),
        st.builds("{}({})".format, st.sampled_from(["count", "sum", "name", "local-name", "namespace-uri"]), path),
        st.builds(
            "{}({})".format,
            st.sampled_from(
                ["not", "boolean", "string", "number", "string-length", "normalize-space", "floor", "ceiling"]
            ),
            inner,
        ),
        st.builds(
            "{}({}, {})".format,
            st.sampled_from(["contains", "starts-with", "substring-before", "substring-after", "concat", "substring"]),
            inner,
            inner,
        ),
        st.builds("{}({}, {}, {})".format, st.sampled_from(["translate", "substring", "concat"]), inner, inner, inner),
        st.builds("round({})".format, inner),
    )


_EXPRESSIONS = st.recursive(
    st.sampled_from(
        ["position()", "last()", "true()", "false()", "1", "2.5", ".5", "0", "'5'", '"a"', "''", "v:x", "c"]
    ),
    _compound,
    max_leaves=6,
)


@given(_EXPRESSIONS)
def test_libxml2_agrees(text: str) -> None:
    assert matches(text) is theirs(text)


@given(_EXPRESSIONS, st.sampled_from([b"<c/>", b'<v:c xmlns:v="urn:v" n="5">5</v:c>', b"<d><c>a</c><c>b</c></d>"]))
def test_names_that_are_looked_at_first_change_nothing(text: str, xml: bytes) -> None:
    assert matches(text, xml) is theirs(text, xml)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1 div 0 > 1000",
            "-1 div 0 < -1000",
            "0 div 0 = 0 div 0",
            "5 mod -2 = 1",
            "-5 mod 2 = -1",
            "1.5 mod 0.5 = 0",
        ),
        *("round(-0.5) = 0", "round(2.5) = 3", "round(-2.5) = -2", "floor(-1.5) = -2", "ceiling(1.2) = 2"),
        *("string(1) = '1'", "string(-0.5) = '-0.5'", "string(1 div 0) = 'Infinity'", "string(0 div 0) = 'NaN'"),
        *("number(' 12 ') = 12", "number('') = 0", "number('+1') = 1", "number(true()) = 1"),
        *(
            "substring('12345', 2, 3) = '234'",
            "substring('12345', 1.5, 2.6) = '234'",
            "substring('12345', 0, 3) = '12'",
        ),
        *(
            "substring('12345', 0 div 0, 3) = ''",
            "substring('12345', -42, 1 div 0) = '12345'",
            "substring('ab', 5) = ''",
        ),
        *("substring('12345', -1 div 0, 1 div 0) = ''", "translate('bar', 'abc', 'AB') = 'BAr'"),
        *(
            "translate('aab', 'aa', 'xy') = 'xxb'",
            "substring-before('a=b', '=') = 'a'",
            "substring-after('a=b', '') = ''",
        ),
        *("substring-before('ab', '') = ''", "substring-after('a', 'b') = ''", "contains('a', '')", "'' = false()"),
        *(
            "true() = 'x'",
            "1 = true()",
            "2 > 1 > 0",
            "1 < 2 < 3",
            "1 = 1 = 1",
            "'a' < 'b'",
            "'2' > '10'",
            "//c = true()",
        ),
        *("//nothing = false()", "//nothing != //nothing", "//c != 7", "//c > //v:c", "//c < //v:c", "//c >= 7"),
        *("//c[last()] = 7", "(//c)[last()] = 7", "//c[2] = 7", "(//c)[2] = 7", "v:x/*[position() = 2]"),
        *("v:x/d/ancestor::*[1] = v:x", "//e/preceding-sibling::*[1]/@n = 'x'", "sum(//v:c) = 5", "count(//@*) = 5"),
        *("count(//node()) = 16", "name(v:x) = 'v:x'", "local-name(//@v:q) = 'q'", "namespace-uri(v:x) = 'urn:v'"),
        *(
            "v:x = concat('head5 a  b 7', 'tail7')",
            "normalize-space(v:x/c) = 'a b'",
            "string-length(v:x/c) = 6",
            "--1 = 1",
        ),
        *("v:x[@k = 1]/v:c[@n = 2]", "comment()", "//comment() = ' note '", "//processing-instruction() = 'data'"),
    ],
)
def test_libxml2_agrees_at_the_edges(text: str) -> None:
    assert matches(text) is theirs(text)


# -- refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *((text, "unexpected") for text in ("v:x[", "v:x]", "v:x[@k='1", "(", ")", "v:x or", "v:x/", "//", "v:x[]")),
        *((text, "unexpected") for text in ("v:x@k", "v: x", ":x", "v:x,v:y", "@", "v:x | ", "= 1", "#", "v:x\0")),
        ("v:x v:y", "operator is expected"),
        ("v:x v:", "operator is expected"),
        ("v:x and not v:y", "operator is expected"),
        ("$x", "variables"),
        ("v:x[@k = $y]", "variables"),
        ("document('file:///etc/passwd')", "function document()"),
        ("id('x')", "function id()"),
        ("lang('en')", "function lang()"),
        ("v:f(1)", "function v:f()"),
        ("re:test('a', 'b')", "function re:test()"),
        ("following::c", "axis 'following'"),
        ("namespace::*", "axis 'namespace'"),
        ("count('a')", "no node-set"),
        ("'a'[1]", "no node-set"),
        ("'a'/b", "no node-set"),
        ("'a' | v:x", "node-sets"),
        ("contains('a')", "1 arguments"),
        ("true(1)", "1 arguments"),
        ("concat('a')", "1 arguments"),
        ("(" * 100 + "v:x" + ")" * 100, "nested deeper"),
        ("v:x" + "[v:x" * 100 + "]" * 100, "nested deeper"),
        ("not(" * 100 + "v:x" + ")" * 100, "nested deeper"),
        ("v:x or " * 5000 + "v:x", "characters"),
    ],
)
def test_refusals(text: str, says: str) -> None:
    assert says in refusal(text)


@given(st.text(max_size=40) | st.text(alphabet="v:x[]()@*/|.,'\"=<>! orand1-+$c", max_size=40) | _EXPRESSIONS)
def test_garbage_raises_nothing_else(text: str) -> None:
    try:
        compiled = compile(text, SCOPE)
    except IfmapError as error:
        assert error.code is ErrorCode.FAILURE
        return
    compiled.matches(metadatum())
    assert compile(compiled.text, dict(compiled.namespaces)) == compiled


# -- bounded


@pytest.mark.parametrize("row", ["1" + "+1" * 51, "1" + "=1" * 5_000, "1" + " div 1" * 500, "1" + "<1" * 100])
def test_operators_in_a_row_are_bounded(row: str) -> None:
    """Each is evaluated within the next: a thousand of them would be too deep for Python."""
    with pytest.raises(IfmapError, match="in a row"):
        compile(f"x:m[{row}]", {"x": "urn:x"})


@pytest.mark.parametrize(
    "text",
    [
        "//*[count(//*[count(//*) > 0]) > 0]",
        "//*[//* = //*]",
        "//*//*//*//*//*//*//*",
        "*/*[../*[../*[../*[../*]]]]",
        "//*[preceding-sibling::*[preceding-sibling::*[preceding-sibling::*]]]",
        "//*[string(/) = string(..)]",
        "contains(concat(//a, //a), concat(//b, 'x'))",
        "sum(//*) + " * 50 + "sum(//*)",
    ],
)
def test_evaluation_ends(text: str) -> None:
    xml = b"<r>" + b"<a>x</a>" * 100_000 + b"<b/></r>"
    began = time.perf_counter()
    assert not matches(text, xml)
    # Generous: it takes some 50 ms, and would take minutes.
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "*/*[../x]",
        "*/*[../../*/x]",
        "*/*[../*/@x]",
        "*/*" + "[true()]" * 1_900,
        f"*/*[{' or '.join(['1=2'] * 1_900)}]",
    ],
)
def test_what_leads_to_nothing_is_paid_for_too(text: str) -> None:
    """A metadatum that is small enough to be read, and filters that go through all of it for each of its elements."""
    xml = b"<r>" + b"<a/>" * 10_000 + b"</r>"
    assert matches("*/*[last() = 10000]", xml)
    began = time.perf_counter()
    matches(text, xml)
    # As above; it was some 10 s.
    assert time.perf_counter() - began < 3


def test_a_budget_is_spent() -> None:
    budget = Budget(1000)
    root = build(b"<r>" + b"<a/>" * 100 + b"</r>", budget)
    assert budget.left == 1000 - 101
    assert len(list(root.descendants(budget))) == 101
    assert budget.left == 1000 - 202
    with pytest.raises(TooCostlyError):
        build(b"<r>" + b"<a/>" * 100 + b"</r>", Budget(100))
    assert not matches("//z", b"<r>" + b"<a/>" * (filters.MAX_STEPS + 1) + b"<z/></r>")
    assert matches("//z", b"<r>" + b"<a/>" * 10_000 + b"<z/></r>")
    assert matches("r = 'x'", b"<r>x</r>")
    assert matches("contains(r, 'y')", b"<r>" + b"x" * 1_000_000 + b"y</r>")


def test_what_the_name_decides_is_not_looked_into() -> None:
    """So that the garbage below is never parsed; a filter that has to look would find it no match."""
    compiled = compile("v:x[@k] or v:y/c", SCOPE)
    assert not compiled.matches(Metadata(1, MetadataName(V, "z"), False, "", "", b"garbage"))
    assert not compiled.matches(Metadata(1, MetadataName(V, "x"), False, "", "", b"garbage"))
    assert compile("not(v:x)", SCOPE).matches(metadatum(b"<z/>"))
    assert compile("v:x = false()", SCOPE).matches(metadatum(b"<z/>"))
    assert compile("v:y | z[1]", SCOPE).matches(metadatum(b"<z/>"))


def test_equal_filters_are_compiled_once() -> None:
    other = SCOPE | {"unused": "urn:unused"}
    assert compile("v:x[@k]", SCOPE) is compile("v:x[@k]", other)
    assert isinstance(compile("v:x[@k]", SCOPE), CompiledFilter)
