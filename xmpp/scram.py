"""SCRAM-SHA-256 of the server (RFC 5802, RFC 7677): keys are stored, passwords never.

Channel binding isn't offered (TLS 1.3's exporter is out of reach of Python's ssl module), so a client says "n" or "y";
what it said comes back inside the signed message and is compared there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

ITERATIONS = 4096
"""Least and usual iteration count (RFC 7677, section 4); a host computes it once a login."""
SALT_OCTETS = 16
"""Size of a salt; an unknown user is shown one of this size and ITERATIONS, so keys of others would stand out."""

_NAME = r"(?:[^\0=,]|=2C|=3D)+"
_FIRST = re.compile(
    rf"(?P<gs2>(?P<binding>[ny]|p=[A-Za-z0-9.-]+),(?:a=(?P<authzid>{_NAME}))?,)"
    rf"(?P<bare>(?P<mandatory>m=[^,]*,)?n=(?P<name>{_NAME}),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*)"
)
_FINAL = re.compile(
    r"(?P<unsigned>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*?),p=(?P<proof>[A-Za-z0-9+/=]+)"
)


class ScramError(Exception):
    """The exchange fails; malformed: the message broke the syntax (else the proof or a check failed)."""

    def __init__(self, text: str, *, malformed: bool = False) -> None:
        super().__init__(text)
        self.malformed = malformed


class ScramKeys(NamedTuple):
    """What the server keeps of a password."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    @classmethod
    def derive(cls, password: str, salt: bytes, iterations: int = ITERATIONS) -> ScramKeys:
        """Keys of a password, which is prepared by SASLprep; salt: SALT_OCTETS random bytes. Raises ValueError."""
        prepared = saslprep(password)
        if not prepared:
            raise ValueError("the password is empty")
        salted = hashlib.pbkdf2_hmac("sha256", prepared.encode(), salt, iterations)
        client_key = _hmac(salted, b"Client Key")
        return cls(salt, iterations, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key"))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def saslprep(text: str) -> str:
    """Prepare a user name or password (SASLprep, RFC 4013); raises ValueError."""
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    for c in prepared:
        if any(prohibited(c) for prohibited in _PROHIBITED):
            raise ValueError("a character is not allowed in a user name or password")
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1]))
    ):
        raise ValueError("right-to-left and left-to-right text can't be mixed in a user name or password")
    return prepared


# RFC 4013, sections 2.3 and 2.5; unassigned code points (A.1) are refused as for stored strings.
_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class ScramServer:
    """One exchange.

    keys: of a prepared user name, None for an unknown one; secret: makes an unknown user look like a known one, the
    same at every try; nonce: unpredictable printable ASCII without comma.
    """

    def __init__(self, keys: Callable[[str], ScramKeys | None], secret: bytes, nonce: str) -> None:
        self._lookup = keys
        self._secret = secret
        self._server_nonce = nonce
        self._nonce = ""
        self._gs2 = ""
        self._signed = b""
        self._known = False
        self._keys = ScramKeys(b"", 0, b"", b"")
        self.username = ""
        self.authzid = ""

    def first(self, message: bytes) -> bytes:
        """Take the client's first message, return the server's; raises ScramError."""
        match = _FIRST.fullmatch(_decode(message))
        if match is None:
            raise ScramError("the client's first message is malformed", malformed=True)
        if match["mandatory"]:
            raise ScramError("a mandatory extension is not supported", malformed=True)
        if match["binding"].startswith("p="):
            raise ScramError("channel binding is not offered")
        self.username = _prepared(match["name"])
        self.authzid = _unescape(match["authzid"] or "")
        self._gs2 = match["gs2"]
        self._nonce = match["nonce"] + self._server_nonce
        found = self._lookup(self.username)
        self._known = found is not None
        self._keys = found if found is not None else self._fake_keys()
        salt = base64.b64encode(self._keys.salt).decode()
        answer = f"r={self._nonce},s={salt},i={self._keys.iterations}"
        self._signed = f"{match['bare']},{answer}".encode()
        return answer.encode()

    def _fake_keys(self) -> ScramKeys:
        """Keys that no proof fits, with a salt that stays the same for a name (RFC 5802, section 9)."""
        seed = self.username.encode()
        return ScramKeys(
            _hmac(self._secret, b"salt " + seed)[:SALT_OCTETS],
            ITERATIONS,
            _hmac(self._secret, b"stored " + seed),
            _hmac(self._secret, b"server " + seed),
        )

    def final(self, message: bytes) -> bytes:
        """Take the client's final message, return the server's signature message; raises ScramError."""
        match = _FINAL.fullmatch(_decode(message))
        if match is None:
            raise ScramError("the client's final message is malformed", malformed=True)
        if not hmac.compare_digest(_base64(match["binding"]), self._gs2.encode()):
            raise ScramError("the channel binding data is not what was said first")
        if not hmac.compare_digest(match["nonce"].encode(), self._nonce.encode()):
            raise ScramError("the nonce is not the one given")
        signed = self._signed + b"," + match["unsigned"].encode()
        signature = _hmac(self._keys.stored_key, signed)
        proof = _base64(match["proof"])
        if len(proof) != len(signature):
            raise ScramError("the proof has the wrong size", malformed=True)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        right = hmac.compare_digest(hashlib.sha256(client_key).digest(), self._keys.stored_key)
        if not (right and self._known):
            raise ScramError("user name or password is wrong")
        return b"v=" + base64.b64encode(_hmac(self._keys.server_key, signed))


def _decode(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise ScramError("a message is not UTF-8", malformed=True) from None


def _unescape(name: str) -> str:
    return name.replace("=2C", ",").replace("=3D", "=")


def _prepared(name: str) -> str:
    try:
        prepared = saslprep(_unescape(name))
    except ValueError:
        raise ScramError("the user name has a character that is not allowed", malformed=True) from None
    if not prepared:
        raise ScramError("the user name is empty", malformed=True)
    return prepared


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("base64 inside a message is malformed", malformed=True) from None
