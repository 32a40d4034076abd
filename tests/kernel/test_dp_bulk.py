"""The drivers of the bulk kinds on a real kernel, through the reconciler; ip(8) is the independent reader."""

from __future__ import annotations

import errno
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datapath.channel import Channel
from datapath.driver import Driver, Operation, Verb
from datapath.events import LinkChanged, LinkDown, ObjectRemoved
from datapath.nexthops import NextHopDriver, NextHopGroupDriver, NextHopIds
from datapath.reconciler import Reconciler
from datapath.routes import MplsRouteDriver, NeighbourDriver, VrfRouteDriver
from datapath.status import State
from datapath.values import Kind, MplsRoute, Neighbour, NextHop, NextHopGroup, Value, VrfRoute
from datapath.wire_route import decode_route_dump, encode_route_dump
from lab.namespace import Namespace
from vpn.prefix import Prefix, parse_address

IDS = range(1000, 1_000_000)
TABLES = range(10000, 20000)
LABELS = range(1000, 2000)
REMOTE = [parse_address(f"192.0.2.{host}") for host in (11, 12, 13)]
MAPPED = [b"\0" * 10 + b"\xff\xff" + address for address in REMOTE]
LLADDR = bytes.fromhex("020000000099")
VM4, VM6 = parse_address("10.1.1.1"), parse_address("2001:db8:1::1")

NEIGHBOURS = [Neighbour("up0", address, LLADDR) for address in REMOTE] + [
    Neighbour("tap0", VM4, LLADDR),
    Neighbour("tap0", VM6, LLADDR),
]
HOPS4 = [NextHop("up0", address, (500 + place,)) for place, address in enumerate(REMOTE)]
HOPS6 = [NextHop("up0", address, (500 + place,)) for place, address in enumerate(MAPPED)]
STACK = NextHop("up0", REMOTE[0], (600, 601))
LOCAL4, LOCAL6 = NextHop("tap0", VM4), NextHop("tap0", VM6)
GROUP4, GROUP6 = NextHopGroup(tuple(HOPS4[:2])), NextHopGroup(tuple(HOPS6[:2]))
MPLS = [MplsRoute(1000, "tap0", VM4), MplsRoute(1001, "tap0", VM6)]


def route(text: str, via: NextHop | NextHopGroup, table: int = 10000) -> VrfRoute:
    return VrfRoute(table, Prefix.parse(text), via)


ROUTES = [
    route("10.1.1.1/32", LOCAL4),
    route("10.1.2.0/24", HOPS4[0]),
    route("0.0.0.0/0", HOPS4[1]),
    route("10.1.3.1/32", GROUP4),
    route("10.1.4.0/23", STACK),
    route("10.1.2.0/24", HOPS4[2], table=10001),
    route("2001:db8:1::1/128", LOCAL6),
    route("2001:db8:2::/64", HOPS6[0]),
    route("::/0", HOPS6[1]),
    route("2001:db8:3::/48", GROUP6),
]
EVERYTHING: tuple[Value, ...] = (
    *NEIGHBOURS, *HOPS4, *HOPS6, STACK, LOCAL4, LOCAL6, GROUP4, GROUP6, *MPLS, *ROUTES,
)  # fmt: skip


class Process:
    """What an agent has of the datapath: a channel, drivers, a reconciler, and no memory of the one before."""

    def __init__(self) -> None:
        self.channel = Channel()
        self.ids = NextHopIds(IDS)
        self.drivers: list[Driver] = [
            NeighbourDriver(self.channel),
            NextHopDriver(self.channel, self.ids),
            NextHopGroupDriver(self.channel, self.ids),
            MplsRouteDriver(self.channel, LABELS),
            VrfRouteDriver(self.channel, self.ids, TABLES),
        ]
        self.reconciler = Reconciler(self.drivers)
        self.now = 0.0

    def run(self, seconds: float = 0.0) -> None:
        end = self.now + seconds
        while True:
            while self.reconciler.step(self.now):
                pass
            deadline = self.reconciler.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
        self.now = end

    def assert_settled(self, *values: Value) -> None:
        assert self.reconciler.failures() == []
        for value in values:
            assert self.reconciler.status(value.kind, value.key).state is State.PROGRAMMED, value


