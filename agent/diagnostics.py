"""The methods of the control socket for those who look for a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from agent.doctor import Live, examine_host
from agent.documents import Document, Documents
from agent.faults import CONFLICT, CONFLICT_HINT, session_hint
from agent.hostagent import HostAgent
from agent.metrics import AgentMetrics
from agent.problems import blocked
from agent.session_values import SessionState
from datapath.values import Kind, Neighbour
from runtime.control import Call, Handler
from runtime.findings import Finding, documents, failed, good
from runtime.metrics import Buckets, build_info


class Diagnostics:
    """Handlers of one agent."""

    def __init__(self, agent: HostAgent) -> None:
        self._agent = agent
        self._metrics = AgentMetrics(agent, Documents(agent).status, agent.certificates.metrics)

    def handlers(self) -> Mapping[str, Handler]:
        """By method name."""
        return {"doctor": self.doctor, "metrics": self.metrics}

    async def doctor(self, params: Document, call: Call) -> Document:
        """What is wrong, and what to do about it."""
        live = Live(self._hosts(), self._agent.mtu)
        found = await asyncio.to_thread(examine_host, self._agent.config, live)
        return {"items": documents([*found, *self._own()])}

    async def metrics(self, params: Document, call: Call) -> Document:
        """The numbers of docs/metrics.md, whether Prometheus asks for them or not; but for the lag of the loop, which
        is measured only where it does."""
        items = []
        for (name, kind, labels, _), samples in (*self._metrics.snapshot(), build_info()):
            for values, value in samples:
                if not isinstance(value, Buckets):
                    row = {"name": name, "kind": kind, "labels": dict(zip(labels, values, strict=True))}
                    items.append(row | {"value": float(value)})
        return {"items": items}

    def _hosts(self) -> tuple[IPv4Address, ...]:
        """Remote hosts whose routes are wanted."""
        tunnel = self._agent.host.tunnel
        wanted = self._agent.datapath.reconciler.desired(Kind.NEIGHBOUR)
        return tuple(
            IPv4Address(value.address)
            for value in wanted.values()
            if isinstance(value, Neighbour) and value.device == tunnel and len(value.address) == 4
        )

    def _own(self) -> Iterator[Finding]:
        """What only the daemon knows."""
        for peer in self._agent.peers.values():
            check = f"gateway {peer.name}"
            connected = peer.session.state is SessionState.CONNECTED
            if connected and peer.session.conflicted:
                yield failed(check, CONFLICT, CONFLICT_HINT)
            elif connected:
                yield good(check, "connected")
            else:
                detail = peer.session.last_error or "not connected yet"
                yield failed(check, detail, session_hint(peer.session.last_error))
        for attached in self._agent.inventory.attachments():
            if attached.blocked:
                yield failed(f"port {attached.name}", *blocked(self._agent, attached))
