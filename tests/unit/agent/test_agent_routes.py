"""Routes of several gateways, and what is kept when one is lost."""

from __future__ import annotations

from agent.routes import GatewayId, RouteTables
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address

ONE, TWO = GatewayId(parse_address("192.0.2.1"), 5222), GatewayId(parse_address("192.0.2.2"), 5222)
P1, P2 = Prefix.parse("10.1.1.1/32"), Prefix.parse("10.1.1.2/32")


def path(label: int, preference: int = 100, sequence: int = 0) -> Path:
    return Path((NextHop(parse_address("192.0.2.12"), label),), preference, sequence)


def tables(*gateways: GatewayId) -> RouteTables:
    made = RouteTables(gateways or (ONE,), 0.0, stale_time=45.0, end_of_table_time=30.0)
    made.join("blue", 0.0, initial=True)
    return made


def selected(made: RouteTables, prefix: Prefix = P1) -> Path | None:
    table = made.table("blue")
    assert table is not None
    return table.get(prefix)


def test_changes_are_read_once_and_newest_only() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    made.update(ONE, "blue", [(P1, path(1)), (P2, path(2))])
    made.update(ONE, "blue", [(P1, path(3)), (P2, None)])
    made.update(ONE, "red", [(P1, path(4))])
    changes = {(change.prefix, change.path) for change in made.changes()}
    assert (P1, path(3)) in changes
    assert (P2, path(2)) not in changes
    assert list(made.changes()) == []


def test_preference_between_gateways() -> None:
    made = tables(TWO, ONE)
    made.update(TWO, "blue", [(P1, path(2))])
    made.update(ONE, "blue", [(P1, path(1))])
    assert selected(made) == path(1), "the lowest address"
    made.update(TWO, "blue", [(P1, path(2, sequence=1))])
    assert selected(made) == path(2, sequence=1), "the highest sequence number"
    made.update(ONE, "blue", [(P1, path(1, preference=200))])
    assert selected(made) == path(1, preference=200), "the highest local preference"
    made.update(ONE, "blue", [(P1, None)])
    assert selected(made) == path(2, sequence=1), "withdrawn only when every gateway has"
    made.update(TWO, "blue", [(P1, None)])
    assert selected(made) is None


def test_a_lost_gateway_takes_nothing_with_it() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    made.update(ONE, "blue", [(P1, path(1))])
    made.end_of_table(ONE, "blue", 1.0)
    list(made.changes())
    made.session_ended(ONE, 100.0)
    made.handle_timer(1_000_000.0)
    assert selected(made) == path(1)
    assert list(made.changes()) == []


def test_what_a_gateway_does_not_announce_again_goes_after_its_table_and_the_stale_time() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    made.update(ONE, "blue", [(P1, path(1)), (P2, path(2))])
    made.end_of_table(ONE, "blue", 1.0)
    list(made.changes())
    made.session_ended(ONE, 100.0)
    made.session_started(ONE, 110.0)
    made.update(ONE, "blue", [(P1, path(1))])
    made.handle_timer(115.0)
    assert made.owing() == [(ONE, "blue")]
    made.end_of_table(ONE, "blue", 116.0)
    assert made.get_timer() == 161.0
    made.handle_timer(160.9)
    assert selected(made, P2) == path(2)
    made.handle_timer(161.0)
    assert selected(made, P1) == path(1)
    assert selected(made, P2) is None
    assert [(change.prefix, change.path) for change in made.changes()] == [(P2, None)]


def test_a_gateway_that_cannot_end_its_table_is_given_a_deadline() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    made.update(ONE, "blue", [(P2, path(2))])
    made.end_of_table(ONE, "blue", 1.0)
    made.session_ended(ONE, 100.0)
    made.session_started(ONE, 110.0)
    assert made.get_timer() == 140.0
    made.handle_timer(140.0)
    assert made.get_timer() == 185.0
    made.handle_timer(185.0)
    assert selected(made, P2) is None


def test_nothing_is_swept_while_another_gateway_owes_its_table() -> None:
    made = tables(ONE, TWO)
    for gateway in (ONE, TWO):
        made.session_started(gateway, 0.0)
        made.update(gateway, "blue", [(P1, path(1))])
        made.end_of_table(gateway, "blue", 1.0)
        made.session_ended(gateway, 100.0)
    made.session_started(ONE, 110.0)
    made.end_of_table(ONE, "blue", 111.0)
    made.session_started(TWO, 150.0)
    made.handle_timer(170.0)
    assert selected(made) == path(1)
    made.end_of_table(TWO, "blue", 171.0)
    made.handle_timer(172.0)
    made.handle_timer(216.0)
    assert selected(made) is None


def test_a_gateway_that_stays_away_is_outlived_by_another() -> None:
    made = tables(ONE, TWO)
    for gateway in (ONE, TWO):
        made.session_started(gateway, 0.0)
        made.update(gateway, "blue", [(P1, path(1))])
        made.end_of_table(gateway, "blue", 1.0)
    made.session_ended(ONE, 100.0)
    made.update(TWO, "blue", [(P1, None)])
    assert selected(made) == path(1), "not withdrawn by every gateway yet"
    made.handle_timer(144.0)
    assert selected(made) == path(1)
    made.handle_timer(145.0)
    assert selected(made) is None


def lost_twice(*, told: bool) -> RouteTables:
    """ONE is lost at 100 and again at 120, after a session in which it told its table to the end, or didn't; TWO has
    always been there, and doesn't know P1."""
    made = tables(ONE, TWO)
    for gateway in (ONE, TWO):
        made.session_started(gateway, 0.0)
        made.end_of_table(gateway, "blue", 1.0)
    made.update(ONE, "blue", [(P1, path(1))])
    made.session_ended(ONE, 100.0)
    made.session_started(ONE, 101.0)
    made.update(ONE, "blue", [(P1, path(1))])
    if told:
        made.end_of_table(ONE, "blue", 102.0)
    made.session_ended(ONE, 120.0)
    return made


