"""`vrfwire-gateway-ctl pki`: a small authority. Local commands: they ask no daemon, but tell one of a revocation."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from runtime.command import Group, Options, common, items, pass_options
from runtime.errors import ExitCode, OperatorError
from runtime.output import Column, details, warn

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.pki import Issued, Pki, Request
    from gateway.pki_database import Database

PROGRAM = "vrfwire-gateway-ctl"
DEFAULT_DIRECTORY = "/etc/vrfwire/pki"
ROLES = ("host", "gateway", "map", "client")
REASONS = (
    *("unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"),
    "privilegeWithdrawn",
)
MAX_DAYS = 36500

F = TypeVar("F", bound=Callable[..., Any])


class _PathType(click.Path):
    """Gives a pathlib.Path, which every other command does without: it is slow to import."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from pathlib import Path

        return Path(str(super().convert(value, param, ctx)))


_PATH = _PathType(readable=False)  # what can't be read is told by what reads it, with a hint
_days = click.IntRange(1, MAX_DAYS)


def _authority(function: F) -> F:
    """Adds the options that say which authority; the command gets a `pki`."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, directory: Path, passphrase_file: Path | None, **named: Any) -> Any:
        # Imported here: the other commands do without.
        from gateway.pki import Pki
        from gateway.pki_store import Store

        return function(*arguments, pki=Pki(Store(directory.absolute(), passphrase_file)), **named)

    wrapped = click.option(
        "--passphrase-file", metavar="FILE", type=_PATH, help="File with the passphrase of the authority's key."
    )(wrapper)
    return cast(
        F,
        click.option(
            "--directory",
            metavar="DIR",
            type=_PATH,
            default=DEFAULT_DIRECTORY,
            envvar="VRFWIRE_PKI",
            show_envvar=True,
            show_default=True,
            help="Where the authority is.",
        )(wrapped),
    )


def add(cli: Group) -> None:
    """Give the command its `pki`."""
    cli.add_command(pki)


@click.group(cls=Group, short_help="Certificates of gateways, hosts, MAP servers and clients.")
@common
def pki() -> None:
    """Certificates: a small authority for gateways, hosts and MAP servers.

    It is a directory on one machine, which needn't be a gateway. No daemon has to run.
    """


@pki.command("init")
@_authority
@click.option("--name", metavar="TEXT", help="Common name; a number is added.  [default: vrfwire authority]")
@click.option("--days", type=_days, default=3650, show_default=True, help="How long it is valid.")
@click.option(
    "--publish",
    metavar="DIR",
    type=_PATH,
    help="Where ca.pem and crl.pem are put for daemons of this machine.  [default: beside the directory]",
)
@click.option("--replace", is_flag=True, help="Begin with the next authority; the former one counts until --retire.")
@click.option("--retire", is_flag=True, help="End the former authority: take it out of ca.pem.")
@click.option("--force", is_flag=True, help="Retire it although certificates of it are in use.")
@common
@pass_options
def pki_init(
    options: Options,
    pki: Pki,
    name: str | None,
    days: int,
    publish: Path | None,
    replace: bool,
    retire: bool,
    force: bool,
) -> None:
    """Make an authority, or the next one.

    \b
    Examples:
      vrfwire-gateway-ctl pki init
      vrfwire-gateway-ctl pki init --replace
    """
    from gateway.pki import DEFAULT_NAME

    if replace and retire:
        raise click.UsageError("give one of --replace and --retire")
    directory = pki.store.directory
    if retire:
        gone = ", ".join(one.name for one in pki.retire(force=force)) or "nobody"
        text = f"retired: {gone}; copy ca.pem and crl.pem to all machines\n"
    elif replace:
        made = pki.replace(name, days)
        text = f"{made.name} signs from now on; copy ca.pem to all machines before the first certificate of it\n"
    else:
        where = directory.parent if publish is None else publish.absolute()
        changed = pki.init(name or DEFAULT_NAME, days, "" if publish is None and pki.store.find() else str(where))
        text = f"authority in {directory}" + ("\n" if changed else ": unchanged\n")
        text += f"keep a back-up of {directory} where only you can read it\n" if changed else ""
    document = _described(pki)
    options.show(document, lambda colour: text)


@pki.command("enroll")
@click.argument("name")
@_authority
@click.option("--role", type=click.Choice(ROLES), default="host", show_default=True, help="What it is for.")
@click.option(
    "--address", "addresses", metavar="A", multiple=True, help="Underlay address: what a host may announce as next hop."
)
@click.option("--domain", help="XMPP domain of a gateway, DNS name of a MAP server.  [default: NAME]")
@click.option("--out", metavar="DIR|FILE.tar", type=_PATH, help="Where the files are put.  [default: NAME]")
@click.option("--csr", metavar="FILE", type=_PATH, help="Certificate request: the key stays where it is.")
@click.option("--days", type=_days, default=365, show_default=True, help="How long it is valid.")
@common
@pass_options
def pki_enroll(
    options: Options,
    pki: Pki,
    name: str,
    role: str,
    addresses: tuple[str, ...],
    domain: str | None,
    out: Path | None,
    csr: Path | None,
    days: int,
) -> None:
    """Issue the certificate of a host, gateway, MAP server or MAP client. The same again changes nothing.

    \b
    Examples:
      vrfwire-gateway-ctl pki enroll gw1 --role gateway --domain vpn.example.net --address 192.0.2.1
      vrfwire-gateway-ctl pki enroll hv7 --address 192.0.2.7 --out hv7.tar
      vrfwire-gateway-ctl pki enroll hv8 --address 192.0.2.8 --csr hv8.csr
    """
    from gateway.pki_subject import Role, Subject

    try:
        subject = Subject.of(name, Role(role), addresses, domain or "")
    except ValueError as error:
        raise OperatorError(name[:80], str(error), "see `pki enroll --help`", ExitCode.USAGE) from None
    _tell_issued(options, pki, pki.enroll(subject, _request(subject.name, out, csr, days)), "enrolled")


@pki.command("renew")
@click.argument("name")
@_authority
@click.option("--out", metavar="DIR|FILE.tar", type=_PATH, help="Where the files are put.  [default: NAME]")
@click.option("--new-key", is_flag=True, help="For a new key, which is put there, too; else for the one it has.")
@click.option("--csr", metavar="FILE", type=_PATH, help="For the key of this certificate request.")
@click.option("--within", metavar="DAYS", type=click.IntRange(0, MAX_DAYS), help="Only when it ends in so many days.")
@click.option("--days", type=_days, default=365, show_default=True, help="How long it is valid.")
@common
@pass_options
def pki_renew(
    options: Options,
    pki: Pki,
    name: str,
    out: Path | None,
    new_key: bool,
    csr: Path | None,
    within: int | None,
    days: int,
) -> None:
    """Issue another certificate with the same names. The one before stays valid until it ends.

    \b
    Examples:
      vrfwire-gateway-ctl pki renew hv7 --out hv7.tar
      vrfwire-gateway-ctl pki renew gw1 --within 30 --out /etc/vrfwire
    """
    if new_key and csr is not None:
        raise click.UsageError("give one of --new-key and --csr")
    issued = pki.renew(name, _request(name, out, csr, days), fresh=new_key, within=within)
    _tell_issued(options, pki, issued, "renewed")


@pki.command("revoke", short_help="Revoke certificates; the gateway here acts at once.")
@click.argument("name")
@_authority
@click.option(
    "--reason",
    type=click.Choice(REASONS, case_sensitive=False),
    default="unspecified",
    show_default=True,
    help="Why. superseded: only certificates that were renewed; the holder is trusted as before.",
)
@click.option("--serial", metavar="HEX", help="One certificate alone.")
@common
@pass_options
def pki_revoke(options: Options, pki: Pki, name: str, reason: str, serial: str | None) -> int:
    """Revoke certificates, and have the gateway of this machine act at once.

    \b
    Examples:
      vrfwire-gateway-ctl pki revoke hv7 --reason keyCompromise
      vrfwire-gateway-ctl pki revoke hv7 --reason superseded
    """
    revoked = pki.revoke(name, reason, _serial(serial))
    database = pki.store.load()
    gateway, code = _tell_gateway(options, database)
    document = {
        "name": name,
        "unchanged": not revoked,
        "serials": [f"{one.serial:X}" for one in revoked],
        "list_number": database.list_number,
        "gateway": gateway,
    }
    text = f"{name}: {len(revoked)} certificates revoked\n" if revoked else f"{name}: unchanged, nothing to revoke\n"
    ended = gateway.get("ended")
    if isinstance(ended, list) and ended:
        text += f"the gateway has ended sessions of {', '.join(map(str, ended))}\n"
    text += f"copy crl.pem (number {database.list_number}) to the other gateways and MAP servers\n"
    options.show(document, lambda colour: text)
    return code


@pki.command("crl", short_help="Sign the revocation lists again, before they are overdue.")
@_authority
@click.option("--days", type=_days, help="Until the next one is due, from now on.  [default: as before, first 30]")
@common
@pass_options
def pki_crl(options: Options, pki: Pki, days: int | None) -> None:
    """Sign the revocation lists again, so that they are not overdue. enroll, renew and revoke do it, too.

    \b
    Example:
      vrfwire-gateway-ctl pki crl --days 60
    """
    database = pki.sign_lists(days)
    document = _described(pki)
    options.show(document, lambda colour: f"crl.pem: number {database.list_number}, due {document['list_due']}\n")


@pki.command("list")
@_authority
@click.option("--expiring", metavar="DAYS", type=click.IntRange(0, MAX_DAYS), help="What ends in so many days.")
@click.option("--all", "every", is_flag=True, help="Former certificates, too.")
@common
@pass_options
def pki_list(options: Options, pki: Pki, expiring: int | None, every: bool) -> None:
    """List who has a certificate, and until when.

    \b
    Examples:
      vrfwire-gateway-ctl pki list
      vrfwire-gateway-ctl pki list --expiring 30 --json
    """
    from gateway import pki_views

    reply = pki_views.listed(pki.store.load(), time.time(), expiring, every)
    options.show(reply, lambda colour: options.table(items(reply), pki_views.CERTIFICATE_LIST, colour))


@pki.command("show")
@click.argument("name", required=False)
@_authority
@common
@pass_options
def pki_show(options: Options, pki: Pki, name: str | None) -> None:
    """Show the certificates of somebody; without a name, the authority."""
    from gateway import pki_views

    if name is None:
        _show(options, _described(pki), pki_views.AUTHORITY, "authorities", pki_views.AUTHORITIES)
        return
    found = pki_views.holder(pki.store.load(), name, time.time())
    if found is None:
        raise OperatorError(name, "is not enrolled", "`pki list` shows who is", ExitCode.NOT_FOUND)
    _show(options, found, pki_views.HOLDER, "certificates", pki_views.HISTORY)


def _show(
    options: Options, document: dict[str, object], columns: Sequence[Column], key: str, inner: Sequence[Column]
) -> None:
    def people(colour: bool) -> str:
        return details(document, columns, colour=colour) + "\n" + options.table(items(document, key), inner, colour)

    options.show(document, people)


def _described(pki: Pki) -> dict[str, object]:
    from gateway import pki_views

    return pki_views.authority(pki.store.load(), str(pki.store.directory), pki.lists_due(), time.time())


def _request(name: str, out: Path | None, csr: Path | None, days: int) -> Request:
    from pathlib import Path

    from gateway.pki import Request

    return Request((Path(name) if out is None else out).absolute(), csr, days)


def _serial(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text.replace(":", ""), 16)
    except ValueError:
        raise OperatorError(f"--serial {text[:80]}", "is not a hexadecimal number", "", ExitCode.USAGE) from None


def _tell_issued(options: Options, pki: Pki, issued: Issued, done: str) -> None:
    from gateway import pki_views

    document = pki_views.describe(pki.store.load(), issued.record, time.time())
    document |= {"unchanged": issued.unchanged, "out": str(issued.out), "files": list(issued.files)}
    text = f"{document['role']} {document['name']}: {'unchanged' if issued.unchanged else done}"
    text += f", valid until {document['expires']}\n{issued.out}: {', '.join(issued.files)}\n"
    for name in issued.kept:
        warn(f"{name} in {issued.out} is there already and stays as it is", PROGRAM)
    if issued.lacking is not None and done == "enrolled":
        why, hint = issued.lacking
        warn(f"no agent.toml in {issued.out}: {why}", PROGRAM)
        warn(f"{hint}; or write it by docs/configuration.md", "hint")
    options.show(document, lambda colour: text)


def _tell_gateway(options: Options, database: Database) -> tuple[dict[str, object], int]:
    """Have the gateway of this machine read its list; its answer, and the exit code that this is worth."""
    try:
        reply = options.ask("tls.reload")
    except OperatorError as error:
        if error.code is not ExitCode.UNREACHABLE:
            raise
        warn(f"no gateway answers at {options.socket}; others act as soon as they have the new crl.pem", "hint")
        return {"reached": False}, ExitCode.OK
    reply["reached"] = True
    if reply.get("crl") is None:
        warn("the gateway of this machine has no [tls] crl: it knows of no revocation", PROGRAM)
        return reply, ExitCode.DEGRADED
    numbers = reply.get("numbers")
    if not isinstance(numbers, list) or database.list_number not in numbers:
        warn(f"the gateway of this machine reads {reply['crl']}, which is not the list of this authority", PROGRAM)
        warn("copy crl.pem there", "hint")
        return reply, ExitCode.DEGRADED
    return reply, ExitCode.OK
