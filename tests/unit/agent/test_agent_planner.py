"""The plan: what is forwarded where; and that planning change by change is the same as planning from scratch."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.attachment import Attached, VpnRecord, parse_attach
from agent.plan import Host, plan, resolve
from agent.planner import Planner
from datapath.values import (
    AntiSpoofing,
    Kind,
    MplsRoute,
    Neighbour,
    NextHopGroup,
    Port,
    PortKind,
    Tunnel,
    Value,
    Vrf,
    VrfRoute,
)
from datapath.values import NextHop as Hop
from vpn.path import Encapsulation, NextHop, Path
from vpn.prefix import Prefix, parse_address

SELF, THERE, FAR = (parse_address(f"192.0.2.{n}") for n in (11, 12, 13))
MAPPED = bytes(10) + b"\xff\xff"
HOST = Host(SELF)
VPNS = {
    name: VpnRecord(name, number, 10000 + number, f"vw-{name}") for number, name in enumerate(("blue", "red", "green"))
}
WEB_MAC = bytes.fromhex("020000000001")


def attached(name: str, vpn: str, label: int, *addresses: str, prefixes: tuple[str, ...] = ()) -> Attached:
    params: dict[str, object] = {
        "name": name,
        "vpn": vpn,
        "addresses": list(addresses),
        "prefixes": list(prefixes),
        "interface": f"tap-{name}",
        "mac": "02:00:00:00:00:01",
    }
    return Attached(parse_attach(params, "hv1"), label)


def path(*hops: tuple[bytes, int], encapsulation: Encapsulation = Encapsulation.GRE) -> Path:
    return Path(tuple(NextHop(address, label, (encapsulation,)) for address, label in hops))


WEB = attached("web", "blue", 100, "10.1.1.1", "fd00::1", prefixes=("10.9.0.0/16",))
WEB_LINK_LOCAL = parse_address("fe80::ff:fe00:1")
P4, P6 = Prefix.parse("10.2.0.1/32"), Prefix.parse("fd02::1/128")


def routes_of(values: set[Value]) -> dict[Prefix, VrfRoute]:
    return {value.prefix: value for value in values if isinstance(value, VrfRoute)}


def test_a_host_without_ports_has_its_tunnel_ready() -> None:
    assert plan(HOST, {}, [], {}) == {Tunnel("vw-gre", SELF)}


def test_what_a_port_needs() -> None:
    values = plan(HOST, VPNS, [WEB], {})
    assert values == {
        Tunnel("vw-gre", SELF),
        Vrf("vw-blue", 10000, "blue"),
        Port("tap-web", PortKind.TAP, "vw-blue", "web", guest_mac=WEB_MAC),
        Neighbour("tap-web", parse_address("10.1.1.1"), WEB_MAC),
        Neighbour("tap-web", parse_address("fd00::1"), WEB_MAC),
        Neighbour("tap-web", WEB_LINK_LOCAL, WEB_MAC),
        AntiSpoofing("tap-web", WEB_MAC, tuple(map(Prefix.parse, ("10.1.1.1/32", "fd00::1/128", "10.9.0.0/16")))),
        MplsRoute(100, "tap-web", parse_address("10.1.1.1")),
    }


def test_what_is_blocked_neither_sends_nor_receives() -> None:
    first, *others = WEB.attachment.announced()
    partly = plan(HOST, VPNS, [replace(WEB, blocked=frozenset([first]))], {})
    assert AntiSpoofing("tap-web", WEB_MAC, tuple(others)) in partly
    assert MplsRoute(100, "tap-web", parse_address("10.1.1.1")) in partly
    wholly = plan(HOST, VPNS, [replace(WEB, blocked=frozenset((first, *others)))], {})
    assert AntiSpoofing("tap-web", WEB_MAC, ()) in wholly
    assert not any(isinstance(value, MplsRoute) for value in wholly)
    assert Port("tap-web", PortKind.TAP, "vw-blue", "web", guest_mac=WEB_MAC) in wholly


def test_a_remote_route_brings_its_next_hop_and_one_neighbour_for_both_families() -> None:
    values = plan(HOST, VPNS, [WEB], {("blue", P4): path((THERE, 7000)), ("blue", P6): path((THERE, 7000))})
    assert routes_of(values)[P4].via == Hop("vw-gre", THERE, (7000,))
    assert routes_of(values)[P6].via == Hop("vw-gre", MAPPED + THERE, (7000,))
    assert [v for v in values if isinstance(v, Neighbour) and v.device == "vw-gre"] == [
        Neighbour("vw-gre", THERE, THERE)
    ]


def test_local_prefixes_are_not_routed_by_themselves() -> None:
    """Hub-and-spoke: the announcement decides, even on the host that has the port."""
    own = Prefix.parse("10.1.1.1/32")
    assert routes_of(plan(HOST, VPNS, [WEB], {})) == {}
    hub = plan(HOST, VPNS, [WEB], {("blue", own): path((THERE, 7000))})
    assert routes_of(hub)[own].via == Hop("vw-gre", THERE, (7000,))
    back = plan(HOST, VPNS, [WEB], {("blue", own): path((SELF, 100))})
    assert routes_of(back)[own].via == Hop("tap-web", own.packed)


def test_a_prefix_behind_a_vm_goes_to_the_vm() -> None:
    behind = Prefix.parse("10.9.0.0/16")
    values = plan(HOST, VPNS, [WEB], {("blue", behind): path((SELF, 100))})
    assert routes_of(values)[behind].via == Hop("tap-web", parse_address("10.1.1.1"))


def test_ipv6_goes_to_a_vm_by_its_link_local_address() -> None:
    """Linux takes no gateway that is routed elsewhere, as the VM's own address is while another host announces it."""
    address, behind = Prefix.parse("fd00::1/128"), Prefix.parse("fd09::/64")
    values = plan(HOST, VPNS, [WEB], {("blue", prefix): path((SELF, 100)) for prefix in (address, behind)})
    assert {route.via for route in routes_of(values).values()} == {Hop("tap-web", WEB_LINK_LOCAL)}


