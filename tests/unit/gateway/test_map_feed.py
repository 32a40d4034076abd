"""From subscriptions to provisioning: what is subscribed, when something goes, several subscriptions, problems."""

from __future__ import annotations

import pytest

from gateway.grants import Grants
from gateway.map_feed import CATALOGUE_NAME, MAX_SIZE, MapFeed, subscriptions
from gateway.provisioning import Difference, Provisioning
from ifmap.answers import ReceivedItem, ReceivedMetadata, ReceivedPart
from ifmap.errors import ErrorCode
from ifmap.l3vpn import (
    CATALOGUE,
    GROUP_TARGET,
    NAMESPACE,
    PROVISIONED,
    PROVISIONING,
    SchemaError,
    attachment_address,
    binding,
    connectivity_group,
    customer_attachment,
    group_target,
    ip_address,
    listed,
    provisioned,
)
from ifmap.values import Edge, Metadata, MetadataName, NewMetadata, ResultKind, link, node
from tests.unit.gateway.test_map_provisioning import target, targets
from vpn.prefix import Prefix, parse_address


def taken(feed: MapFeed) -> Difference:
    """Everything that has come is taken."""
    while (difference := feed.step(1)) is None:
        assert feed.busy
    return difference


BINDING = link(customer_attachment("web"), connectivity_group("blue"))
ADDRESS = link(customer_attachment("web"), ip_address(parse_address("10.1.1.1")))
WEB = Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.1.1/32")}))


def received(metadata: NewMetadata | Metadata) -> ReceivedMetadata:
    xml = metadata.head + metadata.tail if isinstance(metadata, NewMetadata) else metadata.xml
    return ReceivedMetadata(metadata.name, metadata.single, "cli", "", xml)


def part(kind: ResultKind, *content: tuple[Edge, NewMetadata], name: str = CATALOGUE_NAME) -> ReceivedPart:
    items = tuple(ReceivedItem(edge, (received(metadata),)) for edge, metadata in content)
    return ReceivedPart(kind, name, items)


def blue(text: str = "64512:1") -> tuple[Edge, NewMetadata]:
    return target("blue", text)[0], group_target()


ALL = (blue(), (BINDING, binding()), (ADDRESS, attachment_address()))


def test_what_is_subscribed() -> None:
    found = subscriptions(["blue", "x" * 200])
    assert list(found) == ["vpns", "group-1", "group-2"] and all(len(name) <= 20 for name in found)
    root, one = found["vpns"], found["group-1"]
    assert (root.start, root.max_depth, root.max_size) == (CATALOGUE, 3, MAX_SIZE)
    assert (one.start, one.max_depth) == (connectivity_group("blue"), 2)
    for spec in found.values():
        assert spec.match_links is not None and spec.match_links.names == frozenset(PROVISIONING)
        assert spec.result_filter is not None
        assert spec.result_filter.names == frozenset({*PROVISIONING, PROVISIONED})
    with pytest.raises(SchemaError):
        subscriptions(["\x00"])


def test_the_first_result_and_what_follows() -> None:
    provisioning = Provisioning()
    feed = MapFeed(provisioning, subscriptions(()))
    assert taken(feed) == Difference() and not feed.synchronised and not provisioning.known
    feed.result(part(ResultKind.SEARCH, *ALL))
    assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))
    assert feed.synchronised and feed.settled and provisioning.known and provisioning.attachments == {"web": WEB}
    assert taken(feed) == Difference()
    feed.result(part(ResultKind.DELETE, (BINDING, binding())))
    assert taken(feed) == Difference(frozenset(), frozenset({"web"}))
    assert provisioning.attachments == {"web": Grants(frozenset(), WEB.prefixes)}
    feed.result(part(ResultKind.UPDATE, (BINDING, binding())))
    feed.result(part(ResultKind.DELETE, blue()))
    assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))
    assert provisioning.vpns == {}


def test_an_empty_map_is_a_map() -> None:
    provisioning = Provisioning()
    feed = MapFeed(provisioning, subscriptions(()))
    feed.result(part(ResultKind.SEARCH))
    assert taken(feed) == Difference() and provisioning.known


MARK = (node(CATALOGUE), provisioned())


