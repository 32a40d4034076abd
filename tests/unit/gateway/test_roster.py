"""Hosts of the last run: when they are back, and what is kept for the next start."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.roster import QUIET, Absent, Roster, decode, encode

LAPSE = 60.0


class Hosts:
    """Hosts and the roster of them. recorded: that of the last run."""

    def __init__(self, recorded: dict[str, int] | None = None, lapse: float = LAPSE) -> None:
        self.items: Counter[str] = Counter()
        self.connected: set[str] = set()
        self.roster = Roster(lambda host: self.items[host], recorded, lapse)

    def be(self, host: str, items: int | None = None, *, connected: bool = True, now: float = 0.0) -> None:
        if items is not None:
            self.items[host] = items
        (self.connected.add if connected else self.connected.discard)(host)
        self.roster.look(host, connected, now)


def test_without_a_record_nobody_is_waited_for() -> None:
    hosts = Hosts()
    assert hosts.roster.complete and hosts.roster.get_timer() is None
    hosts.be("hv1", 3)
    assert hosts.roster.complete
    assert hosts.roster.record() == {"hv1": 3}


def test_back_with_all_items_is_back_at_once() -> None:
    hosts = Hosts({"hv1": 2, "hv2": 1})
    hosts.be("hv1", 0)
    hosts.be("hv1", 1)
    assert not hosts.roster.complete
    hosts.be("hv1", 2)
    assert hosts.roster.absent(9) == ([Absent("hv2", 0, 1, False)], 0)
    hosts.be("hv2", 5)
    assert hosts.roster.complete and hosts.roster.get_timer() is None
    assert hosts.roster.record() == {"hv1": 2, "hv2": 5}


def test_back_with_fewer_items_is_back_when_no_more_come() -> None:
    hosts = Hosts({"hv1": 9})
    hosts.be("hv1", 0, now=10.0)
    assert hosts.roster.get_timer() == 10.0 + QUIET
    hosts.be("hv1", 1, now=12.0)
    hosts.roster.handle_timer(10.0 + QUIET)
    assert not hosts.roster.complete and hosts.roster.get_timer() == 12.0 + QUIET
    # What was kept holds until it is back.
    assert hosts.roster.record() == {"hv1": 9}
    hosts.roster.handle_timer(12.0 + QUIET)
    assert hosts.roster.complete
    assert hosts.roster.record() == {"hv1": 1}


def test_a_host_that_comes_without_items_leaves_the_record() -> None:
    hosts = Hosts({"hv1": 9})
    hosts.be("hv1", 0)
    hosts.roster.handle_timer(QUIET)
    assert hosts.roster.complete and hosts.roster.record() == {}


def test_a_session_that_is_lost_again_does_not_count() -> None:
    hosts = Hosts({"hv1": 2})
    hosts.be("hv1", 1, now=1.0)
    hosts.be("hv1", connected=False, now=2.0)
    assert hosts.roster.get_timer() == LAPSE
    hosts.roster.handle_timer(2.0 + QUIET)
    assert hosts.roster.absent(9) == ([Absent("hv1", 1, 2, False)], 0)
    hosts.be("hv1", now=20.0)
    hosts.roster.handle_timer(20.0 + QUIET)
    assert hosts.roster.complete


def test_the_earliest_is_due_first() -> None:
    hosts = Hosts({"hv1": 9, "hv2": 9, "hv3": 9})
    hosts.be("hv1", 1, now=1.0)
    hosts.be("hv2", 1, now=2.0)
    hosts.be("hv1", 2, now=3.0)
    assert hosts.roster.get_timer() == 2.0 + QUIET
    hosts.roster.handle_timer(2.0 + QUIET)
    assert [one.host for one in hosts.roster.absent(9)[0]] == ["hv1", "hv3"]
    assert hosts.roster.get_timer() == 3.0 + QUIET


def test_who_does_not_come_is_given_up() -> None:
    hosts = Hosts({"hv1": 9, "hv2": 9})
    hosts.be("hv2", 4, now=1.0)
    hosts.be("hv2", connected=False, now=2.0)
    hosts.roster.handle_timer(LAPSE)
    assert hosts.roster.complete and hosts.roster.get_timer() is None
    # The stale routes of the one that was here a while are still ours.
    assert hosts.roster.record() == {"hv2": 4}


def test_the_record_follows_items_and_nothing_else() -> None:
    hosts = Hosts()
    hosts.be("hv1", 0)
    assert hosts.roster.revision == 0
    hosts.be("hv1", 2)
    before = hosts.roster.revision
    hosts.be("hv1", connected=False)
    assert (hosts.roster.revision, hosts.roster.record()) == (before, {"hv1": 2})
    # Its stale time is over.
    hosts.be("hv1", 0, connected=False)
    assert hosts.roster.revision > before and hosts.roster.record() == {}


def test_a_few_are_named_and_the_rest_counted() -> None:
    roster = Hosts({f"hv{number:02}": 1 for number in range(40)}).roster
    absent, more = roster.absent(3)
    assert [one.host for one in absent] == ["hv00", "hv01", "hv02"] and more == 37


NAMES = st.sampled_from(["hv1", "hv2", "hv3"])
EVENTS = st.lists(st.tuples(NAMES, st.integers(0, 4), st.booleans(), st.floats(0.0, 4.0)), max_size=40)


@given(st.dictionaries(NAMES, st.integers(1, 4)), EVENTS)
def test_any_course_of_events(recorded: dict[str, int], events: list[tuple[str, int, bool, float]]) -> None:
    hosts = Hosts(recorded, 30.0)
    now = 0.0
    back = dict.fromkeys(recorded, False)
    revision, record = 0, hosts.roster.record()
    for host, items, connected, later in events:
        now += later
        hosts.roster.handle_timer(now)
        hosts.be(host, items, connected=connected, now=now)
        absent = {one.host for one in hosts.roster.absent(9)[0]}
        for name, was_back in back.items():
            # Once back, or given up, always back.
            assert not (was_back and name in absent)
            back[name] = name not in absent
        assert now < 30.0 or not absent
        assert hosts.roster.complete == (not absent)
        kept = hosts.roster.record()
        assert kept == {
            **{name: number for name, number in hosts.items.items() if number and name not in absent},
            **{name: recorded[name] for name in absent},
        }
        assert kept == record or hosts.roster.revision > revision
        revision, record = hosts.roster.revision, kept
        due = hosts.roster.get_timer()
        assert (due is None) == (not absent)
    hosts.roster.handle_timer(max(now, 30.0))
    assert hosts.roster.complete


@given(st.dictionaries(st.text(), st.integers(1, 1 << 40)))
def test_what_is_kept_is_read_again(record: dict[str, int]) -> None:
    assert decode(encode(record)) == record


@given(st.binary())
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"damaged|no record"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "damaged"),
        (encode({"hv1": 1})[:-5], "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"{}", "no record"),
        (b"[]", "no record"),
        (b'{"program":"other","version":1,"hosts":{}}', "no record"),
        (b'{"program":"vrfwire-gateway","version":2,"hosts":[]}', "has version 2, this program reads version 1"),
        (b'{"program":"vrfwire-gateway","version":1}', "damaged"),
        (b'{"program":"vrfwire-gateway","version":1,"hosts":[]}', "damaged"),
        (b'{"program":"vrfwire-gateway","version":1,"hosts":{"hv1":"1"}}', "damaged"),
        (b'{"program":"vrfwire-gateway","version":1,"hosts":{"hv1":true}}', "damaged"),
        (b'{"program":"vrfwire-gateway","version":1,"hosts":{"hv1":-1}}', "damaged"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode(data)
