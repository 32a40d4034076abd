"""Which routes a peer wants."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bgp.nlri import decode_rtc, rtc_key, split_rtc_key
from bgp.rib.interest import Interest
from tests.unit.bgp.routes import target

ONE, TWO = target("64512:1"), target("64512:2")


def partial(bits: int, of: bytes) -> bytes:
    """Key of a membership of a part of a target."""
    size = (bits + 7) // 8
    (key,) = decode_rtc(bytes((bits,)) + (64512).to_bytes(4, "big") + of[: size - 4])
    return key


def test_any_target_will_do() -> None:
    interest = Interest()
    interest.add([rtc_key(64512, ONE), rtc_key(64512, TWO)])
    assert interest.wants((ONE, TWO))
    interest.discard([rtc_key(64512, ONE)])
    assert interest.wants((ONE, TWO)) and not interest.wants((ONE,))
    assert not interest.wants(())


def test_a_target_is_lost_with_its_last_membership() -> None:
    interest = Interest()
    interest.add([rtc_key(64512, ONE), rtc_key(64513, ONE)])
    assert interest.take_change().targets == {ONE}
    interest.discard([rtc_key(64512, ONE)])
    assert not interest.take_change()
    assert interest.wants((ONE,))
    interest.discard([rtc_key(64513, ONE), rtc_key(64513, ONE)])
    assert interest.take_change().targets == {ONE}
    assert not interest.wants((ONE,))


def test_everything() -> None:
    for key in (rtc_key(None), rtc_key(64512)):
        interest = Interest()
        interest.add([key])
        assert interest.take_change().everything
        assert interest.wants((TWO,)) and interest.wants(())
        interest.discard([key])
        assert interest.take_change().everything and not interest.wants((TWO,))
    assert Interest(all_wanted=True).wants(())


def test_part_of_a_target() -> None:
    interest = Interest()
    interest.add([partial(95, ONE)])
    assert interest.take_change().everything
    odd, even = target("64512:3"), target("64512:2")
    assert interest.wants((ONE,)) and interest.wants((target("64512:0"),))
    assert not interest.wants((odd,)) and not interest.wants((even,)) and not interest.wants(())


KEYS = st.sampled_from(
    [rtc_key(None), rtc_key(64512), *(rtc_key(asn, rt) for asn in (1, 2) for rt in (ONE, TWO)), partial(80, ONE)]
)


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=30))
def test_wants_what_its_memberships_cover(steps: list[tuple[bool, bytes]]) -> None:
    interest = Interest()
    keys: set[bytes] = set()
    before = dict.fromkeys([(ONE,), (TWO,), (ONE, TWO)], False)
    for add, key in steps:
        (interest.add if add else interest.discard)([key])
        (keys.add if add else keys.discard)(key)
    change = interest.take_change()
    assert len(interest) == len(keys)
    for targets in before:
        wanted = any(split_rtc_key(key).covers(one) for key in keys for one in targets)
        assert interest.wants(targets) == wanted
        if wanted:
            assert change.everything or change.targets & set(targets)


def test_a_peer_with_many_memberships_of_parts_keeps_nobody_waiting() -> None:
    """A look costs what there are different lengths, not what there are memberships."""
    interest = Interest()
    many = [
        bytes((64,)) + number.to_bytes(4, "big") + bytes((0, 2, number >> 8, number & 255)) for number in range(9000)
    ]
    interest.add([key for number in many for key in decode_rtc(number)])
    assert len(interest) == 9000
    assert sum(map(len, interest._wide.values())) == 9000 and len(interest._wide) == 1
    assert interest.wants((bytes((0, 2, 1, 1, 0, 0, 0, 7)),)) and not interest.wants(
        (bytes((0, 2, 0xFF, 1, 0, 0, 0, 7)),)
    )
    interest.discard([key for number in many for key in decode_rtc(number)])
    assert not interest._wide and not interest.wants((bytes((0, 2, 1, 1, 0, 0, 0, 7)),))
