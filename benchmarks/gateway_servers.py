"""The servers that are compared: our gateway, Prosody and ejabberd, each on the loopback interface."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from benchmarks.gateway_daemon import GatewayDaemon, own_tables
from benchmarks.gateway_load import Certificates
from benchmarks.processes import processor, resident
from benchmarks.xmpp_load import Settings
from benchmarks.xmpp_load_stanzas import host_name, source_address
from lab import toml
from lab.errors import LabError
from lab.pki import Authority
from lab.xmpp_servers import SERVERS, XmppServer, free_ports

DOMAIN = "gw.example.org"
ADDRESS = "127.0.0.1"
MAX_SESSIONS = 12_000
OURS = "vrfwire"


class Side(Protocol):
    """A server under measurement. A context manager: it runs within the block."""

    name: str

    def settings(self, *, tls: bool = True) -> Settings:
        """For the hosts of the load generator."""
        ...

    def cpu(self) -> float:
        """Seconds of CPU that it has used, with all that belongs to it."""
        ...

    def resident(self) -> float:
        """Its memory, MiB."""
        ...

    def tail(self) -> str:
        """The last lines of its log."""
        ...

    def __enter__(self) -> Side: ...

    def __exit__(self, *exc: object) -> None: ...


def own_sections(directory: Path, vpns: Sequence[str]) -> dict[str, object]:
    """What a configuration of the gateway has in either mode. vpns: names."""
    return own_tables(directory) | {
        "log": {"level": "warning"},
        # One host that publishes as fast as it can is what rates are there to slow down.
        "limits": {"stanza_rate": 0, "byte_rate": 0, "work_share": 0},
        "vpn": [
            {"name": name, "import": [f"64512:{number}"], "export": [f"64512:{number}"]}
            for number, name in enumerate(vpns, 1)
        ],
    }


class Gateway(GatewayDaemon):
    """The daemon `vrfwire-gateway`. certificates: of the hosts; vpns: their names; plain: see
    benchmarks.gateway_plain."""

    name = OURS

    def __init__(
        self, directory: Path, certificates: Certificates, vpns: Sequence[str], *, plain: bool = False
    ) -> None:
        (self.port,) = free_ports(ADDRESS, 1)
        self._certificates = certificates
        own = Authority(directory / "pki").gateway(DOMAIN, [ADDRESS])
        settings: dict[str, object] = {
            "gateway": {
                "domain": DOMAIN,
                "listen": [f"{ADDRESS}:{self.port}"],
                "max_sessions": MAX_SESSIONS,
                "login_timeout": 60.0,
            },
            "tls": {"ca": str(certificates.ca), "certificate": str(own.certificate), "key": str(own.key)},
        }
        settings |= own_sections(directory, vpns)
        module = "benchmarks.gateway_plain" if plain else "gateway.main"
        super().__init__(directory, toml.dumps(settings), module=module)

    def settings(self, *, tls: bool = True) -> Settings:
        """See Side."""
        certificates = str(self._certificates.directory) if tls else ""
        return Settings(ADDRESS, self.port, DOMAIN, DOMAIN, tls=tls, certificates=certificates)

    def cpu(self) -> float:
        """See Side."""
        return processor(self.pid)

    def resident(self) -> float:
        """See Side."""
        return resident(self.pid)

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


class Other:
    """Prosody or ejabberd, with its own publish-subscribe service. publishers: hosts that may publish, by number."""

    def __init__(self, name: str, directory: Path, publishers: Sequence[int]) -> None:
        self.name = name
        directory.mkdir(parents=True, exist_ok=True)
        own = Authority(directory / "pki").gateway(DOMAIN, [ADDRESS])
        names = [host_name(number) for number in publishers]
        self.server: XmppServer = SERVERS[name](directory / name, domain=DOMAIN, credentials=own, publishers=names)

    def settings(self, *, tls: bool = True) -> Settings:
        """See Side."""
        server = self.server
        port = server.tls if tls else server.c2s
        return Settings(ADDRESS, port, DOMAIN, server.pubsub_domain, tls=tls, mechanism="PLAIN")

    def cpu(self) -> float:
        """See Side."""
        return processor(self.server.pid)

    def resident(self) -> float:
        """See Side."""
        return resident(self.server.pid)

    def tail(self) -> str:
        """See Side."""
        return self.server.daemon.tail()

    def __enter__(self) -> Other:
        self.server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(LabError):
            self.server.daemon.kill()


class Component:
    """Our gateway as a component behind Prosody or ejabberd. hosts: how many there are; vpns: names of theirs."""

    def __init__(self, name: str, directory: Path, hosts: int, vpns: Sequence[str]) -> None:
        self.name = f"component_{name}"
        self._front = Other(name, directory, [])
        server = self._front.server
        secret = directory / "secret"
        secret.write_text(server.component_secret + "\n", encoding="utf-8")
        secret.chmod(0o600)
        settings: dict[str, object] = {
            "gateway": {"domain": server.component_domain, "max_sessions": MAX_SESSIONS},
            "xmpp": {
                "mode": "component",
                "address": ADDRESS,
                "port": server.component,
                "secret_file": str(secret),
                "host_domains": [DOMAIN],
            },
            "host": [{"name": host_name(n), "addresses": [source_address(n)]} for n in range(hosts)],
        }
        config = toml.dumps(settings | own_sections(directory, vpns))
        self._gateway = GatewayDaemon(directory, config, ready=lambda status: bool(status["state"] == "ok"))

    def settings(self, *, tls: bool = True) -> Settings:
        """See Side."""
        return replace(self._front.settings(tls=tls), service=self._front.server.component_domain, presence=True)

    def cpu(self) -> float:
        """See Side: of both."""
        return self._front.cpu() + self.own_cpu()

    def own_cpu(self) -> float:
        """Of the gateway alone."""
        return processor(self._gateway.pid)

    def resident(self) -> float:
        """See Side."""
        return self._front.resident() + resident(self._gateway.pid)

    def tail(self) -> str:
        """See Side."""
        return f"{self._front.tail()}\n{self._gateway.tail()}"

    def __enter__(self) -> Component:
        self._front.__enter__()
        try:
            self._gateway.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._gateway.kill()
        self._front.__exit__()
