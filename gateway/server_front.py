"""Hosts that connect to this gateway: its server with listeners, certificates and passwords, as configured."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from gateway import certificates
from gateway.certificates import Certificates
from gateway.config import GatewayConfig
from gateway.guard import Guard
from gateway.limit_status import limit_problems, measure_limits
from gateway.server import Server
from gateway.service import Service
from gateway.status import Document, Problem
from runtime.config import read_secret
from runtime.credentials import ServerCredentials
from runtime.daemon import connections_possible
from runtime.errors import OperatorError
from runtime.listen import Listen
from runtime.metrics import Metric
from xmpp.events import StreamConfig
from xmpp.scram import SALT_OCTETS, ScramKeys


class ServerFront:
    """See gateway.front.Front. Raises OperatorError for files that can't be used."""

    def __init__(self, config: GatewayConfig, service: Service) -> None:
        self._listen = config.gateway.listen
        self._bound: list[Listen] = []
        self._keys = scram_keys(config)
        self._scram_secret = secrets.token_bytes(32)
        limits = config.limits
        self.guard = Guard(limits.settings(), limits.arrivals(config.gateway.login_timeout), limits.memory)
        credentials = ServerCredentials(certificates.tls_files(config), certificates.PROTOCOLS)
        self.gate = Server(
            service,
            config.hosts(),
            self._stream_config(config),
            credentials.context,
            max_sessions=connections_possible(config.gateway.max_sessions),
            guard=self.guard,
            resume_time=config.resume_time,
        )
        self.certificates = Certificates(credentials, self.gate)

    def start(self) -> str:
        """Listen."""
        self._bound = self.gate.listen(self._listen)
        return f"at {', '.join(map(str, self._bound))}"

    async def stop(self) -> None:
        """See Front."""
        await self.gate.stop()

    def poll(self) -> None:
        """Look at the certificates, and who is slowed no more."""
        self.guard.limiter.slowed(self._now())
        self.certificates.poll()

    def prepare(self, config: GatewayConfig) -> Callable[[], None]:
        """Certificates, passwords and hosts change at once, times for the sessions that begin from then on."""
        if config.is_component:
            raise OperatorError("xmpp.mode", "has changed to component", "systemctl restart vrfwire-gateway")
        keys = scram_keys(config)
        context = self.certificates.prepare(config)

        def apply() -> None:
            self._keys = keys
            self.gate.stream_config = self._stream_config(config)
            self.certificates.replace(config, context)
            self.gate.hosts = config.hosts()
            self.gate.resumption.resume_time = config.resume_time
            limits = config.limits
            self.guard.reload(limits.settings(), limits.arrivals(config.gateway.login_timeout), limits.memory)

        return apply

    def problems(self) -> list[Problem]:
        """Of the certificates and the limits."""
        now = self._now()
        holdings = self.guard.holdings
        limits = limit_problems(self.guard.view(now), holdings.ceiling if holdings.high else 0, now)
        return self.certificates.problems() + limits

    def document(self) -> Document:
        """Addresses as bound, and how logins and limits go."""
        view = self.guard.view(self._now())
        return {
            "mode": "server",
            "listen": [str(address) for address in self._bound],
            "logins": {"waiting": view.waiting, "under_way": view.under_way, "idle": view.idle},
            "held_bytes": view.held,
            "limited": {reason: count for reason, count in view.limited.items() if count},
        }

    def summary(self) -> str:
        """Nothing."""
        return ""

    def metrics(self) -> list[Metric]:
        """Of the certificates and the limits."""
        return self.certificates.credentials.metrics() + measure_limits(self.guard.view(self._now()))

    def reload_certificates(self) -> Document:
        """See Front."""
        return self.certificates.reload()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _stream_config(self, config: GatewayConfig) -> StreamConfig:
        gateway = config.gateway
        return StreamConfig(
            domain=gateway.domain,
            random=secrets.token_bytes,
            scram_keys=self._lookup if self._keys else None,
            scram_secret=self._scram_secret,
            login_timeout=gateway.login_timeout,
            hold_time=gateway.hold_time,
            stanza_max=config.limits.stanza_size,
        )

    def _lookup(self, user: str) -> ScramKeys | None:
        return self._keys.get(user)


def scram_keys(config: GatewayConfig) -> dict[str, ScramKeys]:
    """Keys of the hosts that have a password. The passwords themselves are not kept. Raises OperatorError."""
    keys = {}
    for host in config.host:
        if host.password_file is not None:
            try:
                keys[host.name] = ScramKeys.derive(read_secret(host.password_file), secrets.token_bytes(SALT_OCTETS))
            except ValueError as error:
                raise OperatorError(f"secret {host.password_file}", str(error)) from None
    return keys


def check_files(config: GatewayConfig) -> None:
    """Raises OperatorError when its files can't be used."""
    certificates.check(config)
    scram_keys(config)
