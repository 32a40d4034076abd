"""Gateways that meet by BGP: routes of hosts cross over, sessions come up by any configuration that is right."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from bgp.errors import CeaseSubcode
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import opening
from runtime.errors import OperatorError
from tests.interop.site import Site, peer
from tests.scenario.bgp_sites import ALL, ONE, QUICK, RAW, TWO, lines, meet, pair, site, wait

__all__ = ["site"]

V6 = ("2001:db8::15", "2001:db8::16")


def test_routes_of_hosts_cross_over_and_go(site: Site) -> None:
    one, two = meet(pair(site))
    near, far = site.host(one, "hv1", "127.0.0.1"), site.host(two, "hv2", "127.0.0.2")
    far.subscribe("blue")
    near.publish("blue", {"10.1.1.1/32": 101, "2001:db8::1/128": 102})
    near.publish("red", {"10.1.1.1/32": 103})
    far.wait_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)], "2001:db8::1/128": [("127.0.0.1", 102)]})
    near.retract("blue", "10.1.1.1/32")
    far.wait_routes("blue", {"2001:db8::1/128": [("127.0.0.1", 102)]})
    assert two.routes("red") == {}, "nobody there has joined red"
    far.subscribe("red")
    far.wait_routes("red", {"10.1.1.1/32": [("127.0.0.1", 103)]})
    status = one.ask("status")
    assert (status["state"], status["bgp"]["peers"], status["bgp"]["up"]) == ("ok", 1, 1)


def test_one_side_waits_for_the_other(site: Site) -> None:
    one, two = meet(pair(site, one={"passive": True}))
    assert not lines(one, "no session with")
    assert one.peer(TWO)["state"] == two.peer(ONE)["state"] == "established"


def test_ipv6_transport(site: Site) -> None:
    site.addresses(*V6)
    gateways = []
    for address, here, there in ((ONE, *V6), (TWO, *reversed(V6))):
        settings = peer(there, local_address=here, families=ALL, ttl_security=1, password="s3cret")
        gateways.append(site.gateway(here, address, [settings], listen=[f"[{here}]:1790"], **QUICK))
    one, two = meet((gateways[0], gateways[1]))
    near, far = site.host(one, "hv1", "127.0.0.1"), site.host(two, "hv2", "127.0.0.2")
    far.subscribe("blue")
    near.publish("blue", {"10.1.1.1/32": 101})
    far.wait_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)]})


def test_the_right_password(site: Site) -> None:
    meet(pair(site, one={"password": "s3cret"}, two={"password": "s3cret"}))
    with pytest.raises(TimeoutError):
        RawSpeaker(TWO, ONE, namespace=site.namespace).connect(0.5)
    with pytest.raises(TimeoutError):
        RawSpeaker(TWO, ONE, namespace=site.namespace, password="S3cret").connect(0.5)
    assert all("s3cret" not in gateway.text() for gateway in site.gateways.values())


def test_a_wrong_password_is_told_and_mended_by_a_reload(site: Site) -> None:
    one, two = pair(site, one={"password": "s3cret"}, two={"password": "Secret"})
    one.start()
    two.start()
    found = one.wait_peer(TWO, lambda row: "TCPMD5Failure" in row["problem"], "to have its problem found")
    assert "password_file" in found["problem"]
    status = one.ask("status")
    assert status["state"] == "degraded" and any("password_file" in one["why"] for one in status["problems"])
    assert lines(one, TWO, "TCPMD5Failure")
    two.peers[0]["password"] = "s3cret"
    two.reload()
    one.wait_established()
    assert one.peer(TWO)["problem"] == "" and one.ask("status")["state"] == "ok"
    # And back: a session that is up doesn't outlive its password.
    two.peers[0]["password"] = "other"
    two.reload()
    one.wait_peer(TWO, lambda row: row["state"] != "established", "to lose its session")


def test_a_password_on_one_side_only(site: Site) -> None:
    one, two = pair(site, one={"password": "s3cret"})
    one.start()
    two.start()
    one.wait_peer(TWO, lambda row: "TCPMD5NotFound" in row["problem"], "to have its problem found")
    two.wait_peer(ONE, lambda row: "TCPMD5Unexpected" in row["problem"], "to have its problem found")


def test_ttl_security(site: Site) -> None:
    one, _ = meet(pair(site, one={"ttl_security": 1}, two={"ttl_security": 1}))
    one.peers.append(peer(RAW, passive=True, ttl_security=1))
    one.reload()
    wait(lambda: RAW in one.peer_states(), "the new peer")
    far = RawSpeaker(RAW, ONE, namespace=site.namespace, ttl=254)
    near = RawSpeaker(RAW, ONE, namespace=site.namespace, ttl=255)
    with far, near:
        far.connect()
        shown = wait(lambda: (found := one.peer(RAW))["problem"] and found, "what comes from afar to be closed")
        assert "a TTL of 254, and ttl_security takes no less than 255" in shown["problem"]
        assert "both sides" in shown["hint"] and lines(one, RAW, "a TTL of 254")
        far.wait(lambda: far.ended, "the end of the connection")
        assert far.theirs is None
        near.establish()
        assert one.peer(RAW)["problem"] == ""
    assert one.peer_states()[TWO] == "established"


def test_peers_come_and_go_by_reload(site: Site) -> None:
    one = site.gateway("one", ONE, [], **QUICK)
    two = site.gateway("two", TWO, [peer(ONE, families=ALL)], **QUICK)
    one.start()
    two.start()
    assert one.ask("peer.list")["items"] == [] and one.ask("status")["bgp"]["listen"] == []
    near, far = site.host(one, "hv1", "127.0.0.1"), site.host(two, "hv2", "127.0.0.2")
    far.subscribe("blue")
    near.publish("blue", {"10.1.1.1/32": 101})
    one.peers = [peer(TWO, families=ALL)]
    one.reload()
    far.wait_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)]})
    one.peers = [peer(TWO, families=ALL, max_prefixes=7)]
    one.reload()
    wait(lambda: len(lines(one, "configuration reloaded")) == 2, "the reload")
    one.peers = []
    one.reload()
    far.wait_routes("blue", {})
    assert lines(two, "de-configured") or lines(two, "peer deconfigured")
    assert len(lines(two, "is down")) == 1, "a limit is no reason to end a session"
    assert one.ask("status")["bgp"]["listen"] == []


def test_a_bad_reload_changes_nothing(site: Site) -> None:
    one, _ = meet(pair(site))
    one.peers[0]["ttl_security"] = 1
    one.peers[0]["multihop"] = 3
    one.reload()
    wait(lambda: lines(one, "configuration not reloaded", "multihop"), "the complaint")
    assert one.peer_states() == {TWO: "established"}
    assert one.ask("status")["state"] == "degraded"


def test_check_reads_passwords(site: Site) -> None:
    one = site.gateway("one", ONE, [peer(TWO, password="s3cret")], **QUICK)
    one.log.touch()
    command = [sys.executable, "-m", "gateway.main", "--check", "--config", str(one.config)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
    secret = next(one.config.parent.glob("password*"))
    secret.chmod(0o644)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"chmod 0600 {secret}" in done.stderr


def test_reset_and_refresh(site: Site) -> None:
    one, two = meet(pair(site))
    assert sorted(one.ask("peer.refresh", {"name": TWO})["families"]) == sorted(ALL)
    wait(lambda: lines(two, "route refresh", "vpnv4"), "the request")
    one.ask("peer.reset", {"name": TWO, "text": "moving the rack"})
    wait(lambda: lines(two, "is down", "administrative reset", "moving the rack"), "the text of the operator")
    two.wait_established()
    one.wait_established()
    with pytest.raises(OperatorError, match="no such peer"):
        one.ask("peer.reset", {"name": "nobody"})


def test_strangers_are_turned_away(site: Site) -> None:
    one, _ = meet(pair(site))
    stranger = RawSpeaker(RAW, ONE, namespace=site.namespace)
    with stranger:
        stranger.connect()
        stranger.wait(lambda: stranger.ended, "the end of the connection")
    assert one.ask("status")["bgp"]["counters"]["refused/unknown peer"] == 1
    assert lines(one, RAW, "no [[bgp.peer]]")


def test_stop_without_graceful_restart_says_why(site: Site) -> None:
    one = site.gateway("one", ONE, [peer(RAW, passive=True)], **QUICK)
    one.start()
    with RawSpeaker(RAW, ONE, opening(RAW, restart_time=60), namespace=site.namespace) as raw:
        raw.establish()
        one.signal(signal.SIGTERM)
        notification = raw.wait_notification()
        assert notification.subcode == CeaseSubcode.ADMINISTRATIVE_SHUTDOWN
        assert notification.text == "the gateway stops"


def test_stop_with_graceful_restart_says_nothing(site: Site) -> None:
    one = site.gateway("one", ONE, [peer(RAW, passive=True)], **{**QUICK, "graceful_restart": True})
    one.start()
    with RawSpeaker(RAW, ONE, opening(RAW, restart_time=60, notification=True), namespace=site.namespace) as raw:
        raw.establish()
        one.signal(signal.SIGTERM)
        raw.wait(lambda: raw.ended, "the end of the connection")
        assert raw.notification is None
