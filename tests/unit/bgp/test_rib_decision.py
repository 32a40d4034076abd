"""The decision process: each step, and that nothing depends on the order of arrival."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.attributes import WELL_KNOWN_LLGR_STALE, Attributes, Origin
from bgp.communities import MacMobility
from bgp.rib.decision import Step, best, explain, multipath
from bgp.rib.values import Path, SourceKind
from tests.unit.bgp.routes import attributes, path, sequence, source

A = source("a", number=1)
B = source("b", number=2)


@pytest.mark.parametrize(
    ("winner", "loser", "step"),
    [
        (path(A), path(B, attributes(communities=(WELL_KNOWN_LLGR_STALE,), local_pref=200)), Step.LONG_LIVED_STALE),
        (path(B, attributes(local_pref=101)), path(A, attributes(as_path=())), Step.LOCAL_PREF),
        (path(A, attributes(local_pref=None)), path(B, attributes(local_pref=99)), Step.LOCAL_PREF),
        (
            path(B, attributes(mobility=MacMobility(1, static=True))),
            path(A, attributes(mobility=MacMobility(9))),
            Step.STATIC,
        ),
        (path(B, attributes(mobility=MacMobility(1))), path(A), Step.SEQUENCE),
        (
            path(B, attributes(mobility=MacMobility(2**32 - 1))),
            path(A, attributes(mobility=MacMobility(1))),
            Step.SEQUENCE,
        ),
        (path(B), path(A, attributes(as_path=sequence(64999))), Step.AS_PATH),
        (path(B), path(A, attributes(origin=Origin.INCOMPLETE)), Step.ORIGIN),
        (
            path(B, attributes(as_path=sequence(64999), med=1)),
            path(A, attributes(as_path=sequence(64999), med=2)),
            Step.MED,
        ),
        (path(B, attributes()), path(A, attributes(med=2)), Step.MED),
        (path(source("gw", SourceKind.LOCAL, 9)), path(source("hosts", SourceKind.HOST, 1)), Step.SOURCE),
        (path(source("hosts", SourceKind.HOST, 9)), path(source("x", SourceKind.EXTERNAL, 1)), Step.SOURCE),
        (path(source("x", SourceKind.EXTERNAL, 9)), path(source("i", SourceKind.CLIENT, 1)), Step.EXTERNAL),
        (path(A), path(B), Step.ROUTER_ID),
        (path(B, attributes("64512:1", originator_id=bytes(4))), path(A), Step.ROUTER_ID),
        (
            path(B, attributes(originator_id=bytes(4), cluster_list=(b"aaaa",))),
            path(A, attributes(originator_id=bytes(4), cluster_list=(b"aaaa", b"bbbb"))),
            Step.CLUSTER_LIST,
        ),
        (path(A, attributes(originator_id=bytes(4))), path(B, attributes(originator_id=bytes(4))), Step.ADDRESS),
    ],
)
def test_steps(winner: Path, loser: Path, step: Step) -> None:
    for paths in ([winner, loser], [loser, winner]):
        assert best(paths) is winner
        first, second = explain(paths)
        assert (first.path, first.step) == (winner, None)
        assert (second.path, second.step) == (loser, step)
        order = list(Step)
        assert second.multipath == (order.index(step) > order.index(Step.EXTERNAL))


def test_internal_and_client_peers_are_equals() -> None:
    client = path(source("c", SourceKind.CLIENT, 2))
    assert multipath([client, path(A)]) == [path(A), client]


def test_med_of_different_ases_is_not_compared() -> None:
    """The textbook case in which comparing pair by pair has no best path at all."""
    x = path(source("x", number=2), attributes(as_path=sequence(1, 9), med=10))
    y = path(source("y", number=1), attributes(as_path=sequence(2, 9), med=20))
    z = path(source("z", number=3), attributes(as_path=sequence(1, 9), med=0))
    for paths in itertools.permutations([x, y, z]):
        assert best(paths) is y
        assert [verdict.step for verdict in explain(paths)] == [None, Step.ROUTER_ID, Step.MED]


def test_multipath_has_equals_with_the_same_targets() -> None:
    same = path(source("c", number=3), label=300)
    other = path(source("d", number=4), attributes("64512:2"))
    worse = path(source("e", number=5), attributes("64512:1", local_pref=50))
    assert multipath([other, worse, same, path(A)]) == [path(A), same]
    assert multipath([path(A)]) == [path(A)]


SAID = st.builds(
    attributes,
    st.sampled_from(["64512:1", "64512:2"]),
    local_pref=st.sampled_from([None, 100, 200]),
    mobility=st.sampled_from([None, MacMobility(1), MacMobility(2), MacMobility(2, static=True)]),
    as_path=st.sampled_from([(), sequence(1), sequence(2), sequence(1, 2)]),
    origin=st.sampled_from(list(Origin)),
    med=st.sampled_from([None, 0, 5]),
    originator_id=st.sampled_from([None, b"aaaa"]),
    cluster_list=st.sampled_from([(), (b"aaaa",)]),
    communities=st.sampled_from([(), (WELL_KNOWN_LLGR_STALE,)]),
)
SOURCES = [source(f"s{number}", kind, number) for number, kind in enumerate(list(SourceKind) * 2)]


@given(
    st.lists(st.tuples(st.sampled_from(SOURCES), SAID), min_size=1, max_size=6, unique_by=lambda p: p[0].name),
    st.data(),
)
def test_order_of_arrival_means_nothing(said: list[tuple[object, Attributes]], data: st.DataObject) -> None:
    paths = [path(of, what) for of, what in said]  # type: ignore[arg-type]
    shuffled = data.draw(st.permutations(paths))
    assert best(paths) is best(shuffled)
    assert multipath(paths) == multipath(shuffled)
    assert explain(paths) == explain(shuffled)
    verdicts = explain(paths)
    assert verdicts[0].path is best(paths) and verdicts[0].step is None
    assert sorted(id(one.path) for one in verdicts) == sorted(map(id, paths))
    assert {id(one.path) for one in verdicts if one.multipath} == set(map(id, multipath(paths)))
    if len(paths) > 1:
        # Taking out a path that isn't the best changes nothing: no comparison goes in circles.
        loser = data.draw(st.sampled_from([one for one in paths if one is not best(paths)]))
        if loser.attributes.neighbour is None or loser.attributes.rank > best(paths).attributes.rank:
            assert best([one for one in paths if one is not loser]) is best(paths)
