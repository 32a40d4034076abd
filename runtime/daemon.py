"""The command that is a daemon: its options, what it does before it serves, and how it says that it can't."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from runtime import log as logs
from runtime.collector import collect_seldom
from runtime.config import Loaded, load
from runtime.control import group_id
from runtime.errors import ExitCode, OperatorError
from runtime.sections import ControlSection, LogSection

log = logging.getLogger("vrfwire.daemon")

FILES_BESIDE = 100
"""Open files of a server that are no connections of its clients."""


class DaemonConfig(Protocol):
    """What the configuration of every daemon has."""

    @property
    def control(self) -> ControlSection: ...

    @property
    def log(self) -> LogSection: ...


C = TypeVar("C", bound=DaemonConfig)


class Source(NamedTuple):
    """Where a configuration comes from, so that it can be read again. path: None for the file of the system."""

    path: Path | None
    overrides: Mapping[str, object]


class Task(NamedTuple):
    """Something that the program does instead of serving, without a configuration.

    option: that asks for it ("--remove-datapath"); run: gets the control socket if one was given; raises OperatorError.
    """

    option: str
    help: str
    run: Callable[[Path | None], None]

    @property
    def name(self) -> str:
        """Of the parsed option."""
        return self.option.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Program(Generic[C]):
    """A daemon. name: "vrfwire-agent"; command: what is typed to start it; kind: of its configuration's file ("agent");
    check: finds what is wrong without serving; serve: until it is told to end. Both raise OperatorError.
    """

    name: str
    command: str
    description: str
    kind: str
    schema: type[C]
    check: Callable[[C], None]
    serve: Callable[[Loaded[C], Source], Coroutine[Any, Any, None]]
    tasks: tuple[Task, ...] = ()

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run it with the arguments of its command line; returns the exit code."""
        options = self.parser().parse_args(arguments)
        source = Source(options.config, {"control.socket": options.socket})
        try:
            for task in self.tasks:
                if getattr(options, task.name):
                    task.run(options.socket)
                    return ExitCode.OK
            loaded = load(self.schema, program=self.kind, path=source.path, overrides=source.overrides)
            config = loaded.value
            if options.check:
                self.check(config)
                if config.control.group is not None:
                    group_id(config.control.group)
                print("configuration ok")
                return ExitCode.OK
            logs.configure(config.log.level)
            collect_seldom()
            asyncio.run(self.serve(loaded, source))
        except OperatorError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            if error.hint:
                print(f"hint: {error.hint}", file=sys.stderr)
            return error.code
        return ExitCode.OK

    def parser(self) -> argparse.ArgumentParser:
        """Of its command line."""
        parser = argparse.ArgumentParser(prog=self.command, description=self.description)
        path = f"/etc/vrfwire/{self.kind}.toml"
        parser.add_argument("--config", metavar="FILE", type=Path, help=f"default: {path}")
        parser.add_argument("--socket", metavar="PATH", type=Path, help="control socket, in place of [control] socket")
        parser.add_argument("--check", action="store_true", help="check the configuration and exit")
        for task in self.tasks:
            parser.add_argument(task.option, action="store_true", help=task.help)
        return parser


def connections_possible(wanted: int) -> int:
    """Connections that a server can have with the files it may open, `wanted` at most. It refuses the next one, and
    still can be asked what the matter is, and write its state."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else min(wanted, max(files - FILES_BESIDE, files // 2))


def raise_file_limit(connections: int, key: str) -> None:
    """For servers, where a connection is a file: take as many as the service manager allows, and say so when they are
    too few. connections: that there may be at once, by this key of the configuration."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:
            # Units of the packages let nobody change limits, and say themselves what they are.
            log.warning("there can be %d files, and connections, at once: the limit can't be raised: %s", soft, error)
    if soft != resource.RLIM_INFINITY and soft < connections + FILES_BESIDE:
        message = "there can be %d files at once, too few for %s = %d: LimitNOFILE of the unit, or `ulimit -n`"
        log.warning(message, soft, key, connections)
