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
_LOST_CLOSING = re.compile(rf"(</?{_NAME}{_ATTRIBUTES}\s*?/?)(?=\s*<)")
_LOST_QUOTES = re.compile(rf"""(<{_NAME}(?:\s+{_NAME}={_VALUE})*\s+{_NAME}=)([^\s"'<>/=]+)(?=[\s/>])""")
_LOST_END = re.compile(
    r"(<(connectivity-group|route-target|customer-attache?ment|provider-attachment|ip-address)\b[^<>]*[^<>/\s])\s*>"
    r"(?!\s*</\2\s*>)(?=\s*<)"
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
            done.append(f"{what} ({count})")

    text, count = _TYPOGRAPHY.subn(lambda found: _REPLACED[found[0]], text)
    note(count, "typographic characters replaced")
    text, count = _AMPERSAND.subn("&amp;", text)
    note(count, "& escaped")
    text, count = _LOST_OPENING.subn(r"\1<\2", text)
    note(count, "lost < put back")
    # One attribute a turn.
    count = 0
    while (mended := _LOST_QUOTES.sub(r'\1"\2"', text)) != text:
        text = mended
        count += 1
    note(count, "lost quotes put back")
    text, glued = _GLUED.subn(r"<\1>\2", text)
    text, count = _LOST_CLOSING.subn(r"\1>", text)
    note(glued + count, "lost > put back")
    text, count = _LOST_END.subn(r"\1/>", text)
    note(count, "identifiers closed")
    return Mended(text, tuple(done))
