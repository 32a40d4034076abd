"""The publish-subscribe service with sessions in memory: what hosts ask, are told and are refused."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from gateway.hosts import Host
from gateway.policy import Policy
from gateway.service import Limits, Refusal
from tests.unit.gateway.harness import DOMAIN, MESH, Bench, Peer, entry, refusal, vpn
from vpn.prefix import parse_address
from xmpp import namespaces as ns
from xmpp.entry import Entry, encode
from xmpp.jid import Jid
from xmpp.notices import Notice, NoticeKind
from xmpp.stanza import Kind, Stanza

PUBSUB = f"{{{ns.PUBSUB}}}"


@pytest.fixture
def bench() -> Bench:
    return Bench(hosts=[Host("hv3", vpns=frozenset({"blue"}))])


@pytest.fixture
def hv1(bench: Bench) -> Peer:
    return bench.connect("hv1", "192.0.2.11")


@pytest.fixture
def hv2(bench: Bench) -> Peer:
    return bench.connect("hv2", "192.0.2.12")


def test_a_subscriber_gets_what_is_there_and_then_changes(hv1: Peer, hv2: Peer) -> None:
    assert hv1.announce("blue", "10.1.1.1/32", "2001:db8::1/128", label=101).get("type") == "result"
    answer = hv2.subscribe("blue", "<options><instance-id>7</instance-id></options>")
    subscription = answer.find(f".//{PUBSUB}subscription")
    assert subscription is not None and subscription.get("subscription") == "subscribed"
    assert hv2.next_hops("blue") == {
        "10.1.1.1/32": [("192.0.2.11", 101)],
        "2001:db8::1/128": [("192.0.2.11", 101)],
    }
    hv1.announce("blue", "10.1.1.1/32", label=102)
    hv1.retract("blue", "192.0.2.11:1:2001:db8::1/128")
    hv2.pull()
    assert hv2.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.11", 102)]}
    assert len(hv2.messages) == 2, "two changes, one message"
    hv2.pull()
    assert len(hv2.messages) == 2


def test_the_publisher_of_a_mesh_gets_its_own_routes_back(hv1: Peer) -> None:
    hv1.subscribe("blue")
    hv1.announce("blue", "10.1.1.1/32")
    assert hv1.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.11", 100)]}


def test_two_hosts_with_one_prefix_are_a_multipath(hv1: Peer, hv2: Peer) -> None:
    hv1.subscribe("blue")
    hv2.announce("blue", "10.1.1.1/32")
    hv1.announce("blue", "10.1.1.1/32")
    assert hv1.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.11", 100), ("192.0.2.12", 100)]}
    hv2.announce("blue", "10.1.1.1/32", sequence_number=1)
    hv1.pull()
    assert hv1.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.12", 100)]}, "the VM has moved"


def test_vpns_with_overlapping_addresses_are_apart(hv1: Peer, hv2: Peer) -> None:
    hv1.subscribe("blue"), hv1.subscribe("red")
    hv1.announce("blue", "10.1.1.1/32", label=101)
    hv2.announce("red", "10.1.1.1/32", label=202)
    hv1.pull()
    assert hv1.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.11", 101)]}
    assert hv1.next_hops("red") == {"10.1.1.1/32": [("192.0.2.12", 202)]}


def test_hub_and_spoke() -> None:
    bench = Bench(Policy([vpn("hub", "64512:20", "64512:10"), vpn("spoke", "64512:10", "64512:20")]))
    hub, one, two = (bench.connect(f"hv{n}", f"192.0.2.1{n}") for n in (1, 2, 3))
    hub.subscribe("hub"), one.subscribe("spoke"), two.subscribe("spoke")
    hub.announce("hub", "0.0.0.0/0")
    one.announce("spoke", "10.1.0.1/32")
    two.announce("spoke", "10.1.0.2/32")
    for peer in (hub, one, two):
        peer.pull()
    assert hub.next_hops("hub") == {"10.1.0.1/32": [("192.0.2.12", 100)], "10.1.0.2/32": [("192.0.2.13", 100)]}
    assert one.next_hops("spoke") == two.next_hops("spoke") == {"0.0.0.0/0": [("192.0.2.11", 100)]}


def test_extranet_with_overlap() -> None:
    bench = Bench(
        Policy(
            [
                vpn("blue", "64512:1 64512:9", "64512:1"),
                vpn("red", "64512:2 64512:9", "64512:2"),
                vpn("shared", "64512:1 64512:2 64512:9", "64512:9"),
            ]
        )
    )
    hv1, hv2, server = (bench.connect(f"hv{n}", f"192.0.2.1{n}") for n in (1, 2, 3))
    for peer, node in ((hv1, "blue"), (hv2, "red"), (server, "shared")):
        peer.subscribe(node)
    hv1.announce("blue", "10.1.1.1/32", label=101)
    hv2.announce("red", "10.1.1.1/32", label=202)
    server.announce("shared", "10.9.9.9/32", label=909)
    for peer in (hv1, hv2, server):
        peer.pull()
    shared = {"10.9.9.9/32": [("192.0.2.13", 909)]}
    assert hv1.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.11", 101)], **shared}
    assert hv2.next_hops("red") == {"10.1.1.1/32": [("192.0.2.12", 202)], **shared}
    both = {"10.1.1.1/32": [("192.0.2.11", 101), ("192.0.2.12", 202)]}
    assert server.next_hops("shared") == {**both, **shared}
    hv2.announce("red", "10.1.1.1/32", label=202, local_preference=200)
    server.pull()
    assert server.next_hops("shared")["10.1.1.1/32"] == [("192.0.2.12", 202)]


# -- the ping barrier


def announce_many(peer: Peer, node: str, count: int) -> None:
    for start in range(0, count, 100):
        peer.announce(node, *(f"10.{n >> 8 & 255}.{n & 255}.0/24" for n in range(start, min(start + 100, count))))


def test_the_pong_comes_after_everything_that_was_owed(hv1: Peer, hv2: Peer) -> None:
    announce_many(hv1, "blue", 450)
    announce_many(hv1, "red", 150)
    pubsub = "<pubsub xmlns='{}'><subscribe node='{}' jid='{}'/></pubsub>"
    for node in ("blue", "red"):
        hv2.send("set", pubsub.format(ns.PUBSUB, node, hv2.session.jid))
    ping = hv2.send("get", f"<ping xmlns='{ns.PING}'/>")
    late = hv2.send("get", f"<query xmlns='{ns.DISCO_INFO}'/>")
    hv2.pull(4)
    assert ping not in hv2.answers and late in hv2.answers, "other answers don't wait"
    hv2.pull()
    assert hv2.order[-1] == f"result {ping}"
    assert len(hv2.routes["blue"]) == 450 and len(hv2.routes["red"]) == 150
    assert all(message.count(b"<item ") <= 100 and len(message) <= 64 * 1024 for message in hv2.messages)


def test_the_pong_does_not_wait_for_what_came_after_the_ping(bench: Bench, hv1: Peer, hv2: Peer) -> None:
    announce_many(hv1, "blue", 150)
    hv2.send("set", f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='blue' jid='{hv2.session.jid}'/></pubsub>")
    ping = hv2.send("get", f"<ping xmlns='{ns.PING}'/>")
    hv2.pull(2)
    for round_ in range(50):
        hv1.announce("blue", *(f"10.99.{n}.0/24" for n in range(100)), label=200 + round_)
        hv2.pull(1)
        if ping in hv2.answers:
            break
    assert round_ < 4
    assert len(hv2.routes["blue"]) >= 150


def test_a_ping_without_debts_is_answered_at_once(hv1: Peer) -> None:
    assert hv1.ask("get", f"<ping xmlns='{ns.PING}'/>").get("type") == "result"
    assert hv1.ask("get", f"<ping xmlns='{ns.PING}'/>", to=None).get("from") is None


def test_pongs_keep_their_order_and_survive_unsubscribing(hv1: Peer, hv2: Peer) -> None:
    announce_many(hv1, "blue", 250)
    hv2.send("set", f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='blue' jid='{hv2.session.jid}'/></pubsub>")
    pings = [hv2.send("get", f"<ping xmlns='{ns.PING}'/>") for _ in range(2)]
    hv2.send("set", f"<pubsub xmlns='{ns.PUBSUB}'><unsubscribe node='blue' jid='{hv2.session.jid}'/></pubsub>")
    hv2.pull()
    assert hv2.order[-2:] == [f"result {ping}" for ping in pings]
    assert "blue" not in hv2.routes


# -- slow readers and sharing


def test_a_slow_reader_gets_only_the_newest_state(hv1: Peer, hv2: Peer) -> None:
    hv2.subscribe("blue")
    for label in range(100, 400):
        hv1.announce("blue", "10.1.1.1/32", label=label)
    hv1.announce("blue", "10.1.1.2/32")
    hv1.retract("blue", "192.0.2.11:1:10.1.1.2/32")
    hv2.pull()
    assert hv2.order[-1] == "event blue 10.1.1.1/32"
    assert len(hv2.messages) == 1


def test_subscribers_in_step_share_the_serialised_message(
    bench: Bench, hv1: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [bench.connect(f"sub{n}", "192.0.2.99") for n in range(5)]
    for peer in peers:
        peer.subscribe("blue")
    encoded: list[Entry] = []

    def counting(route: Entry) -> bytes:
        encoded.append(route)
        return encode(route)

    monkeypatch.setattr("gateway.item_cache.encode", counting)
    hv1.announce("blue", "10.1.1.1/32")
    for peer in peers:
        peer.pull()
    assert len(encoded) == 1
    assert len({message.replace(str(p.session.jid).encode(), b"") for p in peers for message in p.messages}) == 1


def test_a_large_table_does_not_hold_back_a_small_one(hv1: Peer, hv2: Peer) -> None:
    announce_many(hv1, "blue", 1000)
    hv1.announce("red", "10.1.1.1/32")
    for node in ("blue", "red"):
        hv2.send("set", f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{node}' jid='{hv2.session.jid}'/></pubsub>")
    hv2.pull(4)
    assert "red" in hv2.routes and len(hv2.routes["blue"]) == 100


# -- sessions and stale routes


def test_routes_outlive_the_session_and_come_back(bench: Bench, hv1: Peer, hv2: Peer) -> None:
    hv2.subscribe("blue")
    hv1.announce("blue", "10.1.1.1/32", "10.1.1.2/32")
    bench.disconnect(hv1)
    hv2.pull()
    assert len(hv2.routes["blue"]) == 2, "stale routes are still used"
    bench.now += 50
    again = bench.connect("hv1", "192.0.2.11")
    again.announce("blue", "10.1.1.1/32")
    bench.now += 59
    assert bench.service.expire(bench.now) == []
    bench.now += 1
    assert bench.service.expire(bench.now) == [("hv1", 1)]
    hv2.pull()
    assert list(hv2.routes["blue"]) == ["10.1.1.1/32"]
    assert bench.service.timer() is None


def test_a_stale_route_is_less_preferred(bench: Bench, hv1: Peer, hv2: Peer) -> None:
    hv2.subscribe("blue")
    hv1.announce("blue", "10.1.1.1/32")
    hv2.announce("blue", "10.1.1.1/32", label=200)
    assert len(hv2.next_hops("blue")["10.1.1.1/32"]) == 2
    bench.disconnect(hv1)
    hv2.pull()
    assert hv2.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.12", 200)]}


def test_closing_twice_or_late_hurts_nobody(bench: Bench, hv1: Peer) -> None:
    newer = bench.connect("hv1", "192.0.2.11")
    assert bench.service.session_of(newer.session.jid) is newer.session
    bench.disconnect(hv1)
    bench.disconnect(hv1)
    assert bench.service.session_of(newer.session.jid) is newer.session


def test_reload_changes_tables_in_place(bench: Bench, hv1: Peer, hv2: Peer) -> None:
    hv1.announce("blue", "10.1.1.1/32")
    hv2.subscribe("red")
    bench.service.reload(Policy([MESH.vpns["blue"], vpn("red", "64512:1 64512:2", "64512:2")]))
    hv2.pull()
    assert list(hv2.routes["red"]) == ["10.1.1.1/32"]
    bench.service.reload(Policy([MESH.vpns["blue"]]))
    assert refusal(hv1.subscribe("red"))[0] == "item-not-found"


def test_a_vpn_that_goes_takes_no_session_along(bench: Bench, hv1: Peer, hv2: Peer) -> None:
    hv1.announce("red", "10.1.1.1/32")
    for node in ("blue", "red"):
        hv2.subscribe(node)
    hv3 = bench.connect("hv3", "192.0.2.13")
    hv3.subscribe("blue")
    bench.service.reload(Policy([MESH.vpns["blue"]]))
    assert set(bench.service.take_pending()) == {hv1.session, hv2.session}, "who listens and who publishes there"
    for peer in (hv1, hv2, hv3):
        peer.pull()
    deleted = [Notice(NoticeKind.DELETED, "red")]
    assert (hv1.notices, hv2.notices, hv3.notices) == (deleted, deleted, [])
    assert list(hv2.session.subscriptions) == ["blue"] and bench.service.subscribers("red") == set()
    hv1.announce("blue", "10.1.1.2/32")
    hv2.pull()
    assert list(hv2.routes["blue"]) == ["10.1.1.2/32"], "the others go on"

    bench.service.reload(MESH)
    hv1.pull()
    hv2.pull()
    available = [Notice(NoticeKind.AVAILABLE, "red")]
    assert (hv1.notices, hv2.notices, hv3.notices) == (deleted + available, deleted + available, [])
    hv2.subscribe("red")
    hv1.announce("red", "10.1.1.1/32")
    hv2.pull()
    assert list(hv2.routes["red"]) == ["10.1.1.1/32"]
    # Told once, since they are no longer waiting.
    bench.service.reload(Policy([MESH.vpns["blue"]]))
    bench.disconnect(hv1)
    bench.service.reload(MESH)
    hv2.pull()
    assert hv2.notices == [*deleted, *available, *deleted, *available]


def test_who_asked_for_a_vpn_is_told_when_it_comes() -> None:
    bench = Bench(Policy([MESH.vpns["blue"]]), [Host("hv2", vpns=frozenset({"blue"}))], Limits(subscriptions=2))
    hv1, hv2 = bench.connect("hv1", "192.0.2.11"), bench.connect("hv2", "192.0.2.12")
    assert refusal(hv1.announce("red", "10.1.1.1/32"))[0] == "item-not-found"
    assert refusal(hv1.subscribe("green"))[0] == "item-not-found"
    assert refusal(hv1.subscribe("grey"))[0] == "item-not-found", "beyond what one session is remembered to want"
    assert refusal(hv2.subscribe("red"))[0] == "item-not-found"
    more = [vpn(name, f"64512:{number}", f"64512:{number}") for number, name in enumerate(("red", "green", "grey"))]
    bench.service.reload(Policy([*MESH.vpns.values(), *more]))
    for peer in (hv1, hv2):
        peer.pull()
    assert {notice.node for notice in hv1.notices} == {"red", "green"}
    assert hv2.notices == [], "it may not join"


def test_what_is_owed_of_a_vpn_that_goes_holds_back_nothing(bench: Bench, hv1: Peer, hv2: Peer) -> None:
    hv2.send("set", f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='red' jid='{hv2.session.jid}'/></pubsub>")
    hv1.announce("red", "10.1.1.1/32")
    pong = hv2.send("get", f"<ping xmlns='{ns.PING}'/>")
    bench.service.reload(Policy([MESH.vpns["blue"]]))
    hv2.pull()
    assert hv2.notices == [Notice(NoticeKind.DELETED, "red")]
    assert pong in hv2.answers and hv2.routes == {}


# -- refusals


HV2_ITEM = "192.0.2.12:1:10.1.1.9/32"
BAD_ENTRIES = {
    "label out of range": (entry("10.1.1.1/32", "192.0.2.11").replace(b">100<", b">1048576<"), "label"),
    "reserved label": (entry("10.1.1.1/32", "192.0.2.11").replace(b">100<", b">15<"), "label"),
    "bad prefix": (entry("10.1.1.1/32", "192.0.2.11").replace(b"10.1.1.1/32", b"10.1.1.256/32"), "10.1.1.256"),
    "mask bits set": (entry("10.1.1.1/32", "192.0.2.11").replace(b"10.1.1.1/32", b"10.1.1.1/24"), "host bits"),
    "no next hop": (
        b"<entry xmlns='%b'><nlri><af>1</af><address>10.1.1.1/32</address></nlri></entry>" % ns.ENTRY.encode(),
        "next",
    ),
    "not an entry": (b"<entry xmlns='urn:example:other'/>", "entry"),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_entry_is_refused_with_its_reason(case: str, bench: Bench, hv1: Peer) -> None:
    payload, reason = BAD_ENTRIES[case]
    condition, app, text = refusal(hv1.publish("blue", [("192.0.2.11:1:10.1.1.1/32", payload)]))
    assert (condition, app) == ("bad-request", "invalid-payload")
    assert "192.0.2.11:1:10.1.1.1/32" in text and reason in text
    [noted] = bench.service.take_refusals()
    assert noted == Refusal("hv1", "blue", "publish", noted.reason) and reason in noted.reason
    assert bench.service.counters["refused/bad-request"] == 1
    assert hv1.announce("blue", "10.1.1.1/32").get("type") == "result", "the session goes on"


def test_who_is_refused_what(bench: Bench, hv1: Peer, hv2: Peer) -> None:
    hv2.announce("blue", "10.1.1.9/32")
    own = "192.0.2.11:1:10.1.1.1/32"
    odd = "192.0.2.11:1:nonsense"
    unsubscribe = f"<unsubscribe node='blue' jid='hv1@{DOMAIN}'/>"
    options = f"<options node='blue' jid='hv1@{DOMAIN}'/>"
    invalid, unexpected = ("bad-request", "invalid-payload"), ("unexpected-request", "not-subscribed")
    cases = [
        (hv1.subscribe("green"), ("item-not-found", ""), "green"),
        (hv1.announce("green", "10.1.1.1/32"), ("item-not-found", ""), "green"),
        (hv1.publish("blue", [(HV2_ITEM, entry("10.1.1.9/32", "192.0.2.11"))]), ("forbidden", ""), "another host"),
        (hv1.retract("blue", HV2_ITEM), ("forbidden", ""), "another host"),
        (hv1.retract("blue", own), ("item-not-found", ""), own),
        (hv1.publish("blue", [(own, entry("10.1.1.1/32", "192.0.2.12"))]), ("not-acceptable", ""), "192.0.2.12"),
        (hv1.publish("blue", [(own, entry("10.1.1.2/32", "192.0.2.11"))]), invalid, "10.1.1.2/32"),
        (hv1.publish("blue", [(odd, entry("10.1.1.2/32", "192.0.2.11"))]), invalid, "nonsense"),
        (hv1.pubsub(f"<subscribe node='blue' jid='hv2@{DOMAIN}/vrfwire'/>"), ("bad-request", "invalid-jid"), "hv2"),
        (hv1.pubsub(unsubscribe), unexpected, "blue"),
        (hv1.pubsub(options, "get"), unexpected, "blue"),
        (hv1.pubsub("<create node='new'/>"), ("feature-not-implemented", "unsupported"), "VPNs"),
        (hv1.ask("get", "<x xmlns='urn:example:unknown'/>"), ("service-unavailable", ""), "not served"),
        (hv1.ask("get", f"<ping xmlns='{ns.PING}'/>", to=f"hv2@{DOMAIN}"), ("service-unavailable", ""), "hv2"),
    ]
    for answer, conditions, reason in cases:
        assert refusal(answer)[:2] == conditions, ElementTree.tostring(answer)
        assert reason in refusal(answer)[2]
    assert len(bench.service.take_refusals()) == len(cases)
    assert [str(prefix) for prefix in bench.service.rib.tables["blue"]] == ["10.1.1.9/32"]


def test_a_free_item_id_belongs_to_who_had_it_first(hv1: Peer, hv2: Peer) -> None:
    assert hv1.publish("blue", [("web", entry("10.1.1.1/32", "192.0.2.11"))]).get("type") == "result"
    assert refusal(hv2.publish("blue", [("web", entry("10.1.1.1/32", "192.0.2.12"))]))[0] == "forbidden"
    assert refusal(hv2.retract("blue", "web"))[0] == "forbidden"
    assert hv1.retract("blue", "web").get("type") == "result"


def test_a_host_stays_within_its_vpns(bench: Bench) -> None:
    hv3 = bench.connect("hv3", "192.0.2.13")
    assert hv3.subscribe("blue").get("type") == "result"
    for answer in (hv3.subscribe("red"), hv3.announce("red", "10.1.1.1/32"), hv3.pubsub("<items node='red'/>", "get")):
        condition, _, text = refusal(answer)
        assert condition == "forbidden" and "hv3" in text and "red" in text
    nodes = hv3.ask("get", f"<query xmlns='{ns.DISCO_ITEMS}'/>").iter(f"{{{ns.DISCO_ITEMS}}}item")
    assert [node.get("node") for node in nodes] == ["blue"]


def test_a_publish_of_several_items_is_all_or_nothing(bench: Bench, hv1: Peer) -> None:
    good = ("192.0.2.11:1:10.1.1.1/32", entry("10.1.1.1/32", "192.0.2.11"))
    bad = ("192.0.2.11:1:10.1.1.2/32", entry("10.1.1.2/32", "192.0.2.66"))
    assert refusal(hv1.publish("blue", [good, bad]))[0] == "not-acceptable"
    assert len(bench.service.rib.tables["blue"]) == 0
    hv1.publish("blue", [good])
    assert refusal(hv1.retract("blue", good[0], bad[0]))[0] == "item-not-found"
    assert len(bench.service.rib.tables["blue"]) == 1


def test_quotas() -> None:
    bench = Bench(limits=Limits(items=2, subscriptions=1))
    hv1 = bench.connect("hv1", "192.0.2.11")
    assert refusal(hv1.announce("blue", "10.1.1.1/32", "10.1.1.2/32", "10.1.1.3/32"))[0] == "policy-violation"
    assert hv1.announce("blue", "10.1.1.1/32", "10.1.1.2/32").get("type") == "result"
    assert hv1.announce("blue", "10.1.1.1/32", label=101).get("type") == "result", "no new item"
    condition, _, text = refusal(hv1.announce("red", "10.1.1.3/32"))
    assert condition == "policy-violation" and "2" in text
    hv1.subscribe("blue")
    assert hv1.subscribe("blue").get("type") == "result"
    assert refusal(hv1.subscribe("red"))[:2] == ("policy-violation", "too-many-subscriptions")


def test_next_hops_by_configuration_certificate_or_connection() -> None:
    bench = Bench(hosts=[Host("hv1", frozenset({parse_address("198.51.100.1")}))])
    certified = frozenset({parse_address("203.0.113.1")})
    peer = parse_address("192.0.2.11")
    assert bench.hosts.permit("hv1", certified, peer).addresses == {parse_address("198.51.100.1")}
    assert bench.hosts.permit("hv2", certified, peer).addresses == certified
    assert bench.hosts.permit("hv2", frozenset(), peer).addresses == {peer}


# -- retrieval and discovery


def ids(answer: ElementTree.Element) -> list[str | None]:
    return [item.get("id") for item in answer.iter(f"{PUBSUB}item")]


def test_items_are_retrieved_whole_by_name_or_in_pages(hv1: Peer) -> None:
    hv1.announce("blue", *(f"10.1.1.{n}/32" for n in range(5)))
    assert ids(hv1.pubsub("<items node='blue'/>", "get")) == [f"10.1.1.{n}/32" for n in range(5)]
    named = "<items node='blue'><item id='10.1.1.3/32'/><item id='10.9.9.9/32'/><item id='x'/></items>"
    assert ids(hv1.pubsub(named, "get")) == ["10.1.1.3/32"]
    assert ids(hv1.pubsub("<items node='blue' max_items='2'/>", "get")) == ["10.1.1.4/32", "10.1.1.3/32"]
    page = f"<items node='blue'/><set xmlns='{ns.RSM}'><max>2</max>{{}}</set>"
    seen: list[str | None] = []
    after = ""
    for _ in range(3):
        answer = hv1.pubsub(page.format(after), "get")
        assert answer.findtext(f".//{{{ns.RSM}}}count") == "5"
        seen += ids(answer)
        after = f"<after>{answer.findtext(f'.//{{{ns.RSM}}}last')}</after>"
    assert seen == [f"10.1.1.{n}/32" for n in range(5)]
    assert ids(hv1.pubsub(page.format(after), "get")) == []
    assert refusal(hv1.pubsub(page.format("<after>10.7.7.7/32</after>"), "get"))[0] == "item-not-found"


def test_items_are_retrieved_backwards(hv1: Peer) -> None:
    """XEP-0059, sections 2.3 and 2.5: the last page, the one before it; each in the same order as forwards."""
    hv1.announce("blue", *(f"10.1.1.{n}/32" for n in range(5)))
    page = f"<items node='blue'/><set xmlns='{ns.RSM}'><max>2</max><before>{{}}</before></set>"
    last = hv1.pubsub(page.format(""), "get")
    assert ids(last) == ["10.1.1.3/32", "10.1.1.4/32"]
    first = last.find(f".//{{{ns.RSM}}}first")
    assert first is not None and first.get("index") == "3" and first.text == "10.1.1.3/32"
    middle = hv1.pubsub(page.format("10.1.1.3/32"), "get")
    assert ids(middle) == ["10.1.1.1/32", "10.1.1.2/32"] and middle.findtext(f".//{{{ns.RSM}}}count") == "5"
    assert ids(hv1.pubsub(page.format("10.1.1.1/32"), "get")) == ["10.1.1.0/32"]
    assert ids(hv1.pubsub(page.format("10.1.1.0/32"), "get")) == []
    for gone in ("10.7.7.7/32", "x"):
        assert refusal(hv1.pubsub(page.format(gone), "get"))[0] == "item-not-found"


def test_a_retrieval_of_a_large_table_is_cut(bench: Bench) -> None:
    hv1 = bench.connect("hv1", "192.0.2.11")
    announce_many(hv1, "blue", 1100)
    answer = hv1.pubsub("<items node='blue'/>", "get")
    assert 100 < len(ids(answer)) < 1100
    assert len(ElementTree.tostring(answer)) < 400_000
    assert answer.findtext(f".//{{{ns.RSM}}}count") == "1100"


def test_subscriptions_affiliations_and_options(hv1: Peer) -> None:
    hv1.subscribe("blue", "<options><instance-id>7</instance-id></options>")
    rows = list(hv1.pubsub("<subscriptions/>", "get").iter(f"{PUBSUB}subscription"))
    assert [(row.get("node"), row.get("jid")) for row in rows] == [("blue", str(hv1.session.jid))]
    rows = list(hv1.pubsub("<affiliations/>", "get").iter(f"{PUBSUB}affiliation"))
    assert [(row.get("node"), row.get("affiliation")) for row in rows] == [("blue", "publisher"), ("red", "publisher")]
    options = hv1.pubsub(f"<options node='blue' jid='{hv1.session.jid}'/>", "get")
    assert b"7" in ElementTree.tostring(options)
    assert hv1.session.subscriptions["blue"].instance_id == 7
    assert hv1.pubsub(f"<unsubscribe node='blue' jid='{hv1.session.jid}'/>").get("type") == "result"
    assert list(hv1.pubsub("<subscriptions/>", "get").iter(f"{PUBSUB}subscription")) == []


def test_messages_are_refused_and_presence_is_ignored(bench: Bench, hv1: Peer) -> None:
    for kind in (Kind.PRESENCE, Kind.MESSAGE):
        element = ElementTree.fromstring(f"<{kind} xmlns='{ns.CLIENT}' id='m1'/>")
        bench.service.handle(hv1.session, Stanza(kind, "", "m1", hv1.session.jid, Jid.parse(DOMAIN), element), 0.0)
    hv1.pull()
    assert hv1.order == ["error m1"]
