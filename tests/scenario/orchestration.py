"""Orchestration as tests need it: a MAP server that stays at its port, and what a program would publish there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ifmap import provision
from ifmap.client import MapClient
from ifmap.client_settings import ClientSettings
from ifmap.endpoint import Endpoint
from ifmap.l3vpn import (
    ATTACHMENT_ADDRESS,
    BINDING,
    CATALOGUE,
    CONNECTION,
    GROUP_TARGET,
    LISTED,
    Direction,
    attachment_address,
    binding,
    connection,
    connectivity_group,
    customer_attachment,
    group_target,
    ip_address,
    listed,
    route_target,
)
from ifmap.replica import Replica
from ifmap.values import Edge, NewMetadata, PublishOperation, SearchSpec, link
from ifmap.vpns import Vpns
from lab.pki import Authority
from tests.scenario.map_process import PASSWORD, MapProcess, client
from vpn.community import RouteTarget
from vpn.prefix import Prefix

GATEWAYS = ("gw1", "gw2")


class Orchestration:
    """A MAP server and a client of it that provisions. Everything is in a directory."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ca = authority.certificate
        self.password_file = directory / "password"
        self.password_file.write_text(PASSWORD)
        self.password_file.chmod(0o600)
        self.server = MapProcess(directory, authority, "".join(map(client, ("cli", *GATEWAYS))))

    def start(self) -> None:
        """Start the server; from then on it has this port."""
        self.server.start()

    @property
    def url(self) -> str:
        """Of the server."""
        return f"https://127.0.0.1:{self.server.port}/"

    def section(self, user: str = "gw1", **other: str) -> str:
        """[map] of a gateway."""
        lines = "".join(f"{key} = {value}\n" for key, value in other.items())
        return (
            f'[map]\nurl = "{self.url}"\nca = "{self.ca}"\nuser = "{user}"\npassword_file = "{self.password_file}"\n'
            + lines
        )

    def _client(self) -> MapClient:
        return MapClient(ClientSettings((Endpoint.parse(self.url),), self.ca, user="cli", password=PASSWORD))

    def publish(self, *operations: PublishOperation) -> None:
        """All of it, or an error."""

        async def publish() -> None:
            async with self._client() as client:
                await client.publish(operations)

        asyncio.run(publish())

    def states(self, *attachments: str) -> dict[tuple[str, str, str], tuple[str, tuple[str, ...]]]:
        """State and routes by attachment, host and gateway."""

        async def look() -> Vpns:
            found = Vpns()
            async with self._client() as client:
                for name in attachments:
                    spec = SearchSpec(customer_attachment(name), 1, max_size=1 << 20)
                    replica = Replica.of(await client.search(spec))
                    for edge in replica.edges():
                        found.put(edge, replica.contents(edge))
            return found

        vpns = asyncio.run(look())
        return {
            (name, one.host, one.gateway): (str(one.state), tuple(map(str, one.routes)))
            for name in attachments
            for one in vpns.presence(name)
        }


def group(name: str, *targets: str, exports: Sequence[str] = ()) -> list[PublishOperation]:
    """Make a VPN with targets for both, and others that it only exports."""
    return [
        provision.update(link(CATALOGUE, connectivity_group(name)), listed()),
        *(provision.update(_target(name, text), group_target()) for text in targets),
        *(provision.update(_target(name, text), group_target(Direction.EXPORT)) for text in exports),
    ]


def _target(name: str, text: str) -> Edge:
    return link(connectivity_group(name), route_target(RouteTarget.parse(text)))


def no_target(name: str, text: str) -> PublishOperation:
    """Take a target from a VPN."""
    return provision.delete(_target(name, text), GROUP_TARGET)


def no_group(name: str, *targets: str) -> list[PublishOperation]:
    """Delete a VPN that has these targets."""
    unlisted = provision.delete(link(CATALOGUE, connectivity_group(name)), LISTED)
    return [unlisted, *(no_target(name, text) for text in targets)]


def bind(attachment: str, name: str, *prefixes: str) -> list[PublishOperation]:
    """Bind an attachment to a VPN, and give it prefixes."""
    return [
        provision.update(_binding(attachment, name), binding()),
        *(provision.update(*_address(attachment, Prefix.parse(text))) for text in prefixes),
    ]


def unbind(attachment: str, name: str) -> PublishOperation:
    """End a binding."""
    return provision.delete(_binding(attachment, name), BINDING)


def no_address(attachment: str, address: str) -> PublishOperation:
    """Take an address from an attachment."""
    return provision.delete(_address(attachment, Prefix.parse(address))[0], ATTACHMENT_ADDRESS)


def connect_groups(one: str, other: str) -> PublishOperation:
    """Each imports what the other exports."""
    return provision.update(link(connectivity_group(one), connectivity_group(other)), connection())


def disconnect_groups(one: str, other: str) -> PublishOperation:
    """The reverse."""
    return provision.delete(link(connectivity_group(one), connectivity_group(other)), CONNECTION)


def _binding(attachment: str, name: str) -> Edge:
    return link(customer_attachment(attachment), connectivity_group(name))


def _address(attachment: str, prefix: Prefix) -> tuple[Edge, NewMetadata]:
    edge = link(customer_attachment(attachment), ip_address(prefix.packed))
    return edge, attachment_address() if prefix.is_host else attachment_address(prefix.length)
