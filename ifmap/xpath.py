"""XPath 1.0 over one metadatum, for filters: parsed to functions, evaluated within a budget. No I/O. (XPath 1.0)

Why not a library's engine: those have no limit on time, so that one client's filter could stop a server, and they keep
the names of everything they have seen. Left out is what can't be of use for a single element: variables, id(), lang(),
functions of libraries, the axes following, preceding and namespace. One thing is added: a predicate without a step
(`[@k="1"]`) means any element, as IF-MAP's own subset permits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from ifmap.values import MetadataName
from ifmap.xpath_paths import (
    ANY_BELOW,
    AXES,
    NODE_TYPES,
    Run,
    Step,
    charged,
    filtered,
    instruction_test,
    name_test,
    walk,
)
from ifmap.xpath_tokens import END, SyntaxProblem, Token, tokens
from ifmap.xpath_tree import METER, Budget, Node, build
from ifmap.xpath_values import FUNCTIONS, Context, Function, Value, arithmetic, boolean, compare, number

MAX_NESTING = 30
"""Depth of parentheses, predicates and function calls."""
MAX_ROW = 50
"""Arithmetic operators or comparisons behind each other."""

_KEPT_LENGTH = 4096
_XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"


class Expression(NamedTuple):
    """A compiled expression.

    first: the expression can only be true of metadata of these types; None: of any. exact: it is true of all metadata
    of these types. constant: a literal or a number.
    """

    run: Run
    first: frozenset[MetadataName] | None = None
    exact: bool = False
    constant: bool = False
    node_set: bool = False


def evaluate(expression: Expression, xml: bytes, steps: int) -> bool:
    """Whether an expression is true of a metadatum; the context node is the root node of its document.

    steps: what may be spent, about a third of a microsecond each. Raises TooCostlyError beyond.
    """
    budget = Budget(steps)
    try:
        if len(xml) <= _KEPT_LENGTH:
            root, spent = _small_tree(xml)
            budget.spend(spent)
        else:
            root = build(xml, budget)
        return boolean(expression.run(Context(root, 1, 1, budget)))
    finally:
        METER.steps += steps - budget.left


@functools.lru_cache(16)
def _small_tree(xml: bytes) -> tuple[Node, int]:
    """The root node and what it cost. A few are kept, since many filters look at one metadatum in a row."""
    budget = Budget(_KEPT_LENGTH)
    return build(xml, budget), _KEPT_LENGTH - budget.left


def parse(text: str, namespaces: Mapping[str, str]) -> tuple[Expression, frozenset[str]]:
    """An expression, and the prefixes that it uses. Raises SyntaxProblem."""
    parser = _Parser(text, namespaces)
    return parser.whole(), frozenset(parser.used)


Join = Callable[[str, Expression, Expression], Expression]


class _Parser:
    """Recursive descent over the grammar of XPath 1.0, section 3."""

    def __init__(self, text: str, namespaces: Mapping[str, str]) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._namespaces = namespaces
        self._nesting = 0
        self.used: set[str] = set()

    def whole(self) -> Expression:
        expression = self._or()
        if self._at < len(self._tokens):
            self._unexpected()
        return expression

    # -- tokens

    def _peek(self, ahead: int = 0) -> Token:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else END

    def _take(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _sign(self, *texts: str) -> str:
        """Take one of these signs if it is next; else ""."""
        token = self._peek()
        if token.kind == "sign" and token.text in texts:
            self._at += 1
            return token.text
        return ""

    def _expect(self, text: str) -> None:
        if not self._sign(text):
            self._unexpected(f" where {text!r} is expected")

    def _unexpected(self, where: str = "") -> NoReturn:
        token = self._peek()
        raise SyntaxProblem(f"unexpected {token.text!r}{where}" if token is not END else f"unexpected end{where}")

    # -- operators

    def _or(self) -> Expression:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise SyntaxProblem(f"nested deeper than {MAX_NESTING}")
        terms = [self._and()]
        while self._sign("or"):
            terms.append(self._and())
        self._nesting -= 1
        if len(terms) == 1:
            return terms[0]
        runs = [term.run for term in terms]
        first = _union([term.first for term in terms])
        return Expression(lambda c: any(boolean(run(c)) for run in runs), first, all(term.exact for term in terms))

    def _and(self) -> Expression:
        terms = [self._equality()]
        while self._sign("and"):
            terms.append(self._equality())
        if len(terms) == 1:
            return terms[0]
        runs = [term.run for term in terms]
        known = [term.first for term in terms if term.first is not None]
        first = frozenset.intersection(*known) if known else None
        return Expression(lambda c: all(boolean(run(c)) for run in runs), first)

    def _equality(self) -> Expression:
        return self._row(self._relational, _comparison, "=", "!=")

    def _relational(self) -> Expression:
        return self._row(self._additive, _comparison, "<", "<=", ">", ">=")

    def _additive(self) -> Expression:
        return self._row(self._multiplicative, _calculation, "+", "-")

    def _multiplicative(self) -> Expression:
        return self._row(self._unary, _calculation, "*", "div", "mod")

    def _row(self, operand: Callable[[], Expression], join: Join, *operators: str) -> Expression:
        """Operands with operators between, evaluated from the left: each is a call within the next one's."""
        left = operand()
        for _ in range(MAX_ROW + 1):
            operator = self._sign(*operators)
            if not operator:
                return left
            left = join(operator, left, operand())
        raise SyntaxProblem(f"more than {MAX_ROW} operators in a row")

    def _unary(self) -> Expression:
        signs = 0
        while self._sign("-"):
            signs += 1
        operand = self._union()
        if not signs:
            return operand
        run, factor = operand.run, float(-1 if signs % 2 else 1)
        return Expression(lambda c: factor * number(run(c), c.budget))

    def _union(self) -> Expression:
        terms = [self._path()]
        while self._sign("|"):
            terms.append(self._path())
        if len(terms) == 1:
            return terms[0]
        if not all(term.node_set for term in terms):
            raise SyntaxProblem("'|' joins node-sets")
        runs = [term.run for term in terms]
        first = _union([term.first for term in terms])

        def run(context: Context) -> Value:
            nodes = [node for run in runs for node in _nodes(run(context))]
            return sorted(dict.fromkeys(nodes), key=lambda node: node.order)

        return Expression(run, first, all(term.exact for term in terms), node_set=True)

    # -- paths

    def _path(self) -> Expression:
        token, following = self._peek(), self._peek(1)
        call = token.kind == "name" and following == Token("sign", "(") and token.text not in NODE_TYPES
        if token.kind in ("literal", "number") or token == Token("sign", "(") or call:
            return self._filter()
        return self._location()

    def _filter(self) -> Expression:
        primary = self._primary()
        predicates = self._predicates()
        separator = self._sign("/", "//")
        if not predicates and not separator:
            return primary
        if not primary.node_set:
            raise SyntaxProblem("a predicate or path behind what is no node-set")
        steps = self._steps([ANY_BELOW] if separator == "//" else []) if separator else []
        run = primary.run

        def walked(context: Context) -> Value:
            return walk(filtered(_nodes(run(context)), predicates, context.budget), steps, context.budget)

        return Expression(walked, primary.first, node_set=True)

    def _primary(self) -> Expression:
        kind, text = self._take()
        if kind == "literal":
            literal = text[1:-1]
            return Expression(lambda _: literal, constant=True)
        if kind == "number":
            value = float(text)
            return Expression(lambda _: value, constant=True)
        if kind == "sign":
            inner = self._or()
            self._expect(")")
            return inner
        return self._call(text)

    def _call(self, name: str) -> Expression:
        function = FUNCTIONS.get(name)
        if function is None:
            raise SyntaxProblem(f"function {name}() is not supported")
        self._expect("(")
        arguments: list[Expression] = []
        if not self._sign(")"):
            arguments.append(self._or())
            while self._sign(","):
                arguments.append(self._or())
            self._expect(")")
        _check_call(name, function, arguments)
        runs = [argument.run for argument in arguments]
        call = function.call
        return Expression(lambda c: call(c, [run(c) for run in runs]))

    def _location(self) -> Expression:
        separator = self._sign("/", "//")
        if separator == "/" and not self._starts_step():
            steps: list[Step] = []
            first = exact = None
        else:
            begin = self._at
            steps = self._steps([ANY_BELOW] if separator == "//" else [])
            first, exact = self._first(begin) if separator != "//" else (None, None)
        absolute = bool(separator)

        def run(context: Context) -> Value:
            node = context.node
            while absolute and node.parent is not None:
                node = node.parent
            return walk([node], steps, context.budget)

        # Within a predicate the context node is another, and what is known of the name says nothing.
        if self._nesting > 1 or first is None:
            return Expression(run, node_set=True)
        return Expression(run, frozenset({first}), bool(exact), node_set=True)

    def _first(self, begin: int) -> tuple[MetadataName | None, bool | None]:
        """The name that a path from the root node begins with, and whether the path is nothing else."""
        token = self._tokens[begin]
        if token.kind != "name" or token.text.endswith("*"):
            return None, None
        if self._tokens[begin + 1 : begin + 2] in ([Token("sign", "::")], [Token("sign", "(")]):
            return None, None
        namespace, local = self._resolve(token.text)
        return MetadataName(namespace or "", local), self._at == begin + 1

    def _starts_step(self) -> bool:
        token = self._peek()
        return token.kind == "name" or (token.kind == "sign" and token.text in (".", "..", "@", "["))

    def _steps(self, steps: list[Step]) -> list[Step]:
        steps.append(self._step())
        while separator := self._sign("/", "//"):
            if separator == "//":
                steps.append(ANY_BELOW)
            steps.append(self._step())
        return steps

    def _step(self) -> Step:
        if self._sign("."):
            return Step("self", NODE_TYPES["node"])
        if self._sign(".."):
            return Step("parent", NODE_TYPES["node"])
        axis = "child"
        if self._sign("@"):
            axis = "attribute"
        elif self._peek(1) == Token("sign", "::"):
            axis = self._take().text
            self._take()
            if axis not in AXES:
                raise SyntaxProblem(f"axis {axis!r} is not supported")
        elif self._peek() == Token("sign", "["):
            return Step(axis, name_test(axis, None, "*"), self._predicates())
        token = self._take()
        if token.kind != "name":
            self._at -= 1
            self._unexpected(" where a step of a path is expected")
        if token.text in NODE_TYPES and self._sign("("):
            test = NODE_TYPES[token.text]
            if token.text == "processing-instruction" and self._peek().kind == "literal":
                test = instruction_test(self._take().text[1:-1])
            self._expect(")")
        else:
            test = name_test(axis, *self._resolve(token.text))
        return Step(axis, test, self._predicates())

    def _resolve(self, name: str) -> tuple[str | None, str]:
        prefix, _, local = name.rpartition(":")
        if not prefix:
            return None if local == "*" else "", local
        if prefix == "xml":
            return _XML_NAMESPACE, local
        uri = self._namespaces.get(prefix)
        if not uri:
            raise SyntaxProblem(f"prefix {prefix!r} is not declared")
        self.used.add(prefix)
        return uri, local

    def _predicates(self) -> tuple[Run, ...]:
        predicates = []
        while self._sign("["):
            begin = self._at
            predicates.append(charged(self._or().run, self._at - begin))
            self._expect("]")
        return tuple(predicates)


def _nodes(value: Value) -> list:  # type: ignore[type-arg]
    assert isinstance(value, list), "the parser lets nothing else here"
    return value


def _union(names: list[frozenset[MetadataName] | None]) -> frozenset[MetadataName] | None:
    known = [each for each in names if each is not None]
    return frozenset().union(*known) if len(known) == len(names) else None


def _comparison(op: str, left: Expression, right: Expression) -> Expression:
    """With a constant on the other side, an empty node-set makes it false."""
    one, other = left.run, right.run
    first = None
    if left.constant or right.constant:
        first = (right if left.constant else left).first
    return Expression(lambda c: compare(op, one(c), other(c), c.budget), first)


def _calculation(op: str, left: Expression, right: Expression) -> Expression:
    one, other = left.run, right.run
    return Expression(lambda c: arithmetic(op, number(one(c), c.budget), number(other(c), c.budget)))


def _check_call(name: str, function: Function, arguments: list[Expression]) -> None:
    most = function.most
    if len(arguments) < function.least or (most is not None and len(arguments) > most):
        raise SyntaxProblem(f"{name}() with {len(arguments)} arguments")
    if function.node_set and not all(argument.node_set for argument in arguments):
        raise SyntaxProblem(f"{name}() of what is no node-set")
