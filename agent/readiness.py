"""Ports that wait until all of them is programmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from datapath.plane import Datapath, Object
from datapath.status import Change
from datapath.values import Kind

PORT_KINDS = (Kind.VRF, Kind.PORT, Kind.NEIGHBOUR, Kind.ANTI_SPOOFING, Kind.MPLS_ROUTE)
"""Kinds that a port is made of."""


class Readiness:
    """Tells of ports that become programmed. ready(name) may watch again: one object after the other was reported, and
    a former one may have failed since."""

    def __init__(self, datapath: Datapath, ready: Callable[[str], None]) -> None:
        self._datapath = datapath
        self._ready = ready
        self._missing: dict[str, set[Object]] = {}
        """By port: objects that were not programmed when last heard of."""
        self._waiting: dict[Object, set[str]] = {}
        """The same by object."""
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to listen to the datapath."""
        self._unlisten = self._datapath.listen(PORT_KINDS, self._changed)

    def stop(self) -> None:
        """Listen no longer."""
        if self._unlisten is not None:
            self._unlisten()

    def __len__(self) -> int:
        """Number of ports that wait."""
        return len(self._missing)

    def watch(self, name: str, objects: Iterable[Object]) -> bool:
        """Whether all of a port's objects are programmed; when not, ready() is called as soon as they may be."""
        self.forget(name)
        missing = {entry for entry in objects if not self._datapath.status(*entry).settled}
        if missing:
            self._missing[name] = missing
            for entry in missing:
                self._waiting.setdefault(entry, set()).add(name)
        return not missing

    def forget(self, name: str) -> None:
        """Watch a port no longer."""
        for entry in self._missing.pop(name, ()):
            self._heard(entry, name)

    def _heard(self, entry: Object, name: str) -> None:
        names = self._waiting[entry]
        names.discard(name)
        if not names:
            del self._waiting[entry]

    def _changed(self, change: Change) -> None:
        entry = (change.kind, change.key)
        names = self._waiting.get(entry)
        if not names or not change.status.settled:
            return
        for name in list(names):
            self._heard(entry, name)
            missing = self._missing[name]
            missing.discard(entry)
            if not missing:
                del self._missing[name]
                self._ready(name)
