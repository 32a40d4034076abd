"""Tokens of XPath 1.0. No I/O. (XPath 1.0, 3.7)"""

from __future__ import annotations

import re
from typing import NamedTuple

_NCNAME = r"[^\W\d][\w.\-·]*"
_PATTERN = re.compile(
    rf"""[ \t\r\n]*(?:
    (?P<literal>"[^"]*"|'[^']*')
    |(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)
    |(?P<name>{_NCNAME}(?::(?!:)(?:{_NCNAME}|\*))?)
    |(?P<sign>::|//|\.\.|!=|<=|>=|[.@()\[\],/|+=<>*$-])
    )""",
    re.VERBOSE,
)
_OPERATORS = frozenset({"and", "or", "mod", "div", "*", "/", "//", "|", "+", "-", "=", "!=", "<", "<=", ">", ">="})
_OPERATOR_NAMES = frozenset({"and", "or", "mod", "div"})
_BEFORE_OPERAND = _OPERATORS | {"@", "::", "(", "[", ","}


class SyntaxProblem(ValueError):
    """An expression isn't XPath as it is taken here; the message says why, in one line."""


class Token(NamedTuple):
    """kind: literal, number, name or sign; of the end: end."""

    kind: str
    text: str


END = Token("end", "")


def tokens(text: str) -> list[Token]:
    """The tokens; names and "*" in the place of an operator become signs (XPath 1.0, 3.7). Raises SyntaxProblem."""
    found: list[Token] = []
    at = 0
    end = len(text.rstrip(" \t\r\n"))
    while at < end:
        match = _PATTERN.match(text, at)
        if match is None:
            raise SyntaxProblem(f"unexpected character at {text[at : at + 20].strip()!r}")
        kind = match.lastgroup or ""
        token = match[kind]
        if token == "$":
            raise SyntaxProblem("variables are not supported")
        operand = bool(found) and not (found[-1].kind == "sign" and found[-1].text in _BEFORE_OPERAND)
        if kind == "name" and operand:
            # "or:x" is a name with a prefix, so it can't be an operator here.
            if token not in _OPERATOR_NAMES:
                raise SyntaxProblem(f"{token!r} where an operator is expected")
            kind = "sign"
        elif token == "*" and not operand:
            kind = "name"
        found.append(Token(kind, token))
        at = match.end()
    return found
