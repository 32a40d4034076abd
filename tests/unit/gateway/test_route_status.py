"""The BGP tables in pages, and explanations."""

from __future__ import annotations

from typing import Any

import pytest

from bgp.attributes import WELL_KNOWN_NO_ADVERTISE
from bgp.family import RTC, VPNV4, VPNV6
from bgp.rib.values import SourceKind
from gateway.peer_status import PeerStatus
from gateway.rib import Learnt
from runtime.errors import ExitCode, OperatorError
from tests.unit.bgp.net import Network, Node
from tests.unit.bgp.routes import attributes, key, route
from tests.unit.gateway.bgp_site import Site
from vpn.community import RouteDistinguisher
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address


def site(*, want: tuple[str, ...] = (), families: tuple[Any, ...] = (VPNV4, VPNV6)) -> tuple[Network, Node, Node, Site]:
    """A gateway between the reflectors "a" and "b", which has no routes yet. want: what "b" wants by RTC."""
    network = Network()
    gateway, a, b = Node("gw", 1), Node("a", 2), Node("b", 3)
    network.link(gateway, a, families=(VPNV4, VPNV6))
    network.link(gateway, b, families=families)
    b.want(*want)
    gateway.rib.set_imports({"blue": attributes("64512:1").route_targets, "red": attributes("64512:2").route_targets})
    made = Site(network, gateway)
    network.settle()
    return network, a, b, made


def pages(status: PeerStatus, **params: Any) -> list[dict[str, Any]]:
    """All rows, page by page."""
    rows: list[dict[str, Any]] = []
    page: Any = status.routes(params)
    rows += page["items"]
    while page["after"] is not None:
        page = status.routes({**params, "after": page["after"]})
        rows += page["items"]
    return rows


def explain(of: Site, prefix: str, **params: Any) -> Any:
    return of.status.explain({"prefix": prefix, **params})


# -- pages


def test_rows() -> None:
    network, a, b, of = site()
    a.originate(route("10.1.0.0/16", 200), said=attributes("64512:1", local_pref=200, med=5))
    b.originate(route("10.1.0.0/16", 300))
    network.settle()
    assert pages(of.status) == [
        {
            "family": "vpnv4",
            "rd": "64512:1",
            "prefix": "10.1.0.0/16",
            "from": "a",
            "kind": "internal",
            "next_hop": "192.0.2.7",
            "labels": [200],
            "origin": "igp",
            "as_path": "",
            "local_preference": 200,
            "med": 5,
            "communities": ["rt:64512:1"],
            "route_targets": ["64512:1"],
            "stale": False,
            "paths": 2,
            "imported_by": ["blue"],
        }
    ]


def test_pages_visit_everything_once() -> None:
    network, a, _, of = site()
    wanted = [f"10.0.{number}.0/24" for number in range(50)]
    a.originate(*(route(prefix) for prefix in wanted))
    a.originate(route("fd00::/64"), family=VPNV6)
    network.settle()
    first: Any = of.status.routes({"limit": 7})
    assert (len(first["items"]), first["total"]) == (7, 51)
    for limit in (1, 7, 50, 51, 2000):
        rows = pages(of.status, limit=limit)
        assert [row["prefix"] for row in rows] == [*wanted, "fd00::/64"]


def test_what_changes_meanwhile_comes_again() -> None:
    network, a, _, of = site()
    a.originate(*(route(f"10.0.{number}.0/24") for number in range(4)))
    network.settle()
    page: Any = of.status.routes({"limit": 2, "family": "vpnv4"})
    a.originate(route("10.0.0.0/24", 777))
    a.withdraw(key("10.0.3.0/24"))
    network.settle()
    rest = pages(of.status, limit=2, family="vpnv4", after=page["after"])
    assert [(row["prefix"], row["labels"]) for row in rest] == [("10.0.2.0/24", [100]), ("10.0.0.0/24", [777])]


def test_one_route_distinguisher() -> None:
    network, a, _, of = site()
    a.originate(route("10.0.0.0/24", 1000, "64512:7"), route("10.0.0.0/24", 1001, "192.0.2.9:7"), route("10.0.1.0/24"))
    network.settle()
    assert [row["labels"] for row in pages(of.status, rd="192.0.2.9:7", limit=1)] == [[1001]]
    assert pages(of.status, rd="64512:9") == []
    assert len(pages(of.status, rd="all", family="vpnv4")) == 3
    assert pages(of.status, family="vpnv6") == []


