"""The content of a subscription, kept from its results."""

from __future__ import annotations

from ifmap.answers import ReceivedItem, ReceivedMetadata, ReceivedPart
from ifmap.errors import ErrorCode
from ifmap.replica import Changes, Replica
from ifmap.values import Edge, Identifier, IdentifierKind, MetadataName, ResultKind, link, node

A, B, C = (Identifier(IdentifierKind.DEVICE, name) for name in "abc")
ROLE = MetadataName("urn:example:x", "role")
EVENT = MetadataName("urn:example:x", "event")


def single(value: str, publisher: str = "p") -> ReceivedMetadata:
    xml = f'<x:role xmlns:x="urn:example:x" ifmap-publisher-id="{publisher}">{value}</x:role>'
    return ReceivedMetadata(ROLE, True, publisher, "t", xml.encode())


def multi(value: str, publisher: str = "p") -> ReceivedMetadata:
    xml = f'<x:event xmlns:x="urn:example:x" ifmap-publisher-id="{publisher}" k="1">{value}</x:event>'
    return ReceivedMetadata(EVENT, False, publisher, "t", xml.encode())


def part(kind: ResultKind, *items: tuple[Edge, tuple[ReceivedMetadata, ...]]) -> ReceivedPart:
    return ReceivedPart(kind, "s", tuple(ReceivedItem(*item) for item in items))


def search(*items: tuple[Edge, tuple[ReceivedMetadata, ...]]) -> ReceivedPart:
    return part(ResultKind.SEARCH, *items)


def update(*items: tuple[Edge, tuple[ReceivedMetadata, ...]]) -> ReceivedPart:
    return part(ResultKind.UPDATE, *items)


def delete(*items: tuple[Edge, tuple[ReceivedMetadata, ...]]) -> ReceivedPart:
    return part(ResultKind.DELETE, *items)


def changed(*edges: Edge) -> Changes:
    return Changes(frozenset(edges))


def test_it_is_complete_with_its_first_search_result_even_if_that_is_bare() -> None:
    replica = Replica()
    assert not replica.complete
    assert replica.apply(search((node(A), ()))) == Changes(frozenset(), initial=True)
    assert replica.complete
    assert (len(replica), replica.contents(node(A)), list(replica.links(A))) == (0, (), [])


def test_content_and_links_of_a_search_result() -> None:
    replica = Replica()
    ab, ac, own = link(A, B), link(C, A), link(A, A)
    result = search(
        (node(A), (single("1"),)), (ab, (single("2"), multi("x"))), (ac, (multi("y"),)), (own, (multi("z"),))
    )
    assert replica.apply(result).edges == {node(A), ab, ac, own}
    assert replica.contents(ab) == (single("2"), multi("x"))
    assert set(replica.links(A)) == {ab, ac, own}
    assert set(replica.links(B)) == {ab}
    assert set(replica.edges()) == {node(A), ab, ac, own}


def test_a_new_value_takes_the_place_of_a_single_one_and_joins_others() -> None:
    replica = Replica()
    replica.apply(search((node(A), (single("1"), multi("x")))))
    assert replica.apply(update((node(A), (single("2", "q"), multi("y"))))) == changed(node(A))
    assert replica.contents(node(A)) == (single("2", "q"), multi("x"), multi("y"))


def test_what_is_known_already_is_no_change() -> None:
    replica = Replica()
    replica.apply(search((node(A), (single("1"),))))
    assert replica.apply(update((node(A), (single("1"),)), (node(B), ()))) == changed()


def test_each_copy_of_a_multiple_value_is_one() -> None:
    replica = Replica()
    replica.apply(search((node(A), (multi("x"),))))
    assert replica.apply(update((node(A), (multi("x"),)))) == changed(node(A))
    assert replica.contents(node(A)) == (multi("x"), multi("x"))
    replica.apply(delete((node(A), (multi("x"),))))
    assert replica.contents(node(A)) == (multi("x"),)


def test_a_multiple_value_goes_with_its_publisher_and_time() -> None:
    replica = Replica()
    replica.apply(search((node(A), (multi("x", "p"), multi("x", "q")))))
    assert replica.apply(delete((node(A), (multi("x", "q"), multi("never"))))) == changed(node(A))
    assert replica.contents(node(A)) == (multi("x", "p"),)
    assert replica.apply(delete((node(A), (multi("x", "q"),)), (node(B), (multi("x"),)))) == changed()


def test_a_multiple_value_that_is_written_in_another_way_is_the_same() -> None:
    replica = Replica()
    replica.apply(search((node(A), (multi("x"), multi("y")))))
    other = multi("y")._replace(
        xml=b"""<x:event k='1' xmlns:unused="urn:u" ifmap-publisher-id = "p" xmlns:x="urn:example:x">y</x:event>"""
    )
    assert replica.apply(delete((node(A), (other,)))) == changed(node(A))
    assert replica.contents(node(A)) == (multi("x"),)


def test_a_single_value_goes_by_its_name() -> None:
    """The server may tell of a value that was replaced beside the one that goes (reference: a blemish of irond)."""
    replica = Replica()
    replica.apply(search((link(A, B), (single("old"),))))
    replica.apply(update((link(A, B), (single("new"),))))
    assert replica.apply(delete((link(A, B), (single("old"), single("new"))))) == changed(link(A, B))
    assert replica.contents(link(A, B)) == ()
    assert (len(replica), list(replica.links(A)), list(replica.links(B))) == (0, [], [])


def test_update_and_delete_are_applied_in_order() -> None:
    replica = Replica()
    replica.apply(search((node(A), ())))
    replica.apply(delete((node(A), (single("1"),))))
    replica.apply(update((node(A), (single("1"),))))
    assert replica.contents(node(A)) == (single("1"),)


def test_a_new_search_result_replaces_everything_and_tells_the_difference() -> None:
    replica = Replica()
    ab, ac = link(A, B), link(A, C)
    replica.apply(search((node(A), (multi("x"), multi("y"))), (ab, (single("1"),)), (ac, (single("1"),))))
    replica.session_lost()
    assert not replica.complete
    assert replica.contents(ab) == (single("1"),)
    result = search((ab, (single("2"),)), (node(A), (multi("y"), multi("x"))), (node(C), (single("3"),)))
    assert replica.apply(result) == Changes(frozenset({ab, ac, node(C)}), initial=True)
    assert replica.complete
    assert set(replica.edges()) == {node(A), ab, node(C)}
    assert set(replica.links(A)) == {ab}
    assert list(replica.links(C)) == []


def test_notifications_are_no_content() -> None:
    replica = Replica()
    replica.apply(search((node(A), ())))
    assert replica.apply(part(ResultKind.NOTIFY, (node(A), (multi("x"),)))) == changed()
    assert len(replica) == 0


def test_a_subscription_that_was_given_up_is_not_complete() -> None:
    replica = Replica()
    replica.apply(search((node(A), (single("1"),))))
    gone = ReceivedPart(ResultKind.ERROR, "s", code=ErrorCode.SEARCH_RESULTS_TOO_BIG, text="too big")
    assert replica.apply(gone) == changed()
    assert not replica.complete
    assert replica.contents(node(A)) == (single("1"),)


def test_the_result_of_a_search_can_be_looked_at_in_the_same_way() -> None:
    replica = Replica.of([ReceivedItem(link(A, B), (single("1"),))])
    assert replica.complete
    assert list(replica.links(B)) == [link(A, B)]
