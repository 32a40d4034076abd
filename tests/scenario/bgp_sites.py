"""Two gateways that meet by iBGP in a network namespace, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.pki import Authority
from lab.wait import wait_until
from tests.interop.site import Gateway, Site, peer

ONE, TWO, RAW = "127.0.0.15", "127.0.0.16", "127.0.0.21"
ALL = ["vpnv4", "vpnv6", "rtc"]
QUICK: dict[str, Any] = {"connect_retry": 0.5, "deferral_time": 5}
"""[bgp] of tests: nobody waits long."""
Pair = tuple[Gateway, Gateway]


@pytest.fixture
def site(tmp_path: Path, authority: Authority) -> Iterator[Site]:
    """A site for one test."""
    with Site(tmp_path, authority) as made:
        yield made


def pair(site: Site, *, one: dict[str, object] | None = None, two: dict[str, object] | None = None, **bgp: Any) -> Pair:
    """Two gateways, not started yet. one, two: what [[bgp.peer]] has at each of them; bgp: [bgp] of both."""
    first = site.gateway("one", ONE, [peer(TWO, families=ALL, **(one or {}))], **{**QUICK, **bgp})
    second = site.gateway("two", TWO, [peer(ONE, families=ALL, **(two or {}))], **{**QUICK, **bgp})
    return first, second


def meet(gateways: Pair) -> Pair:
    """Start both, and wait for their session."""
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.wait_established()
    return gateways


def lines(gateway: Gateway, *words: str) -> list[str]:
    """Lines of its log that have all of the words."""
    return [line for line in gateway.text().splitlines() if all(word in line for word in words)]


def wait(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition."""
    return wait_until(condition, 20.0, what, interval=0.03)
