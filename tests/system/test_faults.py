"""Faults: daemons that die, programs that interfere, hosts that vanish. Traffic goes on where it can, what is
broken is repaired, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from benchmarks.processes import processor, switches
from lab.crowd import MAIN, ForeignRoutes, Spent, flap_devices
from lab.flows import Flows
from lab.guest import Guest
from lab.namespace import Namespace
from lab.node import Host
from lab.wait import wait_until
from runtime.client import ControlClient
from runtime.errors import ExitCode, OperatorError
from tests.system.observe import Notifications, kernel_state, settings, without_numbers
from tests.system.site_lab import Site, reaches_all, routes_to, same, settle, view
from tests.system.third_party import DAMAGE, FOREIGN_LABEL, SHARED_DAMAGE, make_foreign_objects

REPAIR = 1.0
"""Seconds in which what a third party has broken is repaired."""
SLACK = 2.0
"""Added for a machine with one slow CPU that many share."""
TABLE = 10000
"""Table of the first VPN of a host."""
HOLD, STALE = 3.0, 20.0
"""Seconds of silence after which a session is given up, and that a host's routes outlive it at the gateway."""
FOREIGN_ROUTES = 30_000
FOREIGN_TABLE = 99999
KEEPALIVE_WAKES = 10
"""Times that the agent may be woken by a ping and its answer."""
CPU_SHARE, CPU_TICK = 0.05, 0.1
"""CPU that the agent may use, as a share of what its cause costs; and in seconds, since it is counted in ticks."""
KEPT = 1.5
"""Seconds that a host keeps the routes of a lost session after the end of table of the next."""


@pytest.fixture(scope="module")
def site(in_lab: None) -> Iterator[Site]:
    with Site(hosts=["hv1", "hv2", "hv3"]) as made:
        made.gateway.settings["gateway"] |= {"stale_time": STALE, "hold_time": HOLD + 2}
        for host in made.hosts.values():
            host.settings["signaling"] = {
                "hold_time": HOLD,
                "stale_time": KEPT,
                "reconnect_min": 0.1,
                "reconnect_max": 0.5,
                "retry_time": 0.5,
            }
        made.foreign = make_foreign_objects(made.hv1.namespace, TABLE)
        made.untouched = settings(made.hv1.namespace)
        made.start()
        wait_until(lambda: "vw-gre" in made.hv1.namespace.interfaces(), 10, "the tunnel", detail=made.tails)
        made.bare = without_numbers(kernel_state(made.hv1.namespace))
        for where, name, vpn, number, tap in (
            ("hv1", "blue-1", "blue", 1, False),
            ("hv1", "blue-2", "blue", 2, True),
            ("hv1", "red-1", "red", 1, False),
            ("hv1", "red-2", "red", 2, False),
            ("hv2", "blue-3", "blue", 3, False),
            ("hv3", "red-3", "red", 3, False),
        ):
            made.attach(where, name, vpn, [f"10.1.1.{number}", f"fd00:1::{number}"], tap=tap)
        settle(made)
        made.whole = without_numbers(kernel_state(made.hv1.namespace))
        yield made
        for daemon in made.daemons():
            assert "Traceback" not in daemon.log.read_text(), daemon.tail(200)


@pytest.fixture(autouse=True)
def well(site: Site) -> Iterator[None]:
    """After each test all is as it was before, for foreign programs and for us."""
    yield
    settle(site)
    state = kernel_state(site.hv1.namespace)
    assert sorted(site.foreign - state) == []
    if without_numbers(state) != site.whole:
        same(site.hv1, site.whole)


# -- daemons that die (what traffic loses by it: test_loss.py)


def test_agent_killed_while_it_attaches_many_ports(site: Site) -> None:
    """What was accepted comes up after the restart; of the others there is nothing. Then all are attached again, and
    detached."""
    total = 20
    known = {port["name"] for port in site.hv1.items("port.list")}
    with ExitStack() as stack:
        params: dict[str, dict[str, object]] = {}
        for number in range(total):
            name = f"many-{number}"
            params[name] = {"name": name, "vpn": "blue", "addresses": [f"10.1.2.{number}", f"fd00:2::{number}"]}
            if number % 4:
                params[name] |= {"kind": "tap", "interface": f"tap-{name}"}
            else:
                stack.enter_context(Namespace(name))
                params[name] |= {"kind": "veth", "netns": name}
        replied = attach_until_killed(site.hv1, list(params.values()))
        assert len(replied) < total, "killed too late to be in the middle"
        site.hv1.daemon.start()
        listed = {port["name"]: port for port in site.hv1.items("port.list")}
        accepted = listed.keys() - known
        assert replied <= accepted
        settle(site)
        devices = {port["interface"] for port in listed.values()}
        devices |= {vpn["device"] for vpn in site.hv1.items("vpn.list")}
        there = {name for name in site.hv1.namespace.interfaces() if name.startswith(("vw-", "tap-"))}
        assert there == devices | {"vw-gre"}
        shown = site.hv1.namespace.output("ip", "-f", "mpls", "route")
        labels = {int(line.split()[0]) for line in shown.splitlines()} - {FOREIGN_LABEL, 500}
        assert labels == {port["label"] for port in listed.values()}
        for name, wanted in params.items():
            reply = site.hv1.call("port.attach", wanted)
            assert reply["unchanged"] is (name in accepted)
        for name in params:
            site.hv1.call("port.detach", {"name": name, "timeout": 20})


