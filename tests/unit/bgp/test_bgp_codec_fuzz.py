"""A short run of the fuzzer (tests/fuzz/bgp_codec.py runs as long as one likes)."""

from __future__ import annotations

from itertools import islice
from random import Random

from tests.fuzz.bgp_codec import Fuzzer, corpus, fuzz, mutations


def test_the_corpus_is_good() -> None:
    fuzzer = Fuzzer()
    for message in corpus():
        fuzzer.check(message)


def test_mutations_are_values_or_bgp_errors() -> None:
    assert fuzz(1, count=3000) == 3000


def test_a_seed_gives_the_same_messages_again() -> None:
    first, second = (list(islice(mutations(Random(7), corpus()), 50)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 40
