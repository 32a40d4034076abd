"""`vrfwire doctor` and `vrfwire diag`: commands that look for faults, with the daemon and without."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click

from runtime.command import Group, Options, Reply, common, pass_options
from runtime.doctor_command import add_doctor
from runtime.errors import ExitCode, OperatorError
from runtime.output import Column, Row
from runtime.version import VERSION


def add(cli: Group) -> None:
    """Add the commands to `vrfwire`."""

    # examine is looked up when it is called: tests put another in its place.
    add_doctor(cli, "the kernel, this host, the configuration and the gateways", lambda path: examine(path))

    @cli.group("diag", cls=Group)
    @common
    def diag() -> None:
        """Diagnostics, to be sent to somebody who looks for a fault."""

    @diag.command("bundle", short_help="Put into one file all that helps to find a fault of this host.")
    @click.option("--output", "-o", metavar="FILE", help="Where to.  [default: vrfwire-diag-HOST-TIME.tar.gz here]")
    @click.option("--config", "path", metavar="FILE", help="The daemon's configuration, when it isn't running.")
    @common
    @pass_options
    def bundle(options: Options, output: str | None, path: str | None) -> None:
        """Put into one file all that helps to find a fault of this host: what the daemon, the kernel and the journal
        say. Secrets are taken out. Works without the daemon too.

        \b
        Example:
          vrfwire diag bundle --output /tmp/hv7.tar.gz
        """
        show_bundle(options, output, path)


def examine(path: str | None) -> Sequence[Row]:
    """What the daemon's doctor would look at."""
    # Imported here: it costs more than the whole of every other command.
    from agent.doctor import examine_configured
    from runtime.findings import documents

    return documents(examine_configured(path))


COLUMNS = (
    Column("FILE", "name"),
    Column("BYTES", "bytes", right=True),
    Column("WHY NOT, OR NOT ALL", lambda row: row.get("error") or ("cut" if row.get("truncated") else "")),
)


def show_bundle(options: Options, output: str | None, path: str | None) -> None:
    """Make a bundle and say what is in it. Raises OperatorError."""
    # Imported here: the other commands do without.
    from pathlib import Path

    from agent import bundle
    from agent.bundle_sources import secrets, sources
    from runtime.redact import Redactor

    silent: list[OperatorError] = []

    def ask(method: str, params: Mapping[str, object]) -> Reply:
        if silent:
            raise silent[0]
        try:
            return options.ask(method, params, timeout=bundle.SOURCE_TIME / 2)
        except OperatorError as error:
            if error.code is ExitCode.UNREACHABLE:
                # One that hangs is asked once: the time is needed for the rest.
                silent.append(error)
            raise

    when = time.time()
    name = f"vrfwire-diag-{os.uname().nodename}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(when))}"
    taken = bundle.take_all(sources(ask, path), Redactor(secrets(ask, path)))
    about: Reply = {"host": os.uname().nodename, "time": round(when), "command": VERSION}
    target = Path(output if output is not None else f"{name}.tar.gz")
    data = bundle.archive(name, taken, bundle.manifest(taken, about), when)
    bundle.write(target, data)
    rows: list[Row] = [asdict(one.entry) for one in taken]
    reply = {**about, "file": str(target), "bytes": len(data), "items": rows}
    lacking = [row for row in rows if row["error"] or row["truncated"]]

    def people(colour: bool) -> str:
        missing = options.table(lacking, COLUMNS, colour) if lacking else ""
        return f"{target}: {len(data)} bytes, {len(rows) - len(lacking)} of {len(rows)} files whole\n{missing}"

    options.show(reply, people)