def test_a_port_without_ipv6_takes_no_ipv6() -> None:
    web = attached("web", "blue", 100, "10.1.1.1")
    values = plan(HOST, VPNS, [web], {("blue", P6): path((SELF, 100))})
    assert routes_of(values) == {}
    assert {v.address for v in values if isinstance(v, Neighbour)} == {parse_address("10.1.1.1")}


def test_local_and_remote_in_one_group() -> None:
    values = plan(HOST, VPNS, [WEB], {("blue", P4): path((THERE, 7000), (SELF, 100), (FAR, 7001))})
    group = NextHopGroup(
        tuple(
            sorted(
                (
                    Hop("tap-web", parse_address("10.1.1.1")),
                    Hop("vw-gre", THERE, (7000,)),
                    Hop("vw-gre", FAR, (7001,)),
                )
            )
        )
    )
    assert routes_of(values)[P4].via == group
    assert {group, *group.members} <= values


def test_what_is_not_used_says_why() -> None:
    labels = {100: WEB}
    answer = resolve(HOST, P4, path((SELF, 999), (THERE, 7000)), labels)
    assert answer.via == Hop("vw-gre", THERE, (7000,))
    assert [(entry.next_hop.label, entry.reason) for entry in answer.ignored] == [
        (999, "label 999 is this host's, but no port here has it")
    ]
    answer = resolve(HOST, P4, path((THERE, 1000), encapsulation=Encapsulation.VXLAN), labels)
    assert (answer.via, answer.ignored[0].reason) == (None, "encapsulation vxlan is not supported here")
    answer = resolve(HOST, P4, path((parse_address("2001:db8::1"), 1000)), labels)
    assert answer.ignored[0].reason == "the next hop is not an IPv4 underlay address"
    only4 = attached("only4", "blue", 101, "10.1.1.2")
    answer = resolve(HOST, P6, path((SELF, 101)), {101: only4})
    assert answer.ignored[0].reason == "port only4 has no address of the family"


