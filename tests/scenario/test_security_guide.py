"""docs/security.md: the filter of the underlay, as it stands there, in a network namespace that ends with the test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from lab.namespace import RUN, Namespace
from tests.guide import block

GRE = 47
HOST = "192.0.2.7"
FRIENDS = ("192.0.2.8", "192.0.2.254")
STRANGERS = ("192.0.3.8", "198.51.100.9")


@contextlib.contextmanager
def receiver(namespace: Namespace) -> Iterator[socket.socket]:
    """What is handed GRE at the host, after its filters."""
    with namespace.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, GRE)
    with raw:
        raw.setblocking(False)
        yield raw


def heard(namespace: Namespace, raw: socket.socket, sources: tuple[str, ...]) -> set[str]:
    """Whose GRE packets arrive, of those sent from addresses of the underlay and of others."""
    for source in sources:
        with namespace.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, GRE)
        with sender:
            sender.bind((source, 0))
            sender.sendto(b"\x00\x00\x88\x47" + bytes(24), (HOST, 0))
    found = set()
    # On the loopback interface a packet has arrived, or was dropped, when sendto() returns.
    with contextlib.suppress(BlockingIOError):
        while True:
            found.add(str(IPv4Address(raw.recv(2048)[12:16])))
    return found


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A namespace with the addresses of all."""
    RUN.mkdir(exist_ok=True)
    with Namespace(f"security-{os.getpid()}") as host:
        yield host


def test_gre_comes_from_the_underlay_alone(host: Namespace) -> None:
    host.ip(*(f"addr add {one}/32 dev lo" for one in (HOST, *FRIENDS, *STRANGERS)))
    with receiver(host) as raw:
        assert heard(host, raw, (*FRIENDS, *STRANGERS)) == {*FRIENDS, *STRANGERS}, "without the filter"
        with host.entered():
            subprocess.run(["sh", "-ec", block("docs/security.md", "nft add table")], check=True)
        assert heard(host, raw, (*FRIENDS, *STRANGERS)) == {*FRIENDS}
