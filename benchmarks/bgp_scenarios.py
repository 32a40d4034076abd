"""What the benchmarks do to a BGP speaker from outside: raw peers in a process of their own.

python -m benchmarks.bgp_scenarios SCENARIO SETTINGS    settings: JSON of Settings; prints one JSON object
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable

from benchmarks.bgp_raw import PORT, Peers, RawError, RawSession, encode, memberships, routes, stream
from benchmarks.processes import processor, resident
from bgp.family import RTC, VPNV4
from bgp.update_encoder import end_of_rib

Figures = dict[str, float | int]

REMOTE, SOURCE, SINK = "127.0.0.11", "127.0.0.21", "127.0.0.22"
"""The speaker under test, and its two peers."""
PROBE = 2
"""Number of the route distinguisher of the route that shows that everything flows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """pid: the speaker's, it and its children are asked for their memory; each: routes of an UPDATE; targets: route
    targets of the routes; hold_time: that the peers announce; deadline: seconds for each part."""

    pid: int
    count: int
    each: int = 100
    targets: int = 1
    hold_time: int = 90
    deadline: float = 60.0
    port: int = PORT

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return dataclasses.asdict(self)

    def of(self, pid: int) -> Settings:
        """The same for another process."""
        return dataclasses.replace(self, pid=pid)


def warm(peers: Peers, source: RawSession, sink: RawSession, deadline: float) -> None:
    """Bring both sessions up, and wait until a route of the source has reached the sink.

    Some speakers begin to send to a new session late (FRR: 1 s and 50 ms a peer after it came up).
    """
    peers.connect(deadline)
    for session in (source, sink):
        session.send(end_of_rib(VPNV4))
    source.send(stream(routes(1, distinguisher=PROBE), 1))
    peers.run(lambda: bool(sink.held), deadline)


def reflect(settings: Settings) -> Figures:
    """Routes from one client of a reflector to another: seconds from the first byte written to the last route read."""
    source = RawSession(SOURCE, REMOTE, port=settings.port, hold_time=settings.hold_time)
    sink = RawSession(SINK, REMOTE, port=settings.port, hold_time=settings.hold_time)
    peers = Peers([source, sink])
    data = stream(routes(settings.count), settings.each, settings.targets)
    warm(peers, source, sink, settings.deadline)
    before, used = resident(settings.pid), processor(settings.pid)
    sink.reset_counts()
    began = time.perf_counter()
    source.send(data)
    peers.run(lambda: len(sink.held) > settings.count, settings.deadline)
    figures: Figures = {
        "seconds": round(sink.changed_at - began, 3),
        "cpu_s": round(processor(settings.pid) - used, 2),
        "updates": sink.updates,
        "bytes": sink.octets,
        "rss_before_mb": before,
        "rss_mb": resident(settings.pid),
    }
    peers.close()
    return figures


def membership(settings: Settings) -> Figures:
    """A peer with route-target constraint comes to want all routes, and wants none any more; then one target alone."""
    source = RawSession(SOURCE, REMOTE, port=settings.port, hold_time=settings.hold_time)
    sink = RawSession(SINK, REMOTE, (VPNV4, RTC), port=settings.port, hold_time=settings.hold_time)
    peers = Peers([source, sink])
    peers.connect(settings.deadline)
    for session in (source, sink):
        session.send(end_of_rib(VPNV4))
    sink.send(end_of_rib(RTC))
    everything = range(1, settings.targets + 1)
    figures: Figures = {"targets": settings.targets, "routes": settings.count}

    def change(name: str, data: bytes, count: int) -> None:
        sink.reset_counts()
        began = time.perf_counter()
        sink.send(data)
        peers.run(lambda: len(sink.held) == count, settings.deadline)
        figures[f"{name}_s"] = round(sink.changed_at - began, 3)
        figures[f"{name}_updates"] = sink.updates

    # The last target is the last to come: when its routes are there, all are.
    sink.send(memberships([settings.targets]))
    source.send(stream(routes(settings.count), settings.each, settings.targets))
    some = settings.count // settings.targets
    peers.run(lambda: len(sink.held) == some, settings.deadline)
    sink.send(memberships([settings.targets], withdraw=True))
    peers.run(lambda: not sink.held, settings.deadline)
    change("one_comes", memberships([1]), some)
    change("one_goes", memberships([1], withdraw=True), 0)
    change("all_come", memberships(everything), settings.count)
    change("all_go", memberships(everything, withdraw=True), 0)
    peers.close()
    return figures


