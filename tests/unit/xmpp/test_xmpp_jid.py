"""Addresses of RFC 7622."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpp.jid import Jid, JidError


@pytest.mark.parametrize(
    ("text", "jid"),
    [
        ("hv1@vpn.example.net/vrfwire", Jid("hv1", "vpn.example.net", "vrfwire")),
        ("hv7.example.net@vpn.example.net", Jid("hv7.example.net", "vpn.example.net")),
        ("vpn.example.net", Jid("", "vpn.example.net")),
        ("VPN.Example.NET.", Jid("", "vpn.example.net")),
        ("HV1@vpn.example.net/VrfWire", Jid("hv1", "vpn.example.net", "VrfWire")),
        ("192.0.2.7", Jid("", "192.0.2.7")),
        ("a@[2001:DB8::1]/x", Jid("a", "[2001:db8::1]", "x")),
        ("a@b/c@d/e", Jid("a", "b", "c@d/e")),
        ("b/a@c", Jid("", "b", "a@c")),
        ("Königin@bücher.example/café", Jid("königin", "bücher.example", "café")),
        ("ko\u0308nig@b/cafe\u0301", Jid("könig", "b", "café")),
        ("ａＢ@b", Jid("ab", "b")),
        ("a@b/x\u00a0y z", Jid("a", "b", "x y z")),
        ("a" * 1023 + "@b", Jid("a" * 1023, "b")),
    ],
)
def test_parse(text: str, jid: Jid) -> None:
    assert Jid.parse(text) == jid
    assert Jid.parse(str(jid)) == jid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@b",
        "a@",
        "/c",
        "b/",
        "a@/c",
        "a@b/",
        "a@b@c",
        "a b@c",
        "a'@c",
        "a<@c",
        "a&@c",
        "＠@c",
        "a\u200b@c",
        "\u2163@c",
        "a@b c",
        "a@b..c",
        "a@-b",
        "a@b_c",
        "a@" + "b" * 64,
        "a@" + "b." * 512 + "b",
        "a@b/\x07",
        "a@b/\u202e",
        "a@b/\ud800",
        "\ud800@b",
        "a@[::1",
        "a" * 1024 + "@b",
        "é" * 600 + "@b",
        "a@b/" + "c" * 1024,
        "a@b/" + "c" * 100_000,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(JidError):
        Jid.parse(text)


def test_parts() -> None:
    jid = Jid.parse("a@b/c")
    assert jid.bare == Jid("a", "b") == jid.bare.bare
    assert jid.bare.is_bare
    assert not jid.is_bare
    assert jid.bare.with_resource("d") == Jid("a", "b", "d")
    assert Jid.of("A", "B", "C") == Jid("a", "b", "C")
    assert Jid.of("", "B") == Jid("", "b")


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused_and_preparing_twice_changes_nothing(text: str) -> None:
    try:
        jid = Jid.parse(text)
    except JidError:
        return
    assert Jid.parse(str(jid)) == jid
