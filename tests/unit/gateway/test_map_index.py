"""Where items are found: by attachment, by prefix; withheld ones; notices that wait."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from gateway.host_notices import HostNotices
from gateway.item_index import ItemIndex
from gateway.rib import ItemRef
from gateway.withheld import Withheld, WithheldItem
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp.jid import Jid
from xmpp.notices import MAX_ITEMS, Notice, NoticeKind, read_notices

prefixes = st.builds(
    lambda value, length: Prefix((value >> (8 - length) << (8 - length)).to_bytes(1, "big") + bytes(3), length),
    st.integers(0, 255),
    st.integers(0, 8),
)
refs = st.tuples(st.sampled_from(["blue", "red"]), st.sampled_from(["1", "2", "3", "4", "5"]))
steps = st.lists(
    st.tuples(refs, st.none() | st.tuples(st.sampled_from(["", "web", "db"]), prefixes)), min_size=1, max_size=30
)


@given(steps, st.sampled_from(["blue", "red"]), prefixes)
def test_the_index_finds_what_a_plain_search_finds(
    actions: list[tuple[ItemRef, tuple[str, Prefix] | None]], vpn: str, wanted: Prefix
) -> None:
    index = ItemIndex()
    model: dict[ItemRef, tuple[str, Prefix]] = {}
    for ref, item in actions:
        if item is None:
            index.drop(ref)
            model.pop(ref, None)
        else:
            index.put(ref, *item)
            model[ref] = item
        assert len(index) == len(model) and all(one in index for one in model)
    for name in ("web", "db", "nobody"):
        assert set(index.named(name)) == {ref for ref, (attachment, _) in model.items() if attachment == name}
    found = list(index.unnamed_within(vpn, wanted))
    assert sorted(found) == sorted(
        ref
        for ref, (attachment, prefix) in model.items()
        if ref[0] == vpn and not attachment and prefix.length >= wanted.length and wanted.contains(prefix.packed)
    )


def test_families_are_apart() -> None:
    index = ItemIndex()
    index.put(("blue", "4"), "", Prefix.parse("0.0.0.0/0"))
    index.put(("blue", "6"), "", Prefix.parse("::/0"))
    assert list(index.unnamed_within("blue", Prefix.parse("0.0.0.0/0"))) == [("blue", "4")]
    assert list(index.unnamed_within("blue", Prefix.parse("::/0"))) == [("blue", "6")]
    assert list(index.unnamed_within("blue", Prefix.parse("2001:db8::/32"))) == []


def held(host: str, session: int, reason: str = "why") -> WithheldItem:
    path = Path((NextHop(parse_address("192.0.2.7"), 100),))
    return WithheldItem(host, session, Prefix.parse("10.1.1.1/32"), path, "web", reason)


def test_withheld_items_are_counted_by_host_and_session() -> None:
    withheld = Withheld()
    withheld.put(("blue", "a"), held("hv1", 1))
    withheld.put(("red", "a"), held("hv1", 2))
    withheld.put(("blue", "b"), held("hv2", 3))
    assert (len(withheld), withheld.count("hv1"), withheld.count("hv2"), withheld.count("hv3")) == (3, 2, 1, 0)
    withheld.put(("blue", "a"), held("hv1", 2, "other"))
    assert withheld.of_session(1) == [] and set(withheld.of_session(2)) == {("blue", "a"), ("red", "a")}
    assert withheld.count("hv1") == 2
    assert withheld.pop(("blue", "a")) == held("hv1", 2, "other")
    assert withheld.pop(("blue", "a")) is None and withheld.get(("blue", "a")) is None
    assert dict(withheld.items()) == {("red", "a"): held("hv1", 2), ("blue", "b"): held("hv2", 3)}


def taken(notices: HostNotices) -> list[Notice]:
    found = []
    while message := notices.take():
        element = ElementTree.fromstring(message)
        assert (element.get("from"), element.get("to")) == ("vpn.example.net", "hv1@vpn.example.net/vrfwire")
        found += read_notices(element)
    assert not notices
    return found


def test_only_the_newest_of_each_item_is_told() -> None:
    notices = HostNotices(Jid.of("", "vpn.example.net"), Jid.of("hv1", "vpn.example.net", "vrfwire"))
    assert notices.take() == b"" and not notices
    for _ in range(1000):
        notices.add(NoticeKind.WITHHELD, "blue", "a", "why")
        notices.add(NoticeKind.ADMITTED, "blue", "a")
    notices.add(NoticeKind.WITHHELD, "blue", "b", "why")
    notices.add(NoticeKind.WITHHELD, "blue", "c", "why")
    notices.add(NoticeKind.WITHHELD, "red", "c", "another")
    notices.add(NoticeKind.WITHHELD, "green", "c", "another")
    notices.settle("blue", ["b", "unknown"])
    notices.drop("green")
    assert sorted(taken(notices)) == [
        Notice(NoticeKind.ADMITTED, "blue", ("a",)),
        Notice(NoticeKind.WITHHELD, "blue", ("c",), "why"),
        Notice(NoticeKind.WITHHELD, "red", ("c",), "another"),
    ]


def test_many_items_of_one_reason_share_messages() -> None:
    notices = HostNotices(Jid.of("", "vpn.example.net"), Jid.of("hv1", "vpn.example.net", "vrfwire"))
    for number in range(2 * MAX_ITEMS + 1):
        notices.add(NoticeKind.WITHHELD, "blue", str(number), "why")
    found = taken(notices)
    assert [len(notice.ids) for notice in found] == [MAX_ITEMS, MAX_ITEMS, 1]
    assert len({item_id for notice in found for item_id in notice.ids}) == 2 * MAX_ITEMS + 1