def attach_until_killed(host: Host, params: list[dict[str, object]]) -> set[str]:
    """Send half of the requests at once, after the first reply the others, and kill the daemon. Returns the names of
    the ports replied to."""
    requests = [
        json.dumps({"id": number, "method": "port.attach", "params": one}).encode() + b"\n"
        for number, one in enumerate(params)
    ]
    half = len(requests) // 2
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as control:
        control.settimeout(30)
        control.connect(str(host.socket))
        control.sendall(b"".join(requests[:half]))
        with control.makefile("rb") as lines:
            replies = [next(lines)]
            control.sendall(b"".join(requests[half:]))
            host.daemon.kill()
            with suppress(ConnectionResetError):
                replies += lines  # written before the end
    return {json.loads(line)["result"]["name"] for line in replies}


# -- programs that interfere


def opened_anew(tap: Guest) -> bool:
    """As a virtual machine monitor whose device was deleted. Whether it is there again, and open: while the agent makes
    it, it is in use."""
    tap.close()
    if tap.interface not in tap.namespace.interfaces():
        return False
    try:
        tap.open()
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def repaired(site: Site) -> int:
    """Objects of hv1 that others deleted or changed, as the operator is told."""
    return int(site.hv1.call("status")["repaired"])


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_a_vpn_is_repaired_and_counted_and_no_other_suffers(site: Site, damage: str) -> None:
    target = view(site)
    before = repaired(site)
    tap = site.vms["blue-2"]
    assert isinstance(tap, Guest)
    with Notifications(site.hv1.namespace) as notifications, Flows((site.vm("red-1"), site.vm("red-3"))) as flows:
        start = time.monotonic()
        DAMAGE[damage](target)
        if damage == "tap":
            wait_until(lambda: opened_anew(tap), REPAIR + SLACK, "the tap")
        same(site.hv1, site.whole, REPAIR + SLACK)
        assert notifications.last() - start < REPAIR + SLACK
    assert flows.lost == 0, str(flows)
    assert repaired(site) > before
    assert reaches_all(site)


@pytest.mark.parametrize("damage", SHARED_DAMAGE)
def test_damage_to_what_vpns_share_is_repaired(site: Site, damage: str) -> None:
    """VMs of one host go on."""
    before = repaired(site)
    with Flows((site.vm("red-1"), site.vm("red-2"))) as flows:
        SHARED_DAMAGE[damage](view(site))
        same(site.hv1, site.whole, REPAIR + SLACK)
    assert flows.lost == 0, str(flows)
    assert repaired(site) > before
    assert reaches_all(site)


def shared(site: Site, addresses: list[str]) -> bool:
    """Whether hv1 knows that two hosts have the addresses."""
    return all([len(r["next_hops"]) for r in routes_to(site.hv1, address)] == [2] for address in addresses)


@pytest.fixture
def anycast(site: Site) -> Iterator[str]:
    """An address that hv2 (any-2) and hv3 (any-3) share, in both families."""
    addresses = ["10.1.1.9", "fd00:1::9"]
    members = (("hv2", "any-2"), ("hv3", "any-3"))
    for host, name in members:
        site.attach(host, name, "blue", addresses, tap=True)
    try:
        wait_until(lambda: shared(site, addresses), 10, "both hosts to be known for it", detail=site.tails)
        settle(site)
        yield addresses[0]
    finally:
        for host, name in members:
            site.detach(host, name)


def test_group_deleted_is_made_again(site: Site, anycast: str) -> None:
    before = without_numbers(kernel_state(site.hv1.namespace))
    target = view(site)
    with Flows((site.vm("red-1"), site.vm("red-3")), (site.vm("blue-1"), site.vm("blue-3"))) as flows:
        target.run(f"nexthop delete id {target.next_hop(anycast)}")
        same(site.hv1, before, REPAIR + SLACK)
    assert flows.lost == 0, str(flows)
    assert site.vms["blue-1"].ping(anycast).ok


