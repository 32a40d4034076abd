"""How many gateways and reflectors for how many hosts: a simulation with measured costs (docs/scale.md).

python -m benchmarks.scale    prints the tables of docs/scale.md

It is seeded: the same figures wherever it runs. Nothing of this machine is measured.
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report import Figures, Progress
from benchmarks.scale_events import Change, Simulation
from benchmarks.scale_model import Costs, Demand, Network, demand, host_gateways, members, vpn_sizes
from benchmarks.scale_return import Returned, return_of

SEED = 6
CHANGES = 1500
"""Routes that change in a simulated run."""
SITES = {
    "10k": Network(10_000, 4, 2),
    "100k": Network(100_000, 40, 2, pod=4),
    "100k, at home": Network(100_000, 40, 2, pod=4, affinity=0.9),
    "1M": Network(1_000_000, 400, 2, pod=4),
    "1M, at home": Network(1_000_000, 400, 2, pod=4, affinity=0.9),
}
"""What is simulated; 5,000 sessions a gateway."""
RATES = (0.0005, 0.01)
"""Routes that change, by host and second: a host in half an hour; one in a hundred hosts each second."""
FULL_GATEWAY = 10_000
"""Hosts of the gateway that restarts."""
TABLE = 400.0
"""Routes that each of them is told of."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times in seconds from publish to delivery; loads: share of a core, of the gateways on average, of the busiest
    one, of a reflector; deliveries: by second, all gateways together."""

    p50: float
    p99: float
    last: float
    deliveries: float
    gateway_load: float
    busiest_load: float
    reflector_load: float


@functools.cache
def _sizes(network: Network) -> tuple[int, ...]:
    return tuple(vpn_sizes(network, SEED))


def simulate(network: Network, rate: float, costs: Costs, *, changes: int = CHANGES, seed: int = SEED) -> Outcome:
    """Publish `changes` routes, at random times at `rate` by host and second, in VPNs by their number of hosts."""
    rng = random.Random(f"{seed}/changes")
    sizes = _sizes(network)

    @functools.cache
    def subscribers(vpn: int) -> Counter[int]:
        return members(network, vpn, sizes[vpn], seed)

    simulation = Simulation(network, costs, subscribers)
    window = changes / (rate * network.hosts)
    at = 0.0
    for number, vpn in enumerate(
        rng.choices(range(len(sizes)), cum_weights=tuple(itertools.accumulate(sizes)), k=changes)
    ):
        at += rng.expovariate(changes / window)
        simulation.publish(Change(number, at, vpn, host_gateways(network, rng, vpn)))
    simulation.run()
    # What the end of the window leaves over belongs to it: the load is of what was asked, not of what was done in time.
    busy = [gateway.busy_time / window for gateway in simulation.gateways]
    delays = simulation.delays
    return Outcome(
        p50=delays.quantile(0.5),
        p99=delays.quantile(0.99),
        last=delays.quantile(1.0),
        deliveries=sum(weight for _, weight in delays.samples) / window,
        gateway_load=sum(busy) / len(busy),
        busiest_load=max(busy),
        reflector_load=max(reflector.busy_time for reflector in simulation.reflectors) / window,
    )


def returned(costs: Costs, *, down: float = 2.0) -> Returned:
    """A full gateway restarts."""
    network = SITES["10k"]
    return return_of(
        FULL_GATEWAY,
        costs,
        vpns=network.vpns_per_host,
        routes=network.routes_per_host,
        table=TABLE,
        down=down,
        seed=SEED,
    )


def run(progress: Progress) -> Figures:
    """Simulate."""
    figures: dict[str, float | int | str] = {}
    costs = Costs()
    for name, network in SITES.items():
        progress(f"scale: {name}: {network.hosts:,} hosts, {network.gateways} gateways")
        key = name.replace(", ", "_").replace(" ", "_")
        rest = demand(network, costs, _sizes(network))
        figures[f"{key}_gateway_mb"] = rest.gateway_bytes / (1 << 20)
        figures[f"{key}_gateway_routes"] = rest.imported
        figures[f"{key}_reflector_mb"] = rest.reflector_bytes / (1 << 20)
        figures[f"{key}_reflector_load_s"] = rest.reflector_load
        for rate in RATES:
            outcome = simulate(network, rate, costs)
            at = f"{key}_at_{rate * 1000:g}_per_khost"
            figures[f"{at}_ms_p50"] = outcome.p50 * 1000
            figures[f"{at}_ms_p99"] = outcome.p99 * 1000
            figures[f"{at}_deliveries_per_s"] = outcome.deliveries
            figures[f"{at}_busiest_gateway"] = outcome.busiest_load
            figures[f"{at}_reflector"] = outcome.reflector_load
    back = returned(costs)
    figures["return_10k_logged_in_s"] = back.logged_in
    figures["return_10k_synchronised_s"] = back.synchronised
    figures["return_10k_attempts"] = back.attempts
    return figures


_GATEWAY = ("a gateway: VPNs", "routes", "memory", "starts in")
_REFLECTOR = ("a reflector: paths", "memory", "starts in")
_AT_REST = ("hosts", "gateways", "VPNs", "routes", *_GATEWAY, *_REFLECTOR)
_CHANGING = ("hosts", "changes/s", "deliveries/s", "p50", "p99", "last", "gateway, average", "busiest", "reflector")
_BACK = ("gateway away for", "last host logged in after", "all in sync after", "attempts a host", "longest wait")


def tables(sites: Mapping[str, Network] = SITES) -> str:
    """The tables of docs/scale.md."""
    costs = Costs()
    rest = [_at_rest(name, network, demand(network, costs, _sizes(network))) for name, network in sites.items()]
    cases = itertools.product(sites.items(), RATES)
    changing = [(name, *_changing(network, rate, simulate(network, rate, costs))) for (name, network), rate in cases]
    back = [_back(down, returned(costs, down=down)) for down in (2.0, 10.0, 60.0)]
    return "\n".join([_table(_AT_REST, rest), _table(_CHANGING, changing), _table(_BACK, back)])


def _at_rest(name: str, network: Network, found: Demand) -> tuple[str, ...]:
    return (
        name,
        f"{network.gateways:,}",
        f"{len(_sizes(network)):,}",
        f"{network.hosts * network.routes_per_host:,.0f}",
        f"{found.vpns:,.0f}",
        f"{found.imported:,.0f}",
        _size(found.gateway_bytes),
        f"{found.gateway_load:.1f} s",
        f"{found.reflected:,.0f}",
        _size(found.reflector_bytes),
        f"{found.reflector_load:.1f} s",
    )


def _changing(network: Network, rate: float, outcome: Outcome) -> tuple[str, ...]:
    return (
        f"{rate * network.hosts:,.0f}",
        f"{outcome.deliveries:,.0f}",
        *(f"{value * 1000:.1f} ms" for value in (outcome.p50, outcome.p99, outcome.last)),
        *(f"{value * 100:.1f} %" for value in (outcome.gateway_load, outcome.busiest_load, outcome.reflector_load)),
    )


def _back(down: float, found: Returned) -> tuple[str, ...]:
    return (
        f"{down:g} s",
        f"{found.logged_in:.1f} s",
        f"{found.synchronised:.1f} s",
        f"{found.attempts:.1f}",
        f"{found.longest_wait:.1f} s",
    )


def _size(octets: float) -> str:
    return f"{octets / (1 << 30):.1f} GiB" if octets >= 1 << 30 else f"{octets / (1 << 20):.0f} MiB"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n{''.join(lines)}"


if __name__ == "__main__":
    sys.stdout.write(tables())
