"""What was lost on this host, counter by counter: numbers of the kernel joined with their causes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.drop_causes import FILTERS, HOST, PORT, TUNNEL, UNDERLAY, VRF, Cause
from datapath.filters import Hits
from datapath.observe import Counters, DeviceCounters

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """A device that is looked at. kind: "port", "vrf", "tunnel" or "underlay"; name: of the port or VPN; blocked:
    whether the gateways forbid all of a port."""

    kind: str
    device: str
    name: str = ""
    vpn: str | None = None
    blocked: bool = False

    @property
    def text(self) -> str:
        """As an operator says it."""
        noun = {"port": "port", "vrf": "VPN"}.get(self.kind)
        return f"{noun} {self.name}" if noun else f"{self.kind} {self.device}"


@dataclass(frozen=True, slots=True)
class Drops:
    """A counter. place: None for the host as a whole. since: seconds since the epoch from which on it counts; None:
    since the device was made. last: when it last grew, None if that isn't known."""

    cause: Cause
    place: Place | None
    value: int
    since: float | None = None
    last: float | None = None


@dataclass(slots=True)
class _Sum:
    value: int = 0
    age: float = 0.0
    idle: float | None = None

    def add(self, hits: Hits) -> None:
        # A filter that was made again began anew; the oldest says since when there were any.
        self.age = max(self.age, hits.age)
        if not hits.dropped:
            return
        self.value += hits.dropped
        if hits.idle is not None:
            self.idle = hits.idle if self.idle is None else min(self.idle, hits.idle)


@dataclass(slots=True)
class Report:
    """Collects the counters of one look. now: seconds since the epoch."""

    counters: Counters
    now: float
    found: list[Drops] = field(default_factory=list)

    def device(self, place: Place, hits: Iterable[Hits] = ()) -> None:
        """A device that is there. hits: of a port's filters."""
        have = self.counters.devices.get(place.device)
        if have is None:
            return
        causes = {"port": PORT, "vrf": VRF, "tunnel": TUNNEL, "underlay": UNDERLAY}[place.kind]
        if place.kind == "port":
            self.found += self._filters(place, hits)
        self.found += [Drops(cause, place, sum(_of_device(have, name) for name in cause.sources)) for cause in causes]

    def _filters(self, place: Place, hits: Iterable[Hits]) -> Iterator[Drops]:
        sums = {key: _Sum() for key in FILTERS}
        for hit in hits:
            key: tuple[int, int | None] = (hit.priority, hit.handle)
            key = key if key in sums else (hit.priority, None)
            if key in sums:
                sums[key].add(hit)
        for which, cause in FILTERS.items():
            one = sums[which]
            since = self.now - one.age if one.age else None
            yield Drops(cause, place, one.value, since, None if one.idle is None else self.now - one.idle)

    def host(self) -> None:
        """The host as a whole. What devices of ours have counted already isn't counted again."""
        host = self.counters.host
        for cause in HOST:
            value = sum(max(0, host.get(name, 0) - self._counted(name)) for name in cause.sources)
            self.found.append(Drops(cause, None, value, self.counters.boot))

    def _counted(self, name: str) -> int:
        if not name.startswith("Ip6"):
            return 0
        return sum(device.ip6.get(name.removeprefix("Ip6"), 0) for device in self.counters.devices.values())


def _of_device(have: DeviceCounters, source: str) -> int:
    if source == "queue":
        return have.queue
    part, _, name = source.partition(".")
    numbers: Mapping[str, int] = {"link": have.link, "ip6": have.ip6, "mpls": have.mpls}[part]
    return numbers.get(name, 0)


def advice(drops: Drops) -> str:
    """What to do about it, with the names of this port, VPN and device in the commands."""
    place = drops.place
    if place is not None and place.blocked and drops.cause.name in ("port-spoofed-ipv4", "port-spoofed-ipv6"):
        return f"the gateways forbid this port, so that all of it is dropped: `vrfwire port show {place.name}` says why"
    hint = drops.cause.hint
    if place is None:
        return hint
    if place.kind == "port":
        hint = hint.replace("NAME", place.name)
    if place.vpn is not None:
        hint = hint.replace("--vpn VPN", f"--vpn {place.vpn}")
    return hint.replace("DEVICE", place.device)
