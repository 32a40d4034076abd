"""What was done against whom: counted, charged and named."""

from __future__ import annotations

import logging

import pytest

from gateway.guard import LINES, LINES_OF_ALL, WINDOW, Guard, Reason
from gateway.limit_status import NAMED, LimitView, limit_problems, measure_limits
from gateway.limits import LimitSettings, Rate, Slowed
from gateway.limits_config import LimitsSection


def test_a_reason_is_counted_and_logged_with_who_it_was(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard()
    with caplog.at_level(logging.INFO):
        guard.told(Reason.FLOOD, "host hv1 at 192.0.2.1 is sent away", 0.0, "192.0.2.1", "hv1")
        guard.told(Reason.SILENT, "connection from 192.0.2.9: nothing was sent", 0.0, "192.0.2.9")
    first, second = caplog.records
    assert (first.levelno, second.levelno) == (logging.WARNING, logging.INFO)
    assert (first.VRFWIRE_HOST, first.VRFWIRE_PEER) == ("hv1", "192.0.2.1")  # type: ignore[attr-defined]
    assert second.VRFWIRE_PEER == "192.0.2.9"  # type: ignore[attr-defined]
    assert guard.counters == {Reason.FLOOD: 1, Reason.SILENT: 1}


def test_a_flood_is_no_flood_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard()
    with caplog.at_level(logging.INFO):
        for _ in range(LINES + 30):
            guard.told(Reason.HANDSHAKE, "TLS failed", 0.0, "192.0.2.1")
        guard.told(Reason.HANDSHAKE, "TLS failed", 1.0, "192.0.2.2")
        assert len(caplog.records) == LINES + 1, "others are logged all the same"
        guard.told(Reason.HANDSHAKE, "TLS failed", WINDOW + 1, "192.0.2.3")
    messages = [record.getMessage() for record in caplog.records[LINES + 1 :]]
    assert messages == ["192.0.2.1: 30 more like this (handshake)", "TLS failed"]
    assert guard.counters[Reason.HANDSHAKE] == LINES + 32
    assert len(guard._windows) == 1


def test_a_flood_of_many_addresses_is_no_flood_of_lines_either(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard()
    with caplog.at_level(logging.INFO):
        for number in range(2 * LINES_OF_ALL):
            guard.told(Reason.LOGIN, "ended", 0.0, f"192.0.{number >> 8}.{number & 255}")
        guard.told(Reason.FLOOD, "another reason", 1.0, "192.0.2.1", "hv1")
        assert len(caplog.records) == LINES_OF_ALL + 1
        for number in range(3 * LINES):
            guard.told(Reason.SILENT, "nothing was sent", 2.0, f"192.0.2.{number}")
            for _ in range(LINES):
                guard.told(Reason.SILENT, "nothing was sent", 2.0, f"192.0.2.{number}")
        caplog.clear()
        guard.told(Reason.LOGIN, "ended", WINDOW + 1, "192.0.2.1")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == LINES + 3
    assert messages[0] == "192.0.2.0: 1 more like this (silent)"
    assert f"many others: {LINES_OF_ALL} more like this (login)" in messages
    unsaid = 3 * LINES * (LINES + 1) - LINES_OF_ALL - LINES
    assert f"many others: {unsaid} more like this (silent)" in messages


def test_failures_shut_an_address_out_and_waiting_in_vain_does_not() -> None:
    guard = Guard(LimitSettings(failures=Rate(1, 3)))
    for _ in range(20):
        guard.told(Reason.GONE, "", 0.0, "192.0.2.1")
        guard.told(Reason.CROWDED, "", 0.0, "192.0.2.1")
    assert guard.refusal("192.0.2.1", 0.0) is None
    for reason in (Reason.SILENT, Reason.IDLE, Reason.HANDSHAKE, Reason.LOGIN):
        guard.told(reason, "", 0.0, "192.0.2.1")
    refusal = guard.refusal("192.0.2.1", 0.0)
    assert refusal is not None and refusal[0] is Reason.SHUT_OUT
    assert guard.refusal("192.0.2.2", 0.0) is None


def test_nobody_is_taken_while_memory_is_short() -> None:
    guard = Guard(ceiling=100_000)
    guard.holdings.note(None, 90_000)  # type: ignore[arg-type]
    refusal = guard.refusal("192.0.2.1", 0.0)
    assert refusal is not None and refusal[0] is Reason.MEMORY_HIGH and "90000" in refusal[1]


def test_slowing_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard(LimitSettings(stanzas=Rate(10, 100)))
    flow = guard.limiter.begin("hv1", 0.0)
    now = 0.0
    for _ in range(10):
        now += guard.charge(flow, 50, 0, 0, now, "192.0.2.1")
    assert [record.getMessage() for record in caplog.records] == [
        "host hv1 at 192.0.2.1 is slowed: it takes too much (stanzas)"
    ]
    assert guard.counters[Reason.SLOWED] == 1
    assert guard.view(now).slowed == [Slowed("hv1", "stanzas", 0.0)]
    now += 60.0
    guard.charge(flow, 150, 0, 0, now, "192.0.2.1")
    assert guard.counters[Reason.SLOWED] == 2


def test_every_reason_is_a_number_from_the_start() -> None:
    metrics = {metric.description.name: metric.samples for metric in measure_limits(Guard().view(0.0))}
    assert {labels[0] for labels, _ in metrics["vrfwire_xmpp_limited_total"]} == set(Reason)
    assert metrics["vrfwire_xmpp_slowed_hosts"] == [((), 0)]


def test_problems_name_the_slowed_and_not_without_end() -> None:
    slowed = [Slowed(f"hv{number}", "bytes", 10.0) for number in range(NAMED + 2)]
    view = LimitView({}, {}, 0, 0, 0, slowed, 900)
    problems = limit_problems(view, 1000, 75.0)
    assert [problem.what for problem in problems] == [*(f"host hv{n}" for n in range(NAMED)), "hosts", "memory"]
    assert problems[0].why == "slowed for 65 s: it takes too much (bytes)"
    assert problems[NAMED].why == "2 more are slowed"
    assert "900" in problems[-1].why and "limits.memory" in problems[-1].hint
    assert limit_problems(view._replace(slowed=[]), 0, 75.0) == []


def test_a_section_gives_ten_seconds_of_a_rate_at_once() -> None:
    settings = LimitsSection(stanza_rate=5.0, byte_rate=0).settings()
    assert (settings.stanzas, settings.octets.per_second) == (Rate(5.0, 50.0), 0)
    arrivals = LimitsSection(logins=3).arrivals(7.0)
    assert (arrivals.under_way, arrivals.silence) == (3, 7.0)


def test_new_settings_hold_at_once() -> None:
    guard = Guard(LimitSettings(failures=Rate(1, 1)), ceiling=10)
    guard.reload(LimitSettings(), LimitsSection(logins=2).arrivals(1.0), 0)
    for _ in range(50):
        guard.told(Reason.LOGIN, "", 0.0, "192.0.2.1")
    assert guard.refusal("192.0.2.1", 0.0) is None
    assert guard.arrivals.settings.under_way == 2
