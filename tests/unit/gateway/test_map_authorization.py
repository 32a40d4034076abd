"""Judgements by attachments: their texts, what a change concerns, and the indexes against a plain search."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authorization import NOTHING_KNOWN, Authorization, Mode, Verdict
from gateway.grants import NO_GRANTS, Grants
from vpn.prefix import Prefix


def grants(vpns: str, *prefixes: str) -> Grants:
    return Grants(frozenset(vpns.split()), frozenset(map(Prefix.parse, prefixes)))


def known(mode: Mode, **attachments: Grants) -> Authorization:
    authorization = Authorization(mode, known=True)
    for name, given_ in attachments.items():
        authorization.grant(name, given_)
    return authorization


ATTACHMENTS = {
    "web": grants("blue", "10.1.1.1/32", "2001:db8::1/128"),
    "router": grants("blue red", "10.2.0.0/16"),
    "twin": grants("blue", "10.1.1.9/32"),
    "brother": grants("blue", "10.1.1.9/32", "10.1.0.0/16"),
    "unbound": grants("", "10.1.1.5/32"),
    "bare": grants("red"),
}
NOT_BOUND = "attachment {} is not bound to VPN {}"
NOT_ITS = "{} is no address of attachment {}"
NOBODYS = "{} is no address of an attachment that is bound to VPN {}"


@pytest.mark.parametrize(
    ("vpn", "prefix", "attachment", "reason", "owner"),
    [
        ("blue", "10.1.1.1/32", "web", "", "web"),
        ("blue", "2001:db8::1/128", "web", "", "web"),
        ("blue", "10.2.7.0/24", "router", "", "router"),
        ("red", "10.2.0.0/16", "router", "", "router"),
        ("blue", "10.0.0.0/8", "router", NOT_ITS.format("10.0.0.0/8", "router"), "router"),
        ("blue", "10.1.1.1/32", "router", NOT_ITS.format("10.1.1.1/32", "router"), "router"),
        ("red", "10.1.1.1/32", "web", NOT_BOUND.format("web", "red"), "web"),
        ("blue", "10.1.1.5/32", "unbound", NOT_BOUND.format("unbound", "blue"), "unbound"),
        ("blue", "10.1.1.1/32", "nobody", NOT_BOUND.format("nobody", "blue"), "nobody"),
        ("red", "10.1.1.1/32", "bare", NOT_ITS.format("10.1.1.1/32", "bare"), "bare"),
        # Without a name: whoever has the longest prefix.
        ("blue", "10.1.1.1/32", "", "", "web"),
        ("blue", "10.1.1.2/32", "", "", "brother"),
        ("blue", "10.2.7.1/32", "", "", "router"),
        ("blue", "10.1.1.9/32", "", "", ""),
        ("red", "10.1.1.1/32", "", NOBODYS.format("10.1.1.1/32", "red"), ""),
        ("blue", "0.0.0.0/0", "", NOBODYS.format("0.0.0.0/0", "blue"), ""),
        ("grey", "10.1.1.1/32", "", NOBODYS.format("10.1.1.1/32", "grey"), ""),
    ],
)
def test_strict(vpn: str, prefix: str, attachment: str, reason: str, owner: str) -> None:
    found = known(Mode.STRICT, **ATTACHMENTS).judge(vpn, Prefix.parse(prefix), attachment)
    assert found == Verdict(reason, owner)


def test_by_binding_a_named_attachment_may_announce_anything_in_its_vpns() -> None:
    authorization = known(Mode.BINDING, **ATTACHMENTS)
    anything = Prefix.parse("0.0.0.0/0")
    assert authorization.judge("red", anything, "bare") == Verdict("", "bare")
    assert authorization.judge("blue", anything, "bare").reason == NOT_BOUND.format("bare", "blue")
    assert authorization.judge("blue", anything, "").reason == NOBODYS.format("0.0.0.0/0", "blue")
    assert authorization.judge("blue", Prefix.parse("10.1.1.1/32"), "") == Verdict("", "web")


def test_off_permits_and_still_knows_whose_it_is() -> None:
    authorization = known(Mode.OFF, **ATTACHMENTS)
    assert authorization.judge("red", Prefix.parse("0.0.0.0/0"), "web") == Verdict("", "web")
    assert authorization.judge("blue", Prefix.parse("10.1.1.1/32"), "") == Verdict("", "web")
    assert authorization.judge("blue", Prefix.parse("10.9.9.9/32"), "") == Verdict("", "")
    assert Authorization(Mode.OFF).judge("blue", Prefix.parse("10.1.1.1/32"), "") == Verdict("", "")


@pytest.mark.parametrize("mode", [Mode.STRICT, Mode.BINDING])
@pytest.mark.parametrize("attachment", ["", "web"])
def test_nothing_is_permitted_before_anything_is_known(mode: Mode, attachment: str) -> None:
    authorization = Authorization(mode)
    authorization.grant("web", ATTACHMENTS["web"])
    assert authorization.judge("blue", Prefix.parse("10.1.1.1/32"), attachment).reason == NOTHING_KNOWN
    authorization.known = True
    assert authorization.judge("blue", Prefix.parse("10.1.1.1/32"), attachment).reason == ""


def test_a_change_names_the_places_that_it_concerns() -> None:
    authorization = known(Mode.STRICT, web=ATTACHMENTS["web"])
    v4, v6 = Prefix.parse("10.1.1.1/32"), Prefix.parse("2001:db8::1/128")
    assert authorization.grant("web", ATTACHMENTS["web"]) == set()
    assert authorization.release("web") == set()
    assert authorization.grant("web", grants("blue", "10.1.1.1/32")) == set()
    assert authorization.release("web") == {("blue", v6)}
    assert authorization.grant("web", grants("red", "10.1.1.1/32")) == {("red", v4)}
    assert authorization.grant("web", NO_GRANTS) == set()
    assert authorization.grant("web", grants("red", "10.1.1.1/32")) == set(), "it has never let go of it"
    assert authorization.grant("web", NO_GRANTS) == set()
    assert authorization.release("web") == {("blue", v4), ("red", v4)}
    assert authorization.release("web") == authorization.grant("web", NO_GRANTS) == set()


def test_what_is_lost_counts_at_once_for_who_is_named_and_else_from_the_release_on() -> None:
    authorization = known(Mode.STRICT, web=grants("blue", "10.1.1.1/32"))
    prefix = Prefix.parse("10.1.1.1/32")
    authorization.grant("web", grants("blue"))
    assert authorization.judge("blue", prefix, "web").reason
    assert authorization.judge("blue", prefix, "") == Verdict("", "web")
    authorization.grant("db", grants("blue", "10.1.1.1/32"))
    assert authorization.judge("blue", prefix, "") == Verdict("", ""), "whose it is isn't clear"
    authorization.release("web")
    assert authorization.judge("blue", prefix, "") == Verdict("", "db")


prefixes = st.builds(
    lambda value, length: Prefix((value >> (32 - length) << (32 - length)).to_bytes(4, "big"), length),
    st.sampled_from([0x0A010101, 0x0A010102, 0x0A020101]),
    st.sampled_from([0, 8, 16, 24, 31, 32]),
) | st.builds(
    lambda value, length: Prefix((value >> (128 - length) << (128 - length)).to_bytes(16, "big"), length),
    st.sampled_from([0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 2]),
    st.sampled_from([0, 32, 127, 128]),
)
names = st.sampled_from(["a", "b", "c"])
vpns = st.sampled_from(["blue", "red"])
given_grants = st.builds(Grants, st.frozensets(vpns), st.frozensets(prefixes, max_size=3))


def covers(outer: Prefix, inner: Prefix) -> bool:
    return outer.length <= inner.length and outer.contains(inner.packed)


@given(st.lists(st.tuples(names, given_grants), max_size=12), vpns, prefixes, st.sampled_from(["", "a", "b"]))
def test_the_indexes_say_what_a_plain_search_says(
    steps: list[tuple[str, Grants]], vpn: str, prefix: Prefix, attachment: str
) -> None:
    authorization = Authorization(Mode.STRICT, known=True)
    model: dict[str, Grants] = {}
    for name, new in steps:
        before = authorization.judge(vpn, prefix, "")
        touched = authorization.grant(name, new) | authorization.release(name)
        model[name] = new
        if authorization.judge(vpn, prefix, "") != before:
            assert any(of == vpn and covers(changed, prefix) for of, changed in touched)
    permitted = {
        name
        for name, (bound, own) in model.items()
        if vpn in bound and any(covers(one, prefix) for one in own) and attachment in ("", name)
    }
    verdict = authorization.judge(vpn, prefix, attachment)
    assert (verdict.reason == "") == bool(permitted)
    if verdict.attachment:
        assert verdict.attachment == attachment or verdict.attachment in permitted
