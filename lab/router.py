"""Routers of others on the underlay: a BGP daemon that isn't ours on a machine of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lab.node import BGP_PORT, Station
from lab.speakers.base import ESTABLISHED, Announcement, Neighbour
from lab.speakers.frr import Frr

if TYPE_CHECKING:
    from lab.topology import Lab

HOLD_TIME = 30
RESTART_TIME = 60
"""Seconds. That a peer has died is seen by its connection; these are long enough for a machine that is slow."""


UPDATE_DELAY = 15
"""Seconds, at most, that a reflector waits for its clients after its start."""


class Router(Station):
    """A machine with FRR's bgpd. speaker: there once it knows its peers."""

    speaker: Frr

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        super().__init__(lab, name, address)

    def configure(self, neighbours: Iterable[Neighbour], announcements: Sequence[Announcement] = ()) -> None:
        """Make the speaker. It isn't started."""
        self.speaker = Frr(
            self.name,
            self.directory / "speaker",
            self.address,
            list(neighbours),
            announcements,
            port=BGP_PORT,
            namespace=self.namespace,
            address6=self.address6,
        )

    def launch(self) -> None:
        """Start the daemon, without waiting."""
        self.speaker.launch()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        self.speaker.wait_ready()

    def established(self) -> bool:
        """Whether all of its sessions are up."""
        return all(state == ESTABLISHED for state in self.speaker.sessions().values())

    def tail(self) -> str:
        """The end of its log."""
        return self.speaker.tail()

    def close(self) -> None:
        """End the daemon and delete the namespace."""
        if hasattr(self, "speaker"):
            self.speaker.kill()
        self.namespace.delete()


def neighbour(station: Station, client: bool = False) -> Neighbour:
    """The session with a machine of the underlay, as seen from the other end."""
    return Neighbour(
        station.address6,
        port=BGP_PORT,
        client=client,
        hold_time=HOLD_TIME,
        graceful_restart=True,
        restart_time=RESTART_TIME,
    )


class Reflector(Router):
    """A route reflector; all its peers are clients. After a restart it waits until all have told what they have, or its
    End-of-RIB would withdraw the routes of those that come back last."""

    def meet(self, clients: Iterable[Station]) -> None:
        """Say who the clients are."""
        self.configure(neighbour(client, client=True) for client in clients)
        self.speaker.update_delay = UPDATE_DELAY
        self.speaker.select_defer_time = 0
