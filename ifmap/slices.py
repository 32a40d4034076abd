"""Long work in slices: generators that yield now and then, so that who runs them can let others have their turn.

What such work costs in all isn't less for it. Which of it may go on side by side, its owner says.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Work = Generator[None, None, T]
"""Work that brings a T."""

SLICE = 1_000
"""About how many metadata, links or identifiers are gone through between two yields: some milliseconds."""


def finish(work: Work[T]) -> T:
    """Does all of it at once."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