def lost_contents(feed: MapFeed, provisioning: Provisioning) -> None:
    """A new session, whose first result is that of a server that has nothing."""
    before = dict(provisioning.vpns), dict(provisioning.attachments)
    feed.session_lost()
    feed.result(part(ResultKind.SEARCH))
    assert taken(feed) == Difference() and feed.synchronised and feed.disbelieved and not feed.settled
    assert (provisioning.vpns, provisioning.attachments) == before


def told_all() -> tuple[MapFeed, Provisioning]:
    provisioning = Provisioning()
    feed = MapFeed(provisioning, subscriptions(()))
    feed.result(part(ResultKind.SEARCH, *ALL, MARK))
    taken(feed)
    return feed, provisioning


def test_a_map_that_has_lost_its_contents_is_not_believed() -> None:
    feed, provisioning = told_all()
    lost_contents(feed, provisioning)
    # Its server is gone, too, and comes back with all of it.
    feed.session_lost()
    assert taken(feed) == Difference() and not feed.disbelieved
    feed.result(part(ResultKind.SEARCH, *ALL, MARK))
    assert taken(feed) == Difference() and not feed.disbelieved
    # In the same session counts what goes, also when it is the last.
    feed.result(part(ResultKind.DELETE, *ALL, MARK))
    assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))
    assert not feed.disbelieved


def test_a_group_or_the_mark_ends_the_disbelief() -> None:
    for sign in (MARK, (link(CATALOGUE, connectivity_group("red")), listed())):
        feed, provisioning = told_all()
        lost_contents(feed, provisioning)
        feed.result(part(ResultKind.UPDATE, sign))
        assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))
        assert provisioning.vpns == {} and not feed.disbelieved


def test_an_empty_map_that_is_meant_is_believed() -> None:
    feed, provisioning = told_all()
    feed.session_lost()
    feed.result(part(ResultKind.SEARCH, MARK))
    assert taken(feed).vpns == {"blue"} and not feed.disbelieved and provisioning.vpns == {}
    feed.session_lost()
    feed.result(part(ResultKind.SEARCH))
    assert taken(feed) == Difference() and feed.settled, "there is nothing to lose"


def test_an_operator_can_have_it_believed() -> None:
    feed, provisioning = told_all()
    assert not feed.accept(), "it isn't in doubt"
    lost_contents(feed, provisioning)
    assert feed.accept() and not feed.disbelieved and not feed.accept()
    assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))


def test_what_was_kept_is_not_given_up_for_an_empty_map() -> None:
    provisioning = Provisioning()
    provisioning.restore({}, {"web": WEB}, {})
    feed = MapFeed(provisioning, subscriptions(["blue"]))
    feed.result(part(ResultKind.SEARCH))
    assert taken(feed) == Difference() and not feed.disbelieved, "not all is there"
    feed.result(part(ResultKind.SEARCH, name="group-1"))
    assert taken(feed) == Difference() and feed.disbelieved and provisioning.attachments == {"web": WEB}
    # Of several subscriptions none is enough to make the others' emptiness believed before it has told.
    feed.session_lost()
    feed.result(part(ResultKind.SEARCH))
    assert taken(feed) == Difference()
    feed.result(part(ResultKind.SEARCH, ALL[0], name="group-1"))
    assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))


def test_a_new_session_costs_the_difference() -> None:
    provisioning = Provisioning()
    feed = MapFeed(provisioning, subscriptions(()))
    feed.result(part(ResultKind.SEARCH, *ALL))
    taken(feed)
    feed.session_lost()
    assert not feed.synchronised
    assert taken(feed) == Difference(), "what is known stays"
    feed.result(part(ResultKind.SEARCH, *ALL))
    assert taken(feed) == Difference() and feed.synchronised
    feed.session_lost()
    feed.result(part(ResultKind.SEARCH, blue(), blue("64512:2"), ALL[2]))
    assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))