@pytest.fixture
def ns(namespace: Callable[[str], Namespace]) -> Iterator[Namespace]:
    """A namespace with a device towards the underlay and one towards a VM; the test is inside."""
    made = namespace("bulk")
    made.ip(
        "link add up0 type veth peer name up1",
        "link add tap0 type veth peer name vm0",
        *(f"link set {name} up" for name in ("up0", "up1", "tap0", "vm0")),
        "address add 192.0.2.7/24 dev up0",
    )
    with made.entered():
        Path("/proc/sys/net/mpls/platform_labels").write_text("5000")
        yield made


@pytest.fixture
def process() -> Iterator[Callable[[], Process]]:
    """Make processes."""
    made: list[Process] = []

    def make() -> Process:
        made.append(Process())
        return made[-1]

    yield make
    for each in made:
        each.channel.close()


Make = Callable[[], Process]


@pytest.fixture
def full(ns: Namespace, process: Make) -> Process:
    first = process()
    first.reconciler.put_all(EVERYTHING)
    first.reconciler.allow_sweep()
    first.run()
    first.assert_settled(*EVERYTHING)
    return first


def ip(ns: Namespace, command: str) -> None:
    """One command of ip(8) with options, which its batches don't take."""
    ns.output("ip", *command.split())


def listing(ns: Namespace, *words: str) -> list[dict[str, Any]]:
    """What ip(8) prints, as JSON."""
    found: list[dict[str, Any]] = json.loads(ns.output("ip", "-j", *words) or "[]")
    return found


def routes(ns: Namespace, table: int = 10000, family: str = "-4") -> dict[str, dict[str, str]]:
    """The routes of a table by destination; from the text, as the JSON has two members "dst" where there are labels."""
    found: dict[str, dict[str, str]] = {}
    for line in ns.output("ip", family, "route", "show", "table", str(table)).splitlines():
        if line.startswith("\t"):
            continue
        destination, *words = line.split()
        assert destination not in found, f"{destination} is there twice"
        found[destination] = dict(itertools.pairwise(words))
    return found


def test_all_kinds_are_made_as_ip_sees_them(full: Process, ns: Namespace) -> None:
    hops = {entry["id"]: entry for entry in listing(ns, "-N", "nexthop")}
    four = hops[full.ids.by_value[HOPS4[0]]]
    assert (four["gateway"], four["dev"], four["dst"], four["protocol"]) == ("192.0.2.11", "up0", "500", "108")
    assert "onlink" in four["flags"]
    assert hops[full.ids.by_value[HOPS6[0]]]["gateway"] == "::ffff:192.0.2.11"
    assert hops[full.ids.by_value[STACK]]["dst"] == "600/601"
    assert "encap" not in hops[full.ids.by_value[LOCAL6]]
    members = [member["id"] for member in hops[full.ids.by_value[GROUP4]]["group"]]
    assert members == [full.ids.by_value[hop] for hop in HOPS4[:2]]
    four_routes, six_routes = routes(ns), routes(ns, family="-6")
    assert four_routes.keys() == {"10.1.1.1", "10.1.2.0/24", "default", "10.1.3.1", "10.1.4.0/23"}
    assert six_routes.keys() == {"2001:db8:1::1", "2001:db8:2::/64", "default", "2001:db8:3::/48"}
    assert four_routes["10.1.3.1"]["nhid"] == str(full.ids.by_value[GROUP4])
    assert routes(ns, 10001)["10.1.2.0/24"]["via"] == "192.0.2.13"
    labels = {entry["dst"]: entry for entry in listing(ns, "-f", "mpls", "route")}
    assert labels["1000"]["via"] == {"family": "inet", "host": "10.1.1.1"}
    assert labels["1001"]["via"] == {"family": "inet6", "host": "2001:db8:1::1"}
    neighbours = {entry["dst"]: entry for entry in listing(ns, "neighbour", "show", "nud", "permanent")}
    assert neighbours["192.0.2.11"]["lladdr"] == "02:00:00:00:00:99"
    assert neighbours["2001:db8:1::1"]["dev"] == "tap0"


def test_a_fresh_process_recognises_its_own_and_writes_nothing(full: Process, process: Make) -> None:
    second = process()
    second.reconciler.put_all(EVERYTHING)
    second.reconciler.allow_sweep()
    second.run()
    second.assert_settled(*EVERYTHING)
    assert second.channel.sent == 0
    assert second.ids.by_value == full.ids.by_value


