"""Sessions that lose their stream and go on: what is sent again, what isn't, and who may not."""

from __future__ import annotations

import base64
import itertools
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.hosts import Permit
from gateway.policy import Policy
from gateway.resumption import REMEMBERED, NotResumable, Resumption
from gateway.session import Session
from tests.unit.gateway.harness import DOMAIN, MESH, Bench, Peer, vpn
from vpn.path import Path
from vpn.prefix import parse_address
from xmpp import namespaces as ns
from xmpp.errors import StreamError
from xmpp.jid import Jid
from xmpp.notices import Notice, NoticeKind
from xmpp.outbox import KEPT_MAX, Outbox
from xmpp.stream_management import EnableWish, Management

RESUME = EnableWish(True, None)
PING = f"<ping xmlns='{ns.PING}'/>"


class Host(Peer):
    """A host that counts stanzas and loses some. handled: those that it has got."""

    def __init__(self, site: Site, session: Session) -> None:
        super().__init__(site, session)
        self.site = site
        self.handled = 0
        self.management = site.resumption.enable(session, RESUME)

    def _take(self, piece: bytes) -> None:
        self.handled += len(ElementTree.fromstring(b"<s xmlns='%b'>%b</s>" % (ns.CLIENT.encode(), piece)))
        super()._take(piece)

    def miss(self, pieces: int = 1000) -> int:
        """What is owed is sent, at most so many pieces, and doesn't arrive; how many there were."""
        self.site.service.take_pending()
        return sum(1 for _ in itertools.takewhile(bool, (self.session.next_output() for _ in range(pieces))))

    def acknowledge(self) -> None:
        """Tell the gateway what has come."""
        self.session.acknowledged(self.management.outbox.acknowledge(self.handled))

    def lose(self) -> int:
        """The stream is lost; how many items are stale by that."""
        stale = self.site.resumption.suspend(self.session, self.site.now)
        assert stale is not None
        return stale

    def resume(self, permit: Permit | None = None) -> None:
        """Come back."""
        session = self.site.resumption.find(self.management.id, self.session.host)
        assert session is self.session
        self.site.resumption.resume(session, permit or session.permit, self.handled, self.site.now)

    def lose_and_resume(self) -> None:
        self.lose()
        self.resume()


class Site(Bench):
    """A service whose sessions can be resumed for a minute."""

    def __init__(self, policy: Policy = MESH, resume_time: float = 60.0, most: int = 100) -> None:
        super().__init__(policy)
        self._counter = itertools.count(1)
        self.resumption = Resumption(
            self.service, lambda size: next(self._counter).to_bytes(size, "big"), resume_time, most=most
        )

    def host(self, name: str, address: str = "192.0.2.11", resource: str = "vrfwire") -> Host:
        """A host with a session that can be resumed."""
        permit = self.hosts.permit(name, frozenset(), parse_address(address))
        return Host(self, self.service.open(Jid.of(name, DOMAIN, resource), permit, self.now))


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def source(site: Site) -> Peer:
    return site.connect("hv2", "192.0.2.12")


@pytest.fixture
def host(site: Site) -> Host:
    return site.host("hv1")


# What is sent again.


def test_events_that_did_not_arrive_come_in_their_newest_state(host: Host, source: Peer) -> None:
    source.announce("blue", "10.1.1.1/32", label=101)
    host.subscribe("blue")
    source.announce("blue", "10.1.1.2/32", label=102)
    assert host.miss() == 1
    source.announce("blue", "10.1.1.2/32", label=103)
    host.lose_and_resume()
    host.order.clear()
    host.pull()
    assert host.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.12", 101)], "10.1.1.2/32": [("192.0.2.12", 103)]}
    assert host.order == ["event blue 10.1.1.2/32"], "what had arrived doesn't come twice"


def test_what_was_acknowledged_and_lost_differs_from_what_changed_meanwhile(host: Host, source: Peer) -> None:
    host.subscribe("blue")
    source.announce("blue", "10.1.1.1/32", "10.1.1.2/32")
    host.pull()
    host.acknowledge()
    host.lose()
    source.retract("blue", "192.0.2.12:1:10.1.1.1/32")
    host.resume()
    host.order.clear()
    host.pull()
    assert host.order == ["event blue 10.1.1.1/32"]
    assert list(host.next_hops("blue")) == ["10.1.1.2/32"]


