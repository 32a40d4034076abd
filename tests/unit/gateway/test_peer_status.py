"""Documents about BGP peers, of sessions and tables joined in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bgp.errors import CeaseSubcode
from bgp.family import RTC, VPNV4, VPNV6
from bgp.negotiation import RestartPolicy
from bgp.notification import Notification
from bgp.rib.peer import PrefixLimit
from bgp.rib.values import SourceKind
from gateway.peer_advice import advice
from gateway.peer_status import PeerStatus, last_error
from runtime.errors import ExitCode, OperatorError
from tests.unit.bgp.net import Network, Node
from tests.unit.bgp.pair import Pair, config
from tests.unit.bgp.routes import route
from tests.unit.gateway.bgp_site import Site


def pair(**options: Any) -> tuple[Network, Node, Site]:
    """A gateway "gw" with a peer "rr" that has sent two routes and takes one. options: of the link."""
    network = Network()
    gateway, reflector = Node("gw", 1), Node("rr", 2)
    network.link(gateway, reflector, **options)
    gateway.originate(route("10.1.1.1/32"))
    reflector.originate(route("10.2.0.0/16", 200), route("10.3.0.0/16", 300))
    network.settle()
    return network, reflector, Site(network, gateway)


def error(status: PeerStatus, method: str, *arguments: Any) -> OperatorError:
    """What a method refuses."""
    with pytest.raises(OperatorError) as caught:
        getattr(status, method)(*arguments)
    return caught.value


def test_list() -> None:
    _, _, site = pair(left_is=SourceKind.CLIENT)
    assert site.status.peers() == {
        "configured": True,
        "items": [
            {
                "name": "rr",
                "address": "192.0.2.2",
                "as": 64512,
                "type": "ibgp",
                "state": "established",
                "enabled": True,
                "since": "2023-11-14T22:13:20Z",
                "families": ["vpnv4"],
                "received": 2,
                "announced": 1,
                "stale": 0,
                "hold_time": 9,
                "last_error": "",
                "problem": "",
            }
        ],
        "waiting_for": [],
    }
    site.speaker.waiting = ["host hv1 (no session)"]
    assert site.status.peers()["waiting_for"] == ["host hv1 (no session)"]


@pytest.mark.parametrize(
    ("kind", "asn", "shown"),
    [
        (SourceKind.CLIENT, 64512, "client"),
        (SourceKind.INTERNAL, 64512, "ibgp"),
        (SourceKind.INTERNAL, 64513, "ebgp"),
    ],
)
def test_types(kind: SourceKind, asn: int, shown: str) -> None:
    network = Network()
    gateway = Node("gw", 1)
    network.link(gateway, Node("x", 2, asn), right_is=kind)
    items: Any = Site(network, gateway).status.peers()["items"]
    assert (items[0]["type"], items[0]["as"]) == (shown, asn)


def test_show() -> None:
    network, _, site = pair(limit=PrefixLimit(100))
    network.advance(5.0)
    shown: Any = site.status.peer("rr")
    assert shown["router_id"] == "192.0.2.2"
    assert shown["uptime"] == 5.0
    assert shown["connection"]["opened_by"] == "gateway"
    assert shown["per_family"] == [
        {
            "family": "vpnv4",
            "received": 2,
            "stale": 0,
            "announced": 1,
            "withdrawn": 0,
            "waiting": 0,
            "ended": True,
            "limit": 100,
        }
    ]
    assert shown["memberships"] is None
    assert shown["counters"]["established"] == 1
    assert shown["counters"]["received"]["update"] >= 2
    assert (shown["last_down"], shown["hint"]) == (None, "")
    assert [row["capability"] for row in shown["capabilities"] if row["used"]] == [
        *("vpnv4", "route refresh", "enhanced route refresh", "4-octet AS", "extended message")
    ]


def test_memberships_and_what_is_waited_for() -> None:
    network = Network()
    gateway, reflector = Node("gw", 1), Node("rr", 2)
    network.link(gateway, reflector, families=(VPNV4, RTC))
    reflector.want("64512:1", "64512:2")
    network.settle()
    shown: Any = Site(network, gateway).status.peer("rr")
    assert (shown["memberships"], shown["waiting_for_memberships"]) == (2, False)


def test_notification_in_words() -> None:
    network, reflector, site = pair()
    end = reflector.sessions["gw"].session
    end.stop(network.now, CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, "maintenance until 12:00")
    network.settle()
    shown: Any = site.status.peer("rr")
    assert shown["state"] == "idle"
    assert shown["last_down"] == {
        "at": "2023-11-14T22:15:00Z",
        "reason": "notification received",
        "code": 6,
        "subcode": 2,
        "notification": '6/2 cease: administrative shutdown: "maintenance until 12:00"',
        "hard": False,
        "text": "maintenance until 12:00",
        "detail": "",
        "kept": [],
    }
    expected = 'notification received: 6/2 cease: administrative shutdown: "maintenance until 12:00"'
    assert shown["last_error"] == expected
    assert shown["hint"] == "the peer's operator has shut the session down"
    assert shown["capabilities"] == []


def test_stale_routes_of_a_peer_that_restarts() -> None:
    network, _, site = pair(restart=RestartPolicy(60, (VPNV4,)))
    network.cut(network.links[0])
    shown: Any = site.status.peer("rr")
    assert (shown["received"], shown["stale"]) == (2, 2)
    assert shown["last_down"]["kept"] == ["vpnv4"]
    assert shown["last_error"] == "connection reset"


def test_connection_refused() -> None:
    network, _, site = pair()
    session = site.speaker.peers["rr"].session
    network.cut(network.links[0])
    session.connect_failed(network.now, "192.0.2.2 port 179: Connection refused")
    shown: Any = site.status.peer("rr")
    assert shown["last_error"] == "can't connect: 192.0.2.2 port 179: Connection refused"
    assert shown["hint"].startswith("is the address right")
    network.advance(5.0)
    assert site.status.peer("rr")["last_connect_error"] == ""


@pytest.mark.parametrize(
    ("settings", "notification", "hint"),
    [
        ({"local_as": 64999}, "2/2 open message: bad peer as", '"as" of the [[bgp.peer]]'),
        ({"families": (VPNV6,)}, "2/7 open message: unsupported capability", "the peer must speak one of"),
    ],
)
def test_what_does_not_fit(settings: dict[str, Any], notification: str, hint: str) -> None:
    ours = config(families=(VPNV4,))
    theirs = replace(config(bytes((192, 0, 2, 2)), families=(VPNV4,)), **settings, passive=True)
    both = Pair(ours, theirs).start()
    assert notification in last_error(both.left.session)
    assert advice(both.left.session).startswith(hint)


def test_our_own_limit() -> None:
    network, _, site = pair()
    session = site.speaker.peers["rr"].session
    session.fail(network.now, Notification.maximum_prefixes(VPNV4, 1), "2 routes of vpnv4, 1 is allowed")
    shown: Any = site.status.peer("rr")
    assert shown["last_error"].endswith("(2 routes of vpnv4, 1 is allowed)")
    assert shown["last_down"]["detail"] == "2 routes of vpnv4, 1 is allowed"
    assert "max_prefixes" in shown["hint"]
    assert shown["enabled"] is False


def test_the_problem_that_the_speaker_found() -> None:
    network, _, site = pair()
    site.speaker.peers["rr"].problem = "the kernel drops segments"
    items: Any = site.status.peers()["items"]
    assert items[0]["problem"] == "the kernel drops segments"
    network.cut(network.links[0])
    site.speaker.peers["rr"].problem = "the kernel drops segments: password_file is probably not the peer's password"
    assert str(site.status.peer("rr")["hint"]).startswith("the same password on both sides")


# -- refusals


def test_unknown_peer() -> None:
    _, _, site = pair()
    for method, argument in (("peer", "r"), ("refresh", {"name": "r"}), ("reset", {"name": "r"})):
        refused = error(site.status, method, argument)
        assert (refused.code, refused.why) == (ExitCode.NOT_FOUND, "no such peer")
        assert refused.hint.startswith("did you mean rr?")
    assert error(site.status, "peer", "something else").hint == "`vrfwire-gateway-ctl peer list` has all"


def test_without_bgp() -> None:
    network, _, site = pair()
    for speaker in (None, site.speaker):
        site.speaker.peers.clear()
        status = PeerStatus(speaker, site.service, lambda: network.now, lambda: 0.0)
        assert status.peers() == {"items": [], "configured": False, "waiting_for": []}
        assert error(status, "peer", "rr").code is ExitCode.NOT_FOUND
        refused = error(status, "routes", {})
        assert (refused.code, refused.why) == (ExitCode.CONFLICT, "not configured on this gateway")
        assert "[[bgp.peer]]" in refused.hint
        assert error(status, "explain", {"prefix": "10.0.0.1", "rd": "all"}).code is ExitCode.CONFLICT


# -- refresh and reset


def test_refresh() -> None:
    _, _, site = pair()
    assert site.status.refresh({"name": "rr"}) == {"name": "rr", "families": ["vpnv4"]}
    assert site.status.refresh({"name": "rr", "family": "vpnv4"})["families"] == ["vpnv4"]
    assert site.speaker.asked == [("refresh", "rr", None), ("refresh", "rr", ["vpnv4"])]


def test_refresh_that_is_not_negotiated() -> None:
    network, _, site = pair()
    refused = error(site.status, "refresh", {"name": "rr", "family": "vpnv6"})
    assert (refused.code, refused.why) == (ExitCode.CONFLICT, "vpnv6 is not negotiated")
    assert error(site.status, "refresh", {"name": "rr", "family": "ipv4"}).code is ExitCode.USAGE
    session = site.speaker.peers["rr"].session
    connection = session.connection
    assert connection is not None
    assert connection.negotiated is not None
    connection.negotiated = replace(connection.negotiated, route_refresh=False)
    refused = error(site.status, "refresh", {"name": "rr"})
    assert refused.code is ExitCode.CONFLICT
    assert "peer reset rr" in refused.hint
    network.cut(network.links[0])
    refused = error(site.status, "refresh", {"name": "rr"})
    assert (refused.code, refused.why) == (ExitCode.CONFLICT, "has no session (state idle)")
    assert site.speaker.asked == []


def test_reset() -> None:
    _, _, site = pair()
    assert site.status.reset({"name": "rr", "text": "moin", "hard": True})["before"] == "established"
    assert site.speaker.asked == [("reset", "rr", "moin", True)]
    refused = error(site.status, "reset", {"name": "rr", "text": "ü" * 128})
    assert (refused.code, refused.what) == (ExitCode.USAGE, "--text")
    assert error(site.status, "reset", {"name": "rr", "text": 5}).code is ExitCode.USAGE
    assert error(site.status, "reset", {}).code is ExitCode.USAGE


def test_a_text_that_is_none() -> None:
    _, _, site = pair()
    for text in ("\ud800", 7, ["a"]):
        assert error(site.status, "reset", {"name": "rr", "text": text}).code == ExitCode.USAGE