def test_rules_of_all_vrfs_deleted_are_made_again(site: Site) -> None:
    for family in ("-4", "-6"):
        site.hv1.namespace.output("ip", family, "rule", "delete", "pref", "1000")
    same(site.hv1, site.whole, REPAIR + SLACK)
    assert reaches_all(site)


def test_what_is_in_the_way_is_left_alone_and_told(site: Site) -> None:
    """A route and a label of another program, where ours would go. Ours come when those are gone."""
    hv1 = site.hv1
    label = max(port["label"] for port in hv1.items("port.list")) + 1
    label = max(label, next_label(hv1))
    hv1.namespace.ip(f"route add 10.1.1.50/32 dev foreign table {TABLE} proto 4")
    hv1.namespace.output(
        "ip", "-f", "mpls", "route", "add", str(label), "via", "inet", "198.51.100.2", "dev", "foreign"
    )
    site.attach("hv2", "blue-50", "blue", ["10.1.1.50", "fd00:1::50"])
    try:
        with pytest.raises(OperatorError, match=r"MPLS route: .*another program is in the way") as caught:
            site.attach("hv1", "blue-51", "blue", ["10.1.1.51"], tap=True, wait="programmed")
        assert caught.value.code is ExitCode.FAILURE
        port = hv1.call("port.show", {"name": "blue-51"})
        assert (port["label"], port["state"], port["announced"]) == (label, "error", "no")

        def told() -> bool:
            problems = hv1.call("status")["problems"]
            return any("10.1.1.50/32" in problem["what"] and "in the way" in problem["why"] for problem in problems)

        wait_until(told, 10, "the route in the way to be told", detail=hv1.daemon.tail)
        foreign = hv1.namespace.output("ip", "route", "show", "table", str(TABLE), "10.1.1.50")
        assert "dev foreign proto static" in foreign
        assert site.vms["blue-1"].ping("fd00:1::50").ok
    finally:
        hv1.namespace.ip(f"route delete 10.1.1.50/32 dev foreign table {TABLE}")
        hv1.namespace.output("ip", "-f", "mpls", "route", "delete", str(label))
    settle(site)
    assert site.vms["blue-1"].ping("10.1.1.50").ok
    hv1.call("port.detach", {"name": "blue-51"})
    site.detach("hv2", "blue-50")


def next_label(host: Host) -> int:
    """The label that the next attachment will get: they are given in turn."""
    place = {"kind": "tap", "interface": "tap-next"}
    reply = host.call("port.attach", {"name": "next", "vpn": "blue", "addresses": ["10.1.1.99"], **place})
    host.call("port.detach", {"name": "next"})
    return int(reply["label"]) + 1


def test_what_others_have_by_the_thousand_costs_the_agent_nothing(site: Site) -> None:
    """30,000 routes each in the main table and in a VRF of others come, are replaced and go, and devices flap: nobody
    is woken for it. That it would be seen is shown by a device of ours."""
    pid = site.hv1.daemon.pid
    namespace = site.hv1.namespace
    woken, used, began = switches(pid), processor(pid), time.monotonic()
    spent = []
    for table in (MAIN, FOREIGN_TABLE):
        with ForeignRoutes(namespace, "foreign", table) as routes:
            routes.add(FOREIGN_ROUTES)
            routes.replace(FOREIGN_ROUTES)
            routes.remove(FOREIGN_ROUTES)
            spent.append(routes.spent)
    spent.append(Spent())
    flap_devices(namespace, 50, spent[-1])
    woken, used = switches(pid) - woken, processor(pid) - used
    changes, taken = sum(each.changes for each in spent), sum(each.cpu for each in spent)
    assert changes > 6 * FOREIGN_ROUTES
    keepalives = KEEPALIVE_WAKES * (1 + (time.monotonic() - began) / (HOLD / 3))
    assert woken <= keepalives, f"{woken} times for {changes} changes"
    assert used <= taken * CPU_SHARE + CPU_TICK, f"{used:.2f} s of CPU, where {taken:.2f} s were spent on the changes"
    before = switches(pid)
    tap = view(site).tap
    namespace.ip(*(f"link set {tap} group {number % 2}" for number in range(1, 41)))
    wait_until(lambda: switches(pid) > before, 5, "the agent to be woken")


