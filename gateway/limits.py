"""What one host, and one address, may take of the gateway: token buckets, and who is being slowed; no I/O.

A bucket is charged for what was done already, and may go into debt by that. Who is in debt isn't read from until it is
repaid, so a host that sends too much waits in its own kernel (TCP), loses nothing and delays nobody. Only a host that
stays at its limit for flood_time is sent away: no agent ever does that.

Three things of a host are measured: stanzas, bytes (of its requests and of their answers), and the time that handling
them takes, since some requests cost a thousand times what others do. All sessions of a host share an allowance, and it
outlives them: to connect anew is no way around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

RECOVERED = 0.1
"""Part of a burst that must have been refilled for a host to count as not slowed any more."""
_SWEEP = 1024
"""Buckets there may be before those that are full are looked for."""
_V6_SITE = 64
"""Bits of an IPv6 address that tell one network from another: who has one address has all of those below them."""


@dataclass(frozen=True, slots=True)
class Rate:
    """units a second in the long run, 0: as many as one likes; burst: units at once after a rest."""

    per_second: float
    burst: float


UNLIMITED = Rate(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Rates and numbers; times in seconds, sizes in bytes. The defaults limit nothing.

    stanzas, octets, work: what a host may send, and be sent in answer, and the seconds that its requests may take;
    flood_time: of being slowed without a pause, after which the host is sent away, 0: never; logins: of one host;
    failures: connections of an address that came to nothing.
    """

    stanzas: Rate = UNLIMITED
    octets: Rate = UNLIMITED
    work: Rate = UNLIMITED
    flood_time: float = 0.0
    logins: Rate = UNLIMITED
    failures: Rate = UNLIMITED


