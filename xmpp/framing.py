"""Cuts the bytes of an XML stream at the ends of markup, so that the parser only ever sees whole tags.

Two reasons. An expat of before 2.6 scans an unfinished tag again from its start at each call: a long attribute that
comes in small pieces would cost time by the square of its length (the class of CVE-2023-52425), while this scanner
continues where it stopped. And a stream restarts at the byte after a tag (RFC 6120, sections 5.4.3.3 and 6.4.6), so
during negotiation the bytes must be handed over one tag at a time.

Comments, processing instructions and DTDs are refused here, before any parser sees them (RFC 6120, section 11.1).
"""

from __future__ import annotations

import re

from xmpp.errors import StreamCondition, StreamError

_WHITESPACE = b" \t\r\n"
_CDATA = b"<![CDATA["
_DECLARATION = b"<?xml"
_IN_TAG = re.compile(rb"[<>\"']")
_IN_QUOTES = {ord("'"): re.compile(rb"[<']"), ord('"'): re.compile(rb'[<"]')}
_IN_REFERENCE = re.compile(rb"[;<]")
_LT, _GT, _AMP = b"<>&"


class Framer:
    """Holds the bytes that were received and not yet taken."""

    __slots__ = ("_at_start", "_buffer", "_quote", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        # How far the unfinished token at the start of the buffer was scanned, and the quote it is inside of.
        self._scanned = 0
        self._quote = 0
        self._at_start = True

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def held(self) -> bytearray:
        """The bytes not yet taken; don't keep or change it."""
        return self._buffer

    def restart(self) -> None:
        """What follows is a new stream: whitespace before it is dropped, an XML declaration may come."""
        self._at_start = True
        self._scanned = self._quote = 0

    def push(self, data: bytes) -> None:
        """Append received bytes."""
        self._buffer += data

    def take(self, *, one: bool) -> bytes:
        """The next bytes that end at the end of markup or of text: one piece of markup or text, or all there is.

        b"" when more must be received first. Raises StreamError (restricted-xml).
        """
        buffer = self._buffer
        if self._scanned:
            # The unfinished token goes first, and only its new part is looked at.
            end = self._token_end(0)
            if end < 0:
                return b""
        else:
            if self._at_start:
                del buffer[: len(buffer) - len(buffer.lstrip(_WHITESPACE))]
            end = 0
        if not (one and end):
            end = self._walk(end, one) if one or self._has_declarations() else self._whole(end)
        if not end:
            return b""
        self._at_start = False
        piece = bytes(buffer[:end])
        del buffer[:end]
        return piece

    def _has_declarations(self) -> bool:
        # CDATA may hold "<" that begins no tag, so its presence calls for the slow way too.
        return b"<!" in self._buffer or b"<?" in self._buffer

    def _whole(self, end: int) -> int:
        """End of the last whole token after end, found from the back: "<" begins a tag wherever it is."""
        buffer = self._buffer
        last = buffer.rfind(_LT, end)
        if last >= 0:
            end = self._token_end(last)
            if end < 0:
                return last
        return self._text_end(end)

    def _walk(self, end: int, one: bool) -> int:
        """End of the first whole token after end, or of the last one, found from the front."""
        buffer = self._buffer
        while end < len(buffer):
            if buffer[end] in (_LT, _AMP):
                try:
                    after = self._token_end(end)
                except StreamError:
                    if end:
                        # First hand over what came before; the next call raises.
                        return end
                    raise
                if after < 0:
                    return end
            else:
                # Up to the next markup; what might be an unfinished reference stays.
                after = buffer.find(_LT, end)
                if after < 0:
                    after = self._text_end(end)
                    if after == end:
                        return end
            end = after
            if one:
                return end
        return end

    def _text_end(self, start: int) -> int:
        """End of the text from start to the end of the buffer, without an unfinished reference ("&am")."""
        buffer = self._buffer
        reference = buffer.rfind(_AMP, start)
        return reference if reference >= 0 and buffer.find(b";", reference) < 0 else len(buffer)

    def _token_end(self, start: int) -> int:
        """Index after the token (tag, CDATA section, declaration, reference) at start; -1: unfinished, to be continued.

        An unfinished token must be left at the start of the buffer: the scan goes on from there. A token that can't
        be finished in a legal way ends where that shows, and the parser says what is wrong.
        """
        buffer = self._buffer
        scan = start + self._scanned
        if buffer[start] == _AMP:
            return self._found(_IN_REFERENCE.search(buffer, scan), start)
        lead = buffer[start + 1 : start + 2]
        if lead == b"!":
            return self._cdata_end(start, scan)
        if lead == b"?":
            return self._declaration_end(start, scan)
        while True:
            pattern = _IN_QUOTES[self._quote] if self._quote else _IN_TAG
            match = pattern.search(buffer, max(scan, start + 1))
            if match is None:
                return self._found(None, start)
            mark, scan = match[0][0], match.end()
            if mark == _LT:
                return self._found(match, start)
            if self._quote:
                self._quote = 0
            elif mark == _GT:
                return self._found(match, start)
            else:
                self._quote = mark

    def _found(self, match: re.Match[bytes] | None, start: int) -> int:
        if match is None:
            self._scanned = len(self._buffer) - start
            return -1
        self._scanned = self._quote = 0
        # A "<" where none may be goes along: with it the parser sees what is wrong at once.
        return match.end()

    def _cdata_end(self, start: int, scan: int) -> int:
        buffer = self._buffer
        head = buffer[start : start + len(_CDATA)]
        if not _CDATA.startswith(head):
            raise StreamError(StreamCondition.RESTRICTED_XML, "comments and DTDs are not allowed")
        if len(head) < len(_CDATA):
            return -1
        end = buffer.find(b"]]>", max(scan - 2, start + len(_CDATA)))
        return self._end_at(end + 3 if end >= 0 else -1, start)

    def _declaration_end(self, start: int, scan: int) -> int:
        buffer = self._buffer
        head = buffer[start : start + len(_DECLARATION)]
        if not (self._at_start and start == 0 and _DECLARATION.startswith(head)):
            raise StreamError(StreamCondition.RESTRICTED_XML, "processing instructions are not allowed")
        if len(head) < len(_DECLARATION):
            return -1
        end = buffer.find(b"?>", max(scan - 1, start + len(_DECLARATION)))
        return self._end_at(end + 2 if end >= 0 else -1, start)

    def _end_at(self, end: int, start: int) -> int:
        self._scanned = len(self._buffer) - start if end < 0 else 0
        return end
