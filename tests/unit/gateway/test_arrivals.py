"""Who is served when, of those that aren't sessions yet."""

from __future__ import annotations

import random
from collections import Counter, deque

from gateway.arrivals import GRACE, PASSED_OVER, Arrivals, ArrivalSettings

CROWD, NEWCOMER = "192.0.2.1", "192.0.2.2"
SETTINGS = ArrivalSettings(under_way=4, idle=6, idle_of_address=3, silence=10.0)


def arrivals(settings: ArrivalSettings = SETTINGS) -> Arrivals[str]:
    return Arrivals(settings)


def come(of: Arrivals[str], keys: list[str], address: str = CROWD, now: float = 0.0) -> None:
    """They are accepted, and their first bytes are here."""
    for key in keys:
        of.arrived(key, address, now)
        of.spoke(key, now)


def served(of: Arrivals[str], now: float = 0.0) -> list[str]:
    found = []
    while (key := of.next(now)) is not None:
        found.append(key)
    return found


def test_the_oldest_are_served_and_the_rest_waits_for_a_place() -> None:
    of = arrivals()
    come(of, ["a1", "a2", "a3", "a4", "a5"])
    assert served(of) == ["a1", "a2", "a3"], "one place is kept for others"
    assert (of.under_way, of.waiting, len(of)) == (3, 2, 5)
    assert of.done("a2")
    assert served(of) == ["a4"]
    assert of.done("a5"), "it has gone while it waited"
    assert of.done("a1")
    assert served(of) == []
    assert (of.under_way, of.waiting) == (2, 0)


def test_whoever_has_not_spoken_is_not_served() -> None:
    of = arrivals()
    of.arrived("a1", CROWD, 0.0)
    assert of.next(0.5) is None
    of.spoke("a1", 0.5)
    assert of.next(0.5) == "a1"


def test_a_newcomer_does_not_wait_for_a_crowd_of_another_address() -> None:
    of = arrivals()
    come(of, [f"a{number}" for number in range(500)])
    assert len(served(of)) == 3
    come(of, ["b1"], NEWCOMER, 0.1)
    assert served(of, 0.1) == ["b1"]
    come(of, ["b2"], NEWCOMER, 0.2)
    assert of.done("a0")
    assert served(of, 0.2) == ["b2"], "its address has fewer under way"
    assert of.done("b1")
    assert served(of, 0.2) == ["a3"]


def test_a_storm_without_end_leaves_nothing_behind() -> None:
    """Of two addresses, so that it is always the places that are taken, and never one address that has its share."""
    of = arrivals()
    for number in range(20):
        come(of, [f"a{number}"], CROWD if number % 2 else NEWCOMER)
    under_way = deque(served(of))
    for number in range(20, 3000):
        come(of, [f"a{number}"], CROWD if number % 2 else NEWCOMER)
        of.done(under_way.popleft())
        under_way.extend(served(of))
    assert (of.under_way, of.waiting) == (4, 16)
    assert len(of._turns) <= 2 * 2 + PASSED_OVER


def test_one_place_serves_all() -> None:
    of = arrivals(ArrivalSettings(under_way=1))
    come(of, ["a1", "a2"])
    assert served(of) == ["a1"]
    of.done("a1")
    assert served(of) == ["a2"]


def test_a_slow_login_gives_its_place_away_and_goes_on() -> None:
    of = arrivals()
    come(of, ["a1", "a2", "a3", "a4"])
    assert served(of) == ["a1", "a2", "a3"]
    assert of.timer() == GRACE
    assert served(of, GRACE) == ["a4"]
    assert (of.under_way, of.idle) == (1, 3)
    assert of.done("a1"), "it has logged in after all"
    assert of.idle == 2


def test_the_oldest_idle_connection_of_an_address_goes_when_there_are_too_many() -> None:
    of = arrivals()
    come(of, ["b1"], NEWCOMER)
    assert served(of) == ["b1"]
    for number in range(5):
        of.arrived(f"a{number}", CROWD, 0.0)
    assert of.superfluous(0.5) == []
    assert of.superfluous(1.5) == ["a0", "a1"], "three are allowed"
    assert not of.done("a0"), "forgotten"
    assert of.idle == 4


