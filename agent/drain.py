"""Draining a host: its ports are withdrawn, confirmed, and then let nothing pass; and back (docs/design/agent.md).

    ACTIVE --drain--> DRAINING: withdrawn everywhere, confirmed --settle--> DRAINED: ports closed
       ^                  |                                                    |
       +----undrain-------+---------------- undrain: ports opened, announced --+

Every phase is durable before anything is done for it, and what is done for it can be done again: after a crash the next
run begins the phase anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from agent.drain_state import ACTIVE, DrainPhase, DrainState
from agent.peer import Peer
from agent.ports import Ports
from agent.store import Store
from runtime.errors import ExitCode, OperatorError

log = logging.getLogger("vrfwire.agent.drain")

SETTLE = 5.0
"""Seconds, by default, from the last confirmation until the ports go down: the network moves away meanwhile."""
STUCK_HINT = (
    "it goes on when the gateway is back; `vrfwire drain --force` goes on without it, `vrfwire undrain` takes all back"
)
"""What to do when a gateway is away that hasn't confirmed."""
_WRITE_AGAIN = 5.0
"""Seconds between two tries to make a phase durable."""

Progress = Callable[[Mapping[str, object]], None]


class Drain:
    """The drain of one host. state: what was kept. clock: monotonic seconds."""

    def __init__(
        self, state: DrainState, ports: Ports, store: Store, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state = state
        self._ports = ports
        self._announcer = ports.announcer
        self._store = store
        self._clock = clock
        self._settling: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None

    @property
    def phase(self) -> DrainPhase:
        """Where the host is."""
        return self.state.phase

    def start(self) -> None:
        """Go on with a drain of an earlier run. To be called after Ports.start()."""
        if self.phase is not DrainPhase.ACTIVE:
            log.info("this host is %s", self.phase)
            if self.phase is DrainPhase.DRAINING or self.state.force:
                # Else every gateway has confirmed.
                self._ports.silence()
        # By then a gateway that is still away isn't expected any more.
        self._grace = asyncio.get_running_loop().call_later(self._announcer.grace, self.advance)
        self.advance()

    def stop(self) -> None:
        """Leave everything as it is."""
        self._stop_settling()
        if self._grace is not None:
            self._grace.cancel()

    # -- drain

    async def drain(self, *, settle: float | None, force: bool, wait: bool, timeout: float, progress: Progress) -> bool:
        """Withdraw all ports at all gateways, and close them settle seconds (None: as before, or SETTLE) after the last
        confirmation.

        force: don't wait for gateways that are away; once given it holds until undrain(). wait: until nothing passes,
        for timeout seconds at the most. Returns whether the host was as asked before. Raises OperatorError: TIMEOUT
        (accepted, goes on), CONFLICT (undrained meanwhile), FAILURE (not accepted, or the kernel refuses).
        """
        deadline = self._clock() + timeout
        before = self.state
        if before.phase is not DrainPhase.DRAINED:
            known = SETTLE if before.phase is DrainPhase.ACTIVE else before.settle
            asked = DrainState(DrainPhase.DRAINING, known if settle is None else settle, force or before.force)
            if asked != before:
                self._set(asked)
                if before.phase is DrainPhase.ACTIVE:
                    log.info("drain: all ports are withdrawn")
                    self._ports.silence()
                self._stop_settling()
                self.advance()
        unchanged = self.state == before
        if wait:
            await self._wait_drained(deadline, progress)
        return unchanged

    def advance(self) -> None:
        """A gateway answered, came or went, or is given up: go on when all have confirmed."""
        if self.phase is not DrainPhase.DRAINING:
            return
        if self._settling is None and not self.waits_for():
            settle = self.state.settle if any(True for _ in self._ports.inventory.attachments()) else 0.0
            log.info("drain: withdrawn; the ports go down in %g s", settle)
            self._settling = asyncio.get_running_loop().call_later(settle, self._settled)
        self._ports.conditions.check()

    def waits_for(self) -> list[Peer]:
        """Gateways that haven't confirmed yet, and are waited for."""
        return [
            peer
            for peer in self._announcer.peers
            if peer.signaling.held and not (self.state.force and not self._announcer.expected(peer))
        ]

    def _settled(self) -> None:
        try:
            self._set(replace(self.state, phase=DrainPhase.DRAINED))
        except OperatorError as error:
            log.error("drain: %s", error)
            self._settling = asyncio.get_running_loop().call_later(_WRITE_AGAIN, self._settled)
            return
        self._settling = None
        self._ports.close()
        log.info("drain: nothing passes from or to the ports any more")
        self._ports.conditions.check()

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def _set(self, state: DrainState) -> None:
        self._store.set_drain(state)
        self.state = state

    async def _wait_drained(self, deadline: float, progress: Progress) -> None:
        conditions = self._ports.conditions
        while self.phase is DrainPhase.DRAINING:
            shown = self.step()
            progress({"state": self.phase.value, "step": shown})
            if not await conditions.wait(partial(self._has_moved, shown), deadline - self._clock()):
                raise self._unfinished()
        why, refused = "", False
        if self.phase is DrainPhase.DRAINED:
            why, refused = await self._ports.wait_closed(deadline - self._clock())
        if self.phase is not DrainPhase.DRAINED:
            raise OperatorError("drain", "ended by `vrfwire undrain`", "see `vrfwire status`", ExitCode.CONFLICT)
        if refused:
            raise OperatorError("drain", why, "it is tried again; see `vrfwire status`")
        if why:
            hint = "see `vrfwire status`; the same command waits again"
            raise OperatorError("drain", f"accepted, {why}", hint, ExitCode.TIMEOUT)

    def _has_moved(self, since: str) -> bool:
        return self.step() != since

    def step(self) -> str:
        """What a drain is doing, in an operator's words; "" when it isn't under way."""
        if self.phase is not DrainPhase.DRAINING:
            return ""
        if self._settling is not None:
            return f"settling for {self.state.settle:g} s"
        return "waiting for " + ", ".join(
            f"gateway {peer.name}" + ("" if peer.connected else ", which is away") for peer in self.waits_for()
        )

    def _unfinished(self) -> OperatorError:
        hint = "see `vrfwire status`; the same command waits again"
        if any(not peer.connected for peer in self.waits_for()):
            hint = STUCK_HINT
        return OperatorError("drain", f"accepted, still {self.step()}", hint, ExitCode.TIMEOUT)

    # -- undrain

    async def undrain(self, *, wait: bool, timeout: float) -> bool:
        """Open all ports, and announce each when the kernel has it.

        wait: until every gateway that is connected, and one at least, has answered, for timeout seconds at the most.
        Returns whether the host was active before. Raises OperatorError: TIMEOUT (accepted, goes on), CONFLICT (drained
        again meanwhile), FAILURE (not accepted).
        """
        unchanged = self.phase is DrainPhase.ACTIVE
        if not unchanged:
            self._set(ACTIVE)
            self._stop_settling()
            log.info("undrain: the ports are opened, and announced")
            self._ports.resume()
            self._ports.conditions.check()
        if wait and not await self._ports.conditions.wait(self._undrained, timeout):
            away = not any(peer.connected for peer in self._announcer.peers)
            why = "no gateway is connected" if away else "not every port is in the kernel and announced yet"
            raise OperatorError("undrain", f"accepted, {why}", "see `vrfwire status`", ExitCode.TIMEOUT)
        if self.phase is not DrainPhase.ACTIVE:
            raise OperatorError("undrain", "ended by `vrfwire drain`", "see `vrfwire status`", ExitCode.CONFLICT)
        return unchanged

    def _undrained(self) -> bool:
        if self.phase is not DrainPhase.ACTIVE:
            return True
        peers = self._announcer.peers
        return self._ports.resumed and (not peers or any(peer.connected for peer in peers))
