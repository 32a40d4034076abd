"""What the helper processes of all oracles share: the loop that answers, and texts of addresses.

Runs in the oracles' environment: nothing but the standard library, and nothing of ours.

A helper reads a JSON document a line and answers with one. `decode` takes a message in hexadecimal digits and gives its
meaning; `encode` takes a meaning and gives messages. What the oracle doesn't want is {"refused": why}; what it can't do
because it fell over is a refusal too, named after the exception.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Callable
from typing import Any

Meaning = dict[str, Any]
"""What a message says, in a form that all implementations share: see tests/differential/meaning.py."""


def address(value: str | bytes) -> str:
    """An address as text, always the same one."""
    return str(ipaddress.ip_address(value))


def pack_address(text: str) -> bytes:
    """4 or 16 bytes of an address."""
    return ipaddress.ip_address(text).packed


def distinguisher(packed: bytes) -> list[Any]:
    """Type, administrator and number of a route distinguisher or of a route target without its first bytes' flags."""
    kind = int.from_bytes(packed[:2], "big")
    return [kind, *administrator(kind, packed[2:])]


def administrator(kind: int, value: bytes) -> list[Any]:
    """Administrator and number in the six bytes of type 0, 1 or 2 (RFC 4364, section 4.2)."""
    if kind == 0:
        return [int.from_bytes(value[:2], "big"), int.from_bytes(value[2:], "big")]
    admin = address(value[:4]) if kind == 1 else int.from_bytes(value[:4], "big")
    return [admin, int.from_bytes(value[4:], "big")]


def pack_administrator(kind: int, admin: str | int, number: int) -> bytes:
    """The six bytes of administrator and number."""
    if kind == 0:
        return int(admin).to_bytes(2, "big") + number.to_bytes(4, "big")
    head = ipaddress.ip_address(admin).packed if kind == 1 else int(admin).to_bytes(4, "big")
    return head + number.to_bytes(2, "big")


def serve(decode: Callable[[bytes, Meaning], Meaning], encode: Callable[[Meaning, Meaning], list[bytes]]) -> None:
    """Answer until the input ends. Both functions get what the session agreed on as their second argument."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "decode":
                answer: Meaning = decode(bytes.fromhex(request["message"]), request["session"])
            else:
                messages = encode(request["meaning"], request["session"])
                answer = {"messages": [message.hex() for message in messages]}
        except Exception as error:
            answer = {"refused": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
