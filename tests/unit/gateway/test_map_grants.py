"""What attachments have lost: noted, forgotten when it is back, bounded."""

from __future__ import annotations

import pytest

from gateway.authorization import Authorization, Mode
from gateway.grants import NO_GRANTS, Forfeited, Grants
from tests.unit.gateway.test_map_authorization import grants
from vpn.prefix import Prefix

WEB = grants("blue", "10.1.1.1/32")


@pytest.mark.parametrize(
    ("vpn", "prefix", "has"),
    [
        ("blue", "10.2.0.0/16", True),
        ("blue", "10.2.7.1/32", True),
        ("red", "2001:db8::/32", True),
        ("blue", "10.0.0.0/8", False),
        ("blue", "10.3.0.0/16", False),
        ("blue", "a02::/16", False),
        ("green", "10.2.0.0/16", False),
    ],
)
def test_what_is_within(vpn: str, prefix: str, has: bool) -> None:
    assert grants("blue red", "10.2.0.0/16", "2001:db8::/32").has(vpn, Prefix.parse(prefix)) is has


def lost(*changes: tuple[Grants, Grants]) -> Forfeited:
    forfeited = Forfeited()
    for before, now in changes:
        forfeited.note("web", before, now)
    return forfeited


def test_what_was_lost_is_noted_until_it_is_back() -> None:
    other = grants("blue", "10.1.1.2/32")
    assert lost((NO_GRANTS, WEB)).items() == {}
    assert lost((WEB, grants("blue red", "10.1.1.1/32"))).items() == {}, "that is more"
    assert lost((WEB, NO_GRANTS)).items() == {"web": WEB}
    assert lost((WEB, NO_GRANTS), (NO_GRANTS, other)).items() == {"web": WEB}
    assert lost((WEB, NO_GRANTS), (NO_GRANTS, WEB)).items() == {}
    # Bit by bit: first the address, then the binding.
    bare = grants("blue")
    forfeited = lost((WEB, bare), (bare, NO_GRANTS))
    assert forfeited.items() == {"web": WEB}
    assert forfeited.permitted("web", "blue", Prefix.parse("10.1.1.1/32"))
    assert not forfeited.permitted("web", "red", Prefix.parse("10.1.1.1/32"))
    assert not forfeited.permitted("db", "blue", Prefix.parse("10.1.1.1/32"))
    for mode, anything in ((Mode.STRICT, False), (Mode.BINDING, True)):
        authorization = Authorization(mode, known=True, forfeited=forfeited)
        assert authorization.permitted_once("blue", Prefix.parse("10.9.9.9/32"), "web") is anything
        assert not authorization.permitted_once("red", Prefix.parse("10.1.1.1/32"), "web")


def test_it_is_bounded() -> None:
    forfeited = Forfeited(limit=2, most=2)
    for name in ("one", "two", "one", "three"):
        forfeited.note(name, WEB, NO_GRANTS)
    assert list(forfeited.items()) == ["one", "three"], "the oldest goes first"
    for number in range(5):
        forfeited.note("one", grants("blue", f"10.1.2.{number}/32"), NO_GRANTS)
    assert len(forfeited.items()["one"].prefixes) <= 2
    assert forfeited.permitted("one", "blue", Prefix.parse("10.1.2.4/32"))
