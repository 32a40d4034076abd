"""A site: a network namespace with gateways, BGP speakers of others, and hosts made of sockets.

Everything has an address of 127.0.0.0/8 (or one of 2001:db8::/64 on the loopback interface), BGP is at port 1790, times
are short: hold time 9 s, connect retry 1 s.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from lab import toml
from lab.namespace import Namespace
from lab.pki import Authority
from lab.speakers.base import ESTABLISHED, Announcement, Received, Speaker
from lab.wait import wait_until
from tests.scenario.gateway_process import DOMAIN, GatewayProcess
from tests.scenario.raw_host import RawHost, client_context

T = TypeVar("T")
S = TypeVar("S", bound=Speaker)
C = TypeVar("C", bound="Closable")

PORT = 1790
ASN = 64512
DEADLINE = 20.0
"""Seconds until a condition has to hold; far more than it takes."""
TARGETS = {"blue": "64512:1", "red": "64512:2"}
GRE = 2
"""Tunnel type in the encapsulation community."""

_numbers = itertools.count()


class Closable(Protocol):
    """Anything with an end."""

    def close(self) -> None: ...


class Site:
    """A context manager: nothing of it is left afterwards. name: unique among those alive."""

    alive: list[Site] = []  # noqa: RUF012 - the sites of this process, for reports of failures

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.directory = directory
        self.authority = authority
        self.namespace = Namespace(f"interop-{os.getpid()}-{next(_numbers)}")
        self.gateways: dict[str, Gateway] = {}
        self.speakers: dict[str, Speaker] = {}
        self.hosts: list[Host] = []
        self._closables: list[Closable] = []
        Site.alive.append(self)

    def addresses(self, *addresses: str) -> None:
        """Give the loopback interface more addresses."""
        self.namespace.ip(*(f"addr add {address}/128 dev lo nodad" for address in addresses))

    def gateway(self, name: str, address: str, peers: Sequence[Mapping[str, object]], **bgp: object) -> Gateway:
        """A gateway that isn't started yet. peers: [[bgp.peer]], as `peer()` makes them; bgp: keys of [bgp]."""
        made = self.gateways[name] = Gateway(self, name, address, peers, bgp)
        return made

    def speaker(
        self, kind: type[S], name: str, address: str, neighbours: Sequence[Any], *more: Any, **options: Any
    ) -> S:
        """A speaker of others that isn't started yet; arguments as of lab.speakers.base.Speaker."""
        directory = self.directory / name
        made = kind(name, directory, address, neighbours, *more, namespace=self.namespace, **options)
        self.speakers[name] = made
        return made

    def keep(self, closable: C) -> C:
        """Close it at the end."""
        self._closables.append(closable)
        return closable

    def host(self, gateway: Gateway, name: str, underlay: str) -> Host:
        """A host that has logged in at a gateway. underlay: the next hop of its routes."""
        made = Host(self, gateway, name, underlay)
        self.hosts.append(made)
        made.connect()
        return made

    def wait(self, condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
        """Wait for a condition; a failure shows the end of all logs."""
        return wait_until(condition, deadline, what, interval=0.03, detail=self.report)

    def report(self, lines: int = 30) -> str:
        """The end of all logs."""
        tails = [gateway.tail(lines) for gateway in self.gateways.values()]
        return "\n".join([*tails, *(speaker.tail(lines) for speaker in self.speakers.values())])

    def close(self) -> None:
        """End everything."""
        for host in self.hosts:
            host.close()
        for closable in self._closables:
            closable.close()
        for gateway in self.gateways.values():
            gateway.kill()
        for speaker in self.speakers.values():
            speaker.kill()
        self.namespace.delete()
        Site.alive.remove(self)

    def check(self) -> None:
        """No gateway has stumbled. Raises AssertionError."""
        for gateway in self.gateways.values():
            log = gateway.text() if gateway.log.exists() else ""
            assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            self.check()


def peer(address: str, **settings: object) -> dict[str, object]:
    """A [[bgp.peer]] at our port, by default for both VPN families."""
    return {"address": address, "port": PORT, "families": ["vpnv4", "vpnv6"], **settings}


class Gateway(GatewayProcess):
    """The daemon at an address of the site, also its router id. VPNs blue and red."""

    def __init__(
        self, site: Site, name: str, address: str, peers: Sequence[Mapping[str, object]], bgp: Mapping[str, object]
    ) -> None:
        self.site = site
        self.name = name
        self.address = address
        self.peers = [dict(one) for one in peers]
        self.bgp = {"listen": [f"{address}:{PORT}"], "hold_time": 9, "connect_retry": 1, "graceful_restart": False}
        self.bgp |= dict(bgp)
        self.asn = int(str(self.bgp.pop("asn", ASN)))
        self.stale_time = self.bgp.pop("host_stale_time", 60)
        settings = f'router_id = "{address}"\nas = {self.asn}\nstale_time = {self.stale_time}'
        super().__init__(site.directory / name, site.authority, settings, self._tables())

    def _tables(self) -> str:
        vpns = [{"name": name, "import": [target], "export": [target]} for name, target in TARGETS.items()]
        peers = []
        for number, settings in enumerate(self.peers):
            settings = {"local_address": self.address, **settings}
            if ":" in str(settings["address"]) and ":" not in str(settings["local_address"]):
                del settings["local_address"]
            if "password" in settings:
                file = self._secret(number, str(settings.pop("password")))
                settings["password_file"] = str(file)
            peers.append(settings)
        return toml.dumps({"vpn": vpns, "bgp": {**self.bgp, "peer": peers}})

    def _secret(self, number: int, text: str) -> Path:
        file = self.site.directory / self.name / f"password{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text)
        return file

    def start(self) -> None:
        """Start it in the namespace, and wait until it serves."""
        with self.site.namespace.entered():
            super().start()

    @property
    def alive(self) -> bool:
        """Whether it has been started and not ended."""
        return self._process is not None

    def reload(self) -> None:
        """Write the configuration again and let it be read (SIGHUP); the effect is waited for by the caller."""
        self.write_config(self._tables())
        self.signal(signal.SIGHUP)

    def peer(self, name: str) -> dict[str, Any]:
        """What `peer show` says."""
        found: dict[str, Any] = self.ask("peer.show", {"name": name})
        return found

    def peer_states(self) -> dict[str, str]:
        """States by name."""
        return {row["name"]: row["state"] for row in self.ask("peer.list")["items"]}

    def wait_established(self, *names: str, deadline: float = DEADLINE) -> None:
        """Wait until sessions are up; without names, all."""

        def up() -> bool:
            states = self.peer_states()
            return all(states[name] == ESTABLISHED for name in names or states)

        self.site.wait(up, f"sessions of {self.name} with {names or 'all'}", deadline)

    def wait_peer(
        self, name: str, wanted: Callable[[dict[str, Any]], bool], what: str, deadline: float = DEADLINE
    ) -> Any:
        """Wait until what `peer show` says is as wanted, and return it."""

        def condition() -> dict[str, Any] | None:
            found = self.peer(name)
            return found if wanted(found) else None

        return self.site.wait(condition, f"{self.name}: peer {name} {what}", deadline)

    def wait_routes(self, vpn: str, wanted: Mapping[str, list[tuple[str, int]]], deadline: float = DEADLINE) -> None:
        """Wait until the routes of a VPN are exactly these: next hops and labels by prefix."""

        def condition() -> bool:
            return self.routes(vpn) == wanted

        wait_until(
            condition,
            deadline,
            f"{self.name}: routes of {vpn} {dict(wanted)}",
            detail=lambda: f"there are {self.routes(vpn)}\n{self.site.report()}",
        )

    def control(self, *arguments: str) -> str:
        """Run vrfwire-gateway-ctl; what it prints. Fails unless it succeeds."""
        program = Path(sys.executable).parent / "vrfwire-gateway-ctl"
        done = subprocess.run(
            [program, "--socket", self.socket, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log, under its name."""
        text = self.text() if self.log.exists() else ""
        return "\n".join([f"--- gateway {self.name} ---", *text.splitlines()[-lines:]])


class Host:
    """A hypervisor at a gateway: publishes routes with its underlay address as next hop."""

    def __init__(self, site: Site, gateway: Gateway, name: str, underlay: str) -> None:
        self.site = site
        self.gateway = gateway
        self.name = name
        self.underlay = underlay
        credentials = site.authority.host(name, DOMAIN, [underlay], stem=f"{gateway.name}-{name}")
        self._context = client_context(credentials, str(site.authority.certificate))
        self._raw: RawHost | None = None

    @property
    def raw(self) -> RawHost:
        """Its connection."""
        assert self._raw is not None, f"{self.name} is not connected"
        return self._raw

    def connect(self) -> None:
        """Log in, again where it was connected."""
        self.close()
        with self.site.namespace.entered():
            self._raw = RawHost(self.gateway.port, self.name, self._context)
        self._raw.login()

    def close(self) -> None:
        """Drop the connection."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def subscribe(self, vpn: str) -> None:
        """Subscribe to a VPN."""
        assert self.raw.subscribe(vpn).get("type") == "result"

    def publish(self, vpn: str, routes: Mapping[str, int]) -> None:
        """Publish labels by prefix."""
        for prefix, label in routes.items():
            answer = self.raw.announce(vpn, prefix, label, self.underlay, self._item(prefix))
            assert answer.get("type") == "result", f"{prefix} is refused"

    def retract(self, vpn: str, *prefixes: str) -> None:
        """Retract routes."""
        for prefix in prefixes:
            assert self.raw.retract(vpn, self._item(prefix)).get("type") == "result"

    def wait_routes(self, vpn: str, wanted: dict[str, list[tuple[str, int]]]) -> None:
        """Read until the routes of a VPN that it has been told are these."""
        try:
            self.raw.read_routes(vpn, wanted, DEADLINE)
        except TimeoutError:
            raise AssertionError(f"{self.name} has {self.raw.events.get(vpn)} instead of {wanted}") from None

    def _item(self, prefix: str) -> str:
        return f"{self.underlay}:1:{prefix}"

    def route(self, vpn: str, prefix: str, label: int, **more: Any) -> Received:
        """What a BGP speaker should have of a route of this host. more: fields that differ."""
        targets, peer = (TARGETS[vpn],), self.gateway.address
        usual = Received(f"{self.underlay}:1", prefix, label, targets, self.underlay, False, peer, (GRE,), 100)
        return usual._replace(as_path="", originator=None, clusters=())._replace(**more)


def announcement(number: int, prefix: str, label: int, vpn: str = "blue", **more: Any) -> Announcement:
    """A route of a PE with the RD 64512:NUMBER and the next hop 192.0.2.NUMBER."""
    return Announcement(f"{ASN}:{number}", prefix, label, (TARGETS[vpn],), f"192.0.2.{number}", **more)


def told(paths: Iterable[Received], *fields: str) -> list[tuple[Any, ...]]:
    """Some fields of paths, to compare those alone."""
    return [tuple(getattr(path, field) for field in fields) for path in paths]
