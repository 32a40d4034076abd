"""Whatever happens in whatever order: tables of hosts and of BGP end as those that were only told the end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bgp.attributes import Attributes
from bgp.communities import pack_route_target
from bgp.family import RTC, VPNV4
from bgp.nlri import pack_labels, vpn_key
from bgp.rib.peer import PeerPolicy
from bgp.rib.values import SourceKind
from bgp.update import Reach, Unreach, Update
from gateway.policy import Policy
from tests.unit.gateway.gateways import LINGER, Gateway, agreed, join, part, path, settle
from tests.unit.gateway.harness import MESH, Peer, vpn
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.prefix import Prefix

NODES = ("blue", "red")
PREFIXES = tuple(map(Prefix.parse, ("10.1.1.1/32", "10.1.0.0/16", "2001:db8::1/128")))
POLICIES = (
    MESH,
    Policy([vpn("blue", "64512:1 64512:2", "64512:1"), vpn("red", "64512:2", "64512:2 64512:3")]),
    Policy([vpn("blue", "64512:3", "64512:2"), vpn("red", "64512:1", "64512:1")]),
    Policy([vpn("red", "64512:2", "64512:2")]),
)
HOSTS = (11, 12)
RDS = ("64512:7", "192.0.2.12:1")
PE = "gw100"

PUBLISH = st.tuples(
    st.just("publish"),
    st.sampled_from(NODES),
    st.sampled_from(HOSTS),
    st.sampled_from(PREFIXES),
    st.sampled_from([path(11), path(11, 101), path(11, preference=200), path(11, sequence=1)]),
)
STEP = st.one_of(
    PUBLISH,
    PUBLISH,
    st.tuples(st.just("retract"), st.sampled_from(NODES), st.sampled_from(HOSTS), st.sampled_from(PREFIXES)),
    st.tuples(st.just("end"), st.sampled_from(HOSTS)),
    st.tuples(st.just("end"), st.sampled_from(HOSTS)),
    st.tuples(st.just("expire")),
    st.tuples(st.just("reload"), st.sampled_from(POLICIES)),
    st.tuples(st.just("subscribe"), st.sampled_from(NODES)),
    st.tuples(st.just("unsubscribe"), st.sampled_from(NODES)),
    st.tuples(st.just("announce"), st.sampled_from(RDS), st.sampled_from(PREFIXES[:2]), st.integers(1, 3)),
    st.tuples(st.just("withdraw"), st.sampled_from(RDS), st.sampled_from(PREFIXES[:2])),
    st.tuples(st.just("export"), st.integers(1, 3)),
    st.tuples(st.just("export"), st.just(100)),
    st.tuples(st.just("take"), st.integers(1, 3)),
)


class Site:
    """A gateway with a PE, a host that only subscribes, and what they have come to."""

    def __init__(self, number: int = 1, policy: Policy = MESH) -> None:
        self.gateway = Gateway(number, policy)
        self.routes: dict[tuple[str, Prefix], int] = {}
        self.sessions = dict.fromkeys(HOSTS, 1)
        self.instance = {"blue": 1, "red": 2}
        """Of all hosts, by VPN: so no two items are one NLRI."""
        pe = Gateway(100)
        self.gateway.bgp.add_peer(PE, pe.router_id, PeerPolicy(SourceKind.INTERNAL))
        self.gateway.bgp.session_up(PE, agreed(self.gateway, pe), self.gateway.now)
        self.subscriber = self.connect()

    def connect(self) -> Peer:
        return self.gateway.connect("hv99", "192.0.2.99")

    def identity(self, node: str, host: int, prefix: Prefix) -> str:
        return f"192.0.2.{host}:{self.instance[node]}:{prefix}"

    def do(self, step: tuple) -> None:  # type: ignore[type-arg]
        gateway, rib = self.gateway, self.gateway.rib
        gateway.now += 10
        match step:
            case ("publish", node, host, prefix, said) if node in rib.tables:
                hops = tuple(hop._replace(address=bytes((192, 0, 2, host))) for hop in said.next_hops)
                said = type(said)(hops, said.local_preference, said.sequence_number)
                rib.publish(node, f"hv{host}", self.identity(node, host, prefix), prefix, said, self.sessions[host])
            case ("retract", node, host, prefix) if node in rib.tables:
                rib.retract(node, self.identity(node, host, prefix))
            case ("end", host):
                rib.session_ended(f"hv{host}", self.sessions[host], gateway.now)
                self.sessions[host] += 1
            case ("expire",):
                gateway.now += 50
                rib.expire(gateway.now)
                gateway.exchange.handle_timer(gateway.now)
            case ("reload", policy):
                gateway.service.reload(policy)
            case ("subscribe", node):
                self.subscriber.subscribe(node)
            case ("unsubscribe", node):
                self.subscriber.pubsub(f"<unsubscribe node='{node}' jid='{self.subscriber.session.jid}'/>")
            case ("announce", distinguisher, prefix, number):
                self.routes[distinguisher, prefix] = number
                self.tell(distinguisher, prefix, number)
            case ("withdraw", distinguisher, prefix):
                self.routes.pop((distinguisher, prefix), None)
                key = vpn_key(RouteDistinguisher.parse(distinguisher), prefix)
                gateway.bgp.update(PE, Update(unreach=(Unreach(VPNV4, [key]),)))
            case ("export", limit):
                gateway.exchange.export(gateway.now, limit)
            case ("take", limit):
                gateway.exchange.take_in(limit)

    def tell(self, distinguisher: str, prefix: Prefix, number: int) -> None:
        """The PE announces; number: of the route target, the next hop, and what else differs."""
        said = Attributes(
            local_pref=100 + number // 3,
            extended_communities=(pack_route_target(RouteTarget.parse(f"64512:{number}")),),
        )
        route = (vpn_key(RouteDistinguisher.parse(distinguisher), prefix), pack_labels([500 + number]))
        self.gateway.bgp.update(PE, Update(said, Reach(VPNV4, bytes((192, 0, 2, 12)), [route])))

    def again(self) -> Site:
        """A new gateway that has only seen the end."""
        gateway = self.gateway
        site = Site(gateway.router_id[3], gateway.rib.policy)
        other = site.gateway
        for node in gateway.rib.tables:
            for identity, item in gateway.rib.items(node):
                host = item.publisher.host
                stale = gateway.rib.is_stale(node, host, identity)
                other.rib.publish(node, host, identity, item.prefix, item.path, 1 if stale else 2)
        for host in other.rib.hosts():
            other.rib.session_ended(host, 1, other.now)
        for node in self.subscriber.session.subscriptions:
            site.subscriber.subscribe(node)
        for (distinguisher, prefix), number in self.routes.items():
            site.tell(distinguisher, prefix, number)
        site.finish()
        return site

    def finish(self) -> None:
        """Work until nothing is left, and let what lingers end."""
        self.gateway.work()
        self.gateway.now += LINGER
        self.gateway.exchange.handle_timer(self.gateway.now)
        self.gateway.work()

    def state(self) -> dict[str, object]:
        """What is to be the same in the end."""
        gateway = self.gateway
        return {
            "originated": gateway.originated(),
            "tables": gateway.tables(),
            "sources": {name: set(table.sources()) for name, table in gateway.rib.tables.items()},
            "memberships": {one.key for one in gateway.bgp.tables[RTC]},
            "problems": gateway.exchange.problems,
        }


@settings(deadline=None)
@given(st.lists(STEP, min_size=10, max_size=40))
def test_tables_are_what_the_end_says(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    site = Site()
    for step in steps:
        site.do(step)
    site.finish()
    assert site.state() == site.again().state()


MEET = st.one_of(
    st.tuples(st.integers(0, 1), STEP),
    st.tuples(st.integers(0, 1), STEP),
    st.tuples(st.just("settle"), st.integers(1, 3)),
    st.tuples(st.just("part"), st.booleans()),
    st.tuples(st.just("join")),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(MEET, min_size=10, max_size=40))
def test_gateways_that_meet_converge(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    sites = (Site(1), Site(2))
    joined = False
    one, two = sites[0].gateway, sites[1].gateway
    for step in steps:
        match step:
            case ("settle", limit):
                settle((one, two), limit)
            case ("part", preserve):
                if joined:
                    part(one, two, preserve=preserve)
                joined = False
            case ("join",):
                if not joined:
                    join(one, two)
                joined = True
            case (number, what):
                sites[number].do(what)
    if not joined:
        join(one, two)
    for site in sites:
        site.finish()
    # What was stale at one of them is gone when its timer is over.
    settle((one, two))
    fresh = [site.again() for site in sites]
    join(fresh[0].gateway, fresh[1].gateway)
    settle((fresh[0].gateway, fresh[1].gateway))
    for site, other in zip(sites, fresh, strict=True):
        assert site.state() == other.state()


CLAIM = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(NODES), st.sampled_from(("", "x", "y")), st.integers(1, 2)),
    st.tuples(st.just("publish"), st.sampled_from(NODES), st.sampled_from(("", "x", "y")), st.integers(1, 2)),
    st.tuples(st.just("retract"), st.sampled_from(NODES), st.sampled_from(("", "x", "y"))),
    st.tuples(st.just("reload"), st.sampled_from(POLICIES)),
    st.tuples(st.just("export"), st.integers(1, 3)),
)


@settings(deadline=None)
@given(st.lists(CLAIM, max_size=40))
def test_an_nlri_is_said_as_one_of_its_items_says_it(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    gateway = Gateway()
    rib = gateway.rib
    prefix = PREFIXES[0]
    for step in steps:
        match step:
            case ("publish", node, suffix, host) if node in rib.tables:
                rib.publish(node, "hv1", f"id{suffix}", prefix, path(host), instance=1)
            case ("retract", node, suffix) if node in rib.tables:
                rib.retract(node, f"id{suffix}")
            case ("reload", policy):
                gateway.service.reload(policy)
            case ("export", limit):
                gateway.exchange.export(gateway.now, limit)
    gateway.work()
    expected: dict[bytes, set[tuple[bytes, ...]]] = {}
    items = 0
    for node in rib.tables:
        for _, item in rib.items(node):
            items += 1
            distinguisher = RouteDistinguisher(1, item.path.next_hops[0].address + b"\0\1")
            targets = tuple(sorted(map(pack_route_target, rib.policy.exports(node))))
            expected.setdefault(vpn_key(distinguisher, prefix), set()).add(targets)
    originated = {nlri: said.route_targets for (_, nlri), (said, _, _) in gateway.originated().items()}
    assert originated.keys() == expected.keys()
    assert all(targets in expected[nlri] for nlri, targets in originated.items())
    assert gateway.exchange.problems.total() == items - len(expected)