def test_idle_connections_in_total() -> None:
    of = arrivals()
    for number in range(8):
        of.arrived(f"c{number}", f"198.51.100.{number // 2}", 0.0)
    gone = of.superfluous(1.0)
    assert gone == ["c0", "c2"], "of the addresses that have most"
    assert of.idle == 6


def test_silence_ends_and_waiting_does_not_count() -> None:
    of = arrivals(ArrivalSettings(under_way=1, silence=10.0))
    of.arrived("silent", NEWCOMER, 0.0)
    come(of, ["a1", "a2"])
    assert served(of) == ["a1"]
    assert of.silent(9.9) == []
    assert of.silent(10.0) == ["silent"]
    # a1 dawdles, so that a2 is served although it has waited for so long.
    assert served(of, 10.0) == ["a2"]


def test_when_there_is_no_room_the_newest_of_the_crowd_goes() -> None:
    of = arrivals()
    assert of.crowded_out(NEWCOMER) is None, "all are sessions already"
    come(of, ["a1", "a2", "a3", "a4"])
    assert of.crowded_out(CROWD) is None
    assert of.crowded_out(NEWCOMER) == "a4"
    come(of, ["b1"], NEWCOMER, 0.1)
    assert of.crowded_out(NEWCOMER) == "a3"
    come(of, ["b2"], NEWCOMER, 0.1)
    assert of.crowded_out(NEWCOMER) is None, "it would be a crowd itself"
    assert len(of) == 4
    assert served(of, 0.1) == ["a1", "b1", "a2", "b2"]


def test_a_storm_is_served_in_order_and_at_once_by_address() -> None:
    """Ten thousand hosts, each of its own address: each is served once, the oldest first."""
    of = arrivals(ArrivalSettings(under_way=64))
    names = [f"h{number}" for number in range(10_000)]
    for number, name in enumerate(names):
        come(of, [name], f"10.0.{number >> 8}.{number & 255}", number * 1e-6)
    order: list[str] = []
    under_way: deque[str] = deque()
    while of.waiting or under_way:
        while (key := of.next(0.5)) is not None:
            under_way.append(key)
        assert len(under_way) <= 64
        order.append(under_way.popleft())
        assert of.done(order[-1])
    assert order == names
    assert len(of._turns) < 64, "passed entries don't pile up"


def test_whatever_happens_the_counts_are_right() -> None:
    """Random histories against a plain recount."""
    chance = random.Random(6)
    for _ in range(30):
        of = arrivals(ArrivalSettings(under_way=5, idle=8, idle_of_address=3, silence=4.0))
        alive: dict[str, tuple[str, str]] = {}  # key: address, state
        now = 0.0
        for number in range(400):
            now += chance.choice((0.0, 0.05, 0.3))
            silent = [key for key, (_, state) in alive.items() if state == "silent"]
            act = chance.randrange(5)
            if act <= 1:
                key, address = f"k{number}", f"10.0.0.{chance.randrange(4)}"
                gone = of.crowded_out(address) if len(alive) == 25 else None
                if gone is not None:
                    del alive[gone]
                if len(alive) < 25:
                    of.arrived(key, address, now)
                    alive[key] = (address, "silent")
            elif act == 2 and silent:
                key = chance.choice(silent)
                of.spoke(key, now)
                alive[key] = (alive[key][0], "waiting")
            elif act == 3:
                found = of.next(now)
                if found is not None:
                    assert alive[found][1] == "waiting"
                    alive[found] = (alive[found][0], "served")
            elif alive:
                key = chance.choice(sorted(alive))
                assert of.done(key)
                del alive[key]
            for key in of.silent(now) + of.superfluous(now):
                del alive[key]
            states = Counter(state for _, state in alive.values())
            assert len(of) == len(alive) <= 25
            assert of.waiting == states["waiting"]
            assert of.under_way <= min(5, states["served"])
            assert of.under_way + of.idle <= states["served"] + states["silent"]
            assert of.idle <= 8
            per_site = Counter(address for address, _ in alive.values())
            assert {where: len(group) for where, group in of._present.sites.items()} == per_site
        for key in list(alive):
            of.done(key)
        assert not of._turn_of and not of._watched and not of._silent and not of._under_way
        assert (of.waiting, of.under_way, of.idle, of.timer()) == (0, 0, 0, None)
