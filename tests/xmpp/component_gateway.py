"""A gateway that is a component of an XMPP server, in a process of its own or in this one; hosts made of slixmpp."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from gateway.config import GatewayConfig
from gateway.main import Daemon
from lab.xmpp_servers import XmppServer
from runtime.config import load
from runtime.daemon import Source
from tests.scenario.agent_harness import until
from tests.scenario.daemon_process import DEADLINE, DaemonProcess, wait_for
from tests.scenario.gateway_process import MESH
from tests.scenario.raw_host import entry
from xmpp import namespaces as ns
from xmpp.notification import parse_event


def host_entry(name: str, address: str) -> str:
    """A [[host]] section."""
    return f'[[host]]\nname = "{name}"\naddresses = ["{address}"]\n'


PASSWORD = "open sesame"
ACCOUNTS = dict.fromkeys(("hv1", "hv2", "hv3", "hv77"), PASSWORD)
"""Of the hosts, with the server."""
HOSTS = "".join(host_entry(f"hv{number}", f"192.0.2.{10 + number}") for number in range(1, 4))


class ComponentProcess(DaemonProcess):
    """The daemon, attached to a server. settings: more keys of [gateway]."""

    name = "gateway"
    module = "gateway.main"

    def __init__(self, directory: Path, server: XmppServer, settings: str = "", tables: str = MESH + HOSTS) -> None:
        super().__init__(directory)
        self.server = server
        self.secret = directory / "secret"
        self.write_secret(server.component_secret)
        self.write_config(settings, tables)

    def write_secret(self, secret: str) -> None:
        """The secret that it is to prove."""
        self.secret.write_text(secret + "\n")
        self.secret.chmod(0o600)

    def write_config(self, settings: str = "", tables: str = MESH + HOSTS) -> None:
        """Write the configuration. tables: [[vpn]] and [[host]]."""
        self.config.write_text(
            f'[gateway]\ndomain = "{self.server.component_domain}"\n{settings}\n'
            f'[xmpp]\nmode = "component"\naddress = "{self.server.address}"\nport = {self.server.component}\n'
            f'secret_file = "{self.secret}"\n'
            f'[control]\nsocket = "{self.socket}"\n[state]\ndirectory = "{self.config.parent}/state"\n'
            f'[log]\nlevel = "debug"\n{tables}'
        )

    def start(self) -> None:
        """Start it, and wait until the server has taken it."""
        self.launch()
        self.wait_state("attached")

    def reload(self) -> None:
        """Have the configuration read again."""
        self.signal(signal.SIGHUP)

    def wait_state(self, state: str) -> dict[str, Any]:
        """Wait for it to be "attached" or "away"; what it shows of that."""

        def look() -> Any:
            shown = (self._ready() or {}).get("component", {})
            return shown if shown.get("state") == state else None

        shown: dict[str, Any] = wait_for(look, f"the component to be {state}:\n{self.text()}")
        return shown

    def hosts(self) -> dict[str, str]:
        """State of each host."""
        return {row["name"]: row["state"] for row in self.ask("host.list")["items"]}

    def wait_hosts(self, **states: str) -> None:
        """Wait for the states of the hosts that it knows."""
        wait_for(lambda: self.hosts() == states, f"hosts to be {states}, not {self.hosts()}")


class LocalGateway:
    """The same in this process and its loop. port: of a relay to the server, 0 for the server's own."""

    def __init__(self, directory: Path, server: XmppServer, port: int = 0) -> None:
        secret = directory / "secret"
        secret.write_text(server.component_secret)
        secret.chmod(0o600)
        self._config = directory / "component.toml"
        self._config.write_text(
            f'[gateway]\ndomain = "{server.component_domain}"\nstale_time = 5.0\n'
            f'[xmpp]\nmode = "component"\nport = {port or server.component}\nsecret_file = "{secret}"\n'
            f'[control]\nsocket = "{directory}/gateway.sock"\n[state]\ndirectory = "{directory}/gateway"\n'
            f"{MESH}{HOSTS}"
        )
        self.daemon: Daemon | None = None

    async def start(self) -> None:
        """Begin, and wait until the server has taken it."""
        loaded = load(GatewayConfig, program="gateway", path=self._config, environ={})
        self.daemon = daemon = Daemon(loaded, Source(self._config, {}))
        daemon.front.start()
        await until(lambda: not daemon.front.problems(), "the stream with the server")

    async def stop(self) -> None:
        """As by SIGTERM."""
        if self.daemon is not None:
            daemon, self.daemon = self.daemon, None
            await daemon.front.stop()

    @property
    def running(self) -> Daemon:
        """The daemon."""
        assert self.daemon is not None
        return self.daemon

    def sessions(self) -> set[str]:
        """Hosts that have one."""
        return {session.host for session in self.running.service.sessions.values()}

    def numbers(self) -> set[int]:
        """Of the sessions: one that began anew has another."""
        return set(self.running.service.sessions)

    def stale(self) -> int:
        """Items that wait for their host."""
        rib = self.running.service.rib
        return sum(map(rib.stale, rib.hosts()))

    def rows(self) -> list[dict[str, Any]]:
        """As `host list` shows them."""
        document: Any = self.running._status.hosts()
        rows: list[dict[str, Any]] = document["items"]
        return rows


