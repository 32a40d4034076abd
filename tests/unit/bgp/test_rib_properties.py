"""Properties of the tables, each against the simplest thing that could be meant."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bgp.attributes import Attributes
from bgp.family import VPNV4
from bgp.message import MessageType
from bgp.nlri import Route, rtc_key, split_rtc_key
from bgp.rib.decision import Step, best, explain
from bgp.rib.interest import Interest
from bgp.rib.table import Table
from bgp.rib.values import Path, SourceKind
from tests.unit.bgp.codec_strategies import asns, memberships
from tests.unit.bgp.routes import NEXT_HOP, SETS, attributes, key, path, route, source, target
from tests.unit.bgp.test_rib_decision import SAID, SOURCES
from tests.unit.bgp.test_rib_export import Group, updates

# -- packing

KEYS = [key(f"10.0.{number}.0/24") for number in range(12)]
SETS_OF_ATTRIBUTES = [attributes("64512:1"), attributes("64512:2"), attributes("64512:1", med=5)]
HOSTS = source("hosts", SourceKind.HOST, 9)
NLRI = 1 + 3 + 8 + 3
"""Bytes of each route here."""
CHANGES = st.lists(
    st.tuples(st.sampled_from(range(len(KEYS))), st.none() | st.integers(0, 2), st.integers(16, 18)), max_size=40
)


@given(CHANGES, CHANGES, st.sampled_from([100, 150, 4096]))
def test_what_changed_is_told_once_and_packed(
    before: list[tuple[int, int | None, int]], after: list[tuple[int, int | None, int]], max_length: int
) -> None:
    group = Group("peer", max_length=max_length)
    (member,) = group.members
    held: dict[bytes, tuple[Attributes, Route]] = {}

    def change(steps: list[tuple[int, int | None, int]]) -> None:
        for number, said, label in steps:
            announced = route(f"10.0.{number}.0/24", label)
            if said is None:
                group.table.withdraw(group.table.adj_rib_in(HOSTS), [announced[0]])
                held.pop(announced[0], None)
            else:
                group.announce(announced, of=HOSTS, said=SETS_OF_ATTRIBUTES[said])
                held[announced[0]] = (SETS_OF_ATTRIBUTES[said], announced)

    change(before)
    group.run()
    member.take(1_000_000)
    first = dict(held)
    change(after)
    group.run()
    messages = member.take(1_000_000)

    assert all(message[18] == MessageType.UPDATE and len(message) <= max_length for message in messages)
    said = updates(messages)
    announced = [(one.attributes, what) for one in said if one.reach is not None for what in one.reach.routes]
    withdrawn = [one for update in said for _, keys in update.unreach for one in keys]
    named = Counter([what[0] for _, what in announced] + withdrawn)
    assert set(named.values()) <= {1}, "the last action counts, and no other"
    assert all(held[what[0]] == (attributes, what) for attributes, what in announced), "what is said is what holds"
    assert {one for one, what in held.items() if first.get(one) != what} <= named.keys(), "what differs is said"
    assert set(withdrawn) == first.keys() - held.keys()
    kinds = [bool(one.unreach) for one in said]
    assert kinds == sorted(kinds), "announcements first"
    # As few messages as their size allows: but for the last of a kind, none has room for another route.
    for kind in SETS_OF_ATTRIBUTES:
        sizes = [len(message) for message, one in zip(messages, said, strict=True) if one.attributes == kind]
        assert all(size + NLRI >= max_length for size in sizes[:-1])


# -- membership


def bits(value: bytes) -> str:
    """As a text of noughts and ones."""
    return "".join(f"{byte:08b}" for byte in value)


TARGETS = [target(text) for text in ("64512:1", "64512:2", "64512:65536", "192.0.2.1:1", "4200000000:1")]


@st.composite
def related(draw: st.DrawFn) -> bytes:
    """Memberships that have something to do with the targets here: whole, in part, or not at all."""
    whole = rtc_key(draw(asns), draw(st.sampled_from(TARGETS)))
    length = draw(st.integers(32, 96))
    value = int.from_bytes(whole[1:], "big") >> (96 - length) << (96 - length)
    part = bytes((length,)) + value.to_bytes(12, "big")[: (length + 7) // 8]
    return draw(st.sampled_from([whole, part]) | memberships())


@given(st.lists(st.tuples(st.booleans(), related()), max_size=12), st.lists(st.sampled_from(TARGETS), max_size=3))
def test_membership_is_a_match_of_leading_bits(steps: list[tuple[bool, bytes]], targets: list[bytes]) -> None:
    interest = Interest()
    held: set[bytes] = set()
    for add, one in steps:
        (interest.add if add else interest.discard)([one])
        (held.add if add else held.discard)(one)
    leading = []
    for one in held:
        membership = split_rtc_key(one)
        leading.append(bits(membership.target)[: max(0, membership.length - 32)])
    wanted = any(not part or any(bits(of).startswith(part) for of in targets) for part in leading)
    assert interest.wants(tuple(targets)) == wanted
    assert len(interest) == len(held)


# -- generations

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("announce"), st.sampled_from(KEYS[:4])),
        st.tuples(st.just("withdraw"), st.sampled_from(KEYS[:4])),
        st.tuples(st.just("age"), st.just(b"")),
        st.tuples(st.just("sweep"), st.integers(0, 6)),
    ),
    max_size=40,
)


@given(STEPS)
def test_generations_tell_what_was_said_since(steps: list[tuple[str, bytes | int]]) -> None:
    table = Table(VPNV4)
    adj = table.adj_rib_in(source())
    said = SETS.of(attributes("64512:1"), NEXT_HOP)
    model: dict[bytes, int] = {}
    generation = 0
    for step, what in steps:
        match step, what:
            case "announce", bytes():
                table.update(adj, said, [(what, b"\0\x06\x41")])
                model[what] = generation
            case "withdraw", bytes():
                assert table.withdraw(adj, [what]) == (model.pop(what, None) is not None)
            case "age", _:
                generation += 1
                assert adj.age() == generation
            case _, int():
                old = [one for one, since in model.items() if since < what]
                assert table.sweep(adj, list(adj.paths), what) == len(old)
                for one in old:
                    del model[one]
        assert adj.paths.keys() == model.keys() == {one.key for one in table}
        assert {one for one, held in adj.paths.items() if adj.is_stale(held)} == {
            one for one, since in model.items() if since < generation
        }
        assert adj.count_stale() == sum(since < generation for since in model.values())


# -- decision


@given(st.lists(st.tuples(st.sampled_from(SOURCES), SAID), min_size=2, max_size=5, unique_by=lambda p: p[0].name))
def test_without_med_the_decision_is_a_total_order(said: list[tuple[object, Attributes]]) -> None:
    """MED alone is compared within an AS only, and no order; all else is one."""
    paths = [path(of, what) for of, what in said if what.med is None]  # type: ignore[arg-type]
    ranked: list[Path] = []
    left = list(paths)
    while left:
        ranked.append(best(left))
        left.remove(ranked[-1])
    for at, better in enumerate(ranked):
        for worse in ranked[at + 1 :]:
            assert best([better, worse]) is best([worse, better]) is better
    if paths:
        assert explain(paths)[0].path is ranked[0]
        assert Step.MED not in [verdict.step for verdict in explain(paths)]
