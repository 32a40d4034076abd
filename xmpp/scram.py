"""SCRAM-SHA-256 of the server (RFC 5802, RFC 7677): keys are stored, passwords never."""

from __future__ import annotations

from typing import NamedTuple

ITERATIONS = 4096
"""Least and usual iteration count (RFC 7677, section 4); hosts compute it once a login."""


class ScramKeys(NamedTuple):
    """What the server keeps of a password."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    @classmethod
    def derive(cls, password: str, salt: bytes, iterations: int = ITERATIONS) -> ScramKeys:
        """Keys of a password (prepared by SASLprep); salt: at least 16 random bytes. Raises ValueError."""
        raise NotImplementedError
