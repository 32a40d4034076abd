"""serve, passwd, session, client: the MAP server of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runtime.command import Group, Options, common, pass_options, watchable
from runtime.errors import ExitCode, OperatorError
from runtime.output import Column

SESSIONS = (
    Column("CLIENT", "client"),
    Column("ADDRESS", "address"),
    Column("PUBLISHER", "publisher"),
    Column("AGE", "age", right=True),
    Column("CHANNELS", "channels"),
    Column("POLLING", "polling"),
    Column("SUBSCRIPTIONS", "subscriptions"),
    Column("UNDELIVERED BYTES", "undelivered_bytes", right=True),
)
CLIENTS = (
    Column("CLIENT", "name"),
    Column("PASSWORD", "password"),
    Column("CERTIFICATE", "certificate"),
    Column("READ", "read"),
    Column("WRITE", "write"),
    Column("PURGE OTHERS", "purge_others"),
    Column("CONNECTED", "connected"),
    Column("ADDRESS", "address"),
)


@click.command("serve", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> int:
    """Run the server (serve --help)."""
    from ifmap.client_config import ENVIRONMENT
    from ifmap.server.main import main

    # The operator's, for the commands that ask a server; the server has no such keys.
    for name in ENVIRONMENT:
        os.environ.pop(name, None)
    return main(arguments)


@click.command("passwd", short_help="Hash a password for the configuration.")
@click.option("--output", "-o", metavar="FILE", help="Write it to this file, with mode 0600, instead of printing it.")
def passwd(output: str | None) -> None:
    """Hash a password, for password_hash of a [[client]], or for a file that password_hash_file names.

    The password is asked for, twice; when standard input is no terminal, its first line is taken.

    \b
    Example:
      vrfwire-map passwd --output /etc/vrfwire/orchestrator.hash
    """
    from ifmap.server.passwords import hash_password
    from runtime.state_directory import replace_file

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        hashed = hash_password(password)
    except ValueError as error:
        raise OperatorError("password", str(error), code=ExitCode.USAGE) from None
    if output is None:
        click.echo(hashed.text)
        return
    try:
        replace_file(Path(output), f"{hashed.text}\n".encode())
    except OSError as error:
        raise OperatorError(f"file {output}", error.strerror or str(error)) from None


@click.group(cls=Group)
@common
def session() -> None:
    """Sessions of the server's clients."""


@session.command("list")
@watchable
@pass_options
def session_list(options: Options) -> None:
    """List the sessions."""
    options.list("session.list", None, SESSIONS)


@click.group(cls=Group)
@common
def client() -> None:
    """Clients of the server's configuration."""


@client.command("list")
@watchable
@pass_options
def client_list(options: Options) -> None:
    """List who may use the server, and for what."""
    options.list("client.list", None, CLIENTS)
