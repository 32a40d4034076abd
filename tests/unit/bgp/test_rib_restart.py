"""What becomes of a lost peer's routes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bgp.capabilities import Capabilities
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


def swept(*families: Family, generation: int | None = None) -> list[Action]:
    return [Action(ActionKind.SWEEP, family, generation) for family in families]


def degraded(*families: Family) -> list[Action]:
    return [Action(ActionKind.DEGRADE, family) for family in families]


def lost(helper: RestartHelper, negotiated: Negotiated, now: float = 0.0) -> list[Action]:
    return helper.fails_again(negotiated) + helper.went_down(negotiated, negotiated.preserved, now)


def up(helper: RestartHelper, negotiated: Negotiated, now: float, generation: int = 1) -> list[Action]:
    return helper.came_up(negotiated, now, lambda _: generation)


def test_back_in_time_and_all_sent() -> None:
    helper = RestartHelper(stale_time=100.0)
    assert lost(helper, agreed()) == swept(RTC)
    assert helper.stale == {VPNV4, VPNV6} and helper.get_timer() == 30.0
    assert up(helper, agreed(back=True), 20.0) == []
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
    up(helper, agreed(back=True), 20.0, generation=1)
    assert helper.handle_timer(119.0) == []
    assert sorted(helper.handle_timer(120.0)) == swept(VPNV4, VPNV6, generation=1)
    assert helper.stale == frozenset()


def test_back_without_having_kept_forwarding() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    assert up(helper, agreed(back=False), 20.0) == swept(VPNV4, VPNV6)


def test_back_without_a_family() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    assert up(helper, agreed(families=(VPNV4,), back=True), 20.0) == swept(VPNV6)
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
    assert up(helper, agreed(long_lived=600, back=True), 40.0) == []
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
    assert helper.refresh_ended(VPNV4) == [], "an end without a begin"
    helper.refresh_began(VPNV4, 0.0, 1)
    assert helper.all_sent(VPNV4) == [], "End-of-RIB isn't the end of a refresh"
    assert helper.refresh_ended(VPNV4) == swept(VPNV4)
    helper.refresh_began(VPNV4, 5.0, 2)
    assert helper.handle_timer(105.0) == swept(VPNV4, generation=2)
    assert helper.refresh_ended(VPNV4) == []


def test_the_end_of_a_refresh_that_did_not_begin_spares_what_waits_for_the_end_of_rib() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    up(helper, agreed(back=True), 10.0)
    assert helper.refresh_ended(VPNV4) == []
    assert helper.all_sent(VPNV4) == swept(VPNV4)


def test_stale_timers_of_a_family_that_are_due_together() -> None:
    """Late, or set at the same time: the routes of each go."""
    helper = RestartHelper(stale_time=100.0)
    up(helper, agreed(), 0.0)
    helper.refresh_began(VPNV4, 0.0, 1)
    helper.refresh_began(VPNV4, 5.0, 2)
    assert helper.handle_timer(200.0) == swept(VPNV4, generation=1) + swept(VPNV4, generation=2)
    assert helper.stale == frozenset() and helper.get_timer() is None


def test_another_speaker_has_no_stale_routes() -> None:
    helper = RestartHelper()
    lost(helper, agreed())
    assert helper.forget() == swept(VPNV4, VPNV6)


# -- consecutive restarts


def test_without_the_n_bit_a_second_failure_takes_what_was_stale() -> None:
    """RFC 4724, section 4.2."""
    helper = RestartHelper()
    without = replace(agreed(back=True), notification_restart=False)
    lost(helper, without)
    up(helper, without, 10.0)
    assert helper.fails_again(without) == swept(VPNV4, VPNV6)
    assert helper.went_down(without, without.preserved, 20.0) == swept(RTC)
    assert helper.stale == {VPNV4, VPNV6} and helper.get_timer() == 50.0


def test_with_the_n_bit_it_stays_until_its_own_time_is_over() -> None:
    """RFC 8538, section 4.1: the stale timer bounds how long routes are kept, however often the session is lost."""
    helper = RestartHelper(stale_time=100.0)
    lost(helper, agreed())
    up(helper, agreed(back=True), 10.0, generation=1)
    assert lost(helper, agreed(), 90.0) == swept(RTC)
    assert sorted(helper.handle_timer(110.0)) == swept(VPNV4, VPNV6, generation=1), "of the first session only"
    assert helper.stale == {VPNV4, VPNV6}
    up(helper, agreed(back=True), 115.0, generation=2)
    assert helper.get_timer() == 215.0
    assert helper.all_sent(VPNV4) == swept(VPNV4)
    assert helper.handle_timer(215.0) == swept(VPNV6, generation=2)
    assert helper.get_timer() is None and helper.stale == frozenset()


def test_with_the_n_bit_and_a_peer_that_stays_away() -> None:
    helper = RestartHelper(stale_time=100.0)
    lost(helper, agreed())
    up(helper, agreed(back=True), 10.0)
    lost(helper, agreed(), 20.0)
    assert helper.handle_timer(50.0) == swept(VPNV4, VPNV6)
    assert helper.get_timer() is None and helper.stale == frozenset()


def test_a_hard_reset_ends_all_of_it() -> None:
    helper = RestartHelper()
    lost(helper, agreed(long_lived=600))
    up(helper, agreed(long_lived=600, back=True), 10.0)
    assert helper.fails_again(agreed()) == []
    assert helper.went_down(agreed(), frozenset(), 20.0) == swept(VPNV4, RTC, VPNV6)
    assert helper.get_timer() is None and helper.stale == frozenset()


# -- long-lived (RFC 9494, section 4.2)


def test_long_lived_stale_routes_outlive_further_failures_by_their_own_timer() -> None:
    """Neither stopped nor updated before the peer has sent everything, and that without the N bit too."""
    without = replace(agreed(long_lived=600, back=True), notification_restart=False)
    helper = RestartHelper(stale_time=100.0)
    lost(helper, without)
    helper.handle_timer(30.0)
    up(helper, without, 40.0)
    assert lost(helper, without, 100.0) == swept(RTC)
    assert helper.handle_timer(130.0) == degraded(VPNV4, VPNV6), "what the second session has brought"
    assert helper.get_timer() == 630.0
    assert helper.handle_timer(630.0) == swept(VPNV4, VPNV6)


def test_long_lived_time_that_ends_before_everything_is_sent() -> None:
    """If the session is lost again then, nothing of the family is kept."""
    helper = RestartHelper(stale_time=1000.0)
    lost(helper, agreed(long_lived=600))
    helper.handle_timer(30.0)
    up(helper, agreed(long_lived=600, back=True), 620.0)
    assert helper.all_sent(VPNV6) == swept(VPNV6)
    assert helper.handle_timer(630.0) == swept(VPNV4)
    assert lost(helper, agreed(long_lived=600), 640.0) == swept(VPNV4, RTC)
    assert helper.stale == {VPNV6}


@pytest.mark.parametrize("brief", [True, False])
def test_what_is_kept_is_said_by_the_capability_of_the_phase(brief: bool) -> None:
    helper = RestartHelper()
    lost(helper, agreed(long_lived=600))
    if not brief:
        helper.handle_timer(30.0)
    negotiated = agreed(long_lived=600, back=True)
    assert negotiated.graceful_restart is not None
    not_kept = tuple(one._replace(forwarding=False) for one in negotiated.long_lived)
    assert up(helper, replace(negotiated, long_lived=not_kept), 20.0) == ([] if brief else swept(VPNV4, VPNV6))


def test_a_peer_without_families_of_its_own_takes_long_lived_stale_routes() -> None:
    """RFC 9494, sections 3.1, 4.3 and 4.5."""
    capabilities = config(HIGH, restart=RestartPolicy(30, BOTH)).open().capabilities
    negotiated = agreed()
    assert not negotiated.takes_long_lived
    for said, takes in ((replace(capabilities, long_lived=()), True), (Capabilities(long_lived=()), False)):
        remote = replace(negotiated.remote, capabilities=said)
        assert replace(negotiated, remote=remote).takes_long_lived is takes
