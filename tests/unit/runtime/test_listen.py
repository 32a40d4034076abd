"""Addresses to listen at."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from runtime.listen import Listen, listening_socket


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("0.0.0.0:8443", Listen(IPv4Address("0.0.0.0"), 8443)),
        ("[::1]:0", Listen(IPv6Address("::1"), 0)),
    ],
)
def test_text_and_back(text: str, listen: Listen) -> None:
    assert Listen.parse(text) == listen
    assert str(listen) == text


@pytest.mark.parametrize("text", ["", "8443", "localhost:8443", "::1:8443", "192.0.2.1:65536", "192.0.2.256:1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be ADDRESS:PORT"):
        Listen.parse(text)


def test_a_socket_that_listens() -> None:
    with listening_socket(Listen(IPv4Address("127.0.0.1"), 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            assert listener.gettimeout() == 0
        with pytest.raises(OSError, match="in use"):
            listening_socket(Listen(IPv4Address("127.0.0.1"), port))