def test_a_fresh_process_changes_only_what_differs(full: Process, process: Make, ns: Namespace) -> None:
    moved, gone, new = ROUTES[1]._replace(via=HOPS4[1]), ROUTES[7], route("10.7.0.0/16", HOPS4[0])
    second = process()
    second.reconciler.put_all([value for value in EVERYTHING if value not in (ROUTES[1], gone)] + [moved, new])
    second.run()
    assert second.channel.sent == 2
    assert routes(ns)["10.1.2.0/24"]["via"] == "192.0.2.12"
    assert "2001:db8:2::/64" in routes(ns, family="-6"), "no leave to sweep yet"
    second.reconciler.allow_sweep()
    second.run()
    assert second.channel.sent == 3
    assert "2001:db8:2::/64" not in routes(ns, family="-6")


def test_all_is_deleted_in_the_end(full: Process, ns: Namespace) -> None:
    for value in EVERYTHING:
        full.reconciler.remove(value.kind, value.key)
    full.run()
    assert full.reconciler.failures() == []
    assert [driver.dump() for driver in full.drivers] == [{}] * 5
    assert listing(ns, "nexthop") == []
    assert routes(ns, family="-6") == routes(ns) == {}
    assert not full.ids.by_id
    assert not full.ids.by_value


def test_what_is_not_ours_is_neither_seen_nor_touched(ns: Namespace, process: Make) -> None:
    # Numbers, as a batch of ip(8) takes the second "static" for the protocol before it.
    ns.ip(
        "nexthop add id 1000 via 192.0.2.20 dev up0 protocol 4",
        "nexthop add id 5 via 192.0.2.21 dev up0 protocol 108",
        "nexthop add id 1001 group 1000/5 protocol 4",
        "route add 10.5.0.0/16 via 192.0.2.20 table 10000 protocol 4",
        "route add 10.6.0.0/16 nhid 1000 table 500 protocol 108",
        "route add unreachable default table 10000 metric 4278198272 protocol 108",
        "route add 10.5.0.0/16 via 192.0.2.20 metric 50 table 10000 protocol 108",
        "route add 2001:db8:5::/48 dev up0 table 10000 protocol 4",
        "neighbour add 192.0.2.20 lladdr 02:00:00:00:00:20 dev up0",
    )
    ip(ns, "-6 route add unreachable default table 10000 metric 4278198272 protocol 108")
    ip(ns, "-f mpls route add 1500 via inet 192.0.2.20 dev up0 protocol 4")
    ip(ns, "-f mpls route add 3000 via inet 192.0.2.20 dev up0 protocol 108")

    def foreign() -> list[list[dict[str, Any]]]:
        return [
            listing(ns, "nexthop"),
            listing(ns, "-4", "route", "show", "table", "all"),
            listing(ns, "-f", "mpls", "route"),
            listing(ns, "neighbour", "show", "nud", "permanent"),
            listing(ns, "-6", "route", "show", "table", "10000"),
        ]

    before = foreign()
    first = process()
    first.run()
    assert [dict(first.reconciler.kernel(driver.kind)) for driver in first.drivers] == [{}] * 5
    first.reconciler.allow_sweep()
    first.run()
    assert first.channel.sent == 0
    first.reconciler.put_all(EVERYTHING)
    first.run()
    first.assert_settled(*EVERYTHING)
    assert not {1000, 1001, 5} & first.ids.by_id.keys()
    for value in EVERYTHING:
        first.reconciler.remove(value.kind, value.key)
    first.run()
    assert foreign() == before