def test_lost_notifications_cost_a_look_and_nothing_else(site: Site) -> None:
    """The daemon sleeps while the kernel tells more than its socket can hold, the loss of a route among the last."""
    namespace = site.hv1.namespace
    vrf = view(site).vrf
    changes = [f"link set {vrf} group {number % 2}" for number in range(4001, 0, -1)]
    site.hv1.daemon.pause()
    try:
        namespace.ip(*changes, f"link set {vrf} group 0", f"route delete 10.1.1.3/32 table {TABLE}")
        sockets = [line.split() for line in namespace.read("/proc/thread-self/net/netlink").splitlines()[1:]]
        assert any(int(drops) for *_, drops, _ in sockets), f"nothing was lost: {sockets}"
    finally:
        site.hv1.daemon.resume()
    same(site.hv1, site.whole)
    assert reaches_all(site)


# -- things that come and go


def test_route_flaps_two_hundred_times(site: Site) -> None:
    """Two attachments take turns in having four addresses, so that the label changes each time."""
    before = {name: without_numbers(kernel_state(host.namespace)) for name, host in site.hosts.items()}
    hv2 = site.hosts["hv2"]
    labels = hv2.call("status")
    addresses = ["10.1.1.77", "10.1.1.78", "fd00:1::77", "fd00:1::78"]
    with ControlClient(str(hv2.socket)) as client:
        for turn in range(50):
            name = f"flap-{turn % 2}"
            params = {"name": name, "vpn": "blue", "addresses": addresses}
            place = {"kind": "tap", "interface": f"tap-{name}"}
            client.call("port.attach", {**params, **place, "wait": "announced", "timeout": 20}, timeout=30)
            client.call("port.detach", {"name": name, "timeout": 20}, timeout=30)
    for name, host in site.hosts.items():
        same(host, before[name])
    status = hv2.call("status")
    assert status["failed"] == 0
    assert status["labels_used"] == labels["labels_used"]
    assert status["labels_resting"] == labels["labels_resting"] + 2
    site.attach("hv2", "flap-0", "blue", addresses)
    wait_until(lambda: site.vms["blue-1"].ask("10.1.1.77", 0.5) == "flap-0", 10, "the last one to be right")
    site.detach("hv2", "flap-0")


def test_underlay_and_tunnel_flap(site: Site) -> None:
    flaps = [
        f"link set {device} {state}" for _ in range(10) for device in ("eth0", "vw-gre") for state in ("down", "up")
    ]
    site.hv1.namespace.ip(*flaps)
    wait_until(lambda: site.vms["blue-1"].ping("10.1.1.3", timeout=0.5).ok, 20, "traffic", detail=site.tails)
    # The kernel's own duplicate address detection on the underlay takes a second or two.
    wait_until(lambda: site.foreign <= kernel_state(site.hv1.namespace), 10, "the underlay to have its addresses back")


def test_vm_is_switched_off_and_on(site: Site) -> None:
    guest = site.vms["blue-2"]
    assert isinstance(guest, Guest)
    for _ in range(5):
        guest.close()
        guest.open()
    same(site.hv1, site.whole, REPAIR + SLACK)
    assert reaches_all(site)


# -- detach


def test_detached_while_the_gateway_is_down(site: Site) -> None:
    site.attach("hv1", "blue-60", "blue", ["10.1.1.60"], tap=True)
    wait_until(lambda: routes_to(site.hosts["hv2"], "10.1.1.60"), 10, "the route to be there")
    assert site.gateway.daemon.stop() == 0
    wait_until(lambda: not site.hv1.connected(), 10, "the session to be lost")
    site.hv1.cli("port", "detach", "blue-60")
    site.vms.pop("blue-60").close()
    assert "tap-blue-60" not in site.hv1.namespace.interfaces()
    assert routes_to(site.hosts["hv2"], "10.1.1.60"), "kept while there is no gateway to say otherwise"
    site.gateway.start()
    wait_until(lambda: not routes_to(site.hosts["hv2"], "10.1.1.60"), 20, "the route to be gone", detail=site.tails)


def test_detached_while_cut_off_from_the_gateway(site: Site) -> None:
    """The gateway has kept the route of a host that it could not hear; when the host is back it is withdrawn."""
    site.attach("hv1", "blue-61", "blue", ["10.1.1.61"], tap=True)
    wait_until(lambda: routes_to(site.hosts["hv2"], "10.1.1.61"), 10, "the route to be there")
    site.hv1.link(up=False)
    try:
        site.hv1.call("port.detach", {"name": "blue-61", "timeout": 30}, timeout=40)
    finally:
        site.hv1.link(up=True)
    site.vms.pop("blue-61").close()
    start = time.monotonic()
    site.wait_connected()
    wait_until(
        lambda: not routes_to(site.hosts["hv2"], "10.1.1.61"), STALE * 2, "the route to be gone", detail=site.tails
    )
    assert time.monotonic() - start < STALE, "withdrawn, and not merely aged out"