def test_a_route_that_comes_before_its_port_is_made_when_the_port_comes() -> None:
    planner = Planner(HOST)
    other = attached("other", "blue", 101, "10.1.1.9")
    planner.attach(other, VPNS["blue"])
    own = Prefix.parse("10.1.1.1/32")
    planner.route("blue", own, path((SELF, 100)))
    assert planner.vrf_route("blue", own) is None
    planner.attach(WEB, VPNS["blue"])
    assert planner.vrf_route("blue", own) == VrfRoute(10000, own, Hop("tap-web", own.packed))
    planner.detach("web")
    assert planner.vrf_route("blue", own) is None


def test_the_last_port_takes_the_vpn_with_it() -> None:
    planner = Planner(HOST)
    assert planner.attach(WEB, VPNS["blue"]) is True
    planner.route("blue", P4, path((THERE, 7000)))
    planner.take()
    assert planner.detach("web") is True
    assert planner.detach("web") is False
    assert planner.desired() == {Tunnel("vw-gre", SELF)}
    delta = planner.take()
    assert not delta.puts
    assert {value.kind for value in delta.removes} == set(Kind) - {Kind.TUNNEL, Kind.NEXT_HOP_GROUP}


def test_a_flap_within_one_turn_ends_as_it_ended() -> None:
    planner = Planner(HOST)
    planner.attach(WEB, VPNS["blue"])
    planner.route("blue", P4, path((THERE, 7000)))
    planner.take()
    planner.route("blue", P4, None)
    planner.route("blue", P4, path((THERE, 7000)))
    delta = planner.take()
    assert not delta.removes
    planner.route("blue", P4, path((THERE, 7001)))
    delta = planner.take()
    assert delta.removes == [Hop("vw-gre", THERE, (7000,))]
    assert {value.kind for value in delta.puts} == {Kind.NEXT_HOP, Kind.VRF_ROUTE}


LOCAL_HOP = Hop("tap-web", parse_address("10.1.1.1"))
HOP_THERE, HOP_FAR = Hop("vw-gre", THERE, (7000,)), Hop("vw-gre", FAR, (7001,))


def test_a_route_goes_by_the_next_hops_that_the_kernel_takes() -> None:
    """The VM behind one of them is switched off, and on again."""
    planner = Planner(HOST)
    planner.attach(WEB, VPNS["blue"])
    planner.route("blue", P4, path((SELF, 100), (THERE, 7000), (FAR, 7001)))
    whole, rest = NextHopGroup(tuple(sorted((LOCAL_HOP, HOP_THERE, HOP_FAR)))), NextHopGroup((HOP_THERE, HOP_FAR))
    planner.take()
    assert planner.next_hop(LOCAL_HOP, taken=False) is True
    assert planner.next_hop(LOCAL_HOP, taken=False) is False
    delta = planner.take()
    assert delta.puts == [rest, VrfRoute(10000, P4, rest)]
    assert delta.removes == [whole], "what is left out stays wanted: that it is made is how we hear of the VM"
    assert LOCAL_HOP in planner.desired()
    assert planner.waiting("blue", P4) == (LOCAL_HOP,)
    assert planner.next_hop(LOCAL_HOP, taken=True) is True
    delta = planner.take()
    assert (delta.puts, delta.removes) == ([whole, VrfRoute(10000, P4, whole)], [rest])
    assert planner.waiting("blue", P4) == ()


def test_the_last_of_two_next_hops_is_used_without_a_group() -> None:
    planner = Planner(HOST)
    planner.attach(WEB, VPNS["blue"])
    planner.route("blue", P4, path((SELF, 100), (THERE, 7000)))
    planner.next_hop(LOCAL_HOP, taken=False)
    assert planner.vrf_route("blue", P4) == VrfRoute(10000, P4, HOP_THERE)
    planner.route("blue", P4, path((SELF, 100)))
    assert planner.vrf_route("blue", P4) == VrfRoute(10000, P4, LOCAL_HOP), "the route waits for the only one"
    assert planner.waiting("blue", P4) == ()
    planner.route("blue", P4, path((SELF, 100), (THERE, 7000)))
    assert planner.vrf_route("blue", P4) == VrfRoute(10000, P4, HOP_THERE)
    planner.route("blue", P4, None)
    assert planner.down == set()
    assert planner.waiting("blue", P4) == ()
    planner.route("blue", P4, path((SELF, 100), (THERE, 7000)))
    assert planner.vrf_route("blue", P4) == VrfRoute(10000, P4, NextHopGroup((LOCAL_HOP, HOP_THERE))), "tried again"


