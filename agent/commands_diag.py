"""`vrfwire doctor` and `vrfwire diag`: commands that look for faults, with the daemon and without."""

from __future__ import annotations

from collections.abc import Sequence

import click

from runtime.command import Group, Options, common, pass_options
from runtime.doctor_command import show_doctor
from runtime.errors import OperatorError
from runtime.output import Row


def add(cli: Group) -> None:
    """Add the commands to `vrfwire`."""

    @cli.command("doctor")
    @click.option("--config", "path", metavar="FILE", help="The daemon's configuration, when it isn't running.")
    @common
    @pass_options
    def doctor(options: Options, path: str | None) -> int:
        """Check the kernel, this host, the configuration and the gateways; exit code 7 when something fails.

        It changes nothing. Works without the daemon too: then this command looks itself, as far as its user may.
        """
        return show_doctor(options, lambda: examine(path))


def examine(path: str | None) -> Sequence[Row]:
    """What the daemon's doctor would look at."""
    # Imported here: it costs more than the whole of every other command.
    from agent.config import AgentConfig
    from agent.doctor import examine_host, examine_unconfigured
    from runtime.config import load
    from runtime.findings import documents, failed

    try:
        config = load(AgentConfig, program="agent", path=path).value
    except OperatorError as error:
        return documents([failed("configuration", str(error), error.hint), *examine_unconfigured()])
    return documents(examine_host(config))
