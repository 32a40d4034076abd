"""What the lab writes for GoBGP, OpenBGPD and ExaBGP, how it reads what they say; two raw speakers with each other."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bgp.errors import CeaseSubcode
from bgp.family import RTC, VPNV4, VPNV6
from bgp.message import KEEPALIVE
from bgp.notification import Notification
from lab.errors import LabError
from lab.speakers.base import Announcement, Neighbour, Received
from lab.speakers.exabgp import ExaBgp
from lab.speakers.gobgp import GoBgp
from lab.speakers.openbgpd import OpenBgpd
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import many, opening, route_attributes

ALL = ("vpnv4", "vpnv6", "rtc")
ROUTES = [
    Announcement("64512:14", "10.14.0.0/24", 1014, ("64512:1", "64512:2"), "192.0.2.14", encapsulations=(2,)),
    Announcement("64512:14", "2001:db8:14::/64", 1015, ("64512:1",), "192.0.2.14"),
]
NEIGHBOURS = [
    Neighbour("127.0.0.15", client=True, password="s3cret", graceful_restart=True, families=ALL, max_prefixes=7),
    Neighbour("127.0.0.16", asn=64513, passive=True, hold_time=12, families=("vpnv4",)),
]
FOUR = Received("64512:1", "10.0.0.0/24", 1234, ("64512:1", "64512:2"), "192.0.2.99", False)
SIX = Received("64512:1", "2001:db8::/64", 1000, ("64512:1",), "192.0.2.99", False)


def test_gobgp_settings(tmp_path: Path) -> None:
    written = tomllib.loads(GoBgp("one", tmp_path, "127.0.0.17", NEIGHBOURS, cluster_id="9.9.9.9").config())
    assert written["global"]["config"]["local-address-list"] == ["127.0.0.17"]
    client, external = written["neighbors"]
    assert client["config"] == {"neighbor-address": "127.0.0.15", "peer-as": 64512, "auth-password": "s3cret"}
    assert client["route-reflector"]["config"]["route-reflector-cluster-id"] == "9.9.9.9"
    names = [family["config"]["afi-safi-name"] for family in client["afi-safis"]]
    assert names == ["l3vpn-ipv4-unicast", "l3vpn-ipv6-unicast", "rtc"]
    assert [family.get("prefix-limit", {}).get("config", {}).get("max-prefixes") for family in client["afi-safis"]] == [
        *(7, 7, None)
    ]
    assert all(family["mp-graceful-restart"]["config"]["enabled"] for family in client["afi-safis"])
    assert external["transport"]["config"]["passive-mode"] and external["timers"]["config"]["hold-time"] == 12
    assert "ebgp-multihop" in external and "graceful-restart" not in external


def test_gobgp_says_that_it_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = GoBgp("one", tmp_path, "127.0.0.17", NEIGHBOURS)
    monkeypatch.setattr(speaker.daemon, "launch", lambda: speaker.log.touch())
    speaker.launch()
    assert "-r" not in speaker.daemon.argv
    speaker.launch()
    assert "-r" in speaker.daemon.argv


def test_gobgp_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlri = {"prefix": "10.0.0.0/24", "labels": [1234], "rd": {"type": 0, "admin": 64512, "assigned": 1}}
    communities = [
        {"type": 0, "subtype": 2, "value": "64512:2"},
        {"type": 0, "subtype": 2, "value": "64512:1"},
        {"type": 3, "subtype": 12, "tunnel_type": 2},
    ]
    attributes = [
        {"type": 1, "value": 0},
        {"type": 2, "as_paths": [{"segment_type": 2, "num": 2, "asns": [64513, 64514]}]},
        {"type": 5, "value": 100},
        {"type": 16, "value": communities},
        {"type": 14, "nexthop": "::ffff:192.0.2.99", "afi": 1, "safi": 128, "value": [nlri]},
    ]
    theirs = {"nlri": nlri, "attrs": attributes, "stale": True, "neighbor-ip": "127.0.0.15"}
    own = {"nlri": nlri, "attrs": attributes, "stale": False}
    speaker = GoBgp("one", tmp_path, "127.0.0.17", NEIGHBOURS)
    monkeypatch.setattr(speaker, "show", lambda *_: {"64512:1:10.0.0.0/24": [theirs, own]})
    more: dict[str, Any] = {
        "encapsulations": (2,),
        "local_pref": 100,
        "as_path": "64513 64514",
        "originator": None,
        "clusters": (),
    }
    assert speaker.received("vpnv4") == [FOUR._replace(stale=True, peer="127.0.0.15", **more)]


def test_openbgpd_settings(tmp_path: Path) -> None:
    speaker = OpenBgpd("one", tmp_path, "127.0.0.23", NEIGHBOURS)
    client, external = (
        {line.strip() for line in part.split("}")[0].splitlines()} for part in speaker.config().split("neighbor ")[1:]
    )
    assert 'tcp md5sig password "s3cret"' in client and "route-reflector 127.0.0.23" in client
    assert "announce IPv6 vpn" in client and "announce restart yes" in client and "max-prefix 7" in client
    assert "local-address 127.0.0.23" in client
    assert {"remote-as 64513", "passive", "holdtime 12", "multihop 64"} <= external
    assert "announce IPv6 vpn" not in external
    with pytest.raises(LabError, match="originates no VPN routes"):
        OpenBgpd("one", tmp_path, "127.0.0.23", NEIGHBOURS, ROUTES).config()


def test_openbgpd_lets_a_passive_neighbour_with_a_password_in(tmp_path: Path) -> None:
    neighbour = Neighbour("127.0.0.15", passive=True, password="x")
    assert "local-address" not in OpenBgpd("one", tmp_path, "127.0.0.23", [neighbour]).config()


def test_openbgpd_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = {
        "prefix": "rd 64512:1 2001:db8::/64",
        "aspath": "64513",
        "exit_nexthop": "::ffff:192.0.2.99",
        "neighbor": {"remote_addr": "127.0.0.15"},
        "localpref": 100,
        "extended_communities": ["[12] 0x2", "rt 64512:1"],
        "attributes": [
            {"type": "Originator Id", "originator": "127.0.0.15"},
            {"type": "Cluster Id List", "cluster_list": ["127.0.0.23"]},
        ],
    }
    speaker = OpenBgpd("one", tmp_path, "127.0.0.23", NEIGHBOURS)
    monkeypatch.setattr(speaker, "_run", lambda *_: json.dumps({"rib": [path]}))
    more: dict[str, Any] = {"encapsulations": (2,), "local_pref": 100, "as_path": "64513"}
    reflected: dict[str, Any] = {"originator": "127.0.0.15", "clusters": ("127.0.0.23",)}
    assert speaker.received("vpnv6") == [SIX._replace(label=None, peer="127.0.0.15", **more, **reflected)]


def test_exabgp_settings(tmp_path: Path) -> None:
    client, external = ExaBgp("one", tmp_path, "127.0.0.14", NEIGHBOURS, ROUTES).config().split("neighbor ")[1:]
    assert 'md5-password "s3cret";' in client and "graceful-restart 20;" in client and "connect 1790;" in client
    assert (
        "route 10.14.0.0/24 rd 64512:14 label 1014 next-hop 192.0.2.14 "
        "extended-community [ target:64512:1 target:64512:2 0x030c000000000002 ];"
    ) in client
    assert "route 2001:db8:14::/64 rd 64512:14 label 1015 next-hop ::ffff:192.0.2.14" in client
    assert "peer-as 64513; hold-time 12;" in external and "passive; listen 1790;" in external
    assert "2001:db8" not in external and "ipv6" not in external


def event(kind: str, **more: object) -> str:
    """A line that ExaBGP tells."""
    return json.dumps({"type": kind, "neighbor": {"address": {"peer": "127.0.0.15"}, **more}}) + "\n"


def test_exabgp_events(tmp_path: Path) -> None:
    speaker = ExaBgp("one", tmp_path, "127.0.0.14", NEIGHBOURS)
    assert speaker.sessions() == {} and not speaker.answers()
    communities = [
        {"value": 0x0002FC0000000002, "string": "target:64512:2"},
        {"value": 0x0002FC0000000001, "string": "target:64512:1"},
        {"value": 0x030C000000000002, "string": "encap:GRE"},
    ]
    nlri = {"nlri": "10.0.0.0/24", "label": [[1234]], "rd": "64512:1"}
    attribute = {"origin": "igp", "local-preference": 100, "extended-community": communities}
    announce = {"attribute": attribute, "announce": {"ipv4 mpls-vpn": {"192.0.2.99": [nlri]}}}
    withdraw = {"withdraw": {"ipv4 mpls-vpn": [{**nlri, "label": [[524288]]}]}}
    events = tmp_path / "events"
    told = json.dumps({"type": "notification"}) + "\n"
    told += event("state", state="connected") + event("state", state="up")
    told += event("update", message={"update": announce})
    events.write_text(told)
    assert speaker.answers() and speaker.sessions() == {"127.0.0.15": "established"}
    more: dict[str, Any] = {
        "encapsulations": (2,),
        "local_pref": 100,
        "as_path": "",
        "originator": None,
        "clusters": (),
    }
    assert speaker.received("vpnv4") == [FOUR._replace(peer="127.0.0.15", **more)]
    assert speaker.received("vpnv6") == []
    # A line that isn't complete yet is none.
    events.write_text(told + event("update", message={"update": withdraw})[:-1])
    assert len(speaker.received("vpnv4")) == 1
    events.write_text(told + event("update", message={"update": withdraw}))
    assert speaker.received("vpnv4") == []
    events.write_text(told + event("state", state="down"))
    assert speaker.received("vpnv4") == [] and speaker.sessions() == {"127.0.0.15": "down"}


@pytest.fixture
def raw_pair() -> Iterator[tuple[RawSpeaker, RawSpeaker]]:
    """Two with a session."""
    families = (VPNV4, VPNV6, RTC)
    one, two = "127.77.0.1", "127.77.0.2"
    calling = RawSpeaker(one, two, opening(one, families=families, extended_message=True), remote_port=17790)
    called = RawSpeaker(two, one, opening(two, families=families, extended_message=True))
    with calling, called:
        called.listen(17790)
        calling.connect()
        called.accept()
        for speaker in (calling, called):
            speaker.send(speaker.opened.encode())
        for speaker in (calling, called):
            speaker.wait_open()
            speaker.send(KEEPALIVE)
        for speaker in (calling, called):
            speaker.wait_up()
        yield calling, called


def test_raw_speakers_tell_each_other(raw_pair: tuple[RawSpeaker, RawSpeaker]) -> None:
    one, two = raw_pair
    one.announce("64512:1", "10.0.0.0/24", 1234, route_attributes(["64512:2", "64512:1"], tunnels=[2]))
    one.announce("64512:1", "2001:db8::/64")
    one.end(VPNV4, VPNV6)
    two.wait(lambda: len(two.ends) == 2, "the ends")
    route = two.table()["64512:1", "10.0.0.0/24"]
    assert (route.label, route.targets, route.next_hop) == (1234, ("64512:1", "64512:2"), "192.0.2.99")
    assert two.prefixes() == {"10.0.0.0/24", "2001:db8::/64"}
    one.withdraw("64512:1", "2001:db8::/64")
    two.wait(lambda: two.prefixes() == {"10.0.0.0/24"}, "the withdrawal")
    two.want("64512:1", "")
    one.wait(lambda: one.memberships() == {"64512:1", ""}, "memberships")
    two.unwant("")
    one.wait(lambda: one.memberships() == {"64512:1"}, "one less")
    two.refresh(VPNV4)
    one.wait(lambda: one.refreshes, "a refresh")
    one.announce_all(many(1000))
    two.wait(lambda: len(two.routes[VPNV4]) == 1001, "many")
    assert two.largest > 4096


def test_raw_speakers_part(raw_pair: tuple[RawSpeaker, RawSpeaker]) -> None:
    one, two = raw_pair
    one.send(Notification.cease(CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, "bye").encode())
    one.close()
    assert two.wait_notification().text == "bye"
    assert two.ended == "closed"
    with pytest.raises(LabError, match="an OPEN that never comes"):
        two.wait(lambda: False, "an OPEN that never comes", 0.05)


def test_a_raw_speaker_vanishes(raw_pair: tuple[RawSpeaker, RawSpeaker]) -> None:
    one, two = raw_pair
    one.abort()
    two.wait(lambda: two.ended, "the end")
    assert two.ended == "reset" and two.notification is None
    with pytest.raises(LabError, match="without NOTIFICATION"):
        two.wait_notification()
