"""Names of the devices of a namespace, for reading dumps that have indices only."""

from __future__ import annotations

import struct

from datapath.channel import Channel
from datapath.wire import (
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    RTM_GETLINK,
    RTM_NEWLINK,
    Message,
    attribute,
    attributes,
    message,
    messages,
)

_IFINFO = struct.Struct("=BBHiII")
_IFLA_IFNAME = 3
_IFLA_EXT_MASK = 29
_RTEXT_FILTER_SKIP_STATS = 8


def _encode_dump(sequence: int) -> bytes:
    payload = _IFINFO.pack(0, 0, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, struct.pack("=I", _RTEXT_FILTER_SKIP_STATS))
    return message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence, payload)


def _decode_dump(buffer: bytes | bytearray, size: int, others: list[Message]) -> list[tuple[int, str]]:
    links = []
    for found in messages(buffer, size):
        if found.type == RTM_NEWLINK:
            index = _IFINFO.unpack_from(buffer, found.start)[3]
            name = attributes(buffer, found.start + _IFINFO.size, found.end).get(_IFLA_IFNAME, b"")
            links.append((index, name.rstrip(b"\0").decode("utf-8", "surrogateescape")))
        if found.type != RTM_NEWLINK or found.flags != NLM_F_MULTI:
            others.append(found)
    return links


def device_names(channel: Channel) -> dict[int, str]:
    """Name by interface index. Raises DumpInterrupted, OSError, WireError."""
    return {index: name for chunk in channel.dump(_encode_dump, _decode_dump) for index, name in chunk}
