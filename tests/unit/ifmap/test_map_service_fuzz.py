"""A short run of the fuzzer (tests/fuzz/map_service.py runs as long as one likes), and that it finds what is wrong."""

from __future__ import annotations

import pytest

from ifmap.graph import Graph
from ifmap.telling import Telling
from tests.fuzz.map_service import fuzz


def test_nothing_is_found() -> None:
    assert fuzz(1, count=25) == 25


@pytest.mark.parametrize(
    ("where", "what"),
    [(Graph, "forget"), (Telling, "_left")],
    ids=["identifiers that nobody needs", "what leaves a subscription"],
)
def test_what_is_wrong_is_found(where: type, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, what, lambda *_: None)
    with pytest.raises(AssertionError):
        fuzz(1, count=100)