def test_only_next_hops_of_ports_that_are_wanted_are_left_out() -> None:
    planner = Planner(HOST)
    assert planner.next_hop(LOCAL_HOP, taken=False) is False
    planner.attach(WEB, VPNS["blue"])
    assert planner.next_hop(LOCAL_HOP, taken=False) is False
    planner.route("blue", P4, path((THERE, 7000), (FAR, 7001)))
    assert planner.next_hop(HOP_THERE, taken=False) is False
    assert planner.vrf_route("blue", P4) == VrfRoute(10000, P4, NextHopGroup((HOP_THERE, HOP_FAR)))


PORTS = [
    attached("a", "blue", 100, "10.1.1.1", "fd00::1", prefixes=("10.9.0.0/16",)),
    attached("b", "blue", 101, "10.1.1.2"),
    attached("c", "red", 102, "10.1.1.1", "fd00::1"),
    attached("d", "green", 103, "fd00::4"),
]
PREFIXES = [Prefix.parse(text) for text in ("10.1.1.1/32", "10.1.1.2/32", "fd00::1/128", "10.9.0.0/16", "0.0.0.0/0")]
HOPS = st.tuples(st.sampled_from([SELF, THERE, FAR]), st.sampled_from([100, 101, 102, 103, 7000]))
PATHS = st.none() | st.lists(HOPS, min_size=1, max_size=4).map(lambda hops: path(*hops))
STEPS = st.one_of(
    st.tuples(st.just("attach"), st.sampled_from(PORTS)),
    st.tuples(st.just("detach"), st.sampled_from(PORTS)),
    st.tuples(st.just("block"), st.tuples(st.sampled_from(PORTS), st.integers(0, 7))),
    st.tuples(st.just("route"), st.tuples(st.sampled_from(sorted(VPNS)), st.sampled_from(PREFIXES), PATHS)),
    st.tuples(st.just("next hop"), st.tuples(st.integers(0, 9), st.booleans())),
    st.tuples(st.just("take"), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_change_by_change_is_the_same_as_from_scratch(steps: list[tuple[str, object]]) -> None:
    planner = Planner(HOST)
    ports: dict[str, Attached] = {}
    routes: dict[tuple[str, Prefix], Path] = {}
    kernel: dict[object, Value] = {}

    def take() -> None:
        delta = planner.take()
        for value in delta.removes:
            kernel.pop((value.kind, value.key), None)
        for value in delta.puts:
            kernel[value.kind, value.key] = value

    for action, argument in steps:
        if action == "attach":
            assert isinstance(argument, Attached)
            ports[argument.name] = argument
            planner.attach(argument, VPNS[argument.attachment.vpn])
        elif action == "detach":
            assert isinstance(argument, Attached)
            if ports.pop(argument.name, None) is not None:
                planner.detach(argument.name)
            joined = {port.attachment.vpn for port in ports.values()}
            routes = {key: value for key, value in routes.items() if key[0] in joined}
        elif action == "block":
            assert isinstance(argument, tuple)
            port, mask = argument
            if port.name in ports:
                announced = port.attachment.announced()
                blocked = frozenset(prefix for place, prefix in enumerate(announced) if mask >> place & 1)
                ports[port.name] = replace(ports[port.name], blocked=blocked)
                planner.change(ports[port.name])
        elif action == "route":
            assert isinstance(argument, tuple)
            name, prefix, selected = argument
            planner.route(name, prefix, selected)
            if any(port.attachment.vpn == name for port in ports.values()):
                routes.pop((name, prefix), None)
                if selected is not None:
                    routes[name, prefix] = selected
        elif action == "next hop":
            assert isinstance(argument, tuple)
            place, taken = argument
            hops = sorted(value for value in planner.desired() if isinstance(value, Hop))
            if hops:
                planner.next_hop(hops[place % len(hops)], taken=taken)
        else:
            take()
    wanted = plan(HOST, VPNS, ports.values(), routes, planner.down)
    assert planner.down <= wanted
    assert planner.desired() == wanted
    take()
    assert set(kernel.values()) == wanted
