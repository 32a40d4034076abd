"""Names of objects lead back to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.describe import key_of, name_of
from datapath.values import Kind, Value
from tests.unit.datapath.samples import EVERYTHING


@pytest.mark.parametrize("value", EVERYTHING, ids=lambda value: f"{value.kind.name} {name_of(value.key)}")
def test_a_name_leads_back(value: Value) -> None:
    assert key_of(value.kind, name_of(value.key)) == value.key


@given(st.sampled_from(Kind), st.text(max_size=60))
def test_any_text_is_a_key_or_none(kind: Kind, text: str) -> None:
    key = key_of(kind, text)
    assert key is None or name_of(key) == text or key_of(kind, name_of(key)) == key


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.MPLS_ROUTE, "web"),
        (Kind.MPLS_ROUTE, "9" * 30),
        (Kind.VRF_ROUTE, "10.1.1.1/32"),
        (Kind.VRF_ROUTE, "10.1.1.1/33 table 10000"),
        (Kind.NEIGHBOUR, "10.1.1.1 dev tap0 label 7"),
        (Kind.NEIGHBOUR, "tap0"),
        (Kind.NEXT_HOP, "nowhere dev tap0"),
        (Kind.NEXT_HOP_GROUP, "192.0.2.1 dev vw-gre label 1, x"),
    ],
)
def test_what_is_no_name(kind: Kind, name: str) -> None:
    assert key_of(kind, name) is None