class Host:
    """A host made of an unmodified slixmpp, that logs in to the server."""

    def __init__(self, server: XmppServer, name: str) -> None:
        self.server = server
        self.service = server.component_domain
        self.client = slixmpp.ClientXMPP(f"{name}@{server.domain}/vrfwire", PASSWORD, sasl_mech="PLAIN")
        self.client.enable_direct_tls = self.client.enable_starttls = False
        self.client.enable_plaintext = True
        self.client.plugin["feature_mechanisms"].unencrypted_plain = True
        for plugin in ("xep_0030", "xep_0060", "xep_0199"):
            self.client.register_plugin(plugin)
        self.routes: dict[str, int] = {}
        self.presences: list[str] = []
        """Types of the service's presence, in order."""
        self.changed = asyncio.Event()
        self.client.remove_handler("Pubsub Event: Items")
        matcher = MatchXPath(f"{{{ns.CLIENT}}}message/{{{ns.PUBSUB_EVENT}}}event")
        self.client.register_handler(Callback("events", matcher, self._event))
        self.client.register_handler(Callback("told", MatchXPath(f"{{{ns.CLIENT}}}presence"), self._presence))

    def _event(self, message: Any) -> None:
        event = parse_event(message.xml)
        assert event is not None and not event.bad
        for item_id, route in event.changes:
            if route is None:
                self.routes.pop(item_id, None)
            else:
                self.routes[item_id] = route.path.next_hops[0].label
        self.changed.set()

    def _presence(self, presence: Any) -> None:
        if presence.xml.get("from") == self.service:
            self.presences.append(presence.xml.get("type", "available"))
            self.changed.set()

    async def connect(self) -> None:
        """Log in."""
        started = self.client.wait_until("session_start", timeout=DEADLINE)
        self.client.connect(self.server.address, self.server.c2s)
        await started

    async def begin(self) -> str:
        """Directed presence; the type of the answer."""
        self.presences.clear()
        self.client.send_presence(pto=self.service)
        await self.until(lambda: bool(self.presences), "an answer to presence")
        return self.presences[-1]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition that stanzas make true."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"timed out waiting for {what}; {len(self.routes)} routes, {self.presences}") from None

    async def has(self, routes: dict[str, int]) -> None:
        """Wait for a table."""
        await self.until(lambda: self.routes == routes, f"routes {routes}")

    async def subscribe(self, node: str = "blue") -> None:
        """With the full JID."""
        await self.pubsub.subscribe(self.service, node, bare=False)

    async def publish(self, prefix: str, label: int, address: str, node: str = "blue") -> None:
        """One item."""
        payload = ElementTree.fromstring(entry(prefix, label, address))
        await self.pubsub.publish(self.service, node, id=f"{address}:1:{prefix}", payload=payload)

    async def publish_many(self, prefixes: list[str], label: int, address: str, node: str = "blue") -> None:
        """Many items in a request."""
        iq = self.client.make_iq_set(ito=self.service)
        items = "".join(
            f"<item id='{address}:1:{prefix}'>{entry(prefix, label, address)}</item>" for prefix in prefixes
        )
        action = f"<pubsub xmlns='{ns.PUBSUB}'><publish node='{node}'>{items}</publish></pubsub>"
        iq.append(ElementTree.fromstring(action))
        await iq.send(timeout=DEADLINE)

    async def ping(self) -> None:
        """XEP-0199 to the service: everything owed has come when it is answered."""
        await self.client.plugin["xep_0199"].send_ping(self.service, timeout=DEADLINE)

    async def refused_ping(self) -> str:
        """Ping until the server answers for a service that isn't there; the condition. What it has passed on before it
        knew that is answered by nobody."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    await self.client.plugin["xep_0199"].send_ping(self.service, timeout=0.5)
                except IqTimeout:
                    continue
                except IqError as error:
                    return str(error.condition)

    @property
    def pubsub(self) -> Any:
        """The XEP-0060 plugin."""
        return self.client.plugin["xep_0060"]

    async def close(self) -> None:
        """Log out."""
        await self.client.disconnect()

    def cut(self) -> None:
        """Drop the connection without a word."""
        self.client.abort()
