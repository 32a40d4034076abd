"""Waiting for something to become true, told by whoever changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Conditions:
    """Waiters with the conditions they wait for. Call check() after every change that may concern one."""

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}

    async def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Return True as soon as condition() is true, False after timeout seconds."""
        if condition():
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = condition
        try:
            async with asyncio.timeout(max(0.0, timeout)):
                await waiter
        except TimeoutError:
            return condition()
        finally:
            del self._waiters[waiter]
        return True

    def check(self) -> None:
        """Let go whoever's condition is true."""
        for waiter, condition in self._waiters.items():
            if not waiter.done() and condition():
                waiter.set_result(None)
