"""Hashes of passwords: scrypt (RFC 7914) in the PHC string format, `$scrypt$ln=15,r=8,p=1$SALT$HASH`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

LOG_N, BLOCK, PARALLEL = 15, 8, 1
"""Cost of new hashes: 32 MiB and some 0.1 s for each guess."""
MAX_LOG_N, MAX_BLOCK, MAX_PARALLEL = 20, 16, 8
"""Costs that are accepted: at most 2 GiB and some seconds."""
MAX_PASSWORD = 1024
"""Bytes of UTF-8."""
_SALT, _HASH = 16, 32
_MIN_HASH, _MAX_FIELD = 16, 128
_FORM = re.compile(
    r"\$scrypt\$ln=(?P<ln>\d{1,2}),r=(?P<r>\d{1,2}),p=(?P<p>\d{1,2})\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<hash>[A-Za-z0-9+/]+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, repr=False)
class PasswordHash:
    """A hash with what it was made by. It shows nothing of itself: use `text` to store it."""

    log_n: int
    block: int
    parallel: int
    salt: bytes
    hash: bytes

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Read the text form; raises ValueError, which doesn't hold the text."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("must be a hash as `vrfwire-map passwd` writes it ($scrypt$...)")
        log_n, block, parallel = int(match["ln"]), int(match["r"]), int(match["p"])
        if not (1 <= log_n <= MAX_LOG_N and 1 <= block <= MAX_BLOCK and 1 <= parallel <= MAX_PARALLEL):
            raise ValueError(f"costs must be at most ln={MAX_LOG_N}, r={MAX_BLOCK}, p={MAX_PARALLEL}")
        salt, digest = _decode(match["salt"]), _decode(match["hash"])
        if not _MIN_HASH <= len(digest) <= _MAX_FIELD or len(salt) > _MAX_FIELD:
            raise ValueError(f"salt or hash is too short or too long (a hash has {_HASH} bytes)")
        return cls(log_n, block, parallel, salt, digest)

    @property
    def text(self) -> str:
        """The form that `parse` reads."""
        costs = f"ln={self.log_n},r={self.block},p={self.parallel}"
        return f"$scrypt${costs}${_encode(self.salt)}${_encode(self.hash)}"

    def verify(self, password: str) -> bool:
        """Whether this is the password. Takes some 0.1 s of a core, without Python's lock: call it in a thread."""
        data = password.encode(errors="surrogatepass")
        if len(data) > MAX_PASSWORD:
            return False
        derived = _derive(data, self.salt, self.log_n, self.block, self.parallel, len(self.hash))
        return hmac.compare_digest(derived, self.hash)

    def __str__(self) -> str:
        return "(a password hash)"

    def __repr__(self) -> str:
        return f"<PasswordHash ln={self.log_n}>"


def hash_password(password: str, log_n: int = LOG_N) -> PasswordHash:
    """The hash of a new password, with a random salt. Raises ValueError: empty, or longer than MAX_PASSWORD bytes."""
    data = password.encode()
    if not 0 < len(data) <= MAX_PASSWORD:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD} bytes")
    salt = secrets.token_bytes(_SALT)
    return PasswordHash(log_n, BLOCK, PARALLEL, salt, _derive(data, salt, log_n, BLOCK, PARALLEL, _HASH))


def _derive(password: bytes, salt: bytes, log_n: int, block: int, parallel: int, length: int) -> bytes:
    # OpenSSL asks for a limit of memory; it is what scrypt needs (RFC 7914, section 2) and a little.
    memory = 128 * block * ((1 << log_n) + parallel + 2) + (1 << 16)
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=block, p=parallel, maxmem=memory, dklen=length)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("salt or hash is not base64") from None
