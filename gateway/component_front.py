"""Hosts behind an XMPP server that the gateway is a component of: the gate, as configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.component_gate import ComponentGate
from gateway.component_hosts import ComponentHosts, ComponentRules
from gateway.component_metrics import COMPONENT_METRICS, measure_component
from gateway.config import GatewayConfig
from gateway.service import Service
from gateway.status import Document, Problem, timestamp
from runtime.config import read_secret
from runtime.errors import OperatorError
from runtime.metrics import Metric, grouped
from xmpp.component import ComponentConfig
from xmpp.errors import StreamCondition

REFUSED_TIME = 300.0
"""Seconds that a host which was refused is a problem of the status, unless it tries again."""

_HINTS = {
    StreamCondition.NOT_AUTHORIZED: "xmpp.secret_file must hold the secret that the server has for this component",
    StreamCondition.HOST_UNKNOWN: "the server must be configured with a component of the name that gateway.domain is",
    StreamCondition.CONFLICT: "another gateway is attached by this name; each needs a gateway.domain of its own",
    StreamCondition.INVALID_NAMESPACE: "xmpp.port must be the server's port for components, not that of clients",
}
_HINT = "is the server running, does it listen for components there, and does no firewall stand between?"


class ComponentFront:
    """See gateway.front.Front. Raises OperatorError when the secret can't be read."""

    def __init__(self, config: GatewayConfig, service: Service) -> None:
        gateway = config.gateway
        rules = ComponentRules(gateway.domain, config.host_domains, gateway.hold_time, gateway.max_sessions)
        hosts = ComponentHosts(service, config.hosts(), rules)
        address, port = str(config.xmpp.address), config.xmpp.port
        self._domain = gateway.domain
        self.gate = ComponentGate(service, hosts, _stream_config(config), address, port)

    def start(self) -> str:
        """Begin to connect."""
        self.gate.start()
        return f"as a component of the XMPP server at {self.gate.where}"

    async def stop(self) -> None:
        """See Front."""
        await self.gate.stop()

    def poll(self) -> None:
        """There is nothing to look at: the secret is read by a reload."""

    def prepare(self, config: GatewayConfig) -> Callable[[], None]:
        """Hosts change for the sessions that begin from then on, the secret for the next stream."""
        if not config.is_component:
            raise OperatorError("xmpp.mode", "has changed to server", "systemctl restart vrfwire-gateway")
        stream_config = _stream_config(config)

        def apply() -> None:
            self.gate.config = stream_config
            self.gate.hosts.replace_hosts(config.hosts())

        return apply

    def problems(self) -> list[Problem]:
        """No stream with the server, and hosts that lack an entry."""
        gate = self.gate
        found = []
        if not gate.connected:
            why = f"not attached to the XMPP server at {gate.where}: {gate.last_error or 'connecting'}"
            condition = gate.last_error.partition(":")[0]
            hint = next((hint for known, hint in _HINTS.items() if known == condition), "")
            found.append(Problem("component", why, hint or _HINT))
        for host in self._unlisted():
            why = "refused: it has no next hops, since its certificate and address are not seen behind an XMPP server"
            hint = f'[[host]] name = "{host}" with addresses, then SIGHUP'
            found.append(Problem(f"host {host}", why, hint))
        return found

    def _unlisted(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        return sorted(host for host, asked in self.gate.hosts.unlisted.items() if now - asked < REFUSED_TIME)

    def document(self) -> Document:
        """The server and how it stands with it."""
        gate = self.gate
        component: Document = {
            "server": gate.where,
            "domain": self._domain,
            "state": "attached" if gate.connected else "away",
            "since": timestamp(gate.since),
            "last_error": gate.last_error,
            "held_hosts": gate.hosts.held,
        }
        return {"mode": "component", "listen": [], "component": component}

    def summary(self) -> str:
        """Whether it is attached."""
        return "XMPP server attached" if self.gate.connected else "XMPP server away"

    def metrics(self) -> list[Metric]:
        """Of the stream with the server."""
        return grouped(COMPONENT_METRICS, measure_component(self.gate, len(self._unlisted())))

    def reload_certificates(self) -> Document:
        """There are none."""
        raise OperatorError("tls", "this gateway is a component and has no certificates", "the XMPP server has")


def _stream_config(config: GatewayConfig) -> ComponentConfig:
    gateway = config.gateway
    return ComponentConfig(
        gateway.domain,
        read_component_secret(config),
        login_timeout=gateway.login_timeout,
        hold_time=gateway.hold_time,
    )


def read_component_secret(config: GatewayConfig) -> str:
    """The secret shared with the server. Raises OperatorError."""
    if config.xmpp.secret_file is None:
        raise OperatorError("xmpp.secret_file", "is missing")
    return read_secret(config.xmpp.secret_file)
