"""Wrong passwords by address."""

from __future__ import annotations

from ifmap.server.failures import FORGET, LIMIT, LONGEST_DELAY, MAX_ADDRESSES, Failures

ONE, OTHER = "192.0.2.1", "192.0.2.2"


def test_delays_grow_to_a_limit() -> None:
    failures = Failures()
    delays = [failures.failed(ONE, 0.0) for _ in range(8)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == LONGEST_DELAY
    assert failures.failed(OTHER, 0.0) == 0.1


def test_too_many_block_an_address_until_time_has_passed() -> None:
    failures = Failures()
    for _ in range(int(LIMIT)):
        assert not failures.blocked(ONE, 0.0)
        failures.failed(ONE, 0.0)
    assert failures.blocked(ONE, 0.0)
    assert not failures.blocked(OTHER, 0.0)
    assert failures.blocked(ONE, FORGET * 0.9)
    assert not failures.blocked(ONE, FORGET)
    assert failures.level(ONE, FORGET * LIMIT) == 0.0


def test_the_addresses_of_a_network_of_ipv6_are_one() -> None:
    failures = Failures()
    failures.failed("2001:db8::1", 0.0)
    assert failures.level("2001:db8::ffff", 0.0) == 1.0
    assert failures.level("2001:db8:0:1::1", 0.0) == 0.0


def test_what_is_remembered_is_bounded() -> None:
    failures = Failures()
    for number in range(MAX_ADDRESSES + 10):
        failures.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(failures) == MAX_ADDRESSES
    assert failures.level("10.0.0.0", 0.0) == 0.0
