"""Gateways and agents in one event loop: real ones, on loopback, but for the agents' kernels, which are fakes.

A scenario is a coroutine; `play` runs it. Nothing sleeps: `until` waits for a condition, with a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path

from agent.config import AgentConfig
from agent.main import Daemon as AgentDaemon
from agent.store import FILE_NAME, Store
from datapath.fake import FakeKernel
from datapath.observe import Observer
from datapath.values import Kind, VrfRoute
from gateway.config import GatewayConfig
from gateway.main import Daemon as GatewayDaemon
from ifmap.values import PublishOperation
from lab.pki import Authority
from runtime.client import ControlClient
from runtime.config import load
from runtime.daemon import Source
from tests.scenario.orchestration import Orchestration
from vpn.prefix import Prefix

DOMAIN = "vpn.example.net"
DEADLINE = 20.0
"""Seconds; far more than anything here takes."""


def play(scenario: Callable[[World], Coroutine[None, None, None]]) -> None:
    """Run a scenario in a world of its own."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            world = World(Path(directory))
            try:
                await scenario(world)
            finally:
                await world.close()

    asyncio.run(run())


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return when condition() is true; fail after DEADLINE."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE:g} s: {what}")
        await asyncio.sleep(0.005)


async def eventually(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """As until(), for what has to be asked for."""
    end = time.monotonic() + DEADLINE
    while not await look():
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE:g} s: {what}")
        await asyncio.sleep(0.005)


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Gateway:
    """A gateway on its own loopback address; it can be stopped and started again."""

    def __init__(self, world: World, address: str, vpns: Mapping[str, str]) -> None:
        self.world = world
        self.address = address
        self.port = free_port()
        self.vpns = dict(vpns)
        self.hosts = ""
        self.map = ""
        self.daemon: GatewayDaemon | None = None
        self._credentials = world.authority.gateway(DOMAIN, [address], stem=f"gateway-{address}")

    async def start(self) -> None:
        credentials = self._credentials
        text = (
            f'[gateway]\ndomain = "{DOMAIN}"\nlisten = ["{self.address}:{self.port}"]\nstale_time = 2.0\n'
            f'[tls]\nca = "{credentials.ca}"\ncertificate = "{credentials.certificate}"\nkey = "{credentials.key}"\n'
            f'[control]\nsocket = "{self.world.directory}/{self.address}.sock"\n'
            f'[state]\ndirectory = "{self.world.directory}/{self.address}.state"\n{self.map}{self.hosts}'
        )
        for name, target in self.vpns.items():
            text += f'[[vpn]]\nname = "{name}"\nimport = ["{target}"]\nexport = ["{target}"]\n'
        path = self.world.directory / f"gateway-{self.address}.toml"
        path.write_text(text)
        loaded = load(GatewayConfig, program="gateway", path=path, environ={})
        self.daemon = GatewayDaemon(loaded, Source(path, {}))
        if self.daemon._map_plan is not None:
            self.daemon._start_map(self.daemon._map_plan, loaded.value)
        self.daemon.server.listen(loaded.value.gateway.listen)

    async def stop(self) -> None:
        """As by SIGTERM."""
        if self.daemon is not None:
            daemon, self.daemon = self.daemon, None
            await daemon.server.stop()
            if daemon._map is not None:
                await daemon._map.stop()

    def crash(self) -> None:
        """As by a cut of every connection: nobody says goodbye."""
        assert self.daemon is not None
        for connection in list(self.daemon.server.connections):
            connection.abort()

    def freeze(self) -> None:
        """As a process that is stopped: connections stay open, nothing is read from them or written to them."""
        assert self.daemon is not None
        for connection in self.daemon.server.connections:
            connection.pause_writing()

    def reload(self) -> None:
        """The VPNs of the configuration were changed."""
        assert self.daemon is not None
        path = self.world.directory / f"gateway-{self.address}.toml"
        text = path.read_text()
        for name, target in self.vpns.items():
            if f'name = "{name}"' not in text:
                text += f'[[vpn]]\nname = "{name}"\nimport = ["{target}"]\nexport = ["{target}"]\n'
        path.write_text(text)
        self.daemon.reload()

    @property
    def synchronised(self) -> bool:
        """Whether all that the map provisions has taken effect."""
        assert self.daemon is not None and self.daemon._map is not None
        return self.daemon._map.view().synchronised

    @property
    def bindings(self) -> int:
        """Number of those that the map provisions."""
        assert self.daemon is not None and self.daemon._map is not None
        return self.daemon._map.provisioning.bindings

    def withheld(self) -> dict[tuple[str, str], str]:
        """Reasons by attachment and prefix."""
        assert self.daemon is not None
        items = self.daemon.service.admission.withheld.items()
        return {(item.attachment, str(item.prefix)): item.reason for _, item in items}

    def sessions(self) -> set[int]:
        """Numbers of the sessions of hosts: a session that began anew has another."""
        assert self.daemon is not None
        return set(self.daemon.service.sessions)

    def stale_items(self, host: str) -> int:
        """Number of items that a former session of a host has left and the present one hasn't published again."""
        assert self.daemon is not None
        return self.daemon.service.rib.stale(host)

    def prefixes(self, vpn: str) -> set[str]:
        """What it has in a VPN."""
        assert self.daemon is not None
        return {str(prefix) for prefix in self.daemon.service.rib.tables[vpn]}


