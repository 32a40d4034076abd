"""The tree that XPath sees of one metadatum: nodes in document order, their string values. (XPath 1.0, section 5)

No I/O. Built anew for each evaluation, of bounded size; a visit of a node is paid for from a budget (`Budget`), so that
no expression and no metadatum takes longer than the budget allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

ROOT, ELEMENT, ATTRIBUTE, TEXT, COMMENT, INSTRUCTION = range(6)
"""Kinds of nodes. Namespace nodes are left out."""

_CHARACTERS_A_STEP = 64


class TooCostlyError(Exception):
    """The budget is used up."""


class Budget:
    """Steps that one evaluation may take: nodes made or visited, and characters in portions."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Raises TooCostlyError."""
        self.left -= steps
        if self.left < 0:
            raise TooCostlyError

    def spend_characters(self, count: int) -> None:
        """Raises TooCostlyError."""
        self.spend(1 + count // _CHARACTERS_A_STEP)


class Meter:
    """steps: what evaluations have cost so far. Who has a filter evaluated can see by it what that took."""

    def __init__(self) -> None:
        self.steps = 0


METER = Meter()


class Node:
    """A node. name: "uri}local"; of a processing instruction its target. value: of all kinds but root and element."""

    __slots__ = ("attributes", "children", "kind", "name", "order", "parent", "prefix", "value")

    def __init__(self, kind: int, order: int, parent: Node | None, name: str = "", value: str = "") -> None:
        self.kind: Final = kind
        self.order: Final = order
        self.parent: Final = parent
        self.name = name
        self.prefix = ""
        self.value = value
        self.children: list[Node] = []
        self.attributes: list[Node] = []

    def string(self, budget: Budget) -> str:
        """The string value."""
        if self.kind > ELEMENT:
            return self.value
        texts = [node.value for node in self.descendants(budget) if node.kind == TEXT]
        budget.spend_characters(sum(map(len, texts)))
        return "".join(texts)

    def descendants(self, budget: Budget) -> Iterator[Node]:
        """All below, in document order, without attributes."""
        pending = [iter(self.children)]
        while pending:
            node = next(pending[-1], None)
            if node is None:
                pending.pop()
                continue
            budget.spend(1)
            yield node
            if node.children:
                pending.append(iter(node.children))


class _Builder:
    def __init__(self, budget: Budget) -> None:
        self.root = Node(ROOT, 0, None)
        self._stack = [self.root]
        self._order = 0
        self._budget = budget

    def _next(self) -> int:
        self._budget.spend(1)
        self._order += 1
        return self._order

    def start(self, name: str, attributes: list[str]) -> None:
        node = self._named(ELEMENT, name)
        self._stack[-1].children.append(node)
        self._stack.append(node)
        for at in range(0, len(attributes), 2):
            attribute = self._named(ATTRIBUTE, attributes[at])
            attribute.value = attributes[at + 1]
            node.attributes.append(attribute)

    def _named(self, kind: int, name: str) -> Node:
        """expat gives "uri}local}prefix", "uri}local" or "local"."""
        node = Node(kind, self._next(), self._stack[-1])
        parts = name.split("}")
        node.name = "}".join(parts[:2])
        node.prefix = parts[2] if len(parts) == 3 else ""
        return node

    def end(self, _name: str) -> None:
        self._stack.pop()

    def text(self, text: str) -> None:
        parent = self._stack[-1]
        # expat's buffer is cut anywhere; nothing but text in between means one node.
        if parent.children and parent.children[-1].kind == TEXT:
            parent.children[-1].value += text
            self._budget.spend_characters(len(text))
        else:
            parent.children.append(Node(TEXT, self._next(), parent, value=text))

    def comment(self, text: str) -> None:
        parent = self._stack[-1]
        parent.children.append(Node(COMMENT, self._next(), parent, value=text))

    def instruction(self, target: str, data: str) -> None:
        parent = self._stack[-1]
        parent.children.append(Node(INSTRUCTION, self._next(), parent, target, data))


def build(xml: bytes, budget: Budget) -> Node:
    """The root node of a metadatum's document. Raises TooCostlyError, and ExpatError for what was never metadata."""
    builder = _Builder(budget)
    parser = expat.ParserCreate("UTF-8", "}")
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    parser.ordered_attributes = True
    parser.namespace_prefixes = True
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.text
    parser.CommentHandler, parser.ProcessingInstructionHandler = builder.comment, builder.instruction
    parser.Parse(xml, True)
    return builder.root
