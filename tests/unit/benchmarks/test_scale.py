"""The simulation behind docs/scale.md: what its parts do by themselves, and that the document has its figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale_events import COALESCE, Change, Clock, Simulation
from benchmarks.scale_model import Costs, Network, demand, members, vpn_sizes
from benchmarks.scale_return import LOGIN_TIME, SPREAD, return_of

FREE = Costs(**dict.fromkeys(Costs.__slots__, 0.0))
SMALL = Network(hosts=400, gateways=4, reflectors=2, delay=0.001)


def simulation(costs: Costs, subscribers: dict[int, int], reflectors: int = 1) -> Simulation:
    network = replace(SMALL, reflectors=reflectors)
    return Simulation(network, costs, lambda vpn: subscribers)


def test_the_clock_runs_in_order_of_time_and_then_of_asking() -> None:
    clock, seen = Clock(), list[str]()
    clock.at(2.0, lambda: seen.append("late"))

    def first() -> None:
        seen.append("first")
        clock.at(2.0, lambda: seen.append("last"))

    clock.at(1.0, first)
    clock.at(1.0, lambda: seen.append("second"))
    clock.run()
    assert seen == ["first", "second", "late", "last"] and clock.now == 2.0


def test_a_change_takes_the_wire_and_a_wait_for_more_at_each_gateway() -> None:
    near, far = simulation(FREE, {0: 3}), simulation(FREE, {2: 3})
    for one in (near, far):
        one.publish(Change(1, 0.0, 7, (0, 1)))
        one.run()
    assert near.delays.quantile(1.0) == pytest.approx(0.001 + COALESCE + 0.001)
    # Host, gateway, reflector, gateway, host; both gateways wait, the reflector doesn't.
    assert far.delays.quantile(1.0) == pytest.approx(4 * 0.001 + 2 * COALESCE)


def test_each_subscriber_is_told_once_however_many_reflectors_there_are() -> None:
    for reflectors in (1, 2, 5):
        network = simulation(FREE, {0: 3, 2: 4, 3: 5}, reflectors)
        network.publish(Change(1, 0.0, 7, (0, 1)))
        network.run()
        assert sum(weight for _, weight in network.delays.samples) == 12


def test_the_time_of_a_core_is_what_its_work_costs() -> None:
    costs = replace(FREE, message=0.01, message_item=0.001, item=0.002)
    network = simulation(costs, {0: 5})
    network.publish(Change(1, 0.0, 7, (0, 1)))
    network.run()
    assert network.gateways[0].busy_time == pytest.approx(0.002 + 5 * 0.011)
    assert network.gateways[1].busy_time == pytest.approx(0.002)
    assert network.gateways[2].busy_time == 0


def test_what_comes_while_a_gateway_works_is_one_batch() -> None:
    costs = replace(FREE, message=0.1)
    network = simulation(costs, {0: 1})
    for number in range(10):
        network.publish(Change(number, number * 0.005, 7, (0, 1)))
    network.run()
    # The first one alone, and the nine that came meanwhile together.
    assert network.gateways[0].busy_time == pytest.approx(0.2)
    assert len(network.delays.samples) == 40


def test_members_are_the_same_in_whatever_order_they_are_asked_for() -> None:
    assert members(SMALL, 3, 50, 6) == members(SMALL, 3, 50, 6) != members(SMALL, 3, 50, 7)
    assert members(SMALL, 3, 50, 6).total() == 100


def test_affinity_keeps_a_vpn_in_its_pod() -> None:
    network = replace(SMALL, gateways=40, pod=4, affinity=1.0)
    assert set(members(network, 3, 50, 6)) == {12, 13, 14, 15}
    assert len(members(replace(network, affinity=0.0), 3, 50, 6)) > 30


def test_expected_demand_is_what_members_come_to() -> None:
    network = Network(hosts=2000, gateways=8, reflectors=2, pod=4, affinity=0.5)
    sizes = vpn_sizes(network, 6)
    found = Counter[int]()
    for vpn, size in enumerate(sizes):
        for gateway in members(network, vpn, size, 6):
            found[gateway] += round(size * network.routes_per_member)
    expected = demand(network, Costs(), sizes)
    assert found.total() / network.gateways == pytest.approx(expected.imported, rel=0.02)
    assert sum(sizes) == pytest.approx(network.hosts * network.vpns_per_host, rel=0.1)


def test_a_gateway_has_room_for_every_session_of_a_host() -> None:
    with pytest.raises(ValueError, match="whole pods"):
        Network(hosts=10, gateways=3, reflectors=2, pod=2)


def test_hosts_that_are_served_at_once_come_back_after_their_first_wait() -> None:
    found = return_of(100, FREE, vpns=1, routes=1, table=1, down=0.0)
    assert SPREAD / 2 < found.logged_in <= SPREAD and found.attempts == 1 and found.longest_wait == 0


def test_hosts_wait_in_the_order_in_which_they_came_and_give_up_in_time() -> None:
    slow = replace(FREE, login=0.1)
    found = return_of(300, slow, vpns=0, routes=0, table=0, down=0.0)
    assert found.logged_in >= 30 and found.attempts > 1 and LOGIN_TIME < found.longest_wait <= 4 * LOGIN_TIME


def test_hosts_are_refused_while_the_gateway_is_away() -> None:
    found = return_of(50, FREE, vpns=1, routes=1, table=1, down=10.0)
    assert found.logged_in >= 10 and found.attempts == 1


def test_the_same_seed_gives_the_same_figures() -> None:
    network = scale.SITES["10k"]
    first, second = (scale.simulate(network, 0.001, Costs(), changes=50) for _ in range(2))
    assert first == second != scale.simulate(network, 0.001, Costs(), changes=50, seed=7)


def test_the_document_has_the_figures_of_this_simulation() -> None:
    document = (Path(__file__).parents[3] / "docs" / "scale.md").read_text(encoding="utf-8")
    for line in scale.tables({"10k": scale.SITES["10k"]}).splitlines():
        assert not line or line in document, f"docs/scale.md lacks {line}: python -m benchmarks.scale"
