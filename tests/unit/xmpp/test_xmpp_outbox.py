"""What was sent and not acknowledged: counts, what is kept, and how much of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmpp.errors import StreamCondition, StreamError
from xmpp.outbox import ASK_BYTES, ASK_STANZAS, COUNT_MODULUS, IDLE_BYTES, KEPT_MAX, MARKS_MAX, Outbox


def test_what_is_acknowledged_is_gone_and_the_rest_can_be_taken_back() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.keep(b"one")
    outbox.mark(2, "read up to 7")
    outbox.skip()
    outbox.keep(b"two")
    assert outbox.sent == 5
    assert outbox.acknowledge(2) == [], "of two messages one is there"
    assert outbox.acknowledge(3) == ["read up to 7"]
    assert outbox.take_back() == [b"two"]
    assert (outbox.sent, outbox.acknowledged) == (3, 3)
    outbox.keep(b"two")
    assert outbox.acknowledge(4) == []
    assert outbox.take_back() == []


def test_an_answer_that_was_not_made_cannot_be_taken_back() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.keep(b"one")
    outbox.lose()
    outbox.mark(1, "read up to 7")
    outbox.acknowledge(1)
    assert outbox.sent == 3 and not outbox.complete
    with pytest.raises(ValueError, match="not kept"):
        outbox.take_back()


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize(("before", "count"), [(0, 4), (2, 4), (2, COUNT_MODULUS - 1)])
def test_more_than_was_sent_cannot_be(before: int, count: int, *, final: bool) -> None:
    outbox: Outbox[str] = Outbox()
    for _ in range(3):
        outbox.keep(b"answer")
    outbox.acknowledge(before)
    with pytest.raises(StreamError) as caught:
        outbox.acknowledge(count, final=final)
    assert caught.value.condition is StreamCondition.UNDEFINED_CONDITION
    expected = f"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='{count}' send-count='3'/>"
    assert caught.value.detail == expected.encode()
    assert outbox.acknowledged == before


def test_less_than_before_says_nothing_but_of_a_client_that_comes_back() -> None:
    outbox: Outbox[str] = Outbox()
    for stanza in (b"one", b"two", b"three"):
        outbox.keep(stanza)
    outbox.acknowledge(2)
    assert outbox.acknowledge(1) == [] and outbox.acknowledged == 2
    with pytest.raises(StreamError):
        outbox.acknowledge(1, final=True)
    assert outbox.take_back() == [b"three"]


def test_counts_begin_again_at_two_to_the_32() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.sent = outbox.acknowledged = COUNT_MODULUS - 1
    outbox.keep(b"one")
    outbox.mark(1, "mark")
    assert outbox.acknowledge(1) == ["mark"]
    assert outbox.acknowledged == COUNT_MODULUS + 1
    assert outbox.take_back() == []
    with pytest.raises(StreamError):
        outbox.acknowledge(2)


def test_marks_are_thinned_out_and_the_newest_stays() -> None:
    outbox: Outbox[int] = Outbox()
    for number in range(1, 10_001):
        outbox.mark(1, number)
        assert outbox._marks == len(outbox._entries) <= MARKS_MAX
    half = outbox.acknowledge(5_000)
    assert half == sorted(half) and 4_000 < half[-1] <= 5_000, "a mark is never reached too early, nor much too late"
    assert outbox.acknowledge(10_000)[-1] == 10_000
    assert outbox.take_back() == []


def test_answers_that_were_too_many_to_keep_must_be_acknowledged_first() -> None:
    outbox: Outbox[int] = Outbox()
    outbox.mark(1, 1)
    answer = b"x" * 1000
    for _ in range(KEPT_MAX // 1000 + 1):
        outbox.keep(answer)
    dropped = outbox.sent
    outbox.keep(b"kept")
    assert outbox._kept == 4
    assert outbox.acknowledge(dropped - 1) == [1]
    assert not outbox.complete
    with pytest.raises(ValueError, match="not kept"):
        outbox.take_back()
    outbox.acknowledge(dropped)
    assert outbox.complete
    assert outbox.take_back() == [b"kept"]


def test_one_answer_larger_than_all_that_is_kept() -> None:
    outbox: Outbox[int] = Outbox()
    outbox.keep(b"x" * (KEPT_MAX + 1))
    assert not outbox.complete and outbox._kept == 0
    outbox.acknowledge(1)
    assert outbox.complete


def test_nothing_is_kept_of_a_session_that_cannot_be_resumed() -> None:
    outbox: Outbox[int] = Outbox(recoverable=False)
    outbox.keep(b"answer")
    outbox.mark(2, 7)
    outbox.skip()
    assert not outbox._entries
    assert outbox.acknowledge(4) == []


def test_the_peer_is_asked_after_many_stanzas_or_bytes_and_not_again_at_once() -> None:
    outbox: Outbox[int] = Outbox()
    for number in range(ASK_STANZAS - 1):
        outbox.mark(1, number)
        assert not outbox.ask()
    outbox.mark(1, 0)
    assert outbox.ask()
    assert not outbox.ask()
    outbox.keep(b"x" * ASK_BYTES)
    assert outbox.ask()
    assert not outbox.ask()
    outbox.want()
    assert outbox.ask()
    assert not outbox.ask()


def test_when_nothing_goes_on_it_is_asked_what_is_worth_a_question() -> None:
    outbox: Outbox[int] = Outbox()
    assert not outbox.ask(idle=True)
    outbox.keep(b"a pong")
    assert not outbox.ask(idle=True)
    outbox.keep(b"x" * IDLE_BYTES)
    assert outbox.ask(idle=True)
    assert not outbox.ask(idle=True), "it was asked, and not answered"
    outbox.acknowledge(2)
    outbox.mark(1, 7)
    assert outbox.ask(idle=True)
    outbox.acknowledge(3)
    outbox.skip()
    assert not outbox.ask(idle=True)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.sampled_from(["keep", "mark", "skip"]), st.tuples(st.just("loss"), st.integers(0, 9)))))
def test_a_peer_that_comes_back_again_and_again_gets_every_answer_once(steps: list[str | tuple[str, int]]) -> None:
    outbox: Outbox[int] = Outbox()
    wire: list[bytes] = []
    got: list[bytes] = []
    handled = 0
    said = 0

    def lose(limit: int) -> None:
        """So many of the stanzas under way arrive; what was kept of the others is sent again."""
        nonlocal handled
        arrived = wire[:limit]
        handled += len(arrived)
        got.extend(stanza for stanza in arrived if stanza.startswith(b"answer"))
        wire.clear()
        outbox.acknowledge(handled)
        for stanza in outbox.take_back():
            outbox.keep(stanza)
            wire.append(stanza)

    for step in steps:
        if isinstance(step, tuple):
            lose(step[1])
        elif step == "keep":
            said += 1
            wire.append(f"answer {said}".encode())
            outbox.keep(wire[-1])
        elif step == "mark":
            wire.append(b"event")
            outbox.mark(1, outbox.sent)
        else:
            wire.append(b"ping")
            outbox.skip()
    lose(len(wire))
    assert got == [f"answer {number}".encode() for number in range(1, said + 1)]
    assert outbox.sent == outbox.acknowledged == handled
