"""What the gateway shows of its limits: metrics, and who is slowed; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.limits import Slowed
from gateway.status import Problem
from runtime.metrics import Description, Measured, Metric, grouped

NAMED = 5
"""Slowed hosts that are named one by one."""

LIMITED = Description(
    "vrfwire_xmpp_limited_total",
    "counter",
    ("reason",),
    "connections and hosts that met a limit, by what became of them: `slowed`, `flood`, `login_rate`, `shut_out`, "
    "`handshake`, `login`, `silent`, `idle`, `crowded`, `gone`, `memory`, `memory_high`",
)
STREAM_ERRORS = Description(
    "vrfwire_xmpp_stream_errors_total", "counter", ("condition",), "streams ended with an error, by its condition"
)
LOGINS_WAITING = Description(
    "vrfwire_xmpp_logins_waiting", "gauge", (), "connections that wait for their turn to log in"
)
LOGINS_UNDER_WAY = Description("vrfwire_xmpp_logins_under_way", "gauge", (), "logins under way")
LOGINS_IDLE = Description("vrfwire_xmpp_logins_idle", "gauge", (), "connections that don't get on with their login")
SLOWED_HOSTS = Description("vrfwire_xmpp_slowed_hosts", "gauge", (), "hosts that are slowed now")
HELD = Description(
    "vrfwire_xmpp_held_bytes", "gauge", (), "memory held for what hosts have sent or not read, of those with much of it"
)
LIMIT_METRICS = (LIMITED, STREAM_ERRORS, LOGINS_WAITING, LOGINS_UNDER_WAY, LOGINS_IDLE, SLOWED_HOSTS, HELD)
"""In the order of docs/metrics.md."""


class LimitView(NamedTuple):
    """The state of the limits. limited: by reason; errors: by stream condition; held: bytes."""

    limited: Mapping[str, int]
    errors: Mapping[str, int]
    waiting: int
    under_way: int
    idle: int
    slowed: Sequence[Slowed]
    held: int


def measure_limits(view: LimitView) -> list[Metric]:
    """LIMIT_METRICS."""
    return grouped(LIMIT_METRICS, _measure(view))


def _measure(view: LimitView) -> Iterator[Measured]:
    for reason, count in sorted(view.limited.items()):
        yield LIMITED, (reason,), count
    for condition, count in sorted(view.errors.items()):
        yield STREAM_ERRORS, (condition,), count
    yield LOGINS_WAITING, (), view.waiting
    yield LOGINS_UNDER_WAY, (), view.under_way
    yield LOGINS_IDLE, (), view.idle
    yield SLOWED_HOSTS, (), len(view.slowed)
    yield HELD, (), view.held


def limit_problems(view: LimitView, ceiling: int, now: float) -> list[Problem]:
    """Who is slowed, and whether memory is short. ceiling: of what is held, bytes, when it is near, else 0."""
    problems = [
        Problem(
            f"host {slowed.host}",
            f"slowed for {now - slowed.since:.0f} s: it takes too much ({slowed.by})",
            "look at what runs there; [limits] says what a host may take",
        )
        for slowed in view.slowed[:NAMED]
    ]
    if (rest := len(view.slowed) - NAMED) > 0:
        problems.append(Problem("hosts", f"{rest} more are slowed", "`vrfwire-gateway-ctl host list`"))
    if ceiling:
        why = f"{view.held} bytes are held for hosts, of at most {ceiling}: new connections are refused"
        problems.append(Problem("memory", why, "hosts don't read, or send huge stanzas; or raise limits.memory"))
    return problems
