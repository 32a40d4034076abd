"""The MAP service: requests of many clients against one graph. Bytes and a time in, bytes and a timer out; no I/O.

    shell                                        service                                     store
      request(channel, client, body, now)  ->    reads: answered at once
                                                 writes, sessions: queued by client
      take_outputs()                       <-
      begin(wall_time)                     <-    plans what waits: Batch(records)      ->    commit(records)
      committed(batch, now) | failed(batch, text)                                      <-
      take_outputs()                       <-    answers, poll results
      foreign(record, now)                 ->    what another server of the same store committed

Rules for the shell: one batch at a time; `foreign` only while none is out; after `failed` wait a moment before the next
`begin`; a batch that isn't `durable` needs no store: hand it to `committed` at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ifmap.access import Access
from ifmap.graph import Graph
from ifmap.journal import Record


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes for a connection: the whole HTTP body of the answer to its oldest unanswered request. close: the server
    should close the connection after it."""

    channel: int
    body: bytes
    close: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to commit together, in this order (group commit). durable: whether a store has to see them."""

    records: tuple[Record, ...]
    durable: bool


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the configuration decides. Sizes in bytes, times in seconds.

    shared: several servers use the store, so everything goes through it. strict: identifiers of IF-MAP 2.1, names of
    subscriptions of 1 to 20 characters; else any. name: of this server, for the text of errors.
    """

    strict: bool = True
    shared: bool = False
    name: str = ""
    session_timeout: float = 180.0
    default_search_size: int = 100_000
    max_search_size: int = 1 << 30
    default_poll_size: int = 5_000_000
    max_poll_size: int = 1 << 30
    max_operations: int = 100_000
    max_metadata: int = 100_000
    max_metadata_size: int = 1 << 20
    max_publish_size: int = 64 << 20
    max_subscriptions: int = 1_000


class MapService:
    """The service. Everything is called from one thread.

    graph: as loaded from the store. access: by client. publishers: publisher ids by client, as stored. next_key: the
    first metadata key that is free. random: makes an unguessable lower-case hex text of 128 bits. elsewhere: sessions
    that live on other servers of the store, client to session id.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        access: Mapping[str, Access],
        graph: Graph,
        *,
        random: Callable[[], str],
        publishers: Mapping[str, str],
        next_key: int = 1,
        elsewhere: Mapping[str, str],
    ) -> None: ...

    def request(self, channel: int, client: str, body: bytes, now: float, peer: str = "") -> None:
        """A request of an authenticated client. channel: number of the connection, never used again for another. now:
        seconds on a clock that never goes back. peer: the client's address, for texts. Requests of one connection are
        answered in their order; the shell should bound how many of them it reads ahead."""
        raise NotImplementedError

    def channel_closed(self, channel: int, now: float) -> None:
        """The connection is gone; what it was asked is still done, but nothing more goes out on it."""
        raise NotImplementedError

    def take_outputs(self) -> list[Output]:
        """What is to be sent, in order; each is given once."""
        raise NotImplementedError

    def timer(self) -> float | None:
        """When to call handle_timer, on the clock of `now`; None: no need."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Ends the sessions that were without a connection for too long."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """Proposals that wait for `begin`; not 0 is the shell's reason to call it."""
        raise NotImplementedError

    def begin(self, wall_time: float, limit: int = 10_000) -> Batch | None:
        """Plans what waits, clients in turn, up to about `limit` metadata. wall_time: Unix time, the ifmap-timestamp.
        None: nothing that a batch is needed for (there may be outputs all the same: what was refused)."""
        raise NotImplementedError

    def committed(self, batch: Batch, now: float) -> None:
        """The batch is safe: it takes effect, is answered and delivered."""
        raise NotImplementedError

    def failed(self, batch: Batch, text: str) -> None:
        """The batch couldn't be stored. Nothing has changed; SystemError with this text to those who asked. Ends of
        sessions that nobody asked for stay queued."""
        raise NotImplementedError

    def foreign(self, record: Record, now: float) -> None:
        """Another server committed this. A session of ours that it ended (its client began one there) ends here."""
        raise NotImplementedError

    def expired(self, sessions: Collection[str]) -> None:
        """Sessions of a server that is gone: queues a proposal that deletes their metadata (record.ended)."""
        raise NotImplementedError

    def set_access(self, access: Mapping[str, Access]) -> None:
        """New access rules: sessions of clients whose rules changed end."""
        raise NotImplementedError

    def counters(self) -> object:
        """For metrics."""
        raise NotImplementedError

    def status(self) -> dict[str, object]:
        """Document for `status`."""
        raise NotImplementedError

    def sessions(self, now: float) -> list[dict[str, object]]:
        """Documents for `session list`."""
        raise NotImplementedError
