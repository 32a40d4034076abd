"""tshark reads everything that we send, finds nothing wrong with it, and understands what we meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bgp.errors import EncodeError
from bgp.message import KEEPALIVE
from bgp.update_encoder import UpdateEncoder, end_of_rib
from tests.differential import meaning as of
from tests.differential.cases import (
    FAMILIES,
    Announcement,
    Withdrawal,
    announcements,
    notifications,
    opens,
    refreshes,
    withdrawals,
)
from tests.differential.oracle import Agreement
from tests.differential.oracles.common import Meaning
from tests.differential.quirks import ANYTHING, TSHARK_READS, Said, agrees, expected
from tests.differential.tshark import dissect

CASES = 120
PACKET = 65495
"""Bytes of the largest message in one packet."""


def gathered(strategy: st.SearchStrategy[Any], put: Callable[[Any], None]) -> None:
    """Many cases, to be looked at in one run."""

    @settings(
        max_examples=CASES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(strategy)
    def gather(case: Any) -> None:
        put(case)

    gather()


def reads(said: list[Said], *, four_octet_as: bool) -> None:
    """tshark reads messages as what was said."""
    found = dissect([one.message for one in said], four_octet_as=four_octet_as)
    for one, (got, complaints) in zip(said, found, strict=True):
        wanted = expected(one, TSHARK_READS)
        if wanted is ANYTHING:
            continue
        wanted = of.canonical(wanted)
        assert not complaints, (complaints, one)
        assert agrees(of.canonical(got), wanted), (got, wanted, one.message.hex())


def test_updates() -> None:
    said: dict[bool, list[Said]] = {False: [], True: []}

    def announce(case: Announcement) -> None:
        agreement, family, next_hop, attributes, routes = case
        # What it knows and we don't would have to make sense.
        attributes = replace(attributes, unknown=tuple(one for one in attributes.unknown if one.code == 200))
        encoder = UpdateEncoder(agreement.options, min(agreement.max_length, PACKET))
        try:
            messages = encoder.announce(family, attributes, next_hop, routes)
        except EncodeError:
            return
        put(messages, agreement)

    def withdraw(case: Withdrawal) -> None:
        agreement, family, keys = case
        put(UpdateEncoder(agreement.options, agreement.max_length).withdraw(family, keys), agreement)

    def put(messages: list[bytes], agreement: Agreement) -> None:
        said[agreement.four_octet_as] += [
            Said(of.of_message(message, agreement), agreement, message) for message in messages
        ]

    gathered(announcements(), announce)
    gathered(withdrawals(), withdraw)
    put([end_of_rib(family) for family in FAMILIES], Agreement())
    for four_octet_as, messages in said.items():
        reads(messages, four_octet_as=four_octet_as)


def test_other_messages() -> None:
    said: list[Said] = [Said({"kind": "keepalive"}, Agreement(), KEEPALIVE)]

    def put(meaning: Meaning, message: bytes) -> None:
        said.append(Said(meaning, Agreement(), message))

    gathered(opens(), lambda opened: put(of.of_open(opened), opened.encode()))
    gathered(notifications, lambda notification: put(of.of_notification(notification), notification.encode()))
    gathered(refreshes, lambda refresh: put(of.of_refresh(refresh), refresh.encode()))
    reads(said, four_octet_as=True)
