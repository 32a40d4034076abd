"""Results that wait to be polled, one queue a session."""

from __future__ import annotations


class ResultQueue:
    """What the next poll of a session gets, in order.

    limit: bytes that may wait (max-poll-result-size); above it all of it is dropped and the next `take` raises.
    size: bytes that wait.
    """

    __slots__ = ("limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0

    @property
    def pending(self) -> bool:
        """Whether a poll would be answered at once: with results, or with the error that too much waited."""
        raise NotImplementedError

    def take(self) -> list[bytes]:
        """The children of the pollResult, for responses.poll_result; the queue is empty afterwards. [] if nothing is
        pending. Raises IfmapError PollResultsTooBig, once, if more had waited than the limit (all subscriptions of the
        queue are gone then); what came since is still there for the next call."""
        raise NotImplementedError
