"""Which of two connections with one peer stays (RFC 4271, section 6.8; RFC 6286, section 2.3)."""

from __future__ import annotations


def keeps_outgoing(local: tuple[bytes, int], remote: tuple[bytes, int]) -> bool:
    """Whether the connection that we opened stays, and not the one that the peer opened.

    local, remote: BGP identifier (4 bytes) and AS number of the two speakers. The connection of the speaker with the
    higher identifier stays; identifiers that are equal (which only speakers of different ASes may have) are decided by
    the AS number. Both speakers come to the same result without a word.
    """
    return local > remote
