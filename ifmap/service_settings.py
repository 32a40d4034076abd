"""What the configuration decides about the MAP service: limits, and what is granted of what a client wishes."""

from __future__ import annotations

from dataclasses import dataclass

from ifmap.errors import ErrorCode, IfmapError
from ifmap.requests import ReadSettings
from ifmap.room import ROOM, Room
from ifmap.values import Delete, PublishOperation
from ifmap.xml import Limits

STRICT_NAME = 20
"""Longest name of a subscription, characters (IF-MAP 2.2, subscribe)."""
LONGEST_NAME = 255
"""The same where identifiers are opaque: clients of that time made longer ones."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the configuration decides. Sizes in bytes, times in seconds.

    shared: several servers use the store, so everything goes through it. strict: identifiers of IF-MAP 2.1, names of
    subscriptions of 1 to 20 characters; else any. name: of this server, for people. max_operations, max_metadata,
    max_publish_size: of one publish; max_metadata_size: of one metadatum. max_subscriptions: of a client. room: of the
    map and of each client in it.
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
    room: Room = ROOM

    def reading(self) -> ReadSettings:
        """How requests are read."""
        return ReadSettings(
            strict=self.strict,
            metadata=self.max_metadata_size,
            operations=self.max_operations,
            limits=Limits(bytes=self.max_publish_size),
        )

    def search_size(self, wish: int | None) -> int:
        """Bytes of a search's or subscription's result, when the client wishes so many (None: it didn't say)."""
        return min(self.default_search_size if wish is None else wish, self.max_search_size)

    def poll_size(self, wish: int | None) -> int:
        """Bytes of results that may wait for a client's poll."""
        return min(self.default_poll_size if wish is None else wish, self.max_poll_size)

    def check_subscription_name(self, name: str) -> None:
        """Raises Failure."""
        longest = STRICT_NAME if self.strict else LONGEST_NAME
        if not 1 <= len(name) <= longest:
            text = f"name of a subscription must have 1 to {longest} characters, not {len(name)}"
            raise IfmapError(ErrorCode.FAILURE, text)

    def check_publish(self, operations: tuple[PublishOperation, ...]) -> None:
        """Whether the server takes so much at once. Raises Failure. (Number of operations and size of one metadatum:
        as the request is read.)"""
        count = total = 0
        for operation in operations:
            if not isinstance(operation, Delete):
                count += len(operation.metadata)
                total += sum(len(metadata.head) + len(metadata.tail) for metadata in operation.metadata)
        if count > self.max_metadata:
            raise IfmapError(ErrorCode.FAILURE, f"publish has {count} metadata, the most is {self.max_metadata}")
        if total > self.max_publish_size:
            text = f"metadata of the publish has {total} bytes, the most is {self.max_publish_size}"
            raise IfmapError(ErrorCode.FAILURE, text)
