"""A request with its answer, while a connection works on them; packing and unpacking of bodies."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from ifmap.server.http import Head, Response, plain

PACK_FROM = 1_000
"""Bytes below which packing an answer gains nothing."""
_LEVEL = 1
_GZIP = 31  # window bits of zlib for the gzip format


@dataclass(slots=True, eq=False)
class Exchange:
    """client: whose it is, None while that isn't known. size: bytes of the body that have come. complete: all have.
    response: None while there is none. close: the connection ends behind it."""

    head: Head
    client: str | None = None
    body: bytearray = field(default_factory=bytearray)
    size: int = 0
    complete: bool = False
    response: Response | None = None
    close: bool = False


def oversized(limit: int) -> Response:
    """413: a body is larger than the limit, bytes."""
    return plain(413, f"a request may have {limit} bytes")


def unpack(body: bytes, limit: int) -> bytes | None:
    """The content of a gzip body; None: it is more than limit bytes. Raises zlib.error."""
    decompressor = zlib.decompressobj(_GZIP)
    content = decompressor.decompress(body, limit + 1)
    if len(content) > limit:
        return None
    if not decompressor.eof or decompressor.unused_data:
        raise zlib.error("the end is missing, or something follows it")
    return content


def pack(body: bytes) -> Response:
    """The answer with this body, packed where that gains something."""
    if len(body) < PACK_FROM:
        return Response(200, body)
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    packed = compressor.compress(body) + compressor.flush()
    return Response(200, packed, fields=("Content-Encoding: gzip", "Vary: Accept-Encoding"))