class Host:
    """A host with an agent; its kernel and its state directory outlive the agent."""

    def __init__(self, world: World, name: str, address: str, gateways: list[Gateway], settings: str = "") -> None:
        self.world = world
        self.name = name
        self.address = address
        self.kernel = FakeKernel()
        self.state = world.directory / f"{name}.state"
        self.socket = world.directory / f"{name}.sock"
        self.daemon: AgentDaemon | None = None
        self.observer: Observer | None = None
        """Of the kernel, for a daemon that is started after it was set."""
        self._store: Store | None = None
        credentials = world.authority.host(name, DOMAIN, [address])
        self.text = (
            f'[host]\nname = "{name}"\naddress = "{address}"\n'
            f'[tls]\nca = "{credentials.ca}"\ncertificate = "{credentials.certificate}"\nkey = "{credentials.key}"\n'
            f'[control]\nsocket = "{self.socket}"\n[state]\ndirectory = "{self.state}"\n'
        )
        if "[signaling]" not in settings:
            settings += "[signaling]\nreconnect_min = 0.02\nreconnect_max = 0.1\nstale_time = 0.5\nretry_time = 0.2\n"
        self.text += settings
        for gateway in gateways:
            self.text += f'[[gateway]]\naddress = "{gateway.address}"\nport = {gateway.port}\ndomain = "{DOMAIN}"\n'

    async def start(self) -> None:
        path = self.world.directory / f"{self.name}.toml"
        path.write_text(self.text)
        loaded = load(AgentConfig, program="agent", path=path, environ={})
        self._store = Store(loaded.value.state.directory)
        self.daemon = AgentDaemon(
            loaded, self._store, self.kernel.drivers(), self.kernel.monitor, observer=self.observer
        )
        await self.daemon.start()

    async def stop(self) -> None:
        """As by SIGTERM."""
        if self.daemon is not None and self._store is not None:
            daemon, self.daemon = self.daemon, None
            await daemon.stop()
            self._store.close()

    async def call(self, method: str, **params: object) -> dict[str, object]:
        """By the control socket, as the CLI does."""

        def blocking() -> dict[str, object]:
            with ControlClient(str(self.socket)) as client:
                return client.call(method, params, timeout=DEADLINE)

        return await asyncio.to_thread(blocking)

    async def attach(self, name: str, vpn: str, *addresses: str, **more: object) -> dict[str, object]:
        """A tap named after the port, announced unless told otherwise."""
        params = {"wait": "announced", "tap": f"tap-{name}", "prefixes": [], **more}
        return await self.call("port.attach", name=name, vpn=vpn, addresses=list(addresses), **params)

    async def detach(self, name: str, **more: object) -> dict[str, object]:
        return await self.call("port.detach", name=name, **more)

    async def port(self, name: str) -> dict[str, object]:
        return await self.call("port.show", name=name)

    def table(self, vpn: str) -> int:
        """Number of the routing table of a VPN."""
        assert self.daemon is not None
        record = self.daemon.agent.inventory.vpn(vpn)
        assert record is not None
        return record.table

    def route(self, vpn: str, prefix: str) -> VrfRoute | None:
        """The route that the kernel holds."""
        value = self.kernel.objects[Kind.VRF_ROUTE].get((self.table(vpn), Prefix.parse(prefix)))
        assert value is None or isinstance(value, VrfRoute)
        return value

    async def has_route(self, vpn: str, prefix: str) -> VrfRoute:
        """Wait for a route in the kernel."""
        await until(lambda: self.route(vpn, prefix) is not None, f"{self.name} has {prefix} in {vpn}")
        route = self.route(vpn, prefix)
        assert route is not None
        return route

    async def no_route(self, vpn: str, prefix: str) -> None:
        """Wait until the kernel has no such route."""
        await until(lambda: self.route(vpn, prefix) is None, f"{self.name} hasn't {prefix} in {vpn}")

    def connected(self) -> bool:
        """Whether every gateway is."""
        assert self.daemon is not None
        return all(peer.connected for peer in self.daemon.agent.peers.values())


