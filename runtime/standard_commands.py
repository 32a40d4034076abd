"""Commands that every program has: status, config show, version, completion."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from runtime.command import (
    SHELLS,
    Group,
    Options,
    Reply,
    common,
    completion_script,
    items,
    pass_options,
    watchable,
)
from runtime.errors import ExitCode, OperatorError
from runtime.output import Column, details, document, printable
from runtime.version import VERSION

CONFIG_COLUMNS = (Column("KEY", "key"), Column("VALUE", "value"), Column("ORIGIN", "origin"))


def add_standard_commands(cli: Group, program: str, config_program: str, schema: Callable[[], type]) -> None:
    """Give a command its status, config, version and completion.

    program: name of the command; config_program: of the daemon's configuration ("agent"); schema: gives the dataclass
    of that, and is called only when a file is to be read.
    """

    @cli.command("status")
    @watchable
    @pass_options
    def status(options: Options) -> int:
        """Show the state of the daemon; exit code 7 when it is degraded."""
        return show_status(options)

    @cli.group("config", cls=Group)
    @common
    def config() -> None:
        """Configuration of the daemon."""

    @config.command("show")
    @click.option("--effective", is_flag=True, help="Defaults too, and where each value came from.")
    @click.option("--config", "path", metavar="FILE", help="Read this file instead of asking the daemon.")
    @common
    @pass_options
    def config_show(options: Options, effective: bool, path: str | None) -> None:
        """Show the configuration that the daemon runs with."""
        if path is None:
            reply = options.ask("config.show")
        else:
            # Imported here: the other commands do without.
            from runtime.config import load

            reply = load(schema(), program=config_program, path=path).document()
        show_config(options, reply, effective)

    @cli.command("version")
    @common
    @pass_options
    def version(options: Options) -> None:
        """Show the versions of this command and of the daemon."""
        show_version(options)

    @cli.command(
        "completion",
        help=f"""Print what a shell reads to complete this command.

        \b
        Examples:
          {program} completion bash > /etc/bash_completion.d/{program}
          {program} completion zsh > "${{fpath[1]}}/_{program}"
        """,
    )
    @click.argument("shell", type=click.Choice(SHELLS))
    @pass_options
    def completion(options: Options, shell: str) -> None:
        options.print(completion_script(cli, program, shell))


def show_config(options: Options, reply: Reply, effective: bool) -> None:
    """Print a configuration: what was set, or with effective everything and where it came from."""
    rows = [row for row in items(reply) if effective or row.get("origin") != "default"]
    shown = {**reply, "items": rows}
    if effective:
        options.show(shown, lambda colour: options.table(rows, CONFIG_COLUMNS, colour))
    else:
        options.show(shown, lambda colour: "".join(f"{row['key']} = {_toml(row['value'])}\n" for row in rows))


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(element) for element in value) + "]"
    return document(value).rstrip("\n")


_NO_VERSION = {ExitCode.UNREACHABLE: "not running", ExitCode.NOT_PERMITTED: "can't be asked: not permitted"}
"""What is no reason to keep the version of the command back."""


def show_version(options: Options) -> None:
    """Print the versions of the command and of the daemon."""
    reply: Reply = {"command": VERSION, "daemon": None}
    missing = "unknown"
    try:
        reply["daemon"] = options.ask("version", timeout=2.0).get("version")
    except OperatorError as error:
        missing = _NO_VERSION.get(error.code, "")
        if not missing:
            raise
    daemon = reply["daemon"] or missing
    options.show(reply, lambda colour: f"{options.program} {VERSION}\n{options.daemon} {daemon}\n")


STATUS_STATES: Mapping[object, ExitCode] = dict.fromkeys(("ok", "draining", "drained"), ExitCode.OK)
"""States that are as somebody wants them; every other is degraded."""


def show_status(options: Options) -> int:
    """Print the daemon's state, its counts and its problems; returns the exit code."""
    code = ExitCode.OK

    def look() -> None:
        nonlocal code
        reply = options.ask("status")
        code = STATUS_STATES.get(reply.get("state"), ExitCode.DEGRADED)
        options.show(reply, lambda colour: _status_text(reply, colour))

    options.repeat(look)
    return code


def _status_text(reply: Reply, colour: bool) -> str:
    plain = [key for key, value in reply.items() if not isinstance(value, dict) and key != "problems"]
    if reply.get("drain") == "active":
        plain.remove("drain")  # in service: "drain: active" would say the opposite to a person
    text = details(reply, [Column(key.replace("_", " "), key) for key in plain], colour=colour)
    for key, value in reply.items():
        if isinstance(value, dict) and value:
            text += f"{key.replace('_', ' ')}:\n"
            inner = details(value, [Column(name.replace("_", " "), name) for name in value], colour=colour)
            text += "".join(f"  {line}\n" for line in inner.splitlines())
    return text + problems_text(reply)


def problems_text(reply: Reply) -> str:
    """The problems of a reply for people, each with its hint; "" for none."""
    text = ""
    for problem in items(reply, "problems"):
        text += f"  {printable(str(problem.get('what')))}: {printable(str(problem.get('why')))}\n"
        if problem.get("hint"):
            text += f"    hint: {printable(str(problem['hint']))}\n"
    return f"problems:\n{text}" if text else ""
