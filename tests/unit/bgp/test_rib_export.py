"""Update groups: what is encoded once, who gets it, in which order; and what commands show."""

from __future__ import annotations

import pytest

from bgp.attributes import UnknownAttribute
from bgp.errors import BgpError
from bgp.family import RTC, VPNV4, Family
from bgp.message import HEADER_LENGTH
from bgp.nlri import Route, pack_labels, rtc_key
from bgp.refresh import RefreshKind, RouteRefresh, decode_route_refresh
from bgp.rib.export import ExportGroup
from bgp.rib.interest import Interest
from bgp.rib.member import OUTBOX_FULL, Member
from bgp.rib.policy import Identity, Profile
from bgp.rib.rib import Rib
from bgp.rib.table import Table
from bgp.rib.values import SourceKind
from bgp.rib.views import describe_key, describe_path, explain, page, peer_status, routes
from bgp.update import Update, UpdateDecoder, UpdateOptions
from bgp.update_encoder import end_of_rib
from tests.unit.bgp.net import Network, Node
from tests.unit.bgp.routes import NEXT_HOP, SETS, attributes, key, path, route, source, target
from vpn.community import RouteDistinguisher

US = Identity(64512, b"\xc0\0\2\x01", b"\xc0\0\2\x01")
HOSTS = source("hosts", SourceKind.HOST, 1)
MANY = [route(f"10.{n >> 8}.{n & 255}.0/24", 16 + n) for n in range(500)]


def updates(messages: list[bytes], family: Family = VPNV4) -> list[Update]:
    """What UPDATEs say."""
    decoder = UpdateDecoder(UpdateOptions(frozenset((family,))))
    return [decoder.decode(message[HEADER_LENGTH:]) for message in messages]


class Group:
    """A table with one update group of some members, whose bits are 1, 2, 4, ..."""

    def __init__(self, *names: str, max_length: int = 4096, kind: SourceKind = SourceKind.CLIENT) -> None:
        self.table = Table(VPNV4)
        self.group = ExportGroup(self.table, Profile(kind, max_length), US, {})
        self.members = [self.join(name, 1 << number) for number, name in enumerate(names)]

    def join(self, name: str, bit: int, interest: Interest | None = None) -> Member:
        member = Member(name, bit, interest or Interest(all_wanted=True))
        self.group.join(member)
        return member

    def announce(self, *announced: Route, of: object = HOSTS, said: object = None) -> None:
        adj = self.table.adj_rib_in(of)  # type: ignore[arg-type]
        self.table.update(adj, SETS.of(said or attributes("64512:1"), NEXT_HOP), announced)  # type: ignore[arg-type]

    def run(self, limit: int = 10_000) -> set[str]:
        """Until nothing is left to do; who got something."""
        touched: set[str] = set()
        while self.group.has_work:
            _, more = self.group.step(limit)
            touched |= more
        return touched


def test_one_encoding_for_all() -> None:
    group = Group("a", "b", "c")
    group.announce(*MANY)
    assert group.run() == {"a", "b", "c"}
    taken = [member.take(10**9) for member in group.members]
    assert [list(map(id, one)) for one in taken] == [list(map(id, taken[0]))] * 3
    # A message of 4096 bytes holds more than 200 such routes.
    assert len(taken[0]) == 2
    said = [one.reach for one in updates(taken[0])]
    assert [where for one in said if one is not None for where in one.routes] == MANY


def test_packing_by_attributes_and_size() -> None:
    group = Group("a", max_length=65535)
    for number, one in enumerate(MANY):
        group.announce(one, said=attributes(f"64512:{number % 3}"))
    group.run()
    assert len(group.members[0].take(10**9)) == 3


def test_the_last_action_counts() -> None:
    group = Group("a")
    for label in range(20, 30):
        group.announce((MANY[0][0], pack_labels([label])), MANY[1])
    group.table.withdraw(group.table.adj_rib_in(HOSTS), [MANY[1][0]])
    group.run()
    (said,) = updates(group.members[0].take(10**9))
    assert said.reach is not None and said.reach.routes == [(MANY[0][0], pack_labels([29]))]
    assert said.unreach == ()


def test_nobody_is_told_of_the_end_of_what_was_not_told() -> None:
    group = Group("a")
    group.announce(MANY[0])
    group.table.withdraw(group.table.adj_rib_in(HOSTS), [MANY[0][0]])
    assert group.run() == set() and group.table.destinations == {}