class World:
    """Gateways and hosts of one scenario."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory / "pki")
        self._gateways: list[Gateway] = []
        self._hosts: list[Host] = []
        self._maps: list[Orchestration] = []

    async def map(self, *operations: PublishOperation) -> Orchestration:
        """A MAP server, in a process of its own, that is provisioned with these."""
        orchestration = Orchestration(self.directory / "map", self.authority)
        self._maps.append(orchestration)
        await asyncio.to_thread(orchestration.start)
        await asyncio.to_thread(orchestration.publish, *operations)
        return orchestration

    async def gateway(
        self, address: str = "127.0.0.1", *, start: bool = True, hosts: str = "", map: str = "", **vpns: str
    ) -> Gateway:
        """A gateway with VPNs (name=route target), blue and red by default; with a map (a [map] section) that has them,
        none by default."""
        gateway = Gateway(self, address, vpns or ({} if map else {"blue": "64512:1", "red": "64512:2"}))
        gateway.hosts, gateway.map = hosts, map
        self._gateways.append(gateway)
        if start:
            await gateway.start()
        return gateway

    async def host(self, number: int, *gateways: Gateway, start: bool = True, settings: str = "") -> Host:
        """Host hv1, hv2, ... with underlay address 192.0.2.11, .12, ..."""
        host = Host(self, f"hv{number}", f"192.0.2.{10 + number}", list(gateways), settings)
        self._hosts.append(host)
        if start:
            await host.start()
        return host

    async def close(self) -> None:
        for host in self._hosts:
            await host.stop()
            host.kernel.monitor.close()
        for gateway in self._gateways:
            await gateway.stop()
        for orchestration in self._maps:
            await asyncio.to_thread(orchestration.server.kill)


def as_written_by(version: int, directory: Path) -> None:
    """Turn an agent's state file into one of an earlier version of its schema."""
    script = "DROP TABLE drain; ALTER TABLE quarantine DROP COLUMN boot;"
    script += "ALTER TABLE quarantine RENAME COLUMN since TO until;"
    if version < 2:
        script += "ALTER TABLE attachment DROP COLUMN known_as; ALTER TABLE attachment DROP COLUMN blocked;"
    with contextlib.closing(sqlite3.connect(directory / FILE_NAME)) as db:
        db.executescript(f"{script} PRAGMA user_version = {version};")


@contextlib.asynccontextmanager
async def refused(code: int) -> AsyncIterator[list[Exception]]:
    """Expect an OperatorError of this exit code."""
    from runtime.errors import OperatorError

    caught: list[Exception] = []
    try:
        yield caught
    except OperatorError as error:
        assert error.code == code, error
        caught.append(error)
    else:
        raise AssertionError(f"no error, expected exit code {code}")
