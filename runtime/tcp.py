"""TCP options of long-lived connections."""

from __future__ import annotations

import contextlib
import socket
from asyncio.trsock import TransportSocket

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 30, 3, 5
"""Seconds of silence until the peer is probed, seconds between probes, and how many may stay unanswered."""
USER_TIMEOUT = 45.0
"""Seconds in which the peer has to acknowledge what it was sent (RFC 5482)."""


def watch_peer(connection: socket.socket) -> None:
    """Have the kernel end a connection whose peer is gone without a word, within 45 s. Raises OSError."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(USER_TIMEOUT * 1000))


def acknowledge(connection: socket.socket | TransportSocket) -> None:
    """Acknowledge now what has come, in place of up to 40 ms later when there is something to send. To be called after
    the handshake of TLS 1.3 that ends with no message of ours: a peer without TCP_NODELAY holds its first request back
    until then. Does nothing if the connection is gone meanwhile."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