def test_announcements_come_before_withdrawals() -> None:
    group = Group("a")
    group.announce(MANY[0])
    group.run()
    group.members[0].take(10**9)
    group.table.withdraw(group.table.adj_rib_in(HOSTS), [MANY[0][0]])
    group.announce(MANY[1])
    group.run()
    new, gone = updates(group.members[0].take(10**9))
    assert new.reach is not None and new.reach.routes == [MANY[1]]
    assert [one.keys for one in gone.unreach] == [[MANY[0][0]]]


def test_not_back_to_where_it_came_from() -> None:
    group = Group("a", "b")
    of = source("a", SourceKind.CLIENT, 5)
    of.bit = 1
    group.announce(MANY[0], of=of)
    assert group.run() == {"b"}
    # When the route becomes another's, the first one is told; when it is its own again, that is withdrawn from it.
    group.announce(MANY[0], said=attributes("64512:1", local_pref=200))
    assert group.run() == {"a", "b"}
    group.members[0].take(10**9)
    group.table.withdraw(group.table.adj_rib_in(HOSTS), [MANY[0][0]])
    assert group.run() == {"a", "b"}
    (said,) = updates(group.members[0].take(10**9))
    assert [one.keys for one in said.unreach] == [[MANY[0][0]]]


def test_each_gets_what_it_wants_of_the_same_encoding() -> None:
    group = Group()
    interests = [Interest(), Interest(), Interest(all_wanted=True)]
    interests[0].add([rtc_key(64512, target("64512:1"))])
    interests[1].add([rtc_key(64512, target("64512:2"))])
    members = [group.join(f"m{n}", 1 << n, interest) for n, interest in enumerate(interests)]
    group.announce(MANY[0])
    group.announce(MANY[1], said=attributes("64512:2"))
    group.run()
    one, two, everything = [member.take(10**9) for member in members]
    assert {id(message) for message in one + two} == set(map(id, everything))
    group.announce(MANY[0], said=attributes("64512:2"))
    group.run()
    one, two, everything = [member.take(10**9) for member in members]
    assert [update.unreach[0].keys for update in updates(one)] == [[MANY[0][0]]]
    assert two == everything and len(two) == 1


def test_a_full_outbox_waits_and_the_others_go_on() -> None:
    group = Group("slow", "fast")
    slow, fast = group.members
    turns = 0
    while slow.ready:
        turns += 1
        group.announce(*[(where, pack_labels([16 + turns])) for where, _ in MANY])
        group.run()
        fast.take(10**9)
    at = slow.cursor
    for turn in range(50):
        group.announce(*[(where, pack_labels([10_000 + turn])) for where, _ in MANY])
        group.run()
        fast.take(10**9)
    assert slow.cursor == at and slow.size < OUTBOX_FULL + 20_000
    assert fast.cursor == group.table.log.revision
    assert len(group.table.log) < 5000
    while slow.size:
        slow.take(10_000)
    group.run()
    last = [one.reach for one in updates(slow.take(10**9))]
    assert {labels for one in last if one is not None for _, labels in one.routes} == {pack_labels([10_049])}
    assert slow.cursor == fast.cursor


def test_marks_come_behind_what_they_are_about() -> None:
    group = Group("a")
    (member,) = group.members
    group.announce(*MANY)
    member.marks.append((group.table.log.revision, end_of_rib(VPNV4)))
    group.group.step(100)
    group.announce(route("192.168.0.0/24"))
    group.run(100)
    said = updates(member.take(10**9))
    (at,) = [index for index, one in enumerate(said) if one.end_of_rib is not None]
    before = sum(len(one.reach.routes) for one in said[:at] if one.reach is not None)
    assert before >= 500


def test_a_message_without_room_for_the_route() -> None:
    group = Group("a")
    group.announce(MANY[0])
    group.run()
    group.members[0].take(10**9)
    large = attributes(unknown=(UnknownAttribute(99, 0xC0, bytes(5000)),))
    group.announce(MANY[0], said=large)
    group.run()
    (said,) = updates(group.members[0].take(10**9))
    assert [one.keys for one in said.unreach] == [[MANY[0][0]]]
    assert group.group.unsent == 1


def test_memberships_of_a_reflector() -> None:
    """A client is told that everything is wanted; another peer what is."""
    network = Network()
    client, reflector, other = Node("client", 1), Node("reflector", 2), Node("other", 3)
    network.link(client, reflector, left_is=SourceKind.CLIENT, families=(VPNV4, RTC))
    network.link(other, reflector, families=(VPNV4, RTC))
    client.want("64512:1")
    reflector.want("64512:2")
    network.settle()
    assert set(client.seen(RTC)) == {rtc_key(None)}
    wanted = {rtc_key(64512, target(one)) for one in ("64512:1", "64512:2")}
    assert set(other.seen(RTC)) == wanted
    client.want()
    network.settle()
    assert set(other.seen(RTC)) == {rtc_key(64512, target("64512:2"))}