def test_memberships() -> None:
    _, _, _, of = site(want=("64512:1",), families=(VPNV4, RTC))
    rows = pages(of.status, family="rtc")
    assert [(row["rd"], row["prefix"], row["from"]) for row in rows] == [(None, "64512:64512:1/96", "b")]


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"rd": "x"}, "not a route distinguisher"),
        ({"family": "ipv4"}, "not spoken"),
        ({"family": "rtc", "rd": "1:1"}, "no route distinguisher"),
        ({"after": "x"}, "is not what a page ended with"),
        ({"after": "9.1"}, "is not what a page ended with"),
        ({"after": 5}, "is not what a page ended with"),
        ({"limit": 0}, "is no number"),
        ({"limit": "x"}, "is no number"),
    ],
)
def test_bad_requests(params: dict[str, Any], why: str) -> None:
    _, _, _, of = site()
    with pytest.raises(OperatorError, match=why) as caught:
        of.status.routes(params)
    assert caught.value.code is ExitCode.USAGE


# -- explanations of BGP


def test_every_path_and_why_it_lost() -> None:
    network, a, b, of = site()
    a.originate(route("10.1.0.0/16", 200), said=attributes("64512:1", local_pref=200))
    b.originate(route("10.1.0.0/16", 300))
    network.settle()
    found = explain(of, "10.1.2.3", rd="64512:1")
    assert (found["prefix"], found["destinations_total"]) == ("10.1.0.0/16", 1)
    (shown,) = found["destinations"]
    assert [(path["from"], path["best"], path["reason"]) for path in shown["paths"]] == [
        ("a", True, ""),
        ("b", False, "local preference"),
    ]
    assert shown["imported_by"] == [{"vpn": "blue", "targets": ["64512:1"]}]
    assert (shown["route_targets"], shown["not_imported"]) == (["64512:1"], "")
    assert shown["told"] == []
    assert {one["peer"]: one["reason"] for one in shown["not_told"]} == {
        "a": "the best path came from there",
        "b": "iBGP routes go to reflector clients and other ASes alone",
    }


def test_longest_match_and_exact_prefix() -> None:
    network, a, _, of = site()
    a.originate(route("0.0.0.0/0"), route("10.0.0.0/8"), route("10.1.0.0/16"), route("10.1.2.0/24", 100, "64512:9"))
    network.settle()
    assert explain(of, "10.1.2.3", rd="64512:1")["prefix"] == "10.1.0.0/16"
    assert explain(of, "10.1.2.3", rd="all")["prefix"] == "10.1.2.0/24"
    assert explain(of, "192.0.2.1", rd="all")["prefix"] == "0.0.0.0/0"
    assert explain(of, "10.0.0.0/8", rd="64512:1")["prefix"] == "10.0.0.0/8"
    with pytest.raises(OperatorError, match="not there under") as caught:
        explain(of, "10.0.0.0/9", rd="all")
    assert caught.value.code is ExitCode.NOT_FOUND
    assert "give an address" in caught.value.hint
    with pytest.raises(OperatorError, match="not there under"):
        explain(of, "fd00::1", rd="all")


def test_the_same_prefix_under_many_distinguishers() -> None:
    network, a, _, of = site()
    a.originate(*(route("10.0.0.0/24", 100, f"64512:{number}") for number in range(100)))
    network.settle()
    found = explain(of, "10.0.0.1", rd="all")
    assert (found["destinations_total"], len(found["destinations"])) == (100, 64)


def test_search_goes_in_slices_and_tables_may_change() -> None:
    network, a, _, of = site()
    a.originate(route("10.0.0.0/24"), route("10.0.0.0/24", 100, "64512:9"))
    network.settle()
    work = of.status.explaining({"prefix": "10.0.0.1", "rd": "all"})
    next(work)
    a.withdraw(key("10.0.0.0/24"))
    network.settle()
    with pytest.raises(StopIteration) as done:
        while True:
            next(work)
    assert [row["rd"] for row in done.value.value["destinations"]] == ["64512:9"]


def test_stale_paths() -> None:
    network, a, _, of = site()
    a.originate(route("10.0.0.0/24"))
    network.settle()
    table = of.node.rib.tables[VPNV4]
    table.adj_rib_in(of.node.rib.peers["a"].source).age()
    assert explain(of, "10.0.0.1", rd="all")["destinations"][0]["paths"][0]["stale"] is True


