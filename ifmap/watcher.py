"""A subscription that is watched: each change of it is told, sessions that end on the way are outlasted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ifmap.answers import ReceivedItem, ReceivedPart
from ifmap.errors import IfmapError
from ifmap.replica import Replica
from ifmap.values import ResultKind, SearchSpec

if TYPE_CHECKING:
    from ifmap.client import MapClient

NAME = "watch"


class Change(NamedTuple):
    """kind: "present" at the begin, then "update", "delete", "notify". item: the metadata concerned, on one edge."""

    kind: str
    item: ReceivedItem


class Watcher:
    """tell: gets each change, in order; warn: what happens to the subscription. count: changes after which run() ends,
    what is present at the begin not counted; None for never."""

    def __init__(
        self, spec: SearchSpec, tell: Callable[[Change], None], warn: Callable[[str], None], count: int | None = None
    ) -> None:
        self._spec = spec
        self._tell = tell
        self._warn = warn
        self._left = count
        self._replica = Replica()
        self._begun = False
        self._done = asyncio.Event()
        self._error: IfmapError | BrokenPipeError | None = None

    async def run(self, client: MapClient) -> None:
        """Watch, with a client whose listener this is. Raises IfmapError when the server doesn't take the search."""
        client.subscribe(NAME, self._spec)
        await self._done.wait()
        if self._error is not None:
            raise self._error

    # -- listener of the client

    def session_started(self, session_id: str, publisher_id: str) -> None:
        if self._begun:
            self._warn("connected again")

    def session_lost(self, reason: str) -> None:
        self._replica.session_lost()
        self._warn(f"the session is lost: {reason}")

    def subscription_refused(self, name: str, error: IfmapError) -> None:
        self._end(error)

    def result(self, part: ReceivedPart) -> None:
        if self._done.is_set():
            return
        try:
            self._result(part)
        except BrokenPipeError as error:
            self._end(error)

    def _result(self, part: ReceivedPart) -> None:
        if part.kind is ResultKind.SEARCH and self._begun:
            self._difference(part)
            return
        self._replica.apply(part)
        match part.kind:
            case ResultKind.SEARCH:
                self._begun = True
                self._warn(f"watching, {len(part.items)} items are there")
                for item in part.items:
                    self._tell(Change("present", item))
            case ResultKind.UPDATE | ResultKind.DELETE | ResultKind.NOTIFY:
                for item in part.items:
                    self._change(Change(part.kind.removesuffix("Result"), item))
            case ResultKind.ERROR if part.code is not None:
                self._end(IfmapError(part.code, part.text))

    def _difference(self, part: ReceivedPart) -> None:
        """What changed while there was no session."""
        before = {edge: self._replica.contents(edge) for edge in self._replica.edges()}
        for edge in self._replica.apply(part).edges:
            now = self._replica.contents(edge)
            gone = tuple(each for each in before.get(edge, ()) if each not in now)
            new = tuple(each for each in now if each not in before.get(edge, ()))
            # What a singleValue metadatum takes the place of isn't told to be deleted, as in a session.
            gone = tuple(each for each in gone if not (each.single and each.name in {one.name for one in new}))
            if gone:
                self._change(Change("delete", ReceivedItem(edge, gone)))
            if new:
                self._change(Change("update", ReceivedItem(edge, new)))

    def _change(self, change: Change) -> None:
        if self._done.is_set():
            return
        self._tell(change)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._done.set()

    def _end(self, error: IfmapError | BrokenPipeError) -> None:
        self._error = error
        self._done.set()
