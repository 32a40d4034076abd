"""The routes of one family: what each source sent, and which path of a destination is the best.

    AdjRibIn (one a source) --+
                              +--> Destination: all its paths, the best first --> ChangeLog --> bgp.rib.export
    AdjRibIn                --+                                             +--> dirty     --> bgp.rib.imports

A destination remembers who was told of it (`advertised`, a mask with a bit a peer). It outlives its last path until all
of them have been told that too; then it is forgotten.

Generations make stale marks cheap: an adj-rib-in counts up, and everything that it holds from before is stale, without
a visit to any route. What is still of an old generation in the end is swept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bgp.family import Family
from bgp.nlri import Route
from bgp.rib.decision import best
from bgp.rib.targets import TargetIndex
from bgp.rib.values import AttributeSet, AttributeSets, Path, Source
from vpn.log import ChangeLog

_new = tuple.__new__


class Destination:
    """A key (bgp.nlri) and the paths to it, the best one first; no paths: withdrawn, but not everybody knows.

    revision: of the newest change of the best path (vpn.log); advertised: bits of the peers that were told the
    destination and not its end.
    """

    __slots__ = ("advertised", "key", "paths", "revision")

    def __init__(self, key: bytes, paths: tuple[Path, ...]) -> None:
        self.key = key
        self.paths = paths
        self.revision = 0
        self.advertised = 0


class AdjRibIn:
    """What one source has sent of a family, by key."""

    __slots__ = ("generation", "paths", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.paths: dict[bytes, Path] = {}
        self.generation = 0

    def __len__(self) -> int:
        return len(self.paths)

    def age(self) -> int:
        """Everything held is stale from here on; returns the new generation."""
        self.generation += 1
        return self.generation

    def is_stale(self, path: Path) -> bool:
        """Whether the source hasn't confirmed the path since age()."""
        return path.generation < self.generation

    def count_stale(self) -> int:
        """Number of stale paths; looks at each."""
        generation = self.generation
        return sum(path.generation < generation for path in self.paths.values())


class Table:
    """All destinations of a family."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.destinations: dict[bytes, Destination] = {}
        self.log: ChangeLog[Destination] = ChangeLog()
        self.targets: TargetIndex[Destination] = TargetIndex()
        self.sources: dict[Source, AdjRibIn] = {}
        self.dirty: dict[Destination, None] | None = None
        """Destinations any path of which has changed, for imports to take; None: nobody wants to know."""
        self._gone = 0

    def __len__(self) -> int:
        """Number of destinations that have a path."""
        return len(self.destinations) - self._gone

    def adj_rib_in(self, source: Source) -> AdjRibIn:
        """What a source has sent."""
        adj = self.sources.get(source)
        if adj is None:
            adj = self.sources[source] = AdjRibIn(source)
        return adj

    def get(self, key: bytes) -> Destination | None:
        """The destination, if it has a path."""
        found = self.destinations.get(key)
        return found if found is not None and found.paths else None

    def __iter__(self) -> Iterator[Destination]:
        return (destination for destination in self.destinations.values() if destination.paths)

    # -- changing

    def update(self, adj: AdjRibIn, attributes: AttributeSet, routes: Iterable[Route]) -> None:
        """A source announced routes."""
        source, generation = adj.source, adj.generation
        known, destinations = adj.paths, self.destinations
        fresh: list[Destination] = []
        for key, labels in routes:
            # What Path() does, without its frame: a million routes are a million of them.
            path = _new(Path, (source, attributes, labels, generation))
            destination = destinations.get(key)
            if destination is None:
                known[key] = path
                destination = destinations[key] = Destination(key, (path,))
                fresh.append(destination)
                continue
            if fresh:
                self._enter(attributes, fresh)
                fresh = []
            old = known.get(key)
            known[key] = path
            rest = destination.paths if old is None else tuple([p for p in destination.paths if p.source is not source])
            same = old is not None and old.attributes is attributes and old.labels == labels
            self._put(destination, (*rest, path), same)
        if fresh:
            self._enter(attributes, fresh)

    def _enter(self, attributes: AttributeSet, fresh: list[Destination]) -> None:
        """Destinations are new, with these attributes."""
        self.log.extend(fresh)
        if self.dirty is not None:
            self.dirty.update(dict.fromkeys(fresh))
        self.targets.add(attributes.targets, fresh)

    def withdraw(self, adj: AdjRibIn, keys: Iterable[bytes]) -> int:
        """A source withdrew routes, those that it had; how many that were."""
        source, known, destinations = adj.source, adj.paths, self.destinations
        count = 0
        for key in keys:
            if known.pop(key, None) is not None:
                count += 1
                destination = destinations[key]
                self._put(destination, tuple([p for p in destination.paths if p.source is not source]), False)
        return count

    def _put(self, destination: Destination, paths: tuple[Path, ...], same: bool) -> None:
        """A destination has other paths; same: they say what they said, only their age differs."""
        old = destination.paths
        if len(paths) > 1:
            chosen = best(paths)
            if chosen is not paths[0]:
                paths = (chosen, *[path for path in paths if path is not chosen])
        destination.paths = paths
        if same and paths[0].source is old[0].source:
            return
        if self.dirty is not None:
            self.dirty[destination] = None
        if old and paths:
            before, after = old[0], paths[0]
            if before[:3] == after[:3]:
                return
            if before.attributes.targets != after.attributes.targets:
                self.targets.remove(before.attributes.targets, destination)
                self.targets.add(after.attributes.targets, (destination,))
        elif old:
            self.targets.remove(old[0].attributes.targets, destination)
            self._gone += 1
            if not destination.advertised:
                self.forget(destination)
                return
        else:
            self.targets.add(paths[0].attributes.targets, (destination,))
            self._gone -= 1
        self.log.append(destination)

    def forget(self, destination: Destination) -> None:
        """Drop a destination without paths that nobody has to be told of."""
        self._gone -= 1
        self.log.forget(destination)
        del self.destinations[destination.key]

    def sweep(self, adj: AdjRibIn, keys: Iterable[bytes], generation: int) -> int:
        """Withdraw those of the keys whose paths are older than a generation; how many that were."""
        paths = adj.paths
        old = [key for key in keys if (path := paths.get(key)) is not None and path.generation < generation]
        return self.withdraw(adj, old)

    def degrade(self, adj: AdjRibIn, keys: Iterable[bytes], generation: int, sets: AttributeSets) -> list[bytes]:
        """Of the keys whose paths are older than a generation make long-lived stale ones (RFC 9494, section 4.2).

        Paths with NO_LLGR are withdrawn: their keys are returned.
        """
        paths = adj.paths
        forbidden: list[bytes] = []
        for key in keys:
            path = paths.get(key)
            if path is None or path.generation >= generation or path.attributes.is_long_lived_stale:
                continue
            if path.attributes.forbids_long_lived:
                forbidden.append(key)
                continue
            stale = paths[key] = path._replace(attributes=sets.long_lived_stale(path.attributes))
            destination = self.destinations[key]
            others = tuple([one for one in destination.paths if one.source is not adj.source])
            self._put(destination, (*others, stale), False)
        self.withdraw(adj, forbidden)
        return forbidden
