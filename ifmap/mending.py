"""Documents copied from print: characters that typesetting replaced or lost, put back where only one guess makes sense.

Whoever mends tries the document as it is first, and the mended text must be well-formed XML that means something: a
wrong guess is refused like the original. What was done is told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_REPLACED = {
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u2033": '"',
    "\u2018": "'",
    "\u2019": "'",
    "\u00a0": " ",
    "\u00ad": "",
    "\u200b": "",
    "\ufeff": "",
    "\u2010": "-",
    "\u2011": "-",
    "\u2012": "-",
    "\u2013": "-",
    "\u2014": "-",
    "\u2039": "<",
    "\u203a": ">",
    "\ufb01": "fi",
    "\ufb02": "fl",
}
_TYPOGRAPHY = re.compile(f"[{''.join(_REPLACED)}]")
_NAME = r"[A-Za-z_][\w.-]*(?::[A-Za-z_][\w.-]*)?"
_VALUE = r"""(?:"[^"<>]*"|'[^'<>]*')"""
_ATTRIBUTES = rf"(?:\s+{_NAME}\s*=\s*{_VALUE})*"
_LOST_OPENING = re.compile(rf"(?m)^([ \t]*)((?:/?{_NAME}){_ATTRIBUTES}\s*/?>)")
_GLUED = re.compile(r"<([A-Za-z_][\w.:-]{0,63}?)([^<>\s/][^<>]{0,200})(?=</\1\s*>)")
"""A start tag without its >, right before text; the end tag says where the name ends."""
_LOST_CLOSING = re.compile(rf"(</?{_NAME}{_ATTRIBUTES})(\s*+)(/?)(?=\s*+<)")
_TAG = re.compile(r"<[A-Za-z_][^<>]*+")
_QUOTED_OR_BARE = re.compile(rf"""{_VALUE}|(\s{_NAME}=)([^\s"'<>/=]++)(?=[\s/]|\Z)""")
_IDENTIFIER = re.compile(
    r"<(connectivity-group|route-target|customer-attache?ment|provider-attachment|ip-address)\b([^<>]*+)>"
    r"(?!\s*+</\1\s*+>)(?=\s*+<)"
)
_AMPERSAND = re.compile(r"&(?!#\d+;|#x[0-9A-Fa-f]+;|(?:amp|lt|gt|quot|apos);)")


class Mended(NamedTuple):
    """done: what was put back, in words."""

    text: str
    done: tuple[str, ...]


def mend(text: str) -> Mended:
    """A document as it was before it was printed, as well as one can tell."""
    done: list[str] = []

    def note(count: int, what: str) -> None:
        if count:
            done.append(what)

    text, count = _TYPOGRAPHY.subn(lambda found: _REPLACED[found[0]], text)
    note(count, "typographic characters replaced")
    text, count = _AMPERSAND.subn("&amp;", text)
    note(count, "& escaped")
    text, count = _LOST_OPENING.subn(r"\1<\2", text)
    note(count, "lost < put back")
    mended = _TAG.sub(lambda tag: _QUOTED_OR_BARE.sub(_quoted, tag[0]), text)
    note(text != mended, "lost quotes put back")
    text = mended
    text, glued = _GLUED.subn(r"<\1>\2", text)
    text, count = _LOST_CLOSING.subn(r"\1\3>\2", text)
    note(glued + count, "lost > put back")
    mended = _IDENTIFIER.sub(_closed, text)
    note(text != mended, "identifiers closed")
    return Mended(mended, tuple(done))


def _quoted(found: re.Match[str]) -> str:
    return f'{found[1]}"{found[2]}"' if found[1] else found[0]


def _closed(tag: re.Match[str]) -> str:
    return tag[0] if tag[2].rstrip().endswith("/") else f"<{tag[1]}{tag[2]}/>"