def test_a_withdrawal_comes_of_what_may_have_arrived(host: Host, source: Peer) -> None:
    """The host has taken the event, and the gateway doesn't know it until it is told by <resume/>."""
    host.subscribe("blue")
    source.announce("blue", "10.1.1.1/32")
    host.pull()
    source.retract("blue", "192.0.2.12:1:10.1.1.1/32")
    host.miss()
    host.lose_and_resume()
    host.pull()
    assert host.next_hops("blue") == {}


def test_a_change_of_no_concern_acknowledges_nothing(host: Host, source: Peer) -> None:
    host.subscribe("blue")
    source.announce("blue", "10.1.1.1/32")
    assert host.miss() == 1
    source.announce("blue", "10.1.1.2/32")
    source.retract("blue", "192.0.2.12:1:10.1.1.2/32")
    assert host.miss() == 0
    host.lose_and_resume()
    host.pull()
    assert list(host.next_hops("blue")) == ["10.1.1.1/32"]
    source.announce("blue", "10.1.1.3/32")
    source.retract("blue", "192.0.2.12:1:10.1.1.3/32")
    host.acknowledge()
    host.pull()
    cursor = host.session.subscriptions["blue"].cursor
    assert cursor.floor == cursor.revision, "with nothing on the way, nothing is kept for the host"


def test_a_subscription_begun_before_counting_is_not_sent_again(site: Site, source: Peer) -> None:
    peer = site.connect("hv1", "192.0.2.11")
    source.announce("blue", "10.1.1.1/32")
    peer.subscribe("blue")
    management = site.resumption.enable(peer.session, RESUME)
    assert site.resumption.suspend(peer.session, site.now) is not None
    site.resumption.resume(peer.session, peer.session.permit, 0, site.now)
    assert management.outbox.sent == 0
    assert not peer.session.pending


def test_answers_that_did_not_arrive_come_again_in_order(host: Host) -> None:
    ids = [host.send("get", f"<query xmlns='{ns.DISCO_INFO}'/>") for _ in range(3)]
    host.pull(1)
    assert host.miss() == 2
    ids.append(host.send("get", f"<query xmlns='{ns.DISCO_ITEMS}'/>"))
    host.lose_and_resume()
    host.pull()
    assert host.order == [f"result {identifier}" for identifier in ids]
    host.lose_and_resume()
    host.pull()
    assert len(host.order) == 4


def test_a_request_that_came_with_the_end_is_answered_after_it(site: Site, host: Host) -> None:
    host.lose()
    identifier = host.send("get", f"<query xmlns='{ns.DISCO_INFO}'/>")
    host.resume()
    host.pull()
    assert host.order == [f"result {identifier}"]


def test_a_pong_that_was_lost_waits_for_events_that_were_lost(host: Host, source: Peer) -> None:
    host.subscribe("blue"), host.subscribe("red")
    source.announce("blue", "10.1.1.1/32")
    host.miss()
    pong = host.send("get", PING)
    assert host.miss() == 1
    host.lose_and_resume()
    host.order.clear()
    host.pull()
    assert host.order == ["event blue 10.1.1.1/32", f"result {pong}"]


def test_a_pong_that_was_not_sent_yet_waits_for_events_that_were_lost(host: Host, source: Peer) -> None:
    host.subscribe("blue"), host.subscribe("red")
    source.announce("blue", "10.1.1.1/32")
    host.miss()
    source.announce("red", "10.2.2.2/32")
    pong = host.send("get", PING)
    host.lose_and_resume()
    host.order.clear()
    host.pull()
    assert sorted(host.order[:2]) == ["event blue 10.1.1.1/32", "event red 10.2.2.2/32"]
    assert host.order[2:] == [f"result {pong}"]