def test_two_losses_in_short_succession_count_from_the_last_whole_table() -> None:
    made = lost_twice(told=True)
    made.handle_timer(164.9)
    assert selected(made) == path(1), "the table was whole at 120"
    made.handle_timer(165.0)
    assert selected(made) is None
    made = lost_twice(told=False)
    made.handle_timer(144.9)
    assert selected(made) == path(1)
    made.handle_timer(145.0)
    assert selected(made) is None, "a gateway that never ends its table doesn't keep a route for ever"


def test_a_session_lost_in_the_middle_of_its_table_sweeps_nothing() -> None:
    """Two restarts of the only gateway: what the first session brought stays until a table has been told to its end."""
    made = tables()
    made.session_started(ONE, 0.0)
    made.update(ONE, "blue", [(P1, path(1)), (P2, path(2))])
    made.end_of_table(ONE, "blue", 1.0)
    for begin, end in ((101.0, 101.5), (102.0, 150.0)):
        made.session_ended(ONE, begin - 1)
        made.session_started(ONE, begin)
        made.update(ONE, "blue", [(P1, path(1))])
        made.handle_timer(end)
    assert selected(made, P2) == path(2), "the deadline of an end of table is no end of the second session"
    made.end_of_table(ONE, "blue", 151.0)
    made.handle_timer(200.0)
    assert (selected(made, P1), selected(made, P2)) == (path(1), None)


def test_a_gateway_that_comes_before_the_recovery_is_over_is_waited_for() -> None:
    """It was away at the start, and given up; then it owes its table as well."""
    made = tables(ONE, TWO)
    made.session_started(ONE, 1.0)
    made.end_of_table(ONE, "blue", 2.0)
    assert made.get_timer() == 47.0
    made.session_started(TWO, 46.0)
    made.handle_timer(47.0)
    assert not made.complete and made.owing() == [(TWO, "blue")]
    made.handle_timer(75.9)
    assert not made.complete
    made.handle_timer(76.0)
    assert made.complete, "the deadline counts as the end"


def test_every_vpn_of_the_start_is_waited_for() -> None:
    made = tables(ONE)
    made.join("red", 0.0, initial=True)
    made.join("new", 10.0)
    made.session_started(ONE, 20.0)
    made.end_of_table(ONE, "blue", 21.0)
    made.handle_timer(49.0)
    assert made.owing() == [(ONE, "red"), (ONE, "new")] and not made.complete
    made.end_of_table(ONE, "red", 49.5)
    assert made.get_timer() == 50.0, "a VPN that is new can't have anything in the kernel"
    made.handle_timer(94.5)
    assert made.complete


def test_the_start_is_over_when_every_gateway_has_told_all_and_the_network_had_time() -> None:
    made = tables(ONE, TWO)
    made.session_started(ONE, 1.0)
    made.session_started(TWO, 2.0)
    made.end_of_table(ONE, "blue", 3.0)
    made.handle_timer(10.0)
    assert not made.complete
    made.end_of_table(TWO, "blue", 12.0)
    assert made.get_timer() == 48.0
    made.handle_timer(47.0)
    assert not made.complete
    made.handle_timer(48.0)
    assert made.complete


def test_the_start_is_not_over_while_all_gateways_are_away() -> None:
    made = tables(ONE, TWO)
    made.handle_timer(1_000_000.0)
    assert not made.complete
    made.session_started(ONE, 1_000_000.0)
    made.end_of_table(ONE, "blue", 1_000_001.0)
    made.handle_timer(1_000_046.0)
    assert made.complete


def test_the_start_without_ports_is_over_at_once() -> None:
    made = RouteTables((ONE,), 5.0)
    assert made.get_timer() == 5.0
    made.handle_timer(5.0)
    assert made.complete


def test_without_gateways_no_route_can_be_right() -> None:
    made = RouteTables((), 0.0)
    made.join("blue", 0.0, initial=True)
    made.handle_timer(0.0)
    assert made.complete


def test_a_refused_subscription_owes_nothing() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    made.subscription_refused(ONE, "blue", 1.0)
    assert made.owing() == []


def test_leaving_forgets_and_joining_again_starts_empty() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    made.update(ONE, "blue", [(P1, path(1))])
    made.leave("blue")
    assert list(made.changes()) == []
    made.update(ONE, "blue", [(P2, path(1))])
    made.join("blue", 5.0)
    assert made.owing() == [(ONE, "blue")]
    assert made.routes(ONE) == 0


def test_purge() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    made.update(ONE, "blue", [(P1, path(1))])
    made.purge(ONE, "blue")
    assert selected(made) is None


def test_changes_come_in_parts() -> None:
    made = tables()
    made.session_started(ONE, 0.0)
    prefixes = [Prefix(b"\x0a\x01" + number.to_bytes(2, "big"), 32) for number in range(25)]
    made.update(ONE, "blue", [(prefix, path(1)) for prefix in prefixes])
    heard: list[Prefix] = []
    while made.changed:
        part = [change.prefix for change in made.changes(10)]
        assert len(part) <= 10
        heard += part
        if len(heard) == 10:
            # What changes meanwhile comes once more.
            made.update(ONE, "blue", [(prefixes[0], path(2))])
    assert sorted(heard) == sorted([*prefixes, prefixes[0]])
    assert list(made.changes(10)) == []
