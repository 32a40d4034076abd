"""Distinguished names (X.500) in one spelling, so that equal names are equal texts. No I/O. (RFC 4514)

What is made alike: blanks around separators, ";" for ",", case of attribute types, OIDs of the well-known types, ways
of escaping and quoting, order within a multi-valued RDN. What is not: case and inner blanks of values. X.520 compares
most of them without case, some with; IF-MAP is case sensitive throughout, and a publisher gets its values back.
"""

from __future__ import annotations

import re

_TYPE = re.compile(r"\s*(?:([A-Za-z][A-Za-z0-9-]*)|(?:OID\.|oid\.)?([0-9]+(?:\.[0-9]+)+))\s*=\s*")
_HEX = re.compile(r"#((?:[0-9A-Fa-f]{2})+)")
_PIECE = re.compile(r'((?:\\[0-9A-Fa-f]{2})+)|\\([ "#+,;<=>\\])|([^\\",+;<>]+)')
_QUOTED_PIECE = re.compile(r'((?:\\[0-9A-Fa-f]{2})+)|\\([ "#+,;<=>\\])|([^\\"]+)')
_BLANKS = re.compile(r"\s*")
_TO_ESCAPE = re.compile(r'[\\",+;<>]')
# What a name may hold in octets, but XML can't carry as it is.
_NOT_XML = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KEYWORDS = {
    "2.5.4.3": "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}


def canonical(text: str) -> str | None:
    """The one spelling of a distinguished name (RFC 4514, no blanks, types in upper case); None if it is none."""
    names: list[str] = []
    assertions: list[str] = []
    at = 0
    while True:
        read = _assertion(text, at)
        if read is None:
            return None
        assertion, at = read
        assertions.append(assertion)
        separator = text[at : at + 1]
        if separator != "+":
            names.append("+".join(sorted(assertions)))
            assertions = []
        if not separator:
            return ",".join(names)
        at += 1


def _assertion(text: str, at: int) -> tuple[str, int] | None:
    """One type=value from a place on, and the place of the separator behind it or the end."""
    head = _TYPE.match(text, at)
    if head is None:
        return None
    keyword, oid = head.groups()
    name = keyword.upper() if keyword else _KEYWORDS.get(oid, oid)
    at = head.end()
    if packed := _HEX.match(text, at):
        value, at = f"#{packed[1].lower()}", packed.end()
    else:
        quoted = text[at : at + 1] == '"'
        pieces, end = _pieces(text, at + quoted, _QUOTED_PIECE if quoted else _PIECE)
        if pieces is None or (quoted and text[end : end + 1] != '"'):
            return None
        value, at = _escaped(pieces if quoted else _trimmed(pieces)), end + quoted
    at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
    return (f"{name}={value}", at) if text[at : at + 1] in ("", ",", ";", "+") else None


def _pieces(text: str, at: int, pattern: re.Pattern[str]) -> tuple[list[tuple[str, bool]] | None, int]:
    """The parts of a value, each with whether it was escaped, and where it ends."""
    pieces: list[tuple[str, bool]] = []
    while piece := pattern.match(text, at):
        octets, escaped, plain = piece.groups()
        if octets:
            try:
                pieces.append((bytes.fromhex(octets.replace("\\", "")).decode(), True))
            except UnicodeDecodeError:
                return None, at
        else:
            pieces.append((escaped or plain, plain is None))
        at = piece.end()
    return pieces, at


def _trimmed(pieces: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Without the blanks at the end, unless they were escaped. (Those at the beginning went with the equals sign.)"""
    if pieces and not pieces[-1][1]:
        return [*pieces[:-1], (pieces[-1][0].rstrip(), False)]
    return pieces


def _octets(character: re.Match[str]) -> str:
    return "".join(f"\\{octet:02x}" for octet in character[0].encode(errors="surrogatepass"))


def _escaped(pieces: list[tuple[str, bool]]) -> str:
    value = "".join(text for text, _ in pieces)
    escaped = _NOT_XML.sub(_octets, _TO_ESCAPE.sub(r"\\\g<0>", value))
    if escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return "\\" + escaped if value[:1] in (" ", "#") and escaped[:1] != "\\" else escaped