def test_a_pong_queued_behind_an_answer_waits_for_events_that_were_lost(host: Host, source: Peer) -> None:
    host.subscribe("blue")
    source.announce("blue", "10.1.1.1/32")
    host.miss()
    answer = host.send("get", f"<query xmlns='{ns.DISCO_INFO}'/>")
    pong = host.send("get", PING)
    host.lose_and_resume()
    host.order.clear()
    host.pull()
    assert host.order == [f"result {answer}", "event blue 10.1.1.1/32", f"result {pong}"]


def test_notices_that_did_not_arrive_come_again(host: Host) -> None:
    host.session.notices.add(NoticeKind.WITHHELD, "blue", "item", "not bound")
    assert host.miss() == 1
    host.session.notices.add(NoticeKind.ADMITTED, "blue", "item")
    host.lose_and_resume()
    host.pull()
    assert host.notices == [
        Notice(NoticeKind.WITHHELD, "blue", ("item",), "not bound"),
        Notice(NoticeKind.ADMITTED, "blue", ("item",)),
    ]


def test_the_host_is_asked_for_its_count_with_the_end_of_a_table(host: Host, source: Peer) -> None:
    host.subscribe("blue")
    source.announce("blue", "10.1.1.1/32")
    host.send("get", PING)
    assert not host.management.outbox.ask()
    host.pull()
    assert host.management.outbox.ask()
    host.send("get", PING)
    host.pull()
    assert not host.management.outbox.ask(), "there was nothing to be told of"


# What others see meanwhile.


def test_items_are_stale_meanwhile_and_fresh_afterwards(site: Site, host: Host, source: Peer) -> None:
    host.announce("blue", "10.1.1.1/32", label=101)
    source.announce("blue", "10.1.1.1/32", label=102)
    source.subscribe("blue")
    both = [("192.0.2.11", 101), ("192.0.2.12", 102)]
    assert source.next_hops("blue") == {"10.1.1.1/32": both}
    assert host.lose() == 1
    source.pull()
    assert source.next_hops("blue") == {"10.1.1.1/32": both[1:]}
    host.resume()
    source.pull()
    assert source.next_hops("blue") == {"10.1.1.1/32": both}
    site.now += 100
    site.service.expire(site.now)
    assert site.service.rib.count("hv1") == 1


def test_what_an_older_session_left_stays_stale(site: Site, host: Host) -> None:
    older = site.connect("hv1", "192.0.2.11", "other")
    older.announce("blue", "10.1.1.1/32")
    host.announce("blue", "10.1.1.2/32")
    site.disconnect(older)
    host.lose_and_resume()
    assert site.service.rib.stale("hv1") == 1
    assert site.service.rib.is_stale("blue", "hv1", "192.0.2.11:1:10.1.1.1/32")


def test_who_is_away_is_told_nothing_and_keeps_its_vpns_wanted(site: Site, host: Host, source: Peer) -> None:
    host.subscribe("blue")
    joins = site.service.joins
    host.lose()
    for label in range(100, 200):
        source.announce("blue", "10.1.1.1/32", label=label)
    assert site.service.take_pending() == []
    assert set(site.service.joined()) == {"blue"} and site.service.joins == joins
    assert site.service.subscribers("blue") == set()
    assert site.service.session_of(host.session.jid) is None
    assert site.service.connected["hv1"] == 0
    host.resume()
    host.pull()
    assert host.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.12", 199)]}
    assert site.service.connected["hv1"] == 1


def test_its_items_count_against_what_the_host_may_publish(site: Site, host: Host) -> None:
    host.announce("blue", "10.1.1.1/32")
    host.lose()
    assert site.service.rib.count("hv1") == 1


def test_a_vpn_that_has_gone_and_one_that_has_come_meanwhile(site: Site, host: Host) -> None:
    host.subscribe("blue")
    host.subscribe("green")
    host.announce("blue", "10.1.1.1/32")
    host.lose()
    green = Policy([MESH.vpns["red"], vpn("green", "64512:3", "64512:3")])
    site.service.reload(green)
    assert site.service.take_pending() == []
    host.resume()
    host.pull()
    assert host.notices == [Notice(NoticeKind.DELETED, "blue"), Notice(NoticeKind.AVAILABLE, "green")]
    assert not host.session.subscriptions
    assert host.subscribe("green").get("type") == "result"