def load(settings: Settings) -> Figures:
    """Many routes from one peer; another one, with route-target constraint, wants the last UPDATE alone, to know when
    all have been taken in."""
    source = RawSession(SOURCE, REMOTE, port=settings.port, hold_time=settings.hold_time)
    sink = RawSession(SINK, REMOTE, (VPNV4, RTC), port=settings.port, hold_time=settings.hold_time)
    peers = Peers([source, sink])
    last = settings.targets + 1
    end = encode(routes(1, settings.count - 1), 1, [last])
    data = stream(routes(settings.count - 1), settings.each, settings.targets) + end
    peers.connect(settings.deadline)
    for session in (source, sink):
        session.send(end_of_rib(VPNV4))
    sink.send(memberships([last]) + end_of_rib(RTC))
    probe = encode(routes(1, distinguisher=PROBE), 1, [last])
    source.send(probe)
    peers.run(lambda: bool(sink.held), settings.deadline)
    before, used = resident(settings.pid), processor(settings.pid)
    began = time.perf_counter()
    source.send(data)
    peers.run(lambda: len(sink.held) > 1, settings.deadline)
    figures: Figures = {
        "seconds": round(sink.changed_at - began, 3),
        "cpu_s": round(processor(settings.pid) - used, 2),
        "rss_before_mb": before,
        "rss_mb": resident(settings.pid),
    }
    peers.close()
    return figures


def hold(settings: Settings) -> Figures:
    """Many routes from one peer to another at a short hold time; then a while without, for what comes late; then the
    first peer is lost, and all of its routes are withdrawn from the other one."""
    source = RawSession(SOURCE, REMOTE, port=settings.port, hold_time=settings.hold_time)
    sink = RawSession(SINK, REMOTE, port=settings.port, hold_time=settings.hold_time)
    peers = Peers([source, sink])
    data = stream(routes(settings.count), settings.each, settings.targets)
    warm(peers, source, sink, settings.deadline)
    for session in (source, sink):
        session.reset_counts()
    figures: Figures = {"seconds": math.inf, "lost_s": math.inf}
    began = time.perf_counter()
    source.send(data)
    with contextlib.suppress(RawError):
        peers.run(lambda: len(sink.held) > settings.count, settings.deadline)
        figures["seconds"] = round(sink.changed_at - began, 3)
        figures["rss_mb"] = resident(settings.pid)
        end = time.perf_counter() + 1.5 * settings.hold_time
        peers.run(lambda: time.perf_counter() > end, settings.deadline)
        began = time.perf_counter()
        peers.hang_up(source)
        peers.run(lambda: not sink.held, settings.deadline)
        figures["lost_s"] = round(sink.changed_at - began, 3)
    for session in (source, sink):
        if session.error:
            print(f"{session.local}: {session.error}", file=sys.stderr)
    figures["silence_s"] = round(max(source.longest_silence, sink.longest_silence), 3)
    figures["sessions_lost"] = bool(source.error) + bool(sink.error)
    peers.close()
    return figures


SCENARIOS: dict[str, Callable[[Settings], Figures]] = {
    "reflect": reflect,
    "membership": membership,
    "load": load,
    "hold": hold,
}


def main(arguments: list[str]) -> int:
    """The command."""
    name, settings = arguments
    try:
        print(json.dumps(SCENARIOS[name](Settings(**json.loads(settings)))))
    except RawError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
