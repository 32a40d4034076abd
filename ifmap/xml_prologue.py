"""The beginning of an XML document: its encoding, its declaration, and that no document type follows. No I/O."""

from __future__ import annotations

import codecs
import re
from typing import NoReturn

from ifmap.errors import ErrorCode, IfmapError

_XML_DECLARATION = re.compile(
    r"""<\?xml\s+version\s*=\s*(?:"1\.[0-9]{1,4}"|'1\.[0-9]{1,4}')"""
    r"""(?:\s+encoding\s*=\s*(?:"([A-Za-z][\w.\-]{0,40})"|'([A-Za-z][\w.\-]{0,40})'))?"""
    r"""(?:\s+standalone\s*=\s*(?:"(?:yes|no)"|'(?:yes|no)'))?\s*\?>""",
    re.ASCII,
)
_DECLARATION_MAX = 512
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_UTF_16 = frozenset({"utf-16", "utf16", "utf-16le", "utf-16be", "iso-10646-ucs-2", "ucs-2"})
_BLANK_RUN = re.compile(rb"[ \t\r\n]*")
_BLANKS = (b" ", b"\t", b"\n", b"\r")


def utf_8(body: bytes) -> bytes:
    """A document in UTF-8 without byte order mark, from one in UTF-8 or UTF-16 with or without it.

    Raises IfmapError (Failure): another encoding, one that isn't what is declared, a malformed declaration.
    """
    utf_16 = None
    if body.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        _refuse("XML in UTF-32; UTF-8 and UTF-16 are understood")
    if body.startswith((codecs.BOM_UTF16_LE, b"<\0")):
        utf_16 = "utf-16-le"
    elif body.startswith((codecs.BOM_UTF16_BE, b"\0<")):
        utf_16 = "utf-16-be"
    elif body.startswith(codecs.BOM_UTF8):
        body = body[len(codecs.BOM_UTF8) :]
    try:
        if utf_16:
            body = body.decode(utf_16).removeprefix("\ufeff").encode()
        elif not body.isascii():
            body.decode()
    except UnicodeDecodeError as error:
        _refuse(f"XML that is not {utf_16 or 'UTF-8'}: {error.reason} at byte {error.start}")
    if body[:5] == b"<?xml" and body[5:6] in _BLANKS:
        declared = _XML_DECLARATION.match(body[:_DECLARATION_MAX].decode("latin-1"))
        if declared is None:
            _refuse("malformed XML declaration")
        encoding = (declared[1] or declared[2] or "").lower()
        if encoding and encoding not in (_UTF_16 if utf_16 else _UTF_8):
            _refuse(f"XML declares the encoding {encoding!r}, but is {'UTF-16' if utf_16 else 'read as UTF-8'}")
    return body


def has_document_type(body: bytes) -> bool:
    """Whether <!DOCTYPE stands where it is a declaration: before the first element."""
    if b"<!DOCTYPE" not in body:
        return False
    at = 0
    while True:
        at = _BLANK_RUN.match(body, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if body.startswith(b"<!--", at):
            at = body.find(b"-->", at + 4) + 3
            if at == 2:
                return False
        elif body.startswith(b"<?", at):
            at = body.find(b"?>", at + 2) + 2
            if at == 1:
                return False
        else:
            return body.startswith(b"<!DOCTYPE", at)


def _refuse(text: str) -> NoReturn:
    raise IfmapError(ErrorCode.FAILURE, text)
