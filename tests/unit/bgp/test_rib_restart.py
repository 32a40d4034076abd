"""What becomes of a lost peer's routes."""

from __future__ import annotations

from dataclasses import replace

from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.negotiation import Negotiated, RestartPolicy, negotiate
from bgp.rib.restart import Action, ActionKind, RestartHelper
from tests.unit.bgp.pair import HIGH, LOW, config

BOTH = (VPNV4, VPNV6)


def agreed(
    restart_time: int = 30, families: tuple[Family, ...] = BOTH, long_lived: int = 0, *, back: bool = False
) -> Negotiated:
    """What a session has agreed on; back: the peer has restarted and kept forwarding."""
    ours = config(LOW, restart=RestartPolicy(30, BOTH, 3600))
    theirs = config(HIGH, restart=RestartPolicy(restart_time, families, long_lived))
    return negotiate(ours, ours.open(), theirs.open(restarting=back))


def swept(*families: Family) -> list[Action]:
    return [Action(ActionKind.SWEEP, family) for family in families]


def degraded(*families: Family) -> list[Action]:
    return [Action(ActionKind.DEGRADE, family) for family in families]


def lost(helper: RestartHelper, negotiated: Negotiated, now: float = 0.0) -> list[Action]:
    return helper.went_down(negotiated, negotiated.preserved, now)


def test_back_in_time_and_all_sent() -> None:
    helper = RestartHelper(stale_time=100.0)
    assert lost(helper, agreed()) == swept(RTC)
    assert helper.stale == {VPNV4, VPNV6} and helper.get_timer() == 30.0
    assert helper.came_up(agreed(back=True), 20.0) == []
    assert helper.get_timer() == 120.0
    assert helper.all_sent(VPNV4) == swept(VPNV4)
    assert helper.all_sent(VPNV4) == []
    assert helper.all_sent(VPNV6) == swept(VPNV6)
    assert helper.get_timer() is None


def test_not_back_in_time() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    assert helper.handle_timer(29.0) == []
    assert helper.handle_timer(30.0) == swept(VPNV4, VPNV6)
    assert helper.stale == frozenset()


def test_back_without_end_of_rib() -> None:
    helper = RestartHelper(stale_time=100.0)
    lost(helper, agreed())
    helper.came_up(agreed(back=True), 20.0)
    assert helper.handle_timer(119.0) == []
    assert sorted(helper.handle_timer(120.0)) == sorted(swept(VPNV4, VPNV6), key=lambda action: action.family)


def test_back_without_having_kept_forwarding() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    assert helper.came_up(agreed(back=False), 20.0) == swept(VPNV4, VPNV6)


def test_back_without_a_family() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    assert helper.came_up(agreed(families=(VPNV4,), back=True), 20.0) == swept(VPNV6)
    assert helper.stale == {VPNV4}


def test_hard_end() -> None:
    helper = RestartHelper()
    assert helper.went_down(agreed(), frozenset(), 0.0) == swept(*sorted((RTC, VPNV4, VPNV6)))
    assert helper.get_timer() is None


def test_long_lived_follows() -> None:
    helper = RestartHelper()
    lost(helper, agreed(long_lived=600))
    assert helper.handle_timer(30.0) == degraded(VPNV4, VPNV6)
    assert helper.get_timer() == 630.0
    assert sorted(action.family for action in helper.handle_timer(630.0)) == [VPNV4, VPNV6]
    assert helper.stale == frozenset()


def test_long_lived_goes_on_after_the_return_until_all_is_sent() -> None:
    helper = RestartHelper(stale_time=1000.0)
    lost(helper, agreed(long_lived=600))
    helper.handle_timer(30.0)
    assert helper.came_up(agreed(long_lived=600, back=True), 40.0) == []
    assert helper.all_sent(VPNV4) == swept(VPNV4)
    assert helper.handle_timer(630.0) == swept(VPNV6)


def test_long_lived_at_once_without_a_restart_time() -> None:
    helper = RestartHelper()
    assert lost(helper, agreed(restart_time=0, long_lived=600)) == swept(RTC) + degraded(VPNV4, VPNV6)
    negotiated = agreed(families=(VPNV4,))
    only_v6 = replace(agreed(long_lived=600), graceful_restart=negotiated.graceful_restart)
    assert lost(helper, only_v6) == swept(RTC) + degraded(VPNV6)
    assert helper.handle_timer(30.0) == degraded(VPNV4)


def test_the_end_of_a_refresh_sweeps() -> None:
    helper = RestartHelper(stale_time=100.0)
    assert helper.all_sent(VPNV4) == []
    helper.refresh_began(VPNV4, 0.0)
    assert helper.all_sent(VPNV4) == swept(VPNV4)
    helper.refresh_began(VPNV4, 5.0)
    assert helper.handle_timer(105.0) == swept(VPNV4)


def test_another_speaker_has_no_stale_routes() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    assert helper.forget() == swept(VPNV4, VPNV6)