def test_another_program_s_objects_are_not_replaced(ns: Namespace, process: Make) -> None:
    ip(ns, "route add 10.1.2.0/24 via 192.0.2.20 dev up0 table 10000 protocol 4")
    ip(ns, "-f mpls route add 1000 via inet 192.0.2.20 dev up0 protocol 4")
    first = process()
    first.reconciler.put_all(EVERYTHING)
    first.run(seconds=1)
    failures = {(change.kind, change.key): change.status.error for change in first.reconciler.failures()}
    assert failures.keys() == {(Kind.VRF_ROUTE, ROUTES[1].key), (Kind.MPLS_ROUTE, 1000)}
    assert all(text.startswith("EEXIST") and "another program" in text for text in failures.values())
    assert routes(ns)["10.1.2.0/24"]["proto"] == "static"
    ip(ns, "route del 10.1.2.0/24 table 10000")
    ip(ns, "-f mpls route del 1000")
    first.run(seconds=30)
    first.assert_settled(*EVERYTHING)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ROUTES[1], ROUTES[1]._replace(via=GROUP4)),
        (ROUTES[3], ROUTES[3]._replace(via=HOPS4[2])),
        (ROUTES[7], ROUTES[7]._replace(via=HOPS6[2])),
        (ROUTES[7], ROUTES[7]._replace(via=GROUP6)),
        (ROUTES[9], ROUTES[9]._replace(via=HOPS6[2])),
        (ROUTES[8], ROUTES[8]._replace(via=LOCAL6)),
    ],
)
def test_a_route_is_moved_in_place(full: Process, ns: Namespace, old: VrfRoute, new: VrfRoute) -> None:
    sent = full.channel.sent
    full.reconciler.put(new)
    full.run()
    assert full.channel.sent == sent + 1
    family = "-4" if old.prefix.afi == 1 else "-6"
    text = "default" if old.prefix.length == 0 else old.prefix.address if old.prefix.is_host else str(old.prefix)
    assert routes(ns, family=family)[text]["nhid"] == str(full.ids.by_value[new.via])


def test_deletion_of_a_next_hop_by_a_third_party(full: Process, ns: Namespace) -> None:
    for hop in (HOPS4[2], HOPS6[0], HOPS4[0]):
        ns.ip(f"nexthop del id {full.ids.by_value[hop]}")
        full.reconciler.handle([ObjectRemoved(Kind.NEXT_HOP, hop)])
        full.run()
        full.assert_settled(*EVERYTHING)
    assert routes(ns, 10001).keys() == {"10.1.2.0/24"}
    sent = full.channel.sent
    full.reconciler.resync(None, "test")
    full.run()
    assert full.channel.sent == sent, "what we believe is what the kernel holds"


def test_deletion_of_everything_is_found_by_a_dump(full: Process, ns: Namespace) -> None:
    ns.output("ip", "nexthop", "flush", "protocol", "108")
    ip(ns, "-f mpls route del 1000")
    ns.ip("neighbour del 192.0.2.11 dev up0", "neighbour del 2001:db8:1::1 dev tap0")
    full.reconciler.resync(None, "test")
    full.run()
    full.assert_settled(*EVERYTHING)
    assert len(routes(ns)) == 5
    assert len(routes(ns, family="-6")) == 4


def test_change_of_an_id_s_content_by_a_third_party(full: Process, ns: Namespace) -> None:
    taken = full.ids.by_value[HOPS4[0]]
    ns.ip(f"nexthop replace id {taken} via 192.0.2.66 dev up0 onlink protocol 108")
    full.reconciler.resync([Kind.NEXT_HOP], "test")
    full.run()
    full.assert_settled(*EVERYTHING)
    assert routes(ns)["10.1.2.0/24"]["via"] == "192.0.2.11"
    assert taken not in [entry["id"] for entry in listing(ns, "nexthop")], "what it became is nobody's"


def test_links_going_down_and_up(full: Process, ns: Namespace) -> None:
    for name in ("up0", "tap0"):
        ns.ip(f"link set {name} down")
        full.reconciler.handle([LinkDown(name)])
        full.run()
        errors = {change.status.error for change in full.reconciler.failures()}
        assert any(error.startswith("ENETDOWN") for error in errors), errors
        ns.ip(f"link set {name} up")
        full.reconciler.handle([LinkChanged(name)])
        full.run(seconds=1)
        full.assert_settled(*EVERYTHING)
    assert len(routes(ns)) == 5
    assert len(routes(ns, family="-6")) == 4
    full.reconciler.resync(None, "test")
    sent = full.channel.sent
    full.run()
    assert full.channel.sent == sent


def test_duplicates_and_odd_next_hops_are_swept_and_their_routes_moved(
    full: Process, process: Make, ns: Namespace
) -> None:
    ns.ip(
        "nexthop add id 900000 encap mpls 500 via 192.0.2.11 dev up0 onlink protocol 108",
        "nexthop add id 900001 blackhole protocol 108",
        "nexthop add id 900002 group 900000,5 protocol 108",
        "route replace 10.1.2.0/24 nhid 900000 table 10000 protocol 108",
    )
    second = process()
    second.reconciler.put_all(EVERYTHING)
    second.run()
    assert routes(ns)["10.1.2.0/24"]["nhid"] == str(full.ids.by_value[HOPS4[0]])
    assert next(f.strays for f in second.reconciler.figures() if f.kind is Kind.NEXT_HOP) == 2
    second.reconciler.allow_sweep()
    second.run()
    second.assert_settled(*EVERYTHING)
    assert not {900000, 900001, 900002} & {entry["id"] for entry in listing(ns, "nexthop")}
    assert len(routes(ns)) == 5