def test_a_vpn_that_has_gone_in_which_it_publishes_only(site: Site, host: Host) -> None:
    host.announce("blue", "10.1.1.1/32")
    host.lose()
    site.service.reload(Policy([MESH.vpns["red"]]))
    host.resume()
    host.pull()
    assert host.notices == [Notice(NoticeKind.DELETED, "blue")]


# Who may come back.


def missing(site: Site, identifier: str, host: str) -> NotResumable:
    with pytest.raises(NotResumable) as caught:
        site.resumption.find(identifier, host)
    return caught.value


def test_an_unknown_id_and_one_of_another_host(site: Site, host: Host) -> None:
    host.lose()
    refused = site.service.counters["refused/item-not-found"]
    assert missing(site, "unknown", "hv1").handled is None
    assert missing(site, host.management.id, "hv3").handled is None
    assert site.service.counters["refused/item-not-found"] == refused + 2
    host.resume()
    assert site.service.counters["resume"] == 1


def test_nobody_comes_back_in_time(site: Site, host: Host, source: Peer) -> None:
    host.subscribe("blue")
    host.announce("blue", "10.1.1.1/32")
    host.management.received()
    source.subscribe("blue")
    host.lose()
    due = site.resumption.timer()
    assert due == site.now + 60
    assert site.resumption.expire(due - 0.001) == []
    assert site.resumption.expire(due) == [host.session]
    assert site.resumption.timer() is None
    assert missing(site, host.management.id, "hv1").handled == 1, "its count is still known"
    assert missing(site, host.management.id, "hv3").handled is None
    assert site.service.subscribers("blue") == {"hv2"} and len(site.resumption) == 0
    source.pull()
    assert source.next_hops("blue") == {"10.1.1.1/32": [("192.0.2.11", 100)]}, "its items have a time of their own"


def test_counts_of_ended_sessions_are_forgotten_at_last(site: Site) -> None:
    first = site.host("hv1")
    site.resumption.end(first.session, site.now)
    for _ in range(REMEMBERED - 1):
        site.resumption.end(site.host("hv3").session, site.now)
    assert missing(site, first.management.id, "hv1").handled == 0
    site.resumption.end(site.host("hv3").session, site.now)
    assert missing(site, first.management.id, "hv1").handled is None


@pytest.mark.parametrize(
    ("wish", "resume_time", "expected"),
    [
        (EnableWish(True, None), 60.0, 60.0),
        (EnableWish(True, 10), 60.0, 10.0),
        (EnableWish(True, 600), 60.0, 60.0),
        (EnableWish(True, 0), 60.0, None),
        (EnableWish(True, None), 0.0, None),
        (EnableWish(False, 10), 60.0, None),
    ],
)
def test_how_long_a_session_may_be_resumed(wish: EnableWish, resume_time: float, expected: float | None) -> None:
    site = Site(resume_time=resume_time)
    peer = site.connect("hv1", "192.0.2.11")
    management = site.resumption.enable(peer.session, wish)
    peer.ask("get", PING)
    assert management.outbox.sent == 1, "counted it is anyhow"
    assert bool(management.id) == (expected is not None)
    suspended = site.resumption.suspend(peer.session, site.now)
    assert (suspended is not None) == (expected is not None)
    assert site.resumption.timer() == (None if expected is None else site.now + expected)


def test_ids_are_not_to_be_guessed() -> None:
    site = Site()
    size = len(base64.urlsafe_b64decode(site.host("hv1").management.id))
    assert size == 18, "from the source of unpredictable bytes"


def test_too_many_answers_on_the_way_make_a_new_session_necessary(site: Site, host: Host) -> None:
    host.management.received()
    while host.management.outbox.complete:
        host.send("get", f"<query xmlns='{ns.DISCO_INFO}'/>")
        host.miss()
    assert host.management.outbox.sent > 10
    host.lose()
    with pytest.raises(NotResumable) as caught:
        host.resume()
    assert caught.value.handled == 1
    assert len(site.resumption) == 0 and site.resumption.timer() is None
    assert missing(site, host.management.id, "hv1").handled == 1


