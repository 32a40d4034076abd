"""What a network of gateways is made of and what its parts cost; no clock, no I/O.

Hosts are in pods. A pod has a few gateways, and each of its hosts has sessions with two of them. All gateways are
clients of the same route reflectors (RFC 4456), with route-target constraint (RFC 4684): a route goes to those that
have a host in the VPN.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time of one core in seconds, memory in bytes, as measured (docs/scale.md says by which figure)."""

    login: float = 2.4e-3
    """TLS handshake with certificates on both sides, SASL EXTERNAL, bind."""
    subscribe: float = 0.11e-3
    publish: float = 0.11e-3
    """A publish request beside its items."""
    item: float = 0.05e-3
    """An item: decoded, checked, into the table, and made a route of BGP."""
    change: float = 0.015e-3
    """A route of a VPN selected anew and serialised, once for all subscribers."""
    message: float = 0.02e-3
    """An event message to one subscriber, in TLS."""
    message_item: float = 0.0005e-3
    """What each item in it adds."""
    bgp_receive: float = 0.007e-3
    """A route in an UPDATE of its own."""
    bgp_receive_packed: float = 0.0022e-3
    """A route among many in an UPDATE."""
    bgp_import: float = 0.008e-3
    """An imported route, into the table of a VPN."""
    bgp_announce: float = 0.002e-3
    """A route made part of an UPDATE, once for all peers."""
    bgp_write: float = 0.010e-3
    """A batch of routes, whatever its size, written to one peer."""
    base_bytes: float = 46 * _KIB * _KIB
    session_bytes: float = 43 * _KIB
    imported_bytes: float = 1.05 * _KIB
    reflected_bytes: float = 0.48 * _KIB


@dataclass(frozen=True, slots=True)
class Network:
    """Numbers of things. pod: gateways in a pod; affinity: share of a VPN's hosts that are in its home pod, the others
    are anywhere; delay: seconds on the wire, one way."""

    hosts: int
    gateways: int
    reflectors: int
    pod: int = 2
    affinity: float = 0.0
    vpns_per_host: float = 5.0
    routes_per_host: float = 20.0
    delay: float = 0.0005
    sessions_per_host: int = 2

    def __post_init__(self) -> None:
        if self.gateways % self.pod or self.pod < self.sessions_per_host:
            raise ValueError("gateways must be whole pods, with a gateway for each session of a host")

    @property
    def pods(self) -> int:
        """Number of pods."""
        return self.gateways // self.pod

    @property
    def sessions(self) -> float:
        """Sessions of a gateway."""
        return self.hosts * self.sessions_per_host / self.gateways

    @property
    def routes_per_member(self) -> float:
        """Routes that a host publishes in one of its VPNs."""
        return self.routes_per_host / self.vpns_per_host


SMALLEST_VPN = 2
LARGEST_VPN = 2000
_SHAPE = 1.1
"""Of the Pareto distribution of VPNs by hosts: many small ones, and a few that have most members."""


def vpn_sizes(network: Network, seed: int) -> list[int]:
    """Hosts of each VPN, so many VPNs that every host is in vpns_per_host of them on average."""
    rng = random.Random(f"{seed}/sizes")
    wanted = network.hosts * network.vpns_per_host
    largest = max(SMALLEST_VPN, min(LARGEST_VPN, network.hosts // 2))
    sizes: list[int] = []
    total = 0
    while total < wanted:
        size = min(largest, int(SMALLEST_VPN * rng.paretovariate(_SHAPE)))
        sizes.append(size)
        total += size
    return sizes


def members(network: Network, vpn: int, size: int, seed: int) -> Counter[int]:
    """Number of subscribers of a VPN at each gateway that has any. The same for the same seed, whenever asked."""
    rng = random.Random(f"{seed}/vpn/{vpn}")
    found: Counter[int] = Counter()
    for first, second in (host_gateways(network, rng, vpn) for _ in range(size)):
        found[first] += 1
        found[second] += 1
    return found


def host_gateways(network: Network, rng: random.Random, vpn: int) -> tuple[int, int]:
    """The two gateways of a host of a VPN."""
    home = vpn % network.pods
    pod = home if network.affinity and rng.random() < network.affinity else rng.randrange(network.pods)
    first = rng.randrange(network.pod)
    second = (first + 1 + rng.randrange(network.pod - 1)) % network.pod
    return pod * network.pod + first, pod * network.pod + second


@dataclass(frozen=True, slots=True)
class Demand:
    """What the network asks of one gateway and of one reflector when nothing happens. Routes, and bytes of memory."""

    vpns: float
    imported: float
    gateway_bytes: float
    reflected: float
    reflector_bytes: float
    gateway_load: float
    """Seconds until a gateway that starts has its routes of the others."""
    reflector_load: float
    """Seconds until a reflector that starts has all routes."""


def demand(network: Network, costs: Costs, sizes: Sequence[int]) -> Demand:
    """Expected values over all gateways."""
    here = network.sessions_per_host / network.gateways * (1 - network.affinity)
    home = here + network.affinity * network.sessions_per_host / network.pod
    at_home = network.pod / network.gateways
    per_member = network.routes_per_member
    vpns = imported = 0.0
    for size, number in Counter(sizes).items():
        present = at_home * (1 - (1 - home) ** size) + (1 - at_home) * (1 - (1 - here) ** size)
        vpns += number * present
        imported += number * present * size * per_member
    # Its own hosts' routes are in its tables, too, and not imported.
    own = network.hosts * network.routes_per_host * network.sessions_per_host / network.gateways
    reflected = network.hosts * network.routes_per_host * network.sessions_per_host
    return Demand(
        vpns=vpns,
        imported=imported,
        gateway_bytes=costs.base_bytes + network.sessions * costs.session_bytes + imported * costs.imported_bytes,
        reflected=reflected,
        reflector_bytes=costs.base_bytes + reflected * costs.reflected_bytes,
        gateway_load=max(0.0, imported - own)
        * (network.reflectors * costs.bgp_receive_packed + costs.bgp_import + costs.change),
        reflector_load=reflected * costs.bgp_receive_packed,
    )
