"""Items, the tables made of them, stale timers and reload."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy import Policy
from gateway.rib import Publisher, Rib
from tests.unit.gateway.test_policy import vpn
from vpn.path import NextHop, Path
from vpn.prefix import Prefix

MESH = Policy([vpn("blue", "64512:1", "64512:1"), vpn("red", "64512:2", "64512:2")])
EXTRANET = Policy([vpn("blue", "64512:1", "64512:1"), vpn("red", "64512:1 64512:2", "64512:2")])
P = Prefix.parse("10.1.1.1/32")
Q = Prefix.parse("2001:db8::1/128")


def path(host: int, label: int = 100) -> Path:
    return Path((NextHop(bytes([192, 0, 2, host]), label),))


def item_id(host: int, prefix: Prefix, instance: int = 1) -> str:
    return f"192.0.2.{host}:{instance}:{prefix}"


def test_an_item_is_in_the_tables_that_import_it() -> None:
    rib = Rib(EXTRANET)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11))
    assert rib.tables["blue"].get(P) == rib.tables["red"].get(P) == path(11)
    rib.publish("red", "hv2", item_id(12, P), P, path(12))
    assert rib.tables["blue"].get(P) == path(11), "blue doesn't import red"
    assert rib.tables["red"].get(P) == Path(path(11).next_hops + path(12).next_hops)
    assert rib.retract("blue", item_id(11, P))
    assert rib.tables["red"].get(P) == path(12)
    assert not rib.retract("blue", item_id(11, P))
    assert rib.hosts() == ("hv2",)


def test_two_instances_of_a_host_are_two_paths() -> None:
    rib = Rib(MESH)
    rib.publish("blue", "hv1", item_id(11, P, 1), P, path(11, 100))
    rib.publish("blue", "hv1", item_id(11, P, 2), P, path(11, 101))
    assert [c.source for c in rib.tables["blue"].candidates(P)] == [
        Publisher("blue", "hv1", "192.0.2.11:1"),
        Publisher("blue", "hv1", "192.0.2.11:2"),
    ]
    rib.retract("blue", item_id(11, P, 1))
    assert rib.tables["blue"].get(P) == path(11, 101)


def test_an_id_of_another_form_may_change_its_prefix() -> None:
    rib = Rib(MESH)
    rib.publish("blue", "hv1", "web", P, path(11))
    rib.publish("blue", "hv1", "web", Q, path(11))
    assert list(rib.tables["blue"]) == [Q]
    assert rib.count("hv1") == 1
    rib.retract("blue", "web")
    assert rib.tables["blue"].sources() == () and rib.hosts() == ()


def test_items_outlive_their_session_by_the_stale_time() -> None:
    rib = Rib(MESH, stale_time=60)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11), session=1)
    rib.publish("blue", "hv2", item_id(12, P), P, path(12), session=2)
    assert rib.timer() is None
    assert rib.session_ended("hv1", 1, now=100.0) == 1
    assert rib.tables["blue"].get(P) == path(12), "the stale path is less preferred"
    assert rib.timer() == 160.0
    assert rib.expire(159.9) == []
    assert rib.expire(160.0) == [("hv1", 1)]
    assert rib.hosts() == ("hv2",) and rib.timer() is None


def test_what_a_host_publishes_again_is_kept_and_the_rest_goes() -> None:
    rib = Rib(MESH, stale_time=60)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11), session=1)
    rib.publish("blue", "hv1", item_id(11, Q), Q, path(11), session=1)
    rib.session_ended("hv1", 1, now=100.0)
    rib.session_started("hv1", now=150.0)
    assert rib.timer() == 210.0, "the host gets the whole time to publish again"
    rib.publish("blue", "hv1", item_id(11, P), P, path(11), session=2)
    assert (rib.stale("hv1"), rib.count("hv1")) == (1, 2)
    assert rib.expire(210.0) == [("hv1", 1)]
    assert list(rib.tables["blue"]) == [P]


def test_a_session_takes_only_what_it_published_last() -> None:
    rib = Rib(MESH)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11), session=1)
    rib.publish("blue", "hv1", item_id(11, Q), Q, path(11), session=1)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11), session=2)
    assert rib.session_ended("hv1", 1, now=0.0) == 1
    assert rib.is_stale("blue", "hv1", item_id(11, Q)) and not rib.is_stale("blue", "hv1", item_id(11, P))
    assert rib.session_ended("hv1", 1, now=5.0) == 0
    assert rib.timer() == 60.0


def test_what_a_session_published_can_be_deleted_at_once() -> None:
    """Stale or not, and nothing of other sessions and hosts."""
    rib = Rib(MESH, stale_time=60)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11), session=1)
    rib.publish("red", "hv1", item_id(11, Q), Q, path(11), session=2)
    rib.publish("blue", "hv2", item_id(12, P), P, path(12), session=1)
    rib.session_ended("hv1", 1, now=0.0)
    assert rib.publishers("hv1") == {1, 2}
    assert rib.purge("hv1", {1, 7}) == 1 and rib.purge("hv3", {1}) == 0
    assert rib.publishers("hv1") == {2}
    assert rib.tables["blue"].get(P) == path(12) and rib.tables["red"].get(Q) == path(11)
    assert rib.expire(60.0) == [("hv1", 0)]


def test_reload_moves_routes_in_place() -> None:
    rib = Rib(MESH)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11), session=1)
    rib.publish("red", "hv2", item_id(12, P), P, path(12), session=2)
    rib.session_ended("hv1", 1, now=0.0)
    blue = rib.tables["blue"].cursor()
    red = rib.tables["red"].cursor()
    blue.read(10), red.read(10)
    rib.reload(EXTRANET)
    assert not blue.pending and not red.pending, "the stale path of blue is not preferred in red"
    assert len(rib.tables["red"].candidates(P)) == 2
    rib.retract("red", item_id(12, P))
    assert red.read(10) == [(P, path(11))]
    rib.reload(MESH)
    assert red.read(10) == [(P, None)]
    assert not blue.pending


def test_reload_without_a_vpn_withdraws_what_was_in_it() -> None:
    rib = Rib(EXTRANET)
    rib.publish("blue", "hv1", item_id(11, P), P, path(11))
    cursors = [rib.tables[name].cursor() for name in ("blue", "red")]
    for cursor in cursors:
        cursor.read(10)
    rib.reload(Policy([EXTRANET.vpns["red"], vpn("green", "64512:3", "64512:3")]))
    assert [cursor.read(10) for cursor in cursors] == [[(P, None)], [(P, None)]]
    assert set(rib.tables) == {"red", "green"} and rib.hosts() == ()


NODES = st.sampled_from(["blue", "red"])
HOSTS = st.integers(11, 13)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), NODES, HOSTS, st.sampled_from([P, Q]), st.integers(1, 2)),
        st.tuples(st.just("retract"), NODES, HOSTS, st.sampled_from([P, Q])),
        st.tuples(st.just("end"), HOSTS, st.integers(1, 2)),
        st.tuples(st.just("expire")),
        st.tuples(st.just("reload"), st.sampled_from([MESH, EXTRANET])),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_tables_are_what_the_items_and_the_policy_say(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    rib = Rib(MESH, stale_time=1)
    now = 0.0
    for name, *arguments in steps:
        now += 0.4
        match name:
            case "publish":
                node, host, prefix, session = arguments
                rib.publish(node, f"hv{host}", item_id(host, prefix), prefix, path(host), session)
            case "retract":
                node, host, prefix = arguments
                rib.retract(node, item_id(host, prefix))
            case "end":
                rib.session_ended(f"hv{arguments[0]}", arguments[1], now)
            case "expire":
                rib.expire(now)
            case "reload":
                rib.reload(arguments[0])
    scratch = Rib(rib.policy)
    for node in rib.policy.vpns:
        for identity, item in rib.items(node):
            host = item.publisher.host
            stale = rib.is_stale(node, host, identity)
            scratch.publish(node, host, identity, item.prefix, item.path, 1 if stale else 2)
    for host in scratch.hosts():
        scratch.session_ended(host, 1, 0.0)
    for node in rib.policy.vpns:
        assert dict(rib.tables[node].routes()) == dict(scratch.tables[node].routes())
        assert set(rib.tables[node].sources()) == set(scratch.tables[node].sources())
