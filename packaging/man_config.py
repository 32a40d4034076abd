"""Pages of the configuration files, from their schemas."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any, NamedTuple

from man_common import files
from programs import COMMANDS, CONFIGURATIONS, DAEMONS, Configuration
from roff import Page, Stamp, Writer, bold, literal, text
from runtime.schema import Field, describe, expected, plain


class About(NamedTuple):
    """What is to be said of a file that its schema doesn't know."""

    purpose: str
    paragraphs: tuple[str, ...]
    example: str


ABOUT = {
    "agent.toml": About(
        "configuration of the host daemon of vrfwire",
        (
            "Several `[[gateway]]`: the agent announces to all of them and takes the best answer of all of them; a"
            " route goes when the last one has withdrawn it.",
            "`label_base`, `label_count` and `table_base` may change while ports are attached: numbers given out before"
            " stay in use until they are freed.",
        ),
        """[host]
name = "hv7"
address = "192.0.2.7"

[[gateway]]
address = "192.0.2.1"
domain = "vpn.example.net"

[tls]
ca = "ca.pem"
certificate = "hv7.pem"
key = "hv7.key"
""",
    ),
    "gateway.toml": About(
        "configuration of the gateway of vrfwire",
        (
            "VPNs are the `[[vpn]]` of the file, or, with a `[map]`, those of a MAP server. A VPN's routes carry its"
            " `export` targets; it takes in every route that carries one of its `import` targets.",
            "Without a `[[bgp.peer]]` nothing of BGP runs and nothing listens. With one, `router_id` and `as` are"
            " needed.",
            'With `mode = "component"` in `[xmpp]` hosts reach the gateway through an XMPP server (XEP-0114). `[tls]`'
            " and `listen` aren't needed then, but `secret_file` is, and `addresses` of each `[[host]]`; `[limits]` has"
            " no effect, since rates of hosts are for that server to say.",
            "`[limits]` is what one host, and one address, may take of the gateway. Of each rate ten seconds' worth may"
            " come at once.",
        ),
        """[gateway]
domain = "vpn.example.net"
listen = ["0.0.0.0:5222"]
router_id = "192.0.2.1"
as = 64512

[tls]
ca = "ca.pem"
certificate = "gateway.pem"
key = "gateway.key"

[[vpn]]
name = "blue"
import = ["64512:1"]
export = ["64512:1"]

[[bgp.peer]]
address = "192.0.2.254"
password_file = "reflector.password"
""",
    ),
    "map.toml": About(
        "configuration of the MAP server of vrfwire",
        (
            "Sizes are in bytes. A `[[client]]` with neither password nor certificate logs in by a certificate of its"
            " name.",
        ),
        """[map]
listen = ["0.0.0.0:8443"]

[tls]
certificate = "map.pem"
key = "map.key"
ca = "ca.pem"

[[client]]
name = "orchestrator"
password_hash_file = "orchestrator.hash"

[[client]]
name = "gw1.example.net"
read = ["vpn:*", "vrfwire:*"]
write = ["vpn:attachment-info", "vpn:attachment-state"]
""",
    ),
    "map-client.toml": About(
        "which MAP server the commands of vrfwire-map ask",
        ("An option that says who one is stands over all of the environment that does.",),
        """[map]
url = ["https://192.0.2.9:8443/", "https://192.0.2.10:8443/"]
user = "ann"
password_file = "ann.password"
ca = "ca.pem"
""",
    ),
}  # fmt: skip


def pages(stamp: Stamp) -> Iterator[Page]:
    """The pages of all files."""
    for configuration in CONFIGURATIONS:
        yield _page(configuration, stamp)


def _page(configuration: Configuration, stamp: Stamp) -> Page:
    about = ABOUT[configuration.name]
    path = f"/etc/vrfwire/{configuration.name}"
    writer = Writer(f"vrfwire-{configuration.name}", 5, about.purpose, stamp)
    writer.heading("SYNOPSIS")
    writer.paragraph(f"{literal(path)}\n.br\n{literal(path)}.d/*.toml")
    writer.heading("DESCRIPTION")
    for paragraph in (*_form(configuration), *about.paragraphs):
        writer.paragraph(text(paragraph))
    _keys(writer, configuration)
    writer.heading("EXAMPLES")
    writer.example(about.example.rstrip("\n"))
    files(writer, [(path, "The file."), (f"{path}.d/*.toml", "Drop-ins, in the order of their names.")])
    writer.see_also(_related(configuration))
    return writer.page(configuration.package)


def _form(configuration: Configuration) -> Iterator[str]:
    """What holds for every file."""
    yield (
        f"`{configuration.reader}` reads this file, in TOML. Later sources win: defaults, the file, drop-ins, the"
        " environment, the command line. Tables are merged, a value replaces the earlier one, and arrays of tables"
        " grow: a drop-in with a table of an array adds one. An unknown key is an error that names file, line and"
        " the nearest name."
    )
    if configuration.name == "map-client.toml":
        yield "In the environment a key of `[map]` is `VRFWIRE_MAP_KEY`; a list is separated by commas."
    else:
        yield (
            "In the environment a key is `VRFWIRE_SECTION_KEY`, for example `VRFWIRE_LOG_LEVEL=debug`; a list is"
            " separated by commas; arrays of tables can't be set there."
        )
    yield (
        "A relative path starts from the directory of the file that it stands in; `credential:NAME` is the file NAME"
        " of systemd's credentials. Secrets never stand in the configuration: a key that ends in `_file` names a file"
        " that holds one. Its group may read it; a file that others can read, or that anybody but its owner can write,"
        " is refused. Times are in seconds."
    )


def _keys(writer: Writer, configuration: Configuration) -> None:
    writer.heading("KEYS")
    current = ""
    for name, field in describe(configuration.schema):
        table, _, key = name.rpartition(".")
        if table != current:
            current = table
            shown = table.removesuffix("[]")
            writer.subheading(f"[[{shown}]]" if table.endswith("[]") else f"[{shown}]")
        writer.item(bold(key), f"{text(_sentence(field))} {_value(field)}")


def _sentence(field: Field) -> str:
    """The help of a key as a sentence."""
    said = field.option.help
    # A word that begins with a capital within, or that is a literal, stays.
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


def _value(field: Field) -> str:
    """What it takes, and what it is without: in roff."""
    kind = field.option.expects or (expected(field.inner) if _named(field.inner) else "")
    words = [f"{text(kind[:1].upper() + kind[1:])}."] if kind else []
    if field.default is MISSING:
        words.append("Required.")
    elif (shown := default(field.default)) is not None:
        words.append(f"Default: {bold(shown)}.")
    return " ".join(words)


def _named(hint: Any) -> bool:
    """Whether a type has words that mean something to an operator."""
    words = expected(hint)
    return "<class" not in words and "vpn." not in words and "[" not in words and "NoneType" not in words


def default(value: Any) -> str | None:
    """A default as TOML has it, None for none."""
    shown = plain(value)
    if shown is None:
        return None
    if isinstance(shown, bool):
        return str(shown).lower()
    if isinstance(shown, list):
        return f"[{', '.join(_scalar(element) for element in shown)}]"
    return _scalar(value.value if isinstance(value, enum.Enum) else shown)


def _scalar(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _related(configuration: Configuration) -> Iterator[tuple[str, int]]:
    yield "vrfwire", 7
    for command in COMMANDS:
        if command.package == configuration.package:
            yield command.name, 1
            if configuration.name != "map-client.toml":
                yield f"{command.name}-config-show", 1
    for daemon in DAEMONS:
        if daemon.package == configuration.package and configuration.name != "map-client.toml":
            yield daemon.page, 8