def test_refresh_without_marks_for_a_peer_that_does_not_know_them() -> None:
    """And with them for one that does."""
    network = Network()
    left, right = Node("left", 1), Node("right", 2)
    network.link(left, right)
    left.originate(*MANY)
    network.settle()
    rib: Rib = left.rib
    rib.refresh("right", VPNV4, RefreshKind.REQUEST, network.now)
    while rib.step():
        pass
    messages = rib.take("right", 10**9)
    kinds = [decode_route_refresh(one[HEADER_LENGTH:]) for one in (messages[0], messages[-1])]
    assert kinds == [RouteRefresh(VPNV4, RefreshKind.BEGIN), RouteRefresh(VPNV4, RefreshKind.END)]
    assert len(messages) > 2
    with pytest.raises(BgpError):
        decode_route_refresh(messages[1][HEADER_LENGTH:])


def test_views() -> None:
    network = Network()
    left, middle, right = Node("left", 1), Node("middle", 2), Node("right", 3)
    network.link(left, middle, left_is=SourceKind.CLIENT)
    network.link(right, middle, left_is=SourceKind.CLIENT)
    middle.rib.set_imports({"blue": [target("64512:1")]})
    where = key("10.0.0.0/24")
    left.originate(route("10.0.0.0/24", 100), said=attributes("64512:1", communities=(0xFFFF0000,)))
    right.originate(route("10.0.0.0/24", 200), said=attributes("64512:1", med=0))
    left.originate(route("10.0.1.0/24", 100, "64512:2"))
    network.settle()
    found = explain(middle.rib, VPNV4, where)
    assert found is not None
    assert [(one.path.source.name, one.best, one.multipath, one.stale, one.reason) for one in found.paths] == [
        ("left", True, True, False, ""),
        ("right", False, True, False, "router id"),
    ]
    assert (found.told, found.imported_by) == (("right",), ("blue",))
    assert describe_path(found.paths[0].path) == {
        "from": "left",
        "kind": "client",
        "next_hop": "192.0.2.7",
        "labels": [100],
        "origin": "igp",
        "as_path": "",
        "local_preference": 100,
        "communities": ["graceful-shutdown", "rt:64512:1"],
    }
    assert explain(middle.rib, VPNV4, key("10.9.0.0/24")) is None
    assert describe_key(VPNV4, where) == "64512:1:10.0.0.0/24"
    assert describe_key(RTC, rtc_key(None)) == "rtc default"
    assert describe_key(RTC, rtc_key(64512, target("64512:1"))) == "rtc 64512:64512:1/96"
    assert [one.key for one in routes(middle.rib, VPNV4, RouteDistinguisher.parse("64512:2"))] == [
        key("10.0.1.0/24", "64512:2")
    ]
    first, at = page(middle.rib, VPNV4, 0, 1)
    second, at = page(middle.rib, VPNV4, at, 1)
    assert {one.key for one in first + second} == {where, key("10.0.1.0/24", "64512:2")}
    assert page(middle.rib, VPNV4, at, 1)[0] == []
    status = peer_status(middle.rib, middle.rib.peers["right"])[VPNV4]
    assert (status.received, status.stale, status.announced, status.waiting, status.ended) == (1, 0, 2, 0, True)
    reflected = explain(right.rib, VPNV4, key("10.0.1.0/24", "64512:2"))
    assert reflected is not None
    assert describe_path(found.paths[1].path)["med"] == 0
    shown = describe_path(reflected.paths[0].path)
    assert (shown["originator_id"], shown["cluster_list"]) == ("192.0.2.1", ["192.0.2.2"])
    assert describe_path(path(source(), attributes(local_pref=None))).keys() == {
        "from",
        "kind",
        "next_hop",
        "labels",
        "origin",
        "as_path",
    }


def test_peers_at_different_points_share_a_slice() -> None:
    group = Group(*"abcdefgh")
    group.announce(*MANY)
    for number, member in enumerate(group.members):
        member.cursor = 50 * number
    for _ in range(len(group.members)):
        before = [member.cursor for member in group.members]
        looked, touched = group.group.step(20)
        assert looked == 20 and len(touched) == 1
        assert sum(member.cursor - cursor for member, cursor in zip(group.members, before, strict=True)) == 20
    assert [member.cursor for member in group.members] == [50 * number + 20 for number in range(8)], "each had its turn"
