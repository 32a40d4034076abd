"""Runs the scripts of tests/unit/ifmap/scripts: what publishers do, and what subscribers get to see of it.

    publish p: update a x=1 y=2; update-forever a-b x=1; notify a m=1; delete a-b [t:x]     one publish of publisher p
    refused p: update a x=1 -> InvalidMetadata
    purge p | end p                          purgePublisher; end of p's session
    limit c 500                              max-poll-result-size of client c
    subscribe c name: a depth=2 links=[t:x] result=[t:y] terminal=device size=900
    unsubscribe c name | leave c
    search: a depth=2 ...                    expected items follow, indented
    poll c                                   expected results follow, indented; none: there is nothing to poll

Identifiers: `a` is a device, `dns:a` an identity; `a-b` a link. x, y, z are singleValue, m, n multiValue. Filters stand
in brackets, with t for the namespace. A line of expectation is `kind name: item, item`, an item an identifier or link
with its metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ifmap import filters
from ifmap.errors import IfmapError
from ifmap.search import find
from ifmap.values import Delete, Edge, Lifetime, NewMetadata, Notify, PublishOperation, SearchSpec, Update
from tests.unit.ifmap.graph_world import (
    NAMESPACE,
    Part,
    World,
    edge,
    identifier,
    new,
    shown,
    shown_edge,
)

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


class Player:
    """Plays one script."""

    def __init__(self) -> None:
        self.world = World()

    def play(self, verb: str, rest: str) -> list[str]:
        """One line; returns what there is to see, as its expectation would say."""
        shows: list[str] = getattr(self, f"do_{verb}")(rest) or []
        return shows

    def do_publish(self, rest: str) -> None:
        who, _, text = rest.partition(": ")
        self.world.publish(*operations(text), who=who, session=f"s-{who}")

    def do_refused(self, rest: str) -> None:
        text, _, code = rest.partition(" -> ")
        with pytest.raises(IfmapError) as refusal:
            self.do_publish(text)
        assert refusal.value.code == code

    def do_purge(self, rest: str) -> None:
        planner = self.world.planner()
        self.world.apply(planner.purge(rest, 1_000, planner.next_key)[0])

    def do_end(self, rest: str) -> None:
        self.world.apply(self.world.planner().end_sessions([f"s-{rest}"], 1_000)[0])

    def do_limit(self, rest: str) -> None:
        client, limit = rest.split()
        self.world.queue(client).limit = int(limit)

    def do_subscribe(self, rest: str) -> None:
        who, _, text = rest.partition(": ")
        client, title = who.split()
        spec = search_spec(text)
        if spec.max_size is None:
            self.world.subscribe(title, spec, client)
        else:
            self.world.subscribe(title, spec, client, spec.max_size)

    def do_unsubscribe(self, rest: str) -> None:
        client, title = rest.split()
        self.world.subscriptions.unsubscribe(self.world.queue(client), title)

    def do_leave(self, rest: str) -> None:
        self.world.subscriptions.drop(self.world.queue(rest))

    def do_search(self, rest: str) -> list[str]:
        return sorted(
            item_line(where, [one.xml for one in metadata])
            for where, metadata in filter(None, find(self.world.graph, search_spec(rest)))
        )

    def do_poll(self, rest: str) -> list[str]:
        try:
            return [part_line(part) for part in self.world.poll(rest)]
        except IfmapError as error:
            return [str(error.code)]


def operations(text: str) -> Iterator[PublishOperation]:
    for operation in text.split("; "):
        verb, where, *rest = re.findall(r"\[[^\]]*\]|\S+", operation)
        if verb == "delete":
            yield Delete(edge(where), compiled(rest[0]) if rest else None)
        elif verb == "notify":
            yield Notify(edge(where), tuple(map(metadatum, rest)))
        else:
            assert verb in ("update", "update-forever"), verb
            lifetime = Lifetime.FOREVER if verb == "update-forever" else Lifetime.SESSION
            yield Update(edge(where), tuple(map(metadatum, rest)), lifetime)


def metadatum(text: str) -> NewMetadata:
    """`x=1`; `x!=1` is one whose cardinality is wrong."""
    local, _, value = text.partition("=")
    return new(local.rstrip("!"), value, single=(local[0] in "xyz") is not local.endswith("!"))


def search_spec(text: str) -> SearchSpec:
    start, *rest = re.findall(r"(?:\w+=)?\[[^\]]*\]|\S+", text)
    options = dict(word.split("=", 1) for word in rest)
    assert options.keys() <= {"depth", "links", "result", "terminal", "size"}, options
    return SearchSpec(
        identifier(start),
        int(options.get("depth", "0")),
        compiled(options["links"]) if "links" in options else None,
        compiled(options["result"]) if "result" in options else None,
        int(options["size"]) if "size" in options else None,
        frozenset(options["terminal"].split(",")) if "terminal" in options else frozenset(),
    )


def compiled(text: str) -> filters.CompiledFilter:
    """A filter in brackets; inner brackets are written as braces."""
    return filters.compile(text[1:-1].replace("{", "[").replace("}", "]"), {"t": NAMESPACE})


def part_line(part: Part) -> str:
    kind = part.kind.removesuffix("Result")
    what = part.text or ", ".join(sorted(item_line(item.edge, list(item.elements)) for item in part.items))
    return f"{kind} {part.name}: {what}"


def item_line(where: Edge, elements: list[bytes]) -> str:
    return " ".join([shown_edge(where), *map(shown, elements)])


def steps(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, command and what is expected of it."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
    for index, (number, line) in enumerate(lines):
        if line.startswith(" "):
            continue
        expected = []
        for _, following in lines[index + 1 :]:
            if not following.startswith(" "):
                break
            expected.append(following.strip())
        yield number, line.strip(), expected


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path) -> None:
    player = Player()
    for number, command, expected in steps(script.read_text()):
        verb, _, rest = command.replace("search:", "search", 1).partition(" ")
        assert player.play(verb, rest) == expected, f"{script.name}, line {number}: {command}"


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 8