@pytest.mark.parametrize(
    ("said", "label", "reason"),
    [
        (attributes("64512:7", "64512:8"), 100, "no VPN imports 64512:7, 64512:8"),
        (attributes(), 100, "it has no route target"),
        (attributes("64512:1"), 3, "label 3 is a reserved one"),
    ],
)
def test_why_not_imported(said: Any, label: int, reason: str) -> None:
    network, a, _, of = site()
    a.originate(route("10.0.0.0/24", label), said=said)
    network.settle()
    (shown,) = explain(of, "10.0.0.1", rd="all")["destinations"]
    assert shown["imported_by"] == []
    assert shown["not_imported"].startswith(reason)


def test_routes_of_hosts_are_told_and_not_imported() -> None:
    network, _, _, of = site()
    of.node.originate(route("10.0.0.0/24"))
    network.settle()
    (shown,) = explain(of, "10.0.0.1", rd="all")["destinations"]
    assert (shown["told"], shown["not_told"]) == (["a", "b"], [])
    assert shown["not_imported"] == "the best path is of a host of this gateway, from which blue has it without BGP"


def test_why_a_peer_is_not_told() -> None:
    network, _, _, of = site(want=("64512:2",), families=(VPNV4, RTC))
    of.node.originate(route("10.0.0.0/24"))
    of.node.originate(route("fd00::/64"), family=VPNV6)
    of.node.originate(route("10.0.1.0/24"), said=attributes("64512:2", communities=(WELL_KNOWN_NO_ADVERTISE,)))
    network.settle()

    def reasons(address: str) -> dict[str, str]:
        (shown,) = explain(of, address, rd="all")["destinations"]
        return {one["peer"]: one["reason"] for one in shown["not_told"]}

    assert reasons("10.0.0.1") == {"b": "its memberships (RTC) want none of the route targets"}
    assert reasons("fd00::1") == {"b": "vpnv6 is not negotiated"}
    assert set(reasons("10.0.1.1").values()) == {"its communities forbid it"}


def test_what_waits_for_memberships_or_our_restart() -> None:
    network = Network()
    gateway, late = Node("gw", 1), Node("late", 2)
    gateway.rib.defer_export(["hosts"], 1e9)
    network.link(gateway, late, right_is=SourceKind.INTERNAL)
    gateway.originate(route("10.0.0.0/24"))
    network.settle()
    of = Site(network, gateway)
    (shown,) = explain(of, "10.0.0.1", rd="all")["destinations"]
    assert shown["not_told"] == [{"peer": "late", "reason": "we have restarted and wait for other peers' routes"}]
    gateway.rib.peers["late"].membership_deadline = 1e9
    (shown,) = explain(of, "10.0.0.1", rd="all")["destinations"]
    assert shown["not_told"][0]["reason"] == "its memberships (RTC) are awaited"


# -- explanations of VPNs


def publish(of: Site, vpn: str, prefix: str, host: str = "hv1", **preference: int) -> None:
    path = Path((NextHop(parse_address("192.0.2.11"), 1001),), **preference)
    of.service.rib.publish(vpn, host, f"192.0.2.11:1:{prefix}", Prefix.parse(prefix), path)


def learn(of: Site, vpn: str, prefix: str, rd: str = "64512:1", **preference: int) -> None:
    """What an exchange would put into the table of a VPN."""
    path = Path((NextHop(parse_address("192.0.2.12"), 2002),), **preference)
    of.service.rib.tables[vpn].update(Learnt(RouteDistinguisher.parse(rd)), Prefix.parse(prefix), path)


def test_candidates_of_a_vpn() -> None:
    network, a, _, of = site()
    publish(of, "blue", "10.0.0.0/24")
    a.originate(route("10.0.0.0/24", 2002), said=attributes("64512:1", local_pref=50))
    network.settle()
    learn(of, "blue", "10.0.0.0/24", local_preference=50)
    found = explain(of, "10.0.0.1", vpn="blue")
    assert found["prefix"] == "10.0.0.0/24"
    assert found["next_hops"] == [{"address": "192.0.2.11", "label": 1001, "encapsulations": ["gre"]}]
    assert [(row["source"], row["kind"], row["selected"], row["reason"]) for row in found["candidates"]] == [
        ("hv1", "host", True, ""),
        ("bgp 64512:1", "bgp", False, "local preference"),
    ]
    assert [row["rd"] for row in found["destinations"]] == ["64512:1"]
    assert found["why"] == ["10.0.0.0/24 is the longest prefix of VPN blue that has 10.0.0.1"]
    assert found["others_total"] == 0


