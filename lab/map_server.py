"""The machine of a lab with the MAP server, and the operator who provisions VPNs there."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from lab.node import Node, Result

if TYPE_CHECKING:
    from lab.topology import Lab

PORT = 8443
OPERATOR = "operator"
GATEWAY_WRITES = ["vpn:attachment-info", "vpn:attachment-state"]
"""What gateways publish; all else is the operator's."""


class MapServer(Node):
    """The node with vrfwire-map. Gateways log in by certificates, the operator by a password."""

    program = "vrfwire-map"
    control_program = "vrfwire-map"
    command = ("serve",)

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        # Imported here: a lab without MAP server does without.
        from ifmap.server.passwords import hash_password

        super().__init__(lab, name, address)
        self.url = f"https://{address}:{PORT}/"
        credentials = lab.authority.issue(name, name, dns=[name], addresses=[address])
        self.ca = credentials.ca
        self._password_file = self.directory / "password"
        password = secrets.token_urlsafe(16)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(f"{password}\n")
        operator = {"name": OPERATOR, "password_hash": hash_password(password).text}
        self.settings: dict[str, Any] = {
            "map": {"listen": [f"{address}:{PORT}"], "name": name},
            "tls": credentials.table(),
            "store": {"url": f"sqlite:///{self.directory / 'map.db'}"},
            "control": {"socket": str(self.socket)},
            "client": [operator],
        }

    def admit(self, gateway: str) -> dict[str, Any]:
        """A client for a gateway; returns the [map] section of its configuration."""
        credentials = self.lab.authority.issue(f"{gateway}-{self.name}", gateway)
        self.settings["client"].append({"name": gateway, "write": GATEWAY_WRITES})
        table = credentials.table()
        return {"url": self.url, **table}

    def operate(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> Result:
        """Run a command of the operator's: `vrfwire-map ARGUMENTS` against this server. check: see Node.cli."""
        login = ("--url", self.url, "--ca", str(self.ca), "--user", OPERATOR)
        return self.cli(*arguments, *login, "--password-file", str(self._password_file), check=check, timeout=timeout)
