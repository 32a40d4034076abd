"""Key updates of TLS 1.3 (RFC 8446, sections 4.6.3 and 7.2) as a hostile client makes them: as many as one likes."""

from __future__ import annotations

import ssl
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SUITE = "TLS_AES_256_GCM_SHA384"
_APPLICATION_DATA = b"\x17\x03\x03"
_HANDSHAKE = b"\x16"


def key_updates(client: ssl.SSLSocket, keys: Path, number: int, *, requested: bool = False) -> bytes:
    """Records for the server, of a client that has sent nothing yet. keys: what its context has logged; requested:
    whether the server is to answer each by one of its own."""
    cipher = client.cipher()
    assert cipher is not None and cipher[0] == SUITE
    secret = next(
        bytes.fromhex(line.split()[2])
        for line in keys.read_text().splitlines()
        if line.startswith("CLIENT_TRAFFIC_SECRET_0")
    )
    message = struct.pack("!I", 0x18000001) + bytes([requested]) + _HANDSHAKE
    head = _APPLICATION_DATA + struct.pack("!H", len(message) + 16)
    records = []
    for _ in range(number):
        # Each record is the first one of its key.
        key, nonce = _expand(secret, b"key", 32), _expand(secret, b"iv", 12)
        records.append(head + AESGCM(key).encrypt(nonce, message, head))
        secret = _expand(secret, b"traffic upd", 48)
    return b"".join(records)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, section 7.1), without a context."""
    label = b"tls13 " + label
    return HKDFExpand(SHA384(), length, struct.pack("!HB", length, len(label)) + label + b"\0").derive(secret)
