"""Values of XPath 1.0, their conversions, comparisons, and the core functions. (XPath 1.0, 3.4 and 4)

No I/O.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from ifmap.xpath_tree import ATTRIBUTE, ELEMENT, INSTRUCTION, Budget, Node

Value = list[Node] | str | float | bool
"""A node-set is a list in document order without repetitions."""


class Context(NamedTuple):
    """What an expression is evaluated in."""

    node: Node
    position: int
    size: int
    budget: Budget


_NUMBER = re.compile(r"[ \t\r\n]*(-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))[ \t\r\n]*", re.ASCII)
_BLANK = re.compile(r"[ \t\r\n]+")
_NUMBER_MAX = 400


def boolean(value: Value) -> bool:
    """boolean(): non-empty, or a number that is neither zero nor NaN."""
    if isinstance(value, float):
        return value != 0 and not math.isnan(value)
    return bool(value)


def string(value: Value, budget: Budget) -> str:
    """string()"""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return value[0].string(budget) if value else ""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == int(value):
        return str(int(value))
    text = f"{value:.15f}".rstrip("0")
    return text if text.strip("-0.") else repr(value)


def number(value: Value, budget: Budget) -> float:
    """number()"""
    if isinstance(value, bool | float):
        return float(value)
    text = string(value, budget)
    match = _NUMBER.fullmatch(text) if len(text) <= _NUMBER_MAX else None
    return float(match[1]) if match else math.nan


_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


def compare(op: str, left: Value, right: Value, budget: Budget) -> bool:
    """A comparison; with node-sets: whether there is a node (a pair of nodes) of which it is true."""
    if isinstance(left, list) and isinstance(right, list):
        return _compare_sets(op, left, right, budget)
    if isinstance(right, list):
        return compare(_MIRRORED[op], right, left, budget)
    if isinstance(left, list):
        if isinstance(right, bool):
            return compare(op, bool(left), right, budget)
        return any(compare(op, node.string(budget), right, budget) for node in left)
    if op in _NUMERIC:
        return _NUMERIC[op](number(left, budget), number(right, budget))
    if isinstance(left, bool) or isinstance(right, bool):
        equal = boolean(left) == boolean(right)
    elif isinstance(left, float) or isinstance(right, float):
        equal = number(left, budget) == number(right, budget)
    else:
        equal = left == right
    return equal == (op == "=")


def _compare_sets(op: str, left: list[Node], right: list[Node], budget: Budget) -> bool:
    if not left or not right:
        return False
    ours, theirs = ({node.string(budget) for node in nodes} for nodes in (left, right))
    if op == "=":
        return not ours.isdisjoint(theirs)
    if op == "!=":
        return len(ours | theirs) > 1
    numbers = [[n for text in texts if not math.isnan(n := number(text, budget))] for texts in (ours, theirs)]
    if not numbers[0] or not numbers[1]:
        return False
    if op in ("<", "<="):
        return _NUMERIC[op](min(numbers[0]), max(numbers[1]))
    return _NUMERIC[op](max(numbers[0]), min(numbers[1]))


def arithmetic(op: str, left: float, right: float) -> float:
    """+ - * div mod on IEEE numbers: nothing is an error."""
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if math.isnan(left) or math.isnan(right):
        return math.nan
    if op == "div":
        if right == 0:
            return math.nan if left == 0 else math.copysign(math.inf, left) * math.copysign(1, right)
        return left / right
    return math.nan if right == 0 or math.isinf(left) else math.fmod(left, right)


# -- functions


class Function(NamedTuple):
    """A function of the core library. arguments: least and greatest number (None: any)."""

    least: int
    most: int | None
    call: Callable[[Context, list[Value]], Value]
    node_set: bool = False
    """Whether its argument has to be a node-set."""


def _round(value: float) -> float:
    if math.isnan(value) or math.isinf(value):
        return value
    return float(math.floor(value + 0.5))


def _whole(rounding: Callable[[float], int]) -> Callable[[Context, list[Value]], Value]:
    def call(context: Context, arguments: list[Value]) -> Value:
        value = number(arguments[0], context.budget)
        return value if math.isnan(value) or math.isinf(value) else float(rounding(value))

    return call


def _text(context: Context, arguments: list[Value]) -> str:
    """The argument's string, by default that of the context node; paid for."""
    text = string(arguments[0], context.budget) if arguments else context.node.string(context.budget)
    context.budget.spend_characters(len(text))
    return text