def test_a_session_that_lacks_an_answer_is_not_resumed(host: Host) -> None:
    host.session.lose_answer()
    host.lose()
    with pytest.raises(NotResumable):
        host.resume()


def test_a_host_that_reads_again_can_resume_again(host: Host) -> None:
    host.management.outbox.keep(b"x" * (KEPT_MAX + 1))
    assert not host.management.outbox.complete
    host.handled += 1
    host.lose_and_resume()


def test_an_impossible_count_ends_the_session(site: Site, host: Host) -> None:
    host.announce("blue", "10.1.1.1/32")
    host.handled += 1
    host.lose()
    with pytest.raises(StreamError, match="undefined-condition"):
        host.resume()
    missing(site, host.management.id, "hv1")
    assert site.service.rib.stale("hv1") == 1


def test_what_the_host_may_do_has_changed(site: Site, host: Host) -> None:
    host.subscribe("blue")
    host.lose()
    with pytest.raises(NotResumable, match="may do"):
        host.resume(Permit(host.session.permit.addresses, frozenset({"red"})))
    assert set(site.service.joined()) == set()


def test_the_newest_session_of_a_jid_wins(site: Site, host: Host) -> None:
    other = site.host("hv1", resource="other")
    host.lose(), other.lose()
    site.resumption.supersede(host.session.jid, site.now)
    missing(site, host.management.id, "hv1")
    other.resume()


def test_sessions_that_wait_make_room_for_new_ones(site: Site) -> None:
    waiting = [site.host("hv1", resource=f"r{number}") for number in range(3)]
    for host in waiting:
        host.lose()
    site.host("hv1", resource="live")
    site.resumption.make_room("hv1", 4, site.now)
    assert site.resumption.waiting("hv1") == 2
    missing(site, waiting[0].management.id, "hv1")
    site.resumption.make_room("hv1", 1, site.now)
    assert site.resumption.waiting("hv1") == 0
    assert site.service.connected["hv1"] == 1


def test_so_many_wait_and_the_oldest_go_first() -> None:
    site = Site(most=2)
    hosts = [site.host(f"hv{number}") for number in range(3)]
    for host in hosts:
        host.lose()
    assert len(site.resumption) == 2
    missing(site, hosts[0].management.id, "hv0")
    for host in hosts[1:]:
        host.resume()


def test_none_of_a_host_may_come_back(site: Site) -> None:
    hosts = [site.host("hv1", resource=name) for name in ("a", "b")]
    hosts[0].lose()
    site.resumption.end_host("hv1", site.now)
    missing(site, hosts[0].management.id, "hv1")
    hosts[1].lose_and_resume()


def test_a_session_that_does_not_wait_and_one_that_nobody_counts(site: Site, host: Host, source: Peer) -> None:
    with pytest.raises(RuntimeError):
        site.resumption.resume(host.session, host.session.permit, 0, site.now)
    assert site.resumption.suspend(source.session, site.now) is None
    site.resumption.end(source.session, site.now)
    assert site.service.connected["hv2"] == 0


def test_lost_and_resumed_many_times_nothing_is_left_over(site: Site, host: Host) -> None:
    for _ in range(100):
        site.now += 1
        host.lose_and_resume()
    assert site.resumption.timer() is None
    host.lose()
    assert site.resumption.timer() == site.now + 60
    assert len(site.resumption._deadlines) == 1


def test_of_a_session_that_ends_nothing_is_left(site: Site, host: Host) -> None:
    host.subscribe("blue")
    host.lose()
    site.resumption.end(host.session, site.now)
    assert site.resumption.end(host.session, site.now) == 0
    assert not site.resumption._entries and not site.resumption._ids and not site.resumption._waiting
    assert not site.service.suspended and not site.service.joined()