class Bucket:
    """A token bucket. It begins full."""

    __slots__ = ("_level", "_updated", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._level = rate.burst
        self._updated = now

    def level(self, now: float) -> float:
        """Units that are left; negative: debt."""
        rate = self.rate
        self._level = min(rate.burst, self._level + (now - self._updated) * rate.per_second)
        self._updated = now
        return self._level

    def charge(self, units: float, now: float) -> float:
        """Take units for what was done. Seconds until the debt is repaid, 0.0 when there is none."""
        rate = self.rate
        if not rate.per_second:
            return 0.0
        level = self._level + (now - self._updated) * rate.per_second
        if level > rate.burst:
            level = rate.burst
        self._level = level = level - units
        self._updated = now
        return -level / rate.per_second if level < 0 else 0.0

    def part(self, now: float) -> float:
        """How full it is: 1.0 for full, 0.0 or less for empty."""
        return self.level(now) / self.rate.burst if self.rate.per_second and self.rate.burst else 1.0


class Flow:
    """What one host takes, over all of its sessions."""

    __slots__ = ("_buckets", "_octets", "_stanzas", "_work", "host", "slowed_by", "slowed_since", "times_slowed")

    def __init__(self, host: str, settings: LimitSettings, now: float) -> None:
        self.host = host
        self._stanzas = Bucket(settings.stanzas, now)
        self._octets = Bucket(settings.octets, now)
        self._work = Bucket(settings.work, now)
        self._buckets = (("stanzas", self._stanzas), ("bytes", self._octets), ("time", self._work))
        self.slowed_by = ""
        """Of what it takes too much: "stanzas", "bytes" or "time"; "" when it isn't slowed."""
        self.slowed_since = 0.0
        self.times_slowed = 0

    def charge(self, stanzas: float, octets: float, seconds: float, now: float) -> float:
        """The host has sent and been sent so much. Seconds for which nothing is to be read from it."""
        if self.slowed_by and self.recovered(now):
            self.slowed_by = ""
        wait = max(
            self._stanzas.charge(stanzas, now), self._octets.charge(octets, now), self._work.charge(seconds, now)
        )
        if wait and not self.slowed_by:
            self.slowed_by = min(self._buckets, key=lambda named: named[1].part(now))[0]
            self.slowed_since = now
            self.times_slowed += 1
        return wait

    def recovered(self, now: float) -> bool:
        """Whether it has been quiet for long enough to count as a host like any other."""
        return all(bucket.part(now) >= RECOVERED for _, bucket in self._buckets)

    def full(self, now: float) -> bool:
        """Whether it has taken nothing for so long that it is as good as new."""
        return all(bucket.part(now) >= 1.0 for _, bucket in self._buckets)


class Slowed(NamedTuple):
    """A host that isn't read from as fast as it sends. by: of what it takes too much; since: as the clock of charge."""

    host: str
    by: str
    since: float


class Limiter:
    """Rates of all hosts and addresses. Times are seconds of any monotonic clock."""

    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings
        self._flows: dict[str, Flow] = {}
        self._users: Counter[str] = Counter()
        self._slowed: dict[str, Flow] = {}
        self._logins: dict[str, Bucket] = {}
        self._failures: dict[str, Bucket] = {}
        self._next_sweep = _SWEEP

    # -- of hosts

    def login(self, host: str, now: float) -> float:
        """A host has proved who it is. Seconds for which it has to wait until it gets its session."""
        bucket = self._bucket(self._logins, host, self.settings.logins, now)
        # What it owes is bounded, so that it gets another chance some time.
        return bucket.charge(1.0 if bucket.level(now) > -bucket.rate.burst else 0.0, now)

    def begin(self, host: str, now: float) -> Flow:
        """A session of a host begins: what it is to be charged on."""
        flow = self._flows.get(host)
        if flow is None:
            self._sweep(now)
            flow = self._flows[host] = Flow(host, self.settings, now)
        self._users[host] += 1
        return flow

    def end(self, flow: Flow, now: float) -> None:
        """A session of the host has ended. What it owes is kept until it would be repaid."""
        self._users[flow.host] -= 1
        if not self._users[flow.host]:
            del self._users[flow.host]
            if flow.full(now) and self._flows.get(flow.host) is flow:
                del self._flows[flow.host]
                self._slowed.pop(flow.host, None)

    def charge(self, flow: Flow, stanzas: float, octets: float, seconds: float, now: float) -> float:
        """A host has sent and been sent so much. Seconds for which nothing is to be read from it."""
        wait = flow.charge(stanzas, octets, seconds, now)
        if wait:
            self._slowed[flow.host] = flow
        return wait

    def floods(self, flow: Flow, now: float) -> bool:
        """Whether a host that is in debt has been so for longer than is to be borne."""
        limit = self.settings.flood_time
        return bool(limit and flow.slowed_by and now - flow.slowed_since >= limit)

    def slowed(self, now: float) -> list[Slowed]:
        """Who is being slowed now, by name."""
        for host, flow in list(self._slowed.items()):
            if not flow.slowed_by or flow.recovered(now):
                flow.slowed_by = ""
                del self._slowed[host]
        return [Slowed(host, flow.slowed_by, flow.slowed_since) for host, flow in sorted(self._slowed.items())]

    # -- of addresses

    def failed(self, address: str, now: float) -> None:
        """A connection of an address came to nothing: no session, and not because it was kept waiting."""
        bucket = self._bucket(self._failures, site(address), self.settings.failures, now)
        bucket.charge(1.0 if bucket.level(now) > -bucket.rate.burst else 0.0, now)

    def admits(self, address: str, now: float) -> bool:
        """Whether a connection from an address is taken at all."""
        bucket = self._failures.get(site(address))
        return bucket is None or not bucket.rate.per_second or bucket.level(now) >= 0

    # -- memory

    def reload(self, settings: LimitSettings) -> None:
        """Other rates hold from now on, for sessions and buckets that begin."""
        self.settings = settings
        self._logins.clear()
        self._failures.clear()
        self._flows = {host: flow for host, flow in self._flows.items() if host in self._users}

    def __len__(self) -> int:
        """Number of buckets and hosts that are remembered."""
        return len(self._flows) + len(self._logins) + len(self._failures)

    def _bucket(self, buckets: dict[str, Bucket], key: str, rate: Rate, now: float) -> Bucket:
        bucket = buckets.get(key)
        if bucket is None:
            self._sweep(now)
            bucket = buckets[key] = Bucket(rate, now)
        return bucket

    def _sweep(self, now: float) -> None:
        """Forget what is full, each time that there is twice as much as was left the last time."""
        if len(self) < self._next_sweep:
            return
        for buckets in (self._logins, self._failures):
            for key in _full(buckets, now):
                del buckets[key]
        for host in [host for host, flow in self._flows.items() if host not in self._users and flow.full(now)]:
            del self._flows[host]
        self._next_sweep = max(_SWEEP, 2 * len(self))


def _full(buckets: dict[str, Bucket], now: float) -> Iterable[str]:
    return [key for key, bucket in buckets.items() if bucket.part(now) >= 1.0]


def site(address: str) -> str:
    """What an address is counted as: itself, of IPv6 its network of 64 bits (RFC 4291, section 2.5.1)."""
    if ":" not in address:
        return address
    parsed = ip_address(address)
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> _V6_SITE << _V6_SITE)}/{_V6_SITE}"