def test_errors_say_why_and_hit_only_what_they_belong_to(ns: Namespace, process: Make) -> None:
    first = process()
    first.run()
    bad = NextHop("nowhere", REMOTE[0], (500,))
    label = MplsRoute(1002, "tap0", VM4)
    Path("/proc/sys/net/mpls/platform_labels").write_text("1001")
    first.reconciler.put_all(
        (HOPS4[0], bad, HOPS4[1], route("10.8.0.0/16", HOPS4[0]), route("10.9.0.0/16", bad), label)
    )
    first.run()
    status = first.reconciler.status
    assert status(Kind.NEXT_HOP, bad).error == "ENODEV: there is no device nowhere"
    assert status(Kind.VRF_ROUTE, (10000, Prefix.parse("10.9.0.0/16"))).error == "next hop not programmed"
    assert "platform_labels" in status(Kind.MPLS_ROUTE, 1002).error
    assert status(Kind.NEXT_HOP, HOPS4[1]).settled
    assert status(Kind.VRF_ROUTE, (10000, Prefix.parse("10.8.0.0/16"))).settled


def test_each_operation_of_a_batch_has_its_own_outcome(ns: Namespace, process: Make) -> None:
    first = process()
    first.run()
    driver = first.drivers[1]
    hops = [NextHop("up0", address) for address in (REMOTE[0], parse_address("224.0.0.1"), REMOTE[1])]
    outcomes = driver.apply([Operation(Verb.PUT, hop) for hop in hops])
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert outcomes[1] is not None
    assert outcomes[1].errno == errno.EINVAL
    assert outcomes[1].text.startswith("EINVAL: ")
    assert driver.apply([Operation(Verb.REMOVE, hop) for hop in hops]) == [None] * 3
    assert listing(ns, "nexthop") == []


def test_removing_what_is_gone_counts_as_done(full: Process, ns: Namespace) -> None:
    ns.ip("link del up0", "link del tap0")
    for value in EVERYTHING:
        full.reconciler.remove(value.kind, value.key)
    full.run()
    assert full.reconciler.failures() == []
    assert all(f.kernel == 0 for f in full.reconciler.figures())


def test_routes_of_others_are_not_even_dumped(ns: Namespace, process: Make) -> None:
    ns.ip(*(f"route add 100.64.{place >> 8}.{place & 255}/32 dev up0 protocol bgp" for place in range(3000)))
    first = process()
    first.reconciler.put_all((HOPS4[0], route("10.8.0.0/16", HOPS4[0])))
    first.run()
    seen = [
        raw for chunk in first.channel.dump(lambda seq: encode_route_dump(2, seq), decode_route_dump) for raw in chunk
    ]
    assert [(raw.table, raw.protocol) for raw in seen] == [(10000, 108)]


def test_ten_thousand_routes(ns: Namespace, process: Make) -> None:
    hops = [NextHop("up0", bytes([10, 200, place >> 8, place & 255]), (16 + place,)) for place in range(5000)]
    hops += [NextHop("up0", b"\0" * 10 + b"\xff\xff" + hop.gateway, hop.labels) for hop in hops]
    values: list[Value] = list(hops)
    for place, hop in enumerate(hops):
        packed = (b"" if place < 5000 else b"\x20\x01" + bytes(10)) + bytes([20, 0, place >> 8, place & 255])
        values.append(VrfRoute(10000, Prefix(packed, 8 * len(packed)), hop))
    first = process()
    first.reconciler.put_all(values)
    first.run()
    first.assert_settled(*values)
    assert first.channel.sent == 20_000
    second = process()
    second.reconciler.put_all(values)
    second.run()
    second.assert_settled(*values)
    assert second.channel.sent == 0
    for value in values:
        second.reconciler.remove(value.kind, value.key)
    second.run()
    assert all(f.kernel == 0 for f in second.reconciler.figures())
