"""Location paths of XPath 1.0: axes, node tests, predicates. No I/O. (XPath 1.0, section 2)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ifmap.xpath_tree import ATTRIBUTE, COMMENT, ELEMENT, INSTRUCTION, TEXT, Budget, Node
from ifmap.xpath_values import Context, Value, boolean

Run = Callable[[Context], Value]
"""A compiled expression. Raises TooCostlyError."""
Axis = Callable[[Node, Budget], Iterable[Node]]
Test = Callable[[Node], bool]


def _children(node: Node, budget: Budget) -> Iterable[Node]:
    budget.spend(len(node.children))
    return node.children


def _attributes(node: Node, budget: Budget) -> Iterable[Node]:
    budget.spend(len(node.attributes))
    return node.attributes


def _self(node: Node, _budget: Budget) -> Iterable[Node]:
    return (node,)


def _descendants(node: Node, budget: Budget) -> Iterable[Node]:
    return node.descendants(budget)


def _descendants_or_self(node: Node, budget: Budget) -> Iterator[Node]:
    yield node
    yield from node.descendants(budget)


def _parent(node: Node, _budget: Budget) -> Iterable[Node]:
    return () if node.parent is None else (node.parent,)


def _ancestors(node: Node, budget: Budget) -> Iterator[Node]:
    while node.parent is not None:
        budget.spend(1)
        node = node.parent
        yield node


def _ancestors_or_self(node: Node, budget: Budget) -> Iterator[Node]:
    yield node
    yield from _ancestors(node, budget)


def _following_siblings(node: Node, budget: Budget) -> Iterable[Node]:
    if node.parent is None or node.kind == ATTRIBUTE:
        return ()
    budget.spend(len(node.parent.children))
    return [sibling for sibling in node.parent.children if sibling.order > node.order]


def _preceding_siblings(node: Node, budget: Budget) -> Iterable[Node]:
    if node.parent is None or node.kind == ATTRIBUTE:
        return ()
    budget.spend(len(node.parent.children))
    return [sibling for sibling in reversed(node.parent.children) if sibling.order < node.order]


AXES: dict[str, Axis] = {
    "child": _children,
    "attribute": _attributes,
    "self": _self,
    "descendant": _descendants,
    "descendant-or-self": _descendants_or_self,
    "parent": _parent,
    "ancestor": _ancestors,
    "ancestor-or-self": _ancestors_or_self,
    "following-sibling": _following_siblings,
    "preceding-sibling": _preceding_siblings,
}
"""following and preceding are left out (they say nothing of one element), and so is namespace."""
_REVERSE = frozenset({"parent", "ancestor", "ancestor-or-self", "preceding-sibling"})

NODE_TYPES: dict[str, Test] = {
    "node": lambda _: True,
    "text": lambda node: node.kind == TEXT,
    "comment": lambda node: node.kind == COMMENT,
    "processing-instruction": lambda node: node.kind == INSTRUCTION,
}


def name_test(axis: str, namespace: str | None, local: str) -> Test:
    """Nodes of the axis' principal kind. namespace: None for any; local: "*" for any."""
    kind = ATTRIBUTE if axis == "attribute" else ELEMENT
    if local == "*":
        if namespace is None:
            return lambda node: node.kind == kind
        start = f"{namespace}}}"
        return lambda node: node.kind == kind and node.name.startswith(start)
    name = f"{namespace}}}{local}" if namespace else local
    return lambda node: node.kind == kind and node.name == name


def instruction_test(target: str) -> Test:
    """processing-instruction("target")"""
    return lambda node: node.kind == INSTRUCTION and node.name == target


class Step(NamedTuple):
    """A step of a path."""

    axis: str
    test: Test
    predicates: tuple[Run, ...] = ()


ANY_BELOW = Step("descendant-or-self", NODE_TYPES["node"])
"""What // stands for."""


def walk(nodes: list[Node], steps: Iterable[Step], budget: Budget) -> list[Node]:
    """What the steps lead to from these nodes, in document order. What an axis goes through is paid for by the axis,
    whether it is of use or not."""
    for axis, test, predicates in steps:
        found: list[Node] = []
        for node in nodes:
            budget.spend(1)
            candidates = [each for each in AXES[axis](node, budget) if test(each)]
            found += filtered(candidates, predicates, budget)
        nodes = in_order(found) if len(nodes) > 1 or axis in _REVERSE else found
    return nodes


def charged(predicate: Run, tokens: int) -> Run:
    """A predicate that is paid for by its length each time."""
    steps = 1 + tokens // 4

    def run(context: Context) -> Value:
        context.budget.spend(steps)
        return predicate(context)

    return run


def filtered(nodes: list[Node], predicates: tuple[Run, ...], budget: Budget) -> list[Node]:
    """Those of the nodes, in the order of their axis, of which all predicates are true."""
    for predicate in predicates:
        kept = []
        for position, node in enumerate(nodes, 1):
            value = predicate(Context(node, position, len(nodes), budget))
            if value == position if isinstance(value, float) else boolean(value):
                kept.append(node)
        nodes = kept
    return nodes


def in_order(nodes: list[Node]) -> list[Node]:
    """In document order, each once."""
    return sorted(dict.fromkeys(nodes), key=_order)


def _order(node: Node) -> int:
    return node.order
