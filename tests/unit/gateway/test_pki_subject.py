"""Whom certificates are for, and the database of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pki_database import REASONS, Database, Generation, Record, State, decode, encode
from gateway.pki_snippet import agent_snippet
from gateway.pki_subject import Role, Subject

HV7 = Subject.of("hv7", Role.HOST, ["192.0.2.7"])


@pytest.mark.parametrize(
    ("name", "role", "addresses", "domain", "told"),
    [
        ("", Role.HOST, ["192.0.2.7"], "", "a name is"),
        ("../hv7", Role.HOST, ["192.0.2.7"], "", "a name is"),
        ("a..b", Role.HOST, ["192.0.2.7"], "", "a name is"),
        ("hv_7", Role.HOST, ["192.0.2.7"], "", "a name is"),
        ("h" * 64, Role.HOST, ["192.0.2.7"], "", "a name is"),
        ("hv7", Role.HOST, [], "", "--address"),
        ("hv7", Role.HOST, ["192.0.2.300"], "", "not an IP address"),
        ("hv7", Role.HOST, ["192.0.2.7"], "vpn.example.net", "only a gateway"),
        ("gw1", Role.GATEWAY, [], "vpn example", "a domain is"),
        ("ca", Role.CLIENT, [], "", "another file"),
        ("CRL", Role.HOST, ["192.0.2.7"], "", "another file"),
        ("../hv7", Role.HOST, ["192.0.2.7"], "", "a name is"),
        ("..", Role.CLIENT, [], "", "a client's name"),
        ("an n", Role.CLIENT, [], "", "a client's name"),
        ("-ann", Role.CLIENT, [], "", "a client's name"),
        ("ann", Role.CLIENT, ["192.0.2.7"], "", "no address"),
    ],
)
def test_what_cannot_be_is_told(name: str, role: Role, addresses: list[str], domain: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Subject.of(name, role, addresses, domain)


def test_names_are_as_gateways_and_agents_compare_them() -> None:
    assert Subject.of("HV7", Role.HOST, ["192.0.2.7", "192.0.2.7"]) == HV7
    assert Subject.of("gw1", Role.GATEWAY, [], "VPN.Example.net").domain == "vpn.example.net"
    assert Subject.of("vpn.example.net", Role.GATEWAY).domain == "vpn.example.net"


def test_a_snippet_needs_a_gateway_with_an_address_and_an_ipv4_underlay() -> None:
    gateway = Subject.of("gw1", Role.GATEWAY, ["192.0.2.1"], "vpn.example.net")
    assert 'address = "192.0.2.1"' in agent_snippet(HV7, [gateway])
    assert agent_snippet(HV7, [Subject.of("gw2", Role.GATEWAY, [], "vpn.example.net")]) == ""
    assert agent_snippet(Subject.of("hv8", Role.HOST, ["2001:db8::8"]), [gateway]) == ""


subjects = st.one_of(
    st.builds(
        lambda number: Subject.of(f"hv{number}", Role.HOST, [f"192.0.2.{number}", f"2001:db8::{number:x}"]),
        st.integers(1, 250),
    ),
    st.builds(lambda number: Subject.of(f"gw{number}", Role.GATEWAY, [], "vpn.example.net"), st.integers(1, 250)),
    st.just(Subject.of("ann@example.net", Role.CLIENT)),
)
records = st.builds(
    Record,
    st.integers(1, 1 << 159),
    subjects,
    st.integers(0, 1 << 33),
    st.integers(0, 1 << 33),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.integers(1, 3),
    st.none(),
) | st.builds(
    Record,
    st.integers(1, 1 << 159),
    subjects,
    st.integers(0, 1 << 33),
    st.integers(0, 1 << 33),
    st.just("00"),
    st.integers(1, 3),
    st.integers(0, 1 << 33),
    st.sampled_from(REASONS),
)


@given(st.lists(records, max_size=8), st.integers(0, 99), st.text(max_size=20), st.booleans())
def test_a_database_is_read_as_it_was_written(found: list[Record], number: int, publish: str, retired: bool) -> None:
    made = Database([Generation(1, "a 1", 9, retired), Generation(2, "a 2", 10)], publish, number)
    made.records = {one.serial: one for one in found}
    again = decode(encode(made))
    assert again == made and list(again.records) == list(made.records)


@given(st.binary(max_size=60) | st.from_regex(rb'\{"program": "vrfwire-gateway-ctl pki", "version": 1[^\0]{0,40}'))
def test_anything_else_is_damaged(data: bytes) -> None:
    with pytest.raises(ValueError):  # the texts are many
        decode(data)


def test_states() -> None:
    made = Database([Generation(1, "a 1", 1000)])
    for serial, end in ((1, 100), (2, 300), (3, 400)):
        made.records[serial] = Record(serial, HV7, 0, end, "key", 1)
    by_serial = made.records
    assert [made.state(by_serial[serial], 150) for serial in (1, 2, 3)] == [
        *(State.EXPIRED, State.SUPERSEDED, State.VALID)
    ]
    made.revoke(by_serial[3], "keyCompromise", 150)
    # The one before counts again.
    assert made.current("hv7", 150) == by_serial[2]
    assert made.state(by_serial[3], 150) is State.REVOKED
    assert [one.serial for one in made.currents(150)] == [2]
    assert made.current("hv7", 350) is None and list(made.currents(350)) == []