def _texts(context: Context, arguments: list[Value]) -> list[str]:
    return [_text(context, [argument]) for argument in arguments]


def _starts_with(context: Context, arguments: list[Value]) -> Value:
    text, start = _texts(context, arguments)
    return text.startswith(start)


def _before(context: Context, arguments: list[Value]) -> Value:
    text, mark = _texts(context, arguments)
    before, found, _ = text.partition(mark) if mark else ("", "", text)
    return before if found else ""


def _after(context: Context, arguments: list[Value]) -> Value:
    text, mark = _texts(context, arguments)
    return text.partition(mark)[2] if mark else text


def _substring(context: Context, arguments: list[Value]) -> Value:
    text = _text(context, arguments)
    begin = _round(number(arguments[1], context.budget))
    end = begin + _round(number(arguments[2], context.budget)) if len(arguments) == 3 else math.inf
    if math.isnan(begin) or math.isnan(end) or end <= begin:
        return ""
    first = 0 if begin < 1 else min(begin - 1, len(text))
    last = 0 if end < 1 else min(end - 1, len(text))
    return text[int(first) : int(last)]


def _translate(context: Context, arguments: list[Value]) -> Value:
    text, characters, replacements = _texts(context, arguments)
    table: dict[int, str | None] = {}
    for at, character in enumerate(characters):
        table.setdefault(ord(character), replacements[at] if at < len(replacements) else None)
    return text.translate(table)


def _subject(context: Context, arguments: list[Value]) -> Node | None:
    if not arguments:
        return context.node
    nodes = arguments[0]
    assert isinstance(nodes, list), "checked by the parser and by call()"
    return nodes[0] if nodes else None


def _local_name(context: Context, arguments: list[Value]) -> Value:
    node = _subject(context, arguments)
    return node.name.rpartition("}")[2] if node else ""


def _namespace_uri(context: Context, arguments: list[Value]) -> Value:
    node = _subject(context, arguments)
    return node.name.rpartition("}")[0] if node and node.kind != INSTRUCTION else ""


def _name(context: Context, arguments: list[Value]) -> Value:
    node = _subject(context, arguments)
    if node is None:
        return ""
    local = node.name.rpartition("}")[2]
    return f"{node.prefix}:{local}" if node.prefix and node.kind in (ELEMENT, ATTRIBUTE) else local


def _nodes(value: Value) -> list[Node]:
    assert isinstance(value, list), "checked by call()"
    return value


FUNCTIONS: dict[str, Function] = {
    "boolean": Function(1, 1, lambda _, a: boolean(a[0])),
    "not": Function(1, 1, lambda _, a: not boolean(a[0])),
    "true": Function(0, 0, lambda _, __: True),
    "false": Function(0, 0, lambda _, __: False),
    "position": Function(0, 0, lambda c, _: float(c.position)),
    "last": Function(0, 0, lambda c, _: float(c.size)),
    "count": Function(1, 1, lambda _, a: float(len(_nodes(a[0]))), node_set=True),
    "sum": Function(
        1, 1, lambda c, a: float(sum(number(n.string(c.budget), c.budget) for n in _nodes(a[0]))), node_set=True
    ),
    "local-name": Function(0, 1, _local_name, node_set=True),
    "namespace-uri": Function(0, 1, _namespace_uri, node_set=True),
    "name": Function(0, 1, _name, node_set=True),
    "string": Function(0, 1, _text),
    "concat": Function(2, None, lambda c, a: "".join(_texts(c, a))),
    "starts-with": Function(2, 2, _starts_with),
    "contains": Function(2, 2, lambda c, a: operator.contains(*_texts(c, a))),
    "substring-before": Function(2, 2, _before),
    "substring-after": Function(2, 2, _after),
    "substring": Function(2, 3, _substring),
    "string-length": Function(0, 1, lambda c, a: float(len(_text(c, a)))),
    "normalize-space": Function(0, 1, lambda c, a: _BLANK.sub(" ", _text(c, a)).strip(" ")),
    "translate": Function(3, 3, _translate),
    "number": Function(0, 1, lambda c, a: number(a[0] if a else c.node.string(c.budget), c.budget)),
    "floor": Function(1, 1, _whole(math.floor)),
    "ceiling": Function(1, 1, _whole(math.ceil)),
    "round": Function(1, 1, lambda c, a: _round(number(a[0], c.budget))),
}
"""The core function library without id() and lang(), which look at documents and not at metadata."""
