"""A host says that it has published everything: what it has left from before goes at once, and nothing else."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from gateway.hosts import Host
from tests.unit.gateway.harness import Bench, Peer, refusal


def mark(peer: Peer, node: str = "blue") -> Element:
    """Say that these were all items of a VPN."""
    return peer.ask("set", f"<end-of-items xmlns='urn:vrfwire:items:1' node='{node}'/>")


def again(bench: Bench, peer: Peer, resource: str = "vrfwire") -> Peer:
    """The host loses its session and has a new one."""
    bench.disconnect(peer)
    return bench.connect(peer.session.host, peer.address, resource)


@pytest.fixture
def bench() -> Bench:
    return Bench(hosts=[Host("hv3", vpns=frozenset({"blue"}))])


@pytest.fixture
def reader(bench: Bench) -> Peer:
    reader = bench.connect("hv9", "192.0.2.19")
    reader.subscribe("blue"), reader.subscribe("red")
    return reader


def seen(reader: Peer, node: str = "blue") -> set[str]:
    reader.pull()
    return set(reader.next_hops(node))


def test_what_is_not_published_again_goes_at_once(bench: Bench, reader: Peer) -> None:
    host = bench.connect("hv1", "192.0.2.11")
    host.announce("blue", "10.1.1.1/32", "10.1.1.2/32")
    host.announce("red", "10.2.2.2/32")
    host = again(bench, host)
    host.announce("blue", "10.1.1.1/32")
    assert seen(reader) == {"10.1.1.1/32", "10.1.1.2/32"}
    assert mark(host).get("type") == "result"
    assert seen(reader) == {"10.1.1.1/32"}
    assert seen(reader, "red") == {"10.2.2.2/32"}, "each VPN by itself"
    assert bench.service.rib.stale("hv1") == 1
    assert mark(host, "red").get("type") == "result"
    assert seen(reader, "red") == set()
    assert bench.service.timer() is None, "nothing is stale any more"


def test_what_is_fresh_stays_and_so_does_what_others_have(bench: Bench, reader: Peer) -> None:
    one, two = bench.connect("hv1", "192.0.2.11"), bench.connect("hv2", "192.0.2.12")
    one.announce("blue", "10.1.1.1/32")
    two.announce("blue", "10.1.1.2/32")
    bench.disconnect(two)
    assert mark(one).get("type") == "result"
    assert seen(reader) == {"10.1.1.1/32", "10.1.1.2/32"}
    assert bench.service.timer() is not None, "the other host is still waited for"


def test_two_sessions_of_a_host(bench: Bench, reader: Peer) -> None:
    """What a session that is there has published isn't stale; what one that is gone has left, is the host's."""
    one = bench.connect("hv1", "192.0.2.11", "a")
    two = bench.connect("hv1", "192.0.2.11", "b")
    one.announce("blue", "10.1.1.1/32")
    two.announce("blue", "10.1.1.2/32")
    assert mark(one).get("type") == "result"
    assert seen(reader) == {"10.1.1.1/32", "10.1.1.2/32"}
    bench.disconnect(two)
    assert mark(one).get("type") == "result"
    assert seen(reader) == {"10.1.1.1/32"}


@pytest.mark.parametrize("suspended", [False, True])
def test_what_another_session_may_publish_again_stays(bench: Bench, reader: Peer, suspended: bool) -> None:
    """The other one has begun, and isn't through with what its predecessor has left."""
    host = bench.connect("hv1", "192.0.2.11")
    host.announce("blue", "10.1.1.1/32")
    host = again(bench, host)
    if suspended:
        bench.service.suspend(host.session, bench.now)
    other = bench.connect("hv1", "192.0.2.11", "other")
    assert mark(other).get("type") == "result"
    assert seen(reader) == {"10.1.1.1/32"}
    bench.disconnect(other)
    if suspended:
        bench.service.resume(host.session, bench.now)
    assert mark(host).get("type") == "result"
    assert seen(reader) == set()


def test_items_of_a_session_that_may_come_back_stay(bench: Bench, reader: Peer) -> None:
    """A session that can be resumed is not there, its items are stale, and it won't publish them again."""
    service = bench.service
    host = bench.connect("hv1", "192.0.2.11")
    host.announce("blue", "10.1.1.1/32")
    assert service.suspend(host.session, bench.now) == 1
    other = bench.connect("hv1", "192.0.2.11", "other")
    assert mark(other).get("type") == "result"
    assert seen(reader) == {"10.1.1.1/32"}
    assert service.timer() is not None, "the time goes on"
    service.resume(host.session, bench.now)
    assert service.rib.stale("hv1") == 0
    service.suspend(host.session, bench.now)
    service.close(host.session, bench.now)
    assert mark(other).get("type") == "result"
    assert seen(reader) == set(), "it can't be resumed any more"


def test_bgp_and_the_record_of_hosts_hear_of_it(bench: Bench) -> None:
    rib = bench.service.rib
    host = bench.connect("hv1", "192.0.2.11")
    host.announce("blue", "10.1.1.1/32")
    host = again(bench, host)
    rib.changes, rib.touched = {}, set()
    mark(host)
    assert list(rib.changes) == [("blue", "192.0.2.11:1:10.1.1.1/32")]
    assert rib.touched == {"hv1"}
    assert rib.count("hv1") == 0


def test_who_is_refused(bench: Bench) -> None:
    host, bound = bench.connect("hv1", "192.0.2.11"), bench.connect("hv3", "192.0.2.13")
    assert refusal(mark(host, "green"))[0] == "item-not-found"
    assert refusal(mark(host, ""))[:2] == ("bad-request", "nodeid-required")
    assert refusal(mark(bound, "red"))[0] == "forbidden"
    assert mark(bound).get("type") == "result"
    assert bench.service.counters["end_of_items"] == 1
    assert [refused.request for refused in bench.service.take_refusals()] == ["end-of-items"] * 3


def test_it_is_announced(bench: Bench) -> None:
    info = bench.connect("hv1", "192.0.2.11").ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    assert "urn:vrfwire:items:1" in {feature.get("var") for feature in info.iter() if feature.get("var")}
