"""Explanations: which prefix covers an address, why a gateway's path is taken or not."""

from __future__ import annotations

import pytest

from agent.candidates import covering, reason, selected
from agent.documents import timestamp
from agent.routes import GatewayId
from vpn.path import NextHop, Path
from vpn.prefix import parse_address
from vpn.table import Candidate

ONE, TWO = GatewayId(parse_address("192.0.2.1"), 5222), GatewayId(parse_address("192.0.2.2"), 5222)


def candidate(source: GatewayId, preference: int = 100, sequence: int = 0, stale: bool = False) -> Candidate[GatewayId]:
    return Candidate(source, Path((NextHop(parse_address("192.0.2.12"), 100),), preference, sequence), stale)


def test_prefixes_that_cover_an_address() -> None:
    found = list(covering(parse_address("10.1.2.3")))
    assert [str(prefix) for prefix in (found[0], found[8], found[24], found[32])] == [
        "10.1.2.3/32",
        "10.1.2.0/24",
        "10.0.0.0/8",
        "0.0.0.0/0",
    ]
    assert len(list(covering(parse_address("fd00::1")))) == 129


@pytest.mark.parametrize(
    ("best", "other", "why"),
    [
        (candidate(ONE), candidate(TWO), "address is higher"),
        (candidate(TWO, sequence=2), candidate(ONE, sequence=1), "sequence number 1 is lower than 2"),
        (candidate(TWO, preference=200), candidate(ONE, sequence=9), "local preference 100 is lower than 200"),
        (candidate(TWO), candidate(ONE, preference=200, stale=True), "stale"),
    ],
)
def test_why_a_path_is_not_taken(best: Candidate[GatewayId], other: Candidate[GatewayId], why: str) -> None:
    assert selected((other, best)) == best.source
    assert why in reason(other, best, 2)
    assert reason(best, best, 2) == "preferred"


def test_the_only_one_may_be_stale() -> None:
    only = candidate(ONE, stale=True)
    assert reason(only, only, 1) == "the only one; stale: its gateway is away"


def test_times_are_utc() -> None:
    assert timestamp(0.0) == "1970-01-01T00:00:00Z"
