"""Pages of the daemons, from the parsers of their command lines."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from man_common import Variable, environment, exit_status, files
from programs import COMMANDS, CONFIGURATIONS, DAEMONS, Configuration, Daemon
from roff import Page, Stamp, Writer, bold, italic, text
from runtime.errors import ExitCode
from runtime.schema import describe

CODES = (ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE, ExitCode.NOT_PERMITTED)


class About(NamedTuple):
    """What is to be said of a daemon that no program knows. purpose: for the line of the name."""

    purpose: str
    paragraphs: tuple[str, ...]
    signals: tuple[tuple[str, str], ...]


_STOP = "SIGTERM, SIGINT"
_HANG_UP = "SIGHUP"

ABOUT = {
    "vrfwire-agent": About(
        "host daemon of vrfwire",
        (
            "The agent makes this hypervisor a remote line card of BGP/MPLS IP VPNs. It attaches interfaces of virtual"
            " machines to VPNs (vrfwire-port-attach(1)), announces their addresses to gateways, takes the routes of"
            " these VPNs from gateways, and programs the kernel: VRF devices, MPLS labels, next hops in GRE, and"
            " filters that keep a machine to its own addresses.",
            "Forwarding is the kernel's. It goes on while the agent restarts, is killed or upgraded: a fresh agent"
            " reads the kernel, recognises its own objects by protocol number 108, table range and device names `vw-*`,"
            " changes only what differs, and touches nothing else. What others delete or change is put right.",
            "It is ready when its state is loaded, the kernel is read and the control socket is open; it doesn't wait"
            " for gateways.",
        ),
        (
            (_STOP, "Stop. The datapath stays as it is, and what is announced stays announced until gateways give it"
             " up."),
        ),
    ),
    "vrfwire-gateway": About(
        "signaling gateway of vrfwire",
        (
            "The gateway is the server that hosts announce addresses of virtual machines to, and that tells them the"
            " routes of their VPNs, by XMPP over TLS. It holds a table for each VPN, imports and exports by route"
            " targets, and exchanges routes with other gateways, route reflectors and PE routers by BGP (VPN-IPv4,"
            " VPN-IPv6, route-target constraint).",
            "VPNs are in its configuration, or in a MAP server (vrfwire-map-serve(8)), which then also says which host"
            " may announce what. No packet of a virtual machine passes the gateway: forwarding goes on without it.",
        ),
        (
            (_STOP, "Stop. Hosts and peers keep the routes for a time, so that a restart loses nothing."),
            (_HANG_UP, "Read the configuration and the certificates again. A bad file changes nothing, and shows in"
             " vrfwire-gateway-ctl-status(1)."),
        ),
    ),
    "vrfwire-map": About(
        "MAP server of vrfwire (IF-MAP 2)",
        (
            "The server holds what should be and what is: VPNs, their route targets, which attachment is bound to which"
            " VPN with which addresses; and, told by gateways, which attachment is up where. Orchestration writes to it"
            " with any IF-MAP 2 client or with vrfwire-map(1); gateways subscribe to it and act at once.",
            "The map is durable, in SQLite or in a PostgreSQL database that several servers share.",
        ),
        (
            (_STOP, "Stop. What is of lifetime forever is kept."),
            (_HANG_UP, "Read the configuration and the certificates again. A bad file changes nothing, and shows in"
             " vrfwire-map-status(1)."),
        ),
    ),
}  # fmt: skip


def pages(stamp: Stamp) -> Iterator[Page]:
    """The pages of all daemons."""
    for daemon in DAEMONS:
        yield _page(daemon, stamp)


def configuration(daemon: Daemon) -> Configuration:
    """The file that a daemon reads."""
    return next(one for one in CONFIGURATIONS if one.name == f"{daemon.kind}.toml")


def _page(daemon: Daemon, stamp: Stamp) -> Page:
    about = ABOUT[daemon.name]
    writer = Writer(daemon.page, 8, about.purpose, stamp)
    writer.heading("SYNOPSIS")
    writer.synopsis([(daemon.command, "\n".join(f"[{_usage(one)}]" for one in daemon.options()))])
    writer.heading("DESCRIPTION")
    for paragraph in about.paragraphs:
        writer.paragraph(text(paragraph))
    writer.paragraph(
        text(
            f"As a service it is `{daemon.name}.service`, which starts only when its configuration is there. It tells"
            f" systemd when it is ready and how it goes; `systemctl status {daemon.name}` shows that."
        )
    )
    writer.heading("OPTIONS")
    for action in daemon.options():
        writer.item(", ".join(_named(name, action) for name in action.option_strings), text(_said(action)))
    writer.heading("SIGNALS")
    for signal, meaning in about.signals:
        writer.item(bold(signal), text(meaning))
    writer.heading("EXAMPLES")
    writer.example("\n".join(examples(daemon)))
    exit_status(writer, CODES)
    environment(writer, variables(daemon))
    files(writer, _files(daemon))
    writer.see_also(_related(daemon))
    return writer.page(daemon.package)


def _usage(action: argparse.Action) -> str:
    return _named(max(action.option_strings, key=len), action).replace(" ", "\\ ")


def _named(name: str, action: argparse.Action) -> str:
    if action.nargs == 0:
        return bold(name)
    return f"{bold(name)} {italic(str(action.metavar or action.dest.upper()))}"


def _said(action: argparse.Action) -> str:
    """The help of an option as a sentence."""
    said = (action.help or "").strip()
    if said.startswith("default: "):
        return f"The configuration; {said}."
    if isinstance(action, argparse._HelpAction):
        return "Print a summary and exit."
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


def examples(daemon: Daemon) -> tuple[str, ...]:
    """How it is called most."""
    path = f"/etc/vrfwire/{daemon.kind}.toml"
    return (f"{daemon.command} --config {path} --check", f"{daemon.command} --config {path}")


def variables(daemon: Daemon) -> Iterator[Variable]:
    """Environment variables that a daemon looks at."""
    yield Variable(
        "VRFWIRE_SECTION_KEY",
        "A key of the configuration, over what its file has; `VRFWIRE_LOG_LEVEL=debug` sets `level` of `[log]`."
        f" See vrfwire-{daemon.kind}.toml(5).",
    )
    yield Variable("CREDENTIALS_DIRECTORY", "Where files of the form `credential:NAME` are; systemd sets it.")
    yield Variable("NOTIFY_SOCKET", "Where it tells systemd that it is ready, and how it goes.")
    yield Variable(
        "WATCHDOG_USEC", "How often systemd wants a sign of life; it gives one only while its work goes on. With it:"
        " `WATCHDOG_PID`."
    )  # fmt: skip
    yield Variable("JOURNAL_STREAM", "Messages go to the journal, with fields, when standard error does.")


def _files(daemon: Daemon) -> Iterator[tuple[str, str]]:
    path = f"/etc/vrfwire/{daemon.kind}.toml"
    yield path, f"Configuration: vrfwire-{daemon.kind}.toml(5)."
    yield f"{path}.d/*.toml", "More of it, in the order of names."
    known = dict(describe(configuration(daemon).schema))
    yield str(known["control.socket"].default), "Control socket."
    if "state.directory" in known:
        directory = known["state.directory"]
        yield f"{directory.default}/", f"State: {directory.option.help}."
    else:
        yield str(known["store.url"].default).removeprefix("sqlite:///"), "The map, unless it is in PostgreSQL."


def _related(daemon: Daemon) -> Iterator[tuple[str, int]]:
    yield "vrfwire", 7
    yield f"vrfwire-{daemon.kind}.toml", 5
    for command in COMMANDS:
        if command.package == daemon.package:
            yield command.name, 1
    for other in DAEMONS:
        yield other.page, 8
    yield "systemctl", 1
    yield "journalctl", 1
