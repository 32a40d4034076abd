"""Logins, delivery to many subscribers, and intake: what is measured of every server in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gateway_load import LoadProcess
from benchmarks.gateway_servers import Side

PUBLISHERS = 4
"""Hosts that publish; numbers from 0. Subscribers come after them."""
LOGINS_AT_ONCE = 32

Figures = dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Shape:
    """How items are published. each: of a request; window: requests under way."""

    name: str
    each: int = 1
    window: int = 1


SINGLE = Shape("lockstep")
"""The next item when all have the one before."""
PIPELINED = Shape("pipelined", window=32)
BATCHED = Shape("batch", each=100, window=2)


def node_names(sizes: Sequence[int]) -> list[str]:
    """Nodes that measure() uses."""
    return [*(f"fan{size}" for size in sizes), "intake"]


@dataclass(frozen=True, slots=True)
class Plan:
    """sizes: numbers of subscribers, growing; shapes, seconds: for each measurement of delivery; intake: shapes of
    publishes to nobody."""

    sizes: Sequence[int]
    shapes: Sequence[Shape]
    seconds: float
    intake: Sequence[Shape] = (Shape("single", window=8), Shape("batch", 100, 2))
    tls: bool = True


def measure(side: Side, plan: Plan, progress: Callable[[str], None]) -> Figures:
    """Of one server that is running. Raises LabError."""
    figures: Figures = {}
    with LoadProcess(side.settings(tls=plan.tls)) as load:
        load.connect(0, PUBLISHERS)
        logged_in = 0
        for size, node in zip(plan.sizes, node_names(plan.sizes), strict=False):
            # Others make a node when something is published there.
            load.ask("publish", hosts=[0], node=node, seconds=0.01)
            figures |= _log_in(side, load, PUBLISHERS + logged_in, size - logged_in, f"{size}")
            logged_in = size
            load.ask("plan", first=PUBLISHERS, count=size, nodes=[node])
            load.ask("act", first=PUBLISHERS, count=size)
            load.ask("wait", quiet=0.3)
            for shape in plan.shapes:
                found = _publish(side, load, shape, node, plan.seconds, size)
                progress(f"{side.name}: {_words(found, size, shape)}")
                figures |= {f"{key}_{shape.name}_{size}": value for key, value in _delivery(found).items()}
        load.ask("publish", hosts=[0], node="intake", seconds=0.01)
        for shape in plan.intake:
            found = _publish(side, load, shape, "intake", plan.seconds, 0)
            rate = found["requests"] / found["seconds"]
            figures[f"intake_{shape.name}_iqs_per_s"] = round(rate, 1)
            figures[f"intake_{shape.name}_items_per_s"] = round(rate * shape.each, 1)
            figures[f"intake_{shape.name}_us_per_iq"] = round(found["server_cpu_s"] / found["requests"] * 1e6, 1)
            progress(f"{side.name}: intake, {shape.each} items a request: {rate:,.0f} requests/s")
    return figures


def _log_in(side: Side, load: LoadProcess, first: int, count: int, label: str) -> Figures:
    spent, memory = side.cpu(), side.resident()
    found = load.connect(first, count, at_once=LOGINS_AT_ONCE)
    return {
        f"logins_per_s_{label}": round(count / found["seconds"], 1),
        f"login_ms_cpu_{label}": round((side.cpu() - spent) / count * 1000, 3),
        f"login_kib_{label}": round((side.resident() - memory) * 1024 / count, 1),
    }


def _publish(
    side: Side, load: LoadProcess, shape: Shape, node: str, seconds: float, subscribers: int
) -> dict[str, Any]:
    hosts = [0] if subscribers else list(range(PUBLISHERS))
    spent = side.cpu()
    found = load.ask(
        "publish",
        hosts=hosts,
        node=node,
        each=shape.each,
        window=shape.window,
        seconds=seconds,
        subscribers=subscribers,
    )
    return found | {"server_cpu_s": side.cpu() - spent}


def _delivery(found: dict[str, Any]) -> Figures:
    """An event is an item delivered to a subscriber."""
    delivered = max(found["delivered"], 1)
    return {
        "events_per_s": round(delivered / found["seconds"], 1),
        "us_per_event": round(found["server_cpu_s"] / delivered * 1e6, 3),
        "lost_events": found["wanted"] - found["delivered"],
        "bytes_per_event": round(found["plain"] / delivered, 1),
    }


def _words(found: dict[str, Any], size: int, shape: Shape) -> str:
    delivery = _delivery(found)
    load = found["cpu_s"] / max(found["delivered"], 1) * 1e6
    return (
        f"{size} subscribers, {shape.name}: {delivery['events_per_s']:,.0f} events/s, "
        f"{delivery['us_per_event']:.2f} us of CPU each (load generator {load:.2f}), {delivery['lost_events']} missing"
    )
