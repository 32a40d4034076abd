"""Rates of hosts and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import limits
from gateway.limits import Bucket, Limiter, LimitSettings, Rate, Slowed, site

SETTINGS = LimitSettings(
    stanzas=Rate(10, 100),
    octets=Rate(1000, 10_000),
    work=Rate(0.1, 1.0),
    flood_time=60.0,
    logins=Rate(1, 3),
    failures=Rate(2, 4),
)


def limiter() -> Limiter:
    return Limiter(SETTINGS)


# -- buckets


def test_a_burst_is_free_and_debt_is_repaid_at_the_rate() -> None:
    bucket = Bucket(Rate(10, 100), 0.0)
    assert bucket.charge(100, 0.0) == 0.0
    assert bucket.charge(5, 0.0) == 0.5
    assert bucket.charge(0, 0.3) == pytest.approx(0.2)
    assert bucket.charge(0, 0.5) == 0.0
    assert bucket.level(1000.0) == 100, "a rest gives a burst and no more"


def test_a_rate_of_zero_limits_nothing() -> None:
    bucket = Bucket(Rate(0, 0), 0.0)
    assert bucket.charge(1e12, 0.0) == 0.0
    assert bucket.part(0.0) == 1.0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), max_size=30))
def test_who_waits_as_told_never_exceeds_rate_and_burst(steps: list[tuple[float, float]]) -> None:
    """For each prefix of a history: what was charged before the last unit is at most burst + rate x time."""
    rate = Rate(10, 100)
    bucket = Bucket(rate, 0.0)
    now = total = 0.0
    for pause, units in steps:
        now += pause
        assert total <= rate.burst + rate.per_second * now + 1e-6
        total += units
        now += bucket.charge(units, now)


# -- hosts


@pytest.mark.parametrize(
    ("stanzas", "octets", "seconds", "by", "wait"),
    [(101, 0, 0, "stanzas", 0.1), (1, 12_000, 0, "bytes", 2.0), (1, 0, 1.5, "time", 5.0)],
)
def test_each_of_the_three_slows(stanzas: int, octets: int, seconds: float, by: str, wait: float) -> None:
    of = limiter()
    flow = of.begin("hv1", 0.0)
    assert of.charge(flow, stanzas, octets, seconds, 0.0) == pytest.approx(wait)
    assert of.slowed(0.0) == [Slowed("hv1", by, 0.0)]


def test_a_host_is_named_while_it_is_slowed_and_counted_once() -> None:
    of = limiter()
    flow = of.begin("hv1", 0.0)
    now = 1.0
    for _ in range(20):
        now += of.charge(flow, 150, 0, 0, now)
    assert of.slowed(now) == [Slowed("hv1", "stanzas", 1.0)]
    assert flow.times_slowed == 1
    assert of.slowed(now + 0.5), "a debt just repaid is no pause yet"
    assert of.slowed(now + 1.1) == []
    of.charge(flow, 1, 0, 0, now + 1.1)
    assert flow.slowed_by == ""
    of.charge(flow, 150, 0, 0, now + 1.1)
    assert flow.times_slowed == 2


def test_a_host_that_pauses_does_not_flood_and_one_that_does_not_does() -> None:
    of = limiter()
    flow = of.begin("hv1", 0.0)
    now = 0.0
    while now < 59.0:
        assert not of.floods(flow, now)
        now += of.charge(flow, 50, 0, 0, now)
    now += 2.0  # a pause
    of.charge(flow, 50, 0, 0, now)
    start = now
    while now < start + 59.0:
        assert not of.floods(flow, now)
        now += of.charge(flow, 50, 0, 0, now)
    now += of.charge(flow, 50, 0, 0, now)
    assert of.floods(flow, now)


def test_flood_time_zero_never_sends_away() -> None:
    of = Limiter(LimitSettings(stanzas=Rate(10, 100)))
    flow = of.begin("hv1", 0.0)
    of.charge(flow, 1e6, 0, 0, 0.0)
    assert not of.floods(flow, 50_000.0)


def test_sessions_of_a_host_share_and_others_have_their_own() -> None:
    of = limiter()
    first, second, other = of.begin("hv1", 0.0), of.begin("hv1", 0.0), of.begin("hv2", 0.0)
    assert of.charge(first, 100, 0, 0, 0.0) == 0.0
    assert of.charge(second, 10, 0, 0, 0.0) == 1.0
    assert of.charge(other, 100, 0, 0, 0.0) == 0.0


def test_to_connect_anew_is_no_way_around_a_debt() -> None:
    of = limiter()
    flow = of.begin("hv1", 0.0)
    of.charge(flow, 200, 0, 0, 0.0)
    of.end(flow, 0.0)
    assert of.charge(of.begin("hv1", 1.0), 0, 0, 0, 1.0) == pytest.approx(9.0)


def test_a_host_that_left_without_debt_is_forgotten() -> None:
    of = limiter()
    first, second = of.begin("hv1", 0.0), of.begin("hv1", 0.0)
    of.end(first, 0.0)
    assert len(of) == 1
    of.end(second, 0.0)
    assert len(of) == 0


def test_logins_of_a_host_wait_for_each_other() -> None:
    of = limiter()
    assert [of.login("hv1", 0.0) for _ in range(5)] == [0, 0, 0, 1.0, 2.0]
    assert of.login("hv2", 0.0) == 0


# -- addresses


def test_an_address_whose_connections_come_to_nothing_is_shut_out_for_a_time() -> None:
    of = limiter()
    for _ in range(4):
        assert of.admits("192.0.2.1", 0.0)
        of.failed("192.0.2.1", 0.0)
    assert of.admits("192.0.2.1", 0.0)
    of.failed("192.0.2.1", 0.0)
    assert not of.admits("192.0.2.1", 0.0)
    assert of.admits("192.0.2.2", 0.0)
    assert of.admits("192.0.2.1", 0.5)
    for _ in range(1000):
        of.failed("192.0.2.1", 1.0)
    assert of.admits("192.0.2.1", 3.5), "a debt is bounded"


def test_ipv6_is_counted_by_network() -> None:
    assert site("192.0.2.1") == "192.0.2.1"
    assert site("2001:db8:0:1::5") == site("2001:db8:0:1:ffff::") == "2001:db8:0:1::/64"
    assert site("2001:db8:0:2::5") != site("2001:db8:0:1::5")
    assert site("::ffff:192.0.2.1") == "192.0.2.1"


# -- memory


def test_buckets_that_are_full_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SWEEP", 10)
    of = Limiter(SETTINGS)
    of._next_sweep = 10
    for number in range(1000):
        of.failed(f"198.51.{number // 250}.{number % 250}", float(number))
        of.login(f"hv{number}", float(number))
        flow = of.begin(f"hv{number}", float(number))
        of.charge(flow, 101, 0, 0, float(number))
        of.end(flow, float(number))
    # Of the last ten seconds, and as many again.
    assert len(of) < 100


def test_new_rates_hold_for_what_begins() -> None:
    of = limiter()
    flow = of.begin("hv1", 0.0)
    of.login("hv1", 0.0)
    of.reload(LimitSettings(stanzas=Rate(1, 1)))
    assert of.charge(flow, 100, 0, 0, 0.0) == 0.0
    assert of.charge(of.begin("hv2", 0.0), 2, 0, 0, 0.0) == 1.0
    assert [of.login("hv1", 0.0) for _ in range(9)] == [0] * 9
    of.end(flow, 0.0)