def test_address_moves_between_hosts(site: Site) -> None:
    """As when a VM is moved: the new host attaches it before the old one detaches it. There and back."""
    addresses = ["10.1.1.70", "fd00:1::70"]

    def found(name: str) -> bool:
        vms = [site.vms[vm] for vm in ("blue-1", "blue-2", "blue-3")]
        return all(vm.ask(address, 0.3) == name for vm in vms for address in addresses)

    hosts = ("hv2", "hv1", "hv2")
    for turn, host in enumerate(hosts):
        site.attach(host, f"move-{turn}", "blue", addresses, tap=True)
        if turn:
            wait_until(lambda: shared(site, addresses), 10, "both hosts to be known for it", detail=site.tails)
            settle(site)
            site.detach(hosts[turn - 1], f"move-{turn - 1}")
        wait_until(lambda name=f"move-{turn}": found(name), 10, f"the VM to be on {host}", detail=site.tails)  # type: ignore[misc]
        settle(site)
    site.detach(hosts[-1], f"move-{len(hosts) - 1}")


def test_host_dies_and_comes_back(site: Site, anycast: str) -> None:
    """No goodbye: its routes go after the silence and the stale time, and what it shared goes to the other host."""
    site.gateway.settings["gateway"]["stale_time"] = 0.5
    site.gateway.daemon.stop()
    site.gateway.start()
    settle(site)
    hv2, hv3 = site.hosts["hv2"], site.hosts["hv3"]

    def routes_gone() -> bool:
        (shared,) = routes_to(site.hv1, anycast)
        left = [hop["address"] for vpn in ("blue", "red") for hop in hops(site.hv1, vpn)]
        return [hop["address"] for hop in shared["next_hops"]] == [hv2.address] and hv3.address not in left

    hv3.link(up=False)
    hv3.daemon.kill()
    try:
        wait_until(routes_gone, 20, "the routes of the dead host to go", detail=site.tails)
        wait_until(lambda: site.vms["blue-1"].ask(anycast, 0.5) == "any-2", 10, "the other host to have all flows")
        shown = site.hv1.namespace.output("ip", "neigh", "show", "dev", "vw-gre")
        assert hv3.address not in shown
    finally:
        hv3.link(up=True)
        hv3.daemon.start()
    wait_until(lambda: site.vms["red-1"].ping("10.1.1.3", timeout=0.5).ok, 20, "the host to be back", detail=site.tails)


def hops(host: Host, vpn: str) -> list[dict[str, Any]]:
    return [hop for route in host.items("route.list", vpn=vpn) for hop in route["next_hops"]]


LEFT = re.compile(r"^from all lookup \[l3mdev-table\]")
"""What stays after the last detach: the kernel's own rules for all VRFs."""
RAISED = re.compile(
    r"ipv4/ip_forward|ipv[46]/fib_multipath_hash_policy|ipv6/fwmark_reflect|mpls/platform_labels"
    r"|ipv[46]/conf/[^/]+/(mc_)?forwarding|ipv4/conf/all/accept_redirects"
)
"""Settings that are raised for the host, and what the kernel sets with them."""
OURS = re.compile(r"/(vw-[^/]+|tap-[^/]+)(/|$)")


def test_last_detach_leaves_nothing(site: Site) -> None:
    hv1 = site.hv1
    ports = hv1.items("port.list")
    for port in ports:
        hv1.call("port.detach", {"name": port["name"], "timeout": 20}, timeout=30)
    left = without_numbers(kernel_state(hv1.namespace))
    assert sorted(site.bare - left) == []
    assert [line for line in sorted(left - site.bare) if not LEFT.match(line)] == []
    after = settings(hv1.namespace)
    changed = {name for name, value in site.untouched.items() if after.get(name) != value}
    assert {name for name in changed if not RAISED.fullmatch(name)} == set()
    assert {name for name in after.keys() - site.untouched.keys() if not OURS.search(name)} == set()
    assert hv1.call("status")["labels_used"] == 0

    guest = site.vms["blue-2"]
    assert isinstance(guest, Guest)
    guest.close()
    keys = ("name", "vpn", "addresses", "kind", "mac")
    for port in ports:
        place = {"netns": port["netns"]} if port["kind"] == "veth" else {"interface": port["interface"]}
        again = hv1.call("port.attach", {key: port[key] for key in keys} | place)
        assert again["label"] == port["label"]
    guest.open()
    settle(site)
    assert reaches_all(site)
