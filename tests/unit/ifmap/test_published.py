"""State that a client keeps published: batches of what is wanted, differences, refusals."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ifmap.errors import ErrorCode, IfmapError
from ifmap.published import Batch, Place, Published
from ifmap.values import (
    Delete,
    Edge,
    Identifier,
    IdentifierKind,
    Lifetime,
    MetadataName,
    NewMetadata,
    PublishOperation,
    Update,
    node,
)

STATE = MetadataName("urn:example:x", "state")
INFO = MetadataName("urn:example:x", "info")
DENIED = IfmapError(ErrorCode.ACCESS_DENIED, "not yours")


def edge(number: int) -> Edge:
    return node(Identifier(IdentifierKind.DEVICE, f"d{number}"))


def metadata(value: str, name: MetadataName = STATE, *, single: bool = True) -> NewMetadata:
    return NewMetadata(name, single, b"<state", f">{value}</state>".encode())


class Server:
    """What a server has of the session."""

    def __init__(self) -> None:
        self.has: dict[Place, NewMetadata] = {}

    def publish(self, operations: tuple[PublishOperation, ...]) -> None:
        for operation in operations:
            if isinstance(operation, Update):
                assert operation.lifetime is Lifetime.SESSION
                for one in operation.metadata:
                    self.has[Place(operation.edge, one.name)] = one
            else:
                assert isinstance(operation, Delete) and operation.filter and operation.filter.names
                for name in operation.filter.names:
                    self.has.pop(Place(operation.edge, name), None)


def publish_all(published: Published, server: Server) -> list[int]:
    """Sizes of the batches that it took."""
    sizes = []
    while batch := published.batch():
        server.publish(batch.operations)
        published.accepted(batch)
        sizes.append(len(batch.operations))
    return sizes


def test_all_of_it_after_a_new_session_in_batches() -> None:
    published = Published(size=4)
    for number in range(10):
        published.set(edge(number), metadata("up"))
    for _ in range(2):
        server = Server()
        published.session_started()
        assert publish_all(published, server) == [4, 4, 2]
        assert server.has == {Place(edge(number), STATE): metadata("up") for number in range(10)}
        assert (published.waiting, len(published)) == (0, 10)


def test_differences_after_that() -> None:
    published, server = Published(), Server()
    published.set(edge(1), metadata("up"))
    published.set(edge(1), metadata("x", INFO))
    published.set(edge(2), metadata("up"))
    publish_all(published, server)
    published.set(edge(1), metadata("up"))
    assert published.batch() is None
    published.set(edge(1), metadata("down"))
    published.remove(edge(2), STATE)
    published.remove(edge(3), STATE)
    assert published.wanted(edge(1), STATE) == metadata("down")
    assert publish_all(published, server) == [2]
    assert server.has == {Place(edge(1), STATE): metadata("down"), Place(edge(1), INFO): metadata("x", INFO)}


def test_a_change_that_is_taken_back_before_it_is_sent_is_none() -> None:
    published, server = Published(), Server()
    published.set(edge(1), metadata("up"))
    publish_all(published, server)
    published.set(edge(1), metadata("down"))
    published.set(edge(1), metadata("up"))
    published.set(edge(2), metadata("up"))
    published.remove(edge(2), STATE)
    assert published.batch() is None


@pytest.mark.parametrize("value", ["down", None])
def test_a_change_while_the_publish_is_under_way_goes_out_after_it(value: str | None) -> None:
    published, server = Published(), Server()
    published.set(edge(1), metadata("up"))
    batch = published.batch()
    assert batch is not None
    if value is None:
        published.remove(edge(1), STATE)
    else:
        published.set(edge(1), metadata(value))
    server.publish(batch.operations)
    published.accepted(batch)
    assert publish_all(published, server) == [1]
    assert server.has == ({} if value is None else {Place(edge(1), STATE): metadata(value)})


def test_one_that_is_refused_does_not_keep_the_others() -> None:
    published, server = Published(), Server()
    for number in range(4):
        published.set(edge(number), metadata("bad" if number == 2 else "up"))
    together = published.batch()
    assert together is not None and len(together.places) == 4
    published.refused(together, DENIED)
    sizes = []
    while batch := published.batch():
        sizes.append(len(batch.places))
        if batch.places[0][1] == metadata("bad"):
            published.refused(batch, DENIED)
        else:
            server.publish(batch.operations)
            published.accepted(batch)
    assert sizes == [1, 1, 1, 1]
    assert len(server.has) == 3
    assert published.refused_places == {Place(edge(2), STATE): DENIED}
    # What is new needn't go alone, and what changes is tried again.
    published.set(edge(5), metadata("up"))
    published.set(edge(6), metadata("up"))
    published.set(edge(2), metadata("good"))
    assert publish_all(published, server) == [3]
    assert published.refused_places == {}


def test_what_is_refused_is_tried_again_in_a_new_session() -> None:
    published = Published()
    published.set(edge(1), metadata("up"))
    batch = published.batch()
    assert batch is not None
    published.refused(batch, DENIED)
    assert published.batch() is None
    published.session_started()
    assert published.batch() == batch


def test_a_refusal_of_what_is_not_wanted_any_more_says_nothing() -> None:
    published, server = Published(), Server()
    published.set(edge(1), metadata("bad"))
    batch = published.batch()
    assert batch is not None
    published.set(edge(1), metadata("up"))
    published.refused(batch, DENIED)
    assert publish_all(published, server) == [1]


def test_several_values_in_one_place_are_not_kept() -> None:
    with pytest.raises(ValueError, match="multiValue"):
        Published().set(edge(1), metadata("x", single=False))


class Model(RuleBasedStateMachine):
    """Whatever happens in whatever order: when nothing is left to do, the server has what is wanted and not refused."""

    def __init__(self) -> None:
        super().__init__()
        self.published = Published(size=3)
        self.server = Server()
        self.wanted: dict[Place, NewMetadata] = {}
        self.flying: Batch | None = None

    places = st.builds(Place, st.integers(0, 5).map(edge), st.sampled_from([STATE, INFO]))

    @rule(place=places, value=st.sampled_from(["up", "down", "bad"]))
    def set(self, place: Place, value: str) -> None:
        self.wanted[place] = metadata(value, place.name)
        self.published.set(place.edge, self.wanted[place])

    @rule(place=places)
    def remove(self, place: Place) -> None:
        self.wanted.pop(place, None)
        self.published.remove(*place)

    @precondition(lambda self: self.flying is None)
    @rule()
    def send(self) -> None:
        self.flying = self.published.batch()

    @precondition(lambda self: self.flying is not None)
    @rule()
    def answered(self) -> None:
        assert self.flying is not None
        batch, self.flying = self.flying, None
        if any(value is not None and b"bad" in value.tail for _, value in batch.places):
            self.published.refused(batch, DENIED)
        else:
            self.server.publish(batch.operations)
            self.published.accepted(batch)

    @rule()
    def retry(self) -> None:
        self.published.retry_refused()

    @rule()
    def new_session(self) -> None:
        self.server.has.clear()
        self.flying = None
        self.published.session_started()

    @invariant()
    def settled(self) -> None:
        if self.flying is None and self.published.batch() is None:
            refused = self.published.refused_places
            assert all(b"bad" in self.wanted[place].tail for place in refused if place in self.wanted)
            for place in self.wanted.keys() | self.server.has.keys():
                if place not in refused:
                    assert self.server.has.get(place) == self.wanted.get(place)

    def teardown(self) -> None:
        while self.flying is not None or self.published.batch() is not None:
            self.send() if self.flying is None else self.answered()
        self.settled()


TestModel = Model.TestCase
