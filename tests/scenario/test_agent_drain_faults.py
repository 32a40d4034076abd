"""Drain and undrain in any order, with gateways that come, go and answer late, and an agent that is killed in between:
whatever a gateway has is delivered, and in the end the host is as it was asked to be."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.attachment import parse_attach
from agent.config import AgentConfig, GatewaySection, HostSection, StateSection, TlsSection
from agent.drain_state import DrainPhase
from agent.hostagent import HostAgent
from agent.peer import Peer
from agent.requests import Ask, Refusal, Request
from agent.session_values import Answered, SessionState
from agent.store import Store
from datapath.fake import FakeKernel
from datapath.plane import Datapath
from datapath.values import AntiSpoofing, Kind
from vpn.prefix import Prefix

PORTS = range(3)
SERVING = [("attach", 0), ("up", 0), ("up", 1), ("all", 0), ("all", 1)]
"""How it begins: one port, which both gateways have."""
NOT_FOUND = Refusal("item-not-found")


class Gateway:
    """What a gateway has of the host; it keeps that when the session is lost. It answers when it is told to."""

    def __init__(self) -> None:
        self.items: set[Prefix] = set()
        self.waiting: list[tuple[Request, Answered]] = []
        self.peer: Peer | None = None

    def up(self) -> None:
        if self.peer is not None and not self.peer.connected:
            self.peer.session.state = SessionState.CONNECTED
            self.peer.session_started()

    def down(self) -> None:
        """Half of what was under way has arrived."""
        for request, _ in self.waiting[: len(self.waiting) // 2]:
            self.serve(request)
        self.waiting.clear()
        if self.peer is not None and self.peer.connected:
            self.peer.session.state = SessionState.DOWN
            self.peer.session_ended("cut")

    def answer(self, most: int = 1) -> None:
        """Answer so many of the requests that wait."""
        for _ in range(min(most, len(self.waiting))):
            request, answered = self.waiting.pop(0)
            answered(self.serve(request))

    def serve(self, request: Request) -> Refusal | None:
        prefixes = {prefix for prefix, _ in request.items}
        if request.ask is Ask.PUBLISH:
            self.items |= prefixes
        elif request.ask is Ask.RETRACT:
            if not prefixes <= self.items:
                return NOT_FOUND
            self.items -= prefixes
        return None


class Wire:
    """The session with a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.state, self.since, self.last_error = SessionState.DOWN, 0.0, ""
        self.conflicted = False
        self._gateway = gateway

    def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def request(self, request: Request, on_answer: Answered) -> None:
        self._gateway.waiting.append((request, on_answer))


class Machine:
    """A host, its kernel, and two gateways."""

    def __init__(self, directory: Path) -> None:
        self.kernel = FakeKernel()
        self.gateways = [Gateway(), Gateway()]
        self.wanted = DrainPhase.ACTIVE
        self._config = AgentConfig(
            HostSection("hv1", IPv4Address("192.0.2.11")),
            TlsSection(directory, directory, directory),
            tuple(GatewaySection(IPv4Address(f"192.0.2.{number}"), "vpn.example.net") for number in (1, 2)),
            state=StateSection(directory),
        )
        self._store: Store | None = None

    async def start(self) -> None:
        """A run of the agent, after whatever became of the last one."""
        self._store = Store(self._config.state.directory)
        self._datapath = Datapath(self.kernel.drivers(), self.kernel.monitor)
        gateways = iter(self.gateways)
        self.agent = HostAgent(self._config, self._store, self._datapath, lambda *_: Wire(next(gateways)))
        self.agent.plan()
        await self._datapath.start()
        assert await self._datapath.wait_in_sync(10.0)
        self.agent.connect()
        for gateway, peer in zip(self.gateways, self.agent.peers.values(), strict=True):
            gateway.peer = peer

    async def kill(self) -> None:
        """Nobody is told anything; what was under way has half arrived."""
        for gateway in self.gateways:
            gateway.peer = None
            gateway.down()
        if self._store is not None:
            await self.agent.stop()
            await self._datapath.stop()
            self._store.close()
            self._store = None

    async def attach(self, number: int) -> None:
        asked: dict[str, object] = {"name": f"p{number}", "vpn": "blue", "addresses": [f"10.1.1.{number}"]}
        attachment = parse_attach(asked | {"tap": f"tap{number}"}, "hv1")
        await self.agent.ports.attach(attachment, "no", 0.0, lambda report: None)

    async def drain(self) -> None:
        self.wanted = DrainPhase.DRAINED
        await self.agent.drain.drain(settle=0.0, force=False, wait=False, timeout=0.0, progress=lambda report: None)

    async def undrain(self) -> None:
        self.wanted = DrainPhase.ACTIVE
        await self.agent.drain.undrain(wait=False, timeout=0.0)

    def open(self) -> set[Prefix]:
        """Prefixes that are delivered: by a label route, to a port that lets them pass."""
        routes = {getattr(value, "device", "") for value in self.kernel.objects[Kind.MPLS_ROUTE].values()}
        return {
            prefix
            for value in self.kernel.objects[Kind.ANTI_SPOOFING].values()
            if isinstance(value, AntiSpoofing) and value.device in routes
            for prefix in value.prefixes
        }

    def check(self) -> None:
        """What must hold at any moment."""
        for gateway in self.gateways:
            assert gateway.items <= self.open(), "a gateway has what isn't delivered"

    async def settle(self) -> None:
        """Let everything happen that needs nobody outside."""
        for _ in range(12):
            await asyncio.sleep(0)
            self.check()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("attach"), st.sampled_from(PORTS)),
        st.tuples(st.sampled_from(["drain", "undrain", "restart"]), st.just(0)),
        st.tuples(st.sampled_from(["up", "down", "answer", "all"]), st.integers(0, 1)),
    ),
    max_size=20,
)


async def carry_out(machine: Machine, step: str, number: int) -> None:
    actions: dict[str, Callable[[], Awaitable[None]]] = {"drain": machine.drain, "undrain": machine.undrain}
    if step == "attach":
        await machine.attach(number)
    elif step == "restart":
        await machine.kill()
        await machine.start()
    elif step in actions:
        await actions[step]()
    elif step == "all":
        machine.gateways[number].answer(1000)
    else:
        getattr(machine.gateways[number], step)()


async def play(steps: list[tuple[str, int]], directory: Path) -> None:
    machine = Machine(directory)
    try:
        await machine.start()
        for step, number in [*SERVING, *steps]:
            await carry_out(machine, step, number)
            await machine.settle()
        attached = {f"10.1.1.{number}/32" for number in PORTS if machine.agent.inventory.get(f"p{number}")}
        everything = {Prefix.parse(text) for text in attached}
        expected = everything if machine.wanted is DrainPhase.ACTIVE else set()

        def done() -> bool:
            states = [gateway.items == expected for gateway in machine.gateways]
            return all(states) and machine.open() == expected and machine.agent.drain.phase is machine.wanted

        for gateway in machine.gateways:
            gateway.up()
        for _ in range(200):
            await machine.settle()
            for gateway in machine.gateways:
                gateway.answer()
            if done() and not any(gateway.waiting for gateway in machine.gateways):
                break
        assert done(), (machine.agent.drain.step(), machine.open(), [gateway.items for gateway in machine.gateways])
    finally:
        await machine.kill()
        machine.kernel.monitor.close()


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_what_a_gateway_has_is_delivered_whatever_happens(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(steps, Path(directory)))
