"""Doctor of a gateway: what it is, by its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.config import GatewayConfig
from runtime.doctor_daemon import Subject
from runtime.listen import Listen


def subject(config: GatewayConfig, check: Callable[[GatewayConfig], None]) -> Subject:
    """What is to be looked at. check: what `--check` does."""
    tls, provisioner = config.tls, config.map
    secrets: dict[str, Path | None] = {}
    certificates: list[tuple[Path | None, bool]] = []
    listen = [*(config.bgp.listen if config.bgp.peer else ())]
    servers: dict[str, Listen] = {}
    if config.is_component:
        secrets["xmpp.secret_file"] = config.xmpp.secret_file
        servers["XMPP server"] = Listen(config.xmpp.address, config.xmpp.port)
    elif tls is not None:
        secrets["tls.key"] = tls.key
        secrets.update({f"password of host {host.name}": host.password_file for host in config.host})
        certificates += [(tls.certificate, False), (tls.ca, True)]
        listen = [*config.gateway.listen, *listen]
    secrets.update({f"password for BGP peer {peer.address}": peer.password_file for peer in config.bgp.peer})
    if provisioner is not None:
        secrets |= {"map.password_file": provisioner.password_file, "map.key": provisioner.key}
        certificates += [(provisioner.certificate, False), (provisioner.ca, True)]
    return Subject(lambda: check(config), certificates, secrets, config.state.directory, listen, servers)
