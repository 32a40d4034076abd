"""ExaBGP and os-ken read what we send, and we read what they send."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from bgp.errors import EncodeError
from bgp.notification import Notification
from bgp.open import Open
from bgp.refresh import RouteRefresh
from bgp.update import UpdateDecoder
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
from tests.differential.oracle import Agreement, Oracle
from tests.differential.oracles.common import Meaning
from tests.differential.quirks import READS, REFUSED, TOLD, WRITES, Said, agrees, expected

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reads(oracle: Oracle, messages: list[bytes], agreement: Agreement, said: Meaning) -> None:
    """An oracle reads our messages as what was said."""
    decoder = UpdateDecoder(agreement.options)
    ours = [of.of_message(message, agreement, decoder) for message in messages]
    assert of.canonical(of.joined(ours) if said["kind"] == "update" else ours[0]) == of.canonical(said)
    for message, mine in zip(messages, ours, strict=True):
        wanted = of.canonical(expected(Said(mine, agreement, message), READS[oracle.name]))
        got = of.canonical(oracle.decode(message, agreement))
        assert agrees(got, wanted), (got, wanted, message.hex())


def writes(oracle: Oracle, said: Meaning, agreement: Agreement) -> None:
    """We read an oracle's messages as what was said."""
    wanted = of.unordered(expected(Said(said, agreement), WRITES[oracle.name]))
    messages = oracle.encode(expected(Said(said, agreement), TOLD[oracle.name]), agreement)
    if isinstance(messages, dict):
        assert agrees(messages, wanted), (messages, wanted)
        return
    assert REFUSED not in wanted, "what was refused is taken now"
    decoder = UpdateDecoder(agreement.options)
    got = of.unordered(of.joined([of.of_message(message, agreement, decoder) for message in messages]))
    assert got == wanted, [message.hex() for message in messages]


@some
@given(case=announcements())
def test_announcements_that_we_send(oracle: Oracle, case: Announcement) -> None:
    agreement, family, next_hop, attributes, routes = case
    try:
        messages = UpdateEncoder(agreement.options, agreement.max_length).announce(family, attributes, next_hop, routes)
    except EncodeError:
        return
    said = {"attributes": of.of_attributes(attributes), "reach": of.of_reach(family, next_hop, routes)}
    reads(oracle, messages, agreement, {"kind": "update", **said})


@some
@given(case=announcements())
def test_announcements_that_it_sends(oracle: Oracle, case: Announcement) -> None:
    agreement, family, next_hop, attributes, routes = case
    said = {"attributes": of.of_attributes(attributes), "reach": of.of_reach(family, next_hop, routes)}
    writes(oracle, {"kind": "update", **said}, agreement)


@some
@given(case=withdrawals())
def test_withdrawals_that_we_send(oracle: Oracle, case: Withdrawal) -> None:
    agreement, family, keys = case
    messages = UpdateEncoder(agreement.options, agreement.max_length).withdraw(family, keys)
    reads(oracle, messages, agreement, {"kind": "update", "unreach": of.of_unreach(family, keys)})


@some
@given(case=withdrawals())
def test_withdrawals_that_it_sends(oracle: Oracle, case: Withdrawal) -> None:
    agreement, family, keys = case
    writes(oracle, {"kind": "update", "unreach": of.of_unreach(family, keys)}, agreement)


def test_ends_of_rib(oracle: Oracle) -> None:
    for family in FAMILIES:
        said = {"kind": "update", "end_of_rib": list(family)}
        reads(oracle, [end_of_rib(family)], Agreement(), said)
        writes(oracle, said, Agreement())


@some
@given(opened=opens())
def test_opens_that_we_send(oracle: Oracle, opened: Open) -> None:
    reads(oracle, [opened.encode()], Agreement(), of.of_open(opened))


@some
@given(opened=opens())
def test_opens_that_it_sends(oracle: Oracle, opened: Open) -> None:
    writes(oracle, of.of_open(opened), Agreement())


@some
@given(notification=notifications)
def test_notifications(oracle: Oracle, notification: Notification) -> None:
    said = of.of_notification(notification)
    reads(oracle, [notification.encode()], Agreement(), said)
    writes(oracle, said, Agreement())


@some
@given(refresh=refreshes)
def test_refreshes(oracle: Oracle, refresh: RouteRefresh) -> None:
    said = of.of_refresh(refresh)
    reads(oracle, [refresh.encode()], Agreement(), said)
    writes(oracle, said, Agreement())