def test_nothing_is_removed_before_all_subscriptions_have_told() -> None:
    provisioning = Provisioning()
    provisioning.restore({"old": targets("64512:7", "64512:7")}, {"web": WEB}, {})
    feed = MapFeed(provisioning, subscriptions(["blue"]))
    feed.result(part(ResultKind.SEARCH, MARK))
    assert taken(feed) == Difference() and set(provisioning.vpns) == {"old"}
    feed.result(part(ResultKind.SEARCH, *ALL, name="group-1"))
    assert taken(feed) == Difference(frozenset({"old", "blue"}), frozenset())
    # Seen by both, it is there as long as one of them has it.
    feed.result(part(ResultKind.UPDATE, *ALL))
    feed.result(part(ResultKind.DELETE, *ALL, name="group-1"))
    assert taken(feed) == Difference()
    feed.result(part(ResultKind.DELETE, *ALL))
    assert taken(feed) == Difference(frozenset({"blue"}), frozenset({"web"}))


def test_a_subscription_that_the_server_gives_up_keeps_what_is_known() -> None:
    provisioning = Provisioning()
    feed = MapFeed(provisioning, subscriptions(()))
    feed.result(part(ResultKind.SEARCH, *ALL))
    taken(feed)
    feed.result(ReceivedPart(ResultKind.ERROR, CATALOGUE_NAME, (), ErrorCode.SEARCH_RESULTS_TOO_BIG, "too big"))
    assert taken(feed) == Difference() and not feed.synchronised
    assert provisioning.attachments == {"web": WEB}
    feed.result(part(ResultKind.UPDATE, *ALL, name="of somebody else"))
    assert taken(feed) == Difference()


def test_a_large_result_is_taken_in_turns_and_counts_when_all_of_it_is_taken() -> None:
    def attachment(number: int) -> list[tuple[Edge, NewMetadata]]:
        me = customer_attachment(f"vm-{number}")
        where = link(me, ip_address((0x0A000000 + number).to_bytes(4, "big")))
        return [(link(me, connectivity_group("blue")), binding()), (where, attachment_address())]

    count, limit = 300, 50
    everything = [blue(), *(found for number in range(count) for found in attachment(number))]
    provisioning = Provisioning()
    provisioning.restore({}, {"web": WEB}, {})
    feed = MapFeed(provisioning, subscriptions(()))
    for content, there in ((everything, count), (everything[: count + 1], count // 2), ([], count // 2)):
        feed.session_lost()
        feed.result(part(ResultKind.SEARCH, *content))
        before, turns = dict(provisioning.attachments), 1
        while feed.step(limit) is None:
            turns += 1
            assert provisioning.attachments == before and feed.busy and not (feed.settled or feed.disbelieved)
        assert turns >= len(content) / limit
        assert len(provisioning.attachments) == there and feed.disbelieved is not bool(content)


def test_a_session_that_ends_while_its_result_is_taken() -> None:
    provisioning = Provisioning()
    provisioning.restore({"old": targets("64512:7", "64512:7")}, {"web": WEB}, {})
    feed = MapFeed(provisioning, subscriptions(()))
    feed.result(part(ResultKind.SEARCH, *ALL))
    assert feed.step(1) is None
    feed.session_lost()
    assert not feed.synchronised and taken(feed) == Difference() and set(provisioning.vpns) == {"old"}
    feed.result(part(ResultKind.SEARCH, blue()))
    assert taken(feed) == Difference(frozenset({"old", "blue"}), frozenset({"web"}))
    # What comes while the provisioning is compared is for the next turn.
    feed.result(part(ResultKind.UPDATE, (BINDING, binding()), (ADDRESS, attachment_address())))
    assert feed.step(3) is None
    feed.result(part(ResultKind.DELETE, blue()))
    assert taken(feed).attachments == {"web"} and feed.busy
    assert taken(feed).vpns == {"blue"} and not feed.busy


def test_what_cannot_be_read_is_a_problem_and_hurts_nothing_else() -> None:
    bad = ReceivedMetadata(
        MetadataName(*GROUP_TARGET),
        True,
        "cli",
        "",
        f'<v:group-target xmlns:v="{NAMESPACE}"><import-export>sideways</import-export></v:group-target>'.encode(),
    )
    provisioning = Provisioning()
    feed = MapFeed(provisioning, subscriptions(()))
    feed.result(part(ResultKind.SEARCH, *ALL))
    item = ReceivedItem(target("red", "64512:2")[0], (bad,))
    feed.result(ReceivedPart(ResultKind.UPDATE, CATALOGUE_NAME, (item,)))
    taken(feed)
    assert set(provisioning.vpns) == {"blue"}
    [(what, why)] = feed.problems()
    assert "red" in what and "sideways" in why
