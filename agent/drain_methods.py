"""The methods `drain` and `undrain` of the agent's control socket."""

from __future__ import annotations

import time
from collections.abc import Mapping

from agent.drain_state import at_gateway
from agent.hostagent import HostAgent
from agent.parameters import flag, seconds
from runtime.control import Call, Handler

Document = dict[str, object]

DEFAULT_TIMEOUT = 60.0
"""Seconds that the commands wait."""


class DrainMethods:
    """Handlers about the drain of one host."""

    def __init__(self, agent: HostAgent) -> None:
        self._agent = agent

    def handlers(self) -> Mapping[str, Handler]:
        """By method name."""
        return {"drain": self.drain, "undrain": self.undrain}

    async def drain(self, params: Document, call: Call) -> Document:
        """Ends when nothing passes from or to the ports, unless told not to wait."""
        began = time.perf_counter()
        settle = None if params.get("settle") is None else seconds(params, "settle", 0.0)
        unchanged = await self._agent.drain.drain(
            settle=settle,
            force=flag(params, "force"),
            wait=flag(params, "wait", default=True),
            timeout=seconds(params, "timeout", DEFAULT_TIMEOUT),
            progress=call.progress,
        )
        return self._document(unchanged, began)

    async def undrain(self, params: Document, call: Call) -> Document:
        """Ends when every port is announced, unless told not to wait."""
        began = time.perf_counter()
        unchanged = await self._agent.drain.undrain(
            wait=flag(params, "wait", default=True), timeout=seconds(params, "timeout", DEFAULT_TIMEOUT)
        )
        return self._document(unchanged, began)

    def _document(self, unchanged: bool, began: float) -> Document:
        agent = self._agent
        state = agent.drain.state
        return {
            "state": state.phase.value,
            "step": agent.drain.step(),
            "settle": state.settle,
            "force": state.force,
            "ports": sum(1 for _ in agent.inventory.attachments()),
            "gateways": [
                {
                    "address": peer.name,
                    "state": peer.session.state.value,
                    "drain": at_gateway(agent.drain.phase, peer.signaling.held),
                    "prefixes": peer.signaling.held,
                }
                for peer in agent.peers.values()
            ],
            "unchanged": unchanged,
            "elapsed_ms": round((time.perf_counter() - began) * 1000, 3),
        }
