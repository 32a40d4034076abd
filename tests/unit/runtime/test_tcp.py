"""TCP options of long-lived connections."""

from __future__ import annotations

import socket

from runtime.tcp import acknowledge, watch_peer


def test_a_peer_that_is_gone_is_noticed_within_45_seconds() -> None:
    with socket.socket() as connection:
        watch_peer(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        interval = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        probes = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        assert idle + interval * probes == 45
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000


def test_a_connection_that_is_gone_needs_no_acknowledgement() -> None:
    connection = socket.socket()
    acknowledge(connection)
    connection.close()
    acknowledge(connection)