def test_equal_candidates_are_used_together() -> None:
    _, _, _, of = site()
    publish(of, "blue", "10.0.0.0/24")
    learn(of, "blue", "10.0.0.0/24")
    found = explain(of, "10.0.0.0/24", vpn="blue")
    assert [row["selected"] for row in found["candidates"]] == [True, True]
    assert [hop["address"] for hop in found["next_hops"]] == ["192.0.2.11", "192.0.2.12"]


@pytest.mark.parametrize(
    ("worse", "better", "reason"),
    [
        ({}, {"sequence_number": 3}, "MAC mobility sequence number"),
        ({"local_preference": 50}, {}, "local preference"),
        ({}, {"tie_break": 1}, "AS path, origin, or a host's before eBGP before iBGP"),
    ],
)
def test_why_a_candidate_lost(worse: dict[str, Any], better: dict[str, Any], reason: str) -> None:
    _, _, _, of = site()
    publish(of, "blue", "10.0.0.0/24", **worse)
    learn(of, "blue", "10.0.0.0/24", **better)
    assert [row["reason"] for row in explain(of, "10.0.0.1", vpn="blue")["candidates"]] == ["", reason]


def test_a_stale_candidate_lost() -> None:
    _, _, _, of = site()
    publish(of, "blue", "10.0.0.0/24", local_preference=500)
    of.service.rib.session_ended("hv1", 0, 0.0)
    learn(of, "blue", "10.0.0.0/24")
    lost = explain(of, "10.0.0.1", vpn="blue")["candidates"][1]
    assert (lost["source"], lost["stale"], lost["reason"][:5]) == ("hv1", True, "stale")


def test_routes_that_a_vpn_does_not_import() -> None:
    network, a, _, of = site()
    publish(of, "blue", "10.0.0.0/8")
    a.originate(*(route("10.0.0.0/24", 100, f"64512:{n}") for n in range(30)), said=attributes("64512:2"))
    a.originate(route("0.0.0.0/0"), said=attributes("64512:2"))
    network.settle()
    found = explain(of, "10.0.0.1", vpn="blue")
    assert found["prefix"] == "10.0.0.0/8"
    assert (len(found["others"]), found["others_total"]) == (20, 30)
    assert found["others"][0]["route_targets"] == ["64512:2"]
    assert found["others"][0]["imported_by"] == ["red"]
    assert found["why"][1] == ("30 routes of BGP for it are not imported: VPN blue imports 64512:1, and none of theirs")


def test_nothing_but_what_is_not_imported() -> None:
    network, a, _, of = site()
    a.originate(route("10.0.0.0/24"), said=attributes("64512:2"))
    network.settle()
    found = explain(of, "10.0.0.1", vpn="blue")
    assert (found["prefix"], found["candidates"], found["next_hops"]) == (None, [], [])
    assert found["why"][0] == "VPN blue has no route for 10.0.0.1"
    with pytest.raises(OperatorError, match="not in VPN blue") as caught:
        explain(of, "172.16.0.1", vpn="blue")
    assert caught.value.code is ExitCode.NOT_FOUND


def test_a_vpn_without_bgp() -> None:
    _, _, _, of = site()
    publish(of, "blue", "10.0.0.0/24")
    alone = PeerStatus(None, of.service, lambda: 0.0, lambda: 0.0)
    found: Any = alone.explain({"prefix": "10.0.0.1", "vpn": "blue"})
    assert (found["prefix"], found["destinations"]) == ("10.0.0.0/24", [])


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"prefix": "10.0.0.1/24", "rd": "all"}, ExitCode.USAGE),
        ({"prefix": "nonsense", "rd": "all"}, ExitCode.USAGE),
        ({"prefix": "10.0.0.1", "rd": "x"}, ExitCode.USAGE),
        ({"prefix": "10.0.0.1", "rd": "all", "family": "vpnv6"}, ExitCode.USAGE),
        ({"prefix": "10.0.0.1"}, ExitCode.USAGE),
        ({"prefix": "10.0.0.1", "rd": "all", "vpn": "blue"}, ExitCode.USAGE),
        ({"rd": "all"}, ExitCode.USAGE),
        ({"prefix": "10.0.0.1", "vpn": "bleu"}, ExitCode.NOT_FOUND),
    ],
)
def test_bad_questions(params: dict[str, Any], code: ExitCode) -> None:
    _, _, _, of = site()
    with pytest.raises(OperatorError) as caught:
        of.status.explain(params)
    assert caught.value.code is code
    if params.get("vpn") == "bleu":
        assert caught.value.hint.startswith("did you mean blue?")