def test_an_outbox_that_keeps_nothing_leaves_plain_cursors(site: Site, source: Peer) -> None:
    session = site.connect("hv1", "192.0.2.11").session
    management = Management(outbox=Outbox(recoverable=False))
    session.count(management.outbox)
    assert not session.recoverable
    session.acknowledged([])


# Everything at once.

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("announce"), st.sampled_from(["blue", "red"]), st.integers(0, 3), st.integers(100, 102)),
        st.tuples(st.just("retract"), st.sampled_from(["blue", "red"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["ping", "ask", "acknowledge"])),
        st.tuples(st.just("arrive"), st.integers(1, 3)),
        st.tuples(st.just("lose"), st.integers(0, 3)),
        st.tuples(st.just("subscribe"), st.sampled_from(["blue", "red"])),
    ),
    max_size=40,
)


class Model:
    """What a host must have been told when a pong comes: everything that was so at its ping and is still so."""

    def __init__(self) -> None:
        self.site = Site()
        self.source = self.site.connect("hv2", "192.0.2.12")
        self.host = self.site.host("hv1")
        self.asked: list[str] = []
        self.pings: dict[str, tuple[dict[str, dict[str, Path]], Counter[tuple[str, str]]]] = {}
        self._changes: Counter[tuple[str, str]] = Counter()
        self._checked = 0

    def tables(self) -> dict[str, dict[str, Path]]:
        return {
            name: {str(prefix): path for prefix, path in self.site.service.rib.tables[name].routes()}
            for name in self.host.session.subscriptions
        }

    def announce(self, name: str, number: int, label: int) -> None:
        self._changes[name, f"10.1.1.{number}/32"] += 1
        self.source.announce(name, f"10.1.1.{number}/32", label=label)

    def retract(self, name: str, number: int) -> None:
        self._changes[name, f"10.1.1.{number}/32"] += 1
        self.source.retract(name, f"192.0.2.12:1:10.1.1.{number}/32")

    def ping(self) -> None:
        before = self.tables(), Counter(self._changes)
        self.pings[self.host.send("get", PING)] = before

    def ask(self) -> None:
        self.asked.append(self.host.send("get", f"<query xmlns='{ns.DISCO_INFO}'/>"))

    def subscribe(self, name: str) -> None:
        payload = f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{name}' jid='{self.host.session.jid}'/></pubsub>"
        self.asked.append(self.host.send("set", payload))

    def acknowledge(self) -> None:
        self.host.acknowledge()

    def arrive(self, pieces: int) -> None:
        for _ in range(pieces):
            self.host.pull(1)
            self.check()

    def lose(self, pieces: int) -> None:
        """So many pieces are on the way when the stream is lost."""
        self.host.miss(pieces)
        self.host.lose_and_resume()

    def check(self) -> None:
        for line in self.host.order[self._checked :]:
            then, changes = self.pings.get(line.removeprefix("result "), ({}, self._changes))
            for name, routes in then.items():
                got = self.host.routes.get(name, {})
                for prefix in {*routes, *got}:
                    if changes[name, prefix] == self._changes[name, prefix]:
                        assert got.get(prefix) == routes.get(prefix), f"{line}: {name} {prefix}"
        self._checked = len(self.host.order)


@settings(deadline=None, max_examples=300)
@given(STEPS)
def test_whatever_is_lost_the_host_has_every_answer_once_and_the_tables(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    model = Model()
    for name, *arguments in steps:
        getattr(model, name)(*arguments)
    model.lose(1)
    model.arrive(60)
    assert not model.host.session.pending
    answers = [line for line in model.host.order if line.startswith("result")]
    assert sorted(answers) == sorted(f"result {identifier}" for identifier in (*model.asked, *model.pings))
    for name, routes in model.tables().items():
        assert model.host.routes.get(name, {}) == routes


def test_no_session_can_be_resumed_when_its_items_are_gone(site: Site) -> None:
    """The times of a configuration that was read again don't lengthen how long items stay."""
    site.resumption.resume_time = 600.0
    host = site.host("hv1")
    assert host.management.resume_time == site.service.rib.stale_time
    host.announce("blue", "10.1.1.1/32")
    host.lose()
    assert site.resumption.timer() == site.service.timer()
