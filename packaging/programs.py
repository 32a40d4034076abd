"""The programs of vrfwire, and the package that each is in."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import click

from agent import cli as agent_cli
from agent import main as agent_main
from agent.config import AgentConfig
from gateway import cli as gateway_cli
from gateway import main as gateway_main
from gateway.config import GatewayConfig
from ifmap import cli as map_cli
from ifmap.client_config import MapClientConfig
from ifmap.server import main as map_main
from ifmap.server.config import MapConfig


@dataclass(frozen=True, slots=True)
class Command:
    """A program that asks and changes. package: that brings it; daemon: the program that it asks."""

    name: str
    package: str
    cli: click.Group
    daemon: str


@dataclass(frozen=True, slots=True)
class Daemon:
    """A program that serves. command: what is typed to start it; kind: of its file ("agent" reads agent.toml)."""

    name: str
    command: str
    package: str
    kind: str
    parser: Callable[[], argparse.ArgumentParser]

    @property
    def page(self) -> str:
        """The name of its page in section 8: vrfwire-map-serve, of `vrfwire-map serve`."""
        return self.command.replace(" ", "-")

    def options(self) -> tuple[argparse.Action, ...]:
        """The options that are shown."""
        return tuple(action for action in self.parser()._actions if action.help != argparse.SUPPRESS)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A file below /etc/vrfwire. reader: program that reads it."""

    name: str
    package: str
    schema: type
    reader: str


COMMANDS = (
    Command(agent_cli.PROGRAM, "vrfwire-agent", agent_cli.cli, agent_cli.DAEMON),
    Command(gateway_cli.PROGRAM, "vrfwire-gateway", gateway_cli.cli, gateway_cli.DAEMON),
    Command(map_cli.PROGRAM, "vrfwire-map", map_cli.cli, f"{map_cli.PROGRAM} serve"),
)

DAEMONS = tuple(
    Daemon(program.name, program.command, program.name, program.kind, program.parser)
    for program in (agent_main.PROGRAM, gateway_main.PROGRAM, map_main.SERVE)
)

CONFIGURATIONS = (
    Configuration("agent.toml", "vrfwire-agent", AgentConfig, "vrfwire-agent"),
    Configuration("gateway.toml", "vrfwire-gateway", GatewayConfig, "vrfwire-gateway"),
    Configuration("map.toml", "vrfwire-map", MapConfig, "vrfwire-map serve"),
    Configuration("map-client.toml", "vrfwire-map", MapClientConfig, "vrfwire-map"),
)
