"""Pages of the commands: one for each program, for each group of commands, for each command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import click

from man_common import EXIT_CODES, Variable, environment, exit_status, files
from programs import COMMANDS, CONFIGURATIONS, DAEMONS, Command
from roff import Page, Stamp, Writer, bold, italic, literal, text

SAMPLES = {
    "port": "web-1",
    "attachment": "web-1",
    "vpn": "blue",
    "group": "blue",
    "peer": "rr1",
    "host": "hv7",
    "one": "blue",
    "other": "red",
    "address": "10.1.1.2",
}
"""Values for examples, by the name of an argument, or by the noun before "show NAME"."""


class Help(NamedTuple):
    """What a command says of itself. paragraphs: of text, or of lines to show as they are; examples: command lines."""

    paragraphs: tuple[str | tuple[str, ...], ...]
    examples: tuple[str, ...]

    @property
    def purpose(self) -> str:
        """For the line of the name: the first clause, begun small."""
        first = self.paragraphs[0]
        assert isinstance(first, str)
        clause = re.split(r"[.;:](?:\s|$)", first, maxsplit=1)[0]
        return clause if clause[1:2].isupper() else clause[:1].lower() + clause[1:]


def read_help(command: click.Command) -> Help:
    """The parts of a command's help. Lines after "\\b" stay as they are; those of "Examples:" are set apart.

    Raises ValueError when it doesn't begin with text.
    """
    paragraphs: list[str | tuple[str, ...]] = []
    examples: list[str] = []
    for block in re.split(r"\n[ \t]*\n", inspect.cleandoc(command.help or "")):
        lines = block.split("\n")
        if lines[0].strip() != "\b":
            paragraphs.append(" ".join(line.strip() for line in lines))
        elif len(lines) > 1 and lines[1].strip() in ("Example:", "Examples:"):
            examples += [line.strip() for line in lines[2:]]
        else:
            paragraphs.append(tuple(lines[1:]))
    if not paragraphs or not paragraphs[0] or not isinstance(paragraphs[0], str):
        raise ValueError(f"command {command.name}: its help doesn't begin with what it does")
    return Help(tuple(paragraphs), tuple(examples))


@dataclass(frozen=True, slots=True)
class Node:
    """A command in its tree. path: ("vrfwire", "port", "attach")."""

    program: Command
    path: tuple[str, ...]
    command: click.Command

    @property
    def name(self) -> str:
        """Of its page."""
        return "-".join(self.path)

    @property
    def context(self) -> click.Context:
        """As click has it when it prints help."""
        context = click.Context(self.program.cli, info_name=self.program.name)
        for word in self.path[1:]:
            group = context.command
            assert isinstance(group, click.Group)
            context = click.Context(group.commands[word], parent=context, info_name=word)
        return context

    @property
    def children(self) -> tuple[Node, ...]:
        """Of a group, in the order of its help."""
        if not isinstance(self.command, click.Group):
            return ()
        return tuple(
            Node(self.program, (*self.path, name), command)
            for name, command in self.command.commands.items()
            if not command.hidden
        )

    @property
    def documented(self) -> bool:
        """Whether it has a page of its own.

        A command that is a daemon has one in section 8; and a group that has the name of another program would hide
        the page of that from who asks for it by name alone.
        """
        serves = any(" ".join(self.path) == daemon.command for daemon in DAEMONS)
        taken = {one.name for one in COMMANDS} | {one.name for one in DAEMONS}
        return not serves and (len(self.path) == 1 or self.name not in taken)

    @property
    def section(self) -> int:
        """Of the manual."""
        return 8 if " ".join(self.path) in {daemon.command for daemon in DAEMONS} else 1


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def roots() -> tuple[Node, ...]:
    """The programs."""
    return tuple(Node(command, (command.name,), command.cli) for command in COMMANDS)


def pages(stamp: Stamp) -> Iterator[Page]:
    """The pages of all commands."""
    for root in roots():
        for node in walk(root):
            if node.documented:
                yield _page(node, stamp)


def _page(node: Node, stamp: Stamp) -> Page:
    said = read_help(node.command)
    writer = Writer(node.name, 1, said.purpose, stamp)
    writer.heading("SYNOPSIS")
    writer.synopsis([(" ".join(node.path), _synopsis(node))])
    writer.heading("DESCRIPTION")
    for paragraph in said.paragraphs:
        if not isinstance(paragraph, str):
            writer.example("\n".join(paragraph))
        elif not paragraph.startswith("Exit codes:"):
            writer.paragraph(text(paragraph))
    _commands(node, writer)
    _options(node, writer)
    examples = said.examples or _examples(node)
    if examples:
        writer.heading("EXAMPLES")
        writer.example("\n".join(examples))
    exit_status(writer, codes(node))
    environment(writer, variables(node))
    files(writer, _files(node))
    writer.see_also(_related(node))
    return writer.page(node.program.package)


# -- options


def own_options(node: Node) -> tuple[click.Option, ...]:
    """Options that not every command of the program has."""
    shared = () if len(node.path) == 1 else _names(node.program.cli)
    return tuple(option for option in _shown(node.command) if option.opts[0] not in shared)


def common_options(node: Node) -> tuple[click.Option, ...]:
    """Options of the command that the program has before every command, too."""
    own = own_options(node)
    return tuple(option for option in _shown(node.command) if option not in own)


def _shown(command: click.Command) -> tuple[click.Option, ...]:
    return tuple(item for item in command.params if isinstance(item, click.Option) and not item.hidden)


def _names(command: click.Command) -> frozenset[str]:
    return frozenset(option.opts[0] for option in _shown(command))


def metavar(option: click.Parameter) -> str:
    """What stands for the value of an option or argument."""
    if option.metavar:
        return option.metavar.strip("[]")
    if _short_choice(option):
        return "|".join(choices(option))
    return (option.name or "").upper().replace("_", "-") if isinstance(option, click.Argument) else _value_name(option)


MAX_CHOICES = 40
"""Most characters of choices that are shown where the value stands; more are listed in the description."""


def choices(option: click.Parameter) -> tuple[str, ...]:
    """The values that an option can have, () for any."""
    return tuple(str(choice) for choice in option.type.choices) if isinstance(option.type, click.Choice) else ()


def _short_choice(option: click.Parameter) -> bool:
    return 0 < len("|".join(choices(option))) <= MAX_CHOICES


def _value_name(option: click.Parameter) -> str:
    longest = max(option.opts, key=len)
    return longest.lstrip("-").upper()


def _takes_value(option: click.Option) -> bool:
    return not option.is_flag and not option.count


def _value(parameter: click.Parameter) -> str:
    """The metavar in roff: choices literal, placeholders in italics."""
    shown = metavar(parameter)
    if _short_choice(parameter) and not parameter.metavar:
        return bold(shown)
    return italic(shown)


def _synopsis(node: Node) -> str:
    parts = []
    for parameter in node.command.params:
        if isinstance(parameter, click.Argument):
            shown = _value(parameter) + ("\\ .\\|.\\|." if parameter.nargs == -1 else "")
            parts.append(shown if parameter.required else f"[{shown}]")
    options = sorted(own_options(node), key=lambda option: not option.required) if len(node.path) > 1 else []
    for option in options:
        names = [max(option.opts, key=len), *option.secondary_opts]
        shown = "|".join(bold(name) for name in names) + (f"\\ {_value(option)}" if _takes_value(option) else "")
        repeat = "\\ .\\|.\\|." if option.multiple else ""
        parts.append(f"{shown}{repeat}" if option.required else f"[{shown}]{repeat}")
    if isinstance(node.command, click.Group):
        parts += [italic("COMMAND"), "\\&.\\|.\\|."]
    return "\n".join(parts) or "\\&"


def _commands(node: Node, writer: Writer) -> None:
    if not node.children:
        return
    writer.heading("COMMANDS")
    for leaf in _leaves(node):
        reference = f"{bold(' '.join(leaf.path[1:]))}"
        writer.item(reference, f"{text(_sentence(leaf))} See {text(f'{leaf.name}({leaf.section})')}.")


def _sentence(node: Node) -> str:
    first = read_help(node.command).paragraphs[0]
    assert isinstance(first, str)
    return first


def _leaves(node: Node) -> Iterator[Node]:
    for below in walk(node):
        if not below.children:
            yield below


def _options(node: Node, writer: Writer) -> None:
    writer.heading("OPTIONS")
    if len(node.path) == 1:
        writer.paragraph("Every command takes these, before its name or after it, if they mean anything to it.")
    own, common = own_options(node), common_options(node)
    for option in own:
        _option(node, option, writer)
    if common and own:
        writer.subheading("Common options")
    for option in common:
        _option(node, option, writer)
    writer.item(f"{bold('-h')}, {bold('--help')}", "Print a summary and exit.")


def _option(node: Node, option: click.Option, writer: Writer) -> None:
    value = f" {_value(option)}" if _takes_value(option) else ""
    tag = ", ".join(f"{bold(name)}{value}" for name in (*sorted(option.opts, key=len), *option.secondary_opts))
    said = (option.help or "").strip()
    # Defaults that are said by hand stand in the form that click gives to its own.
    said, _, default = said.partition("  [default:")
    parts = [text(said if said.endswith(".") or not said else f"{said}.")]
    extra = option.get_help_extra(node.context)
    given = default.strip().rstrip("]") or extra.get("default", "")
    if option.secondary_opts and given:
        given = f"--{given}"
    if choices(option) and not _short_choice(option):
        parts.append(f"One of {', '.join(bold(choice) for choice in choices(option))}.")
    if option.required:
        parts.append("Required.")
    if given:
        parts.append(f"Default: {bold(given.removesuffix('.0'))}.")
    if "range" in extra:
        parts.append(f"Range: {literal(extra['range'])}.")
    writer.item(tag, " ".join(part for part in parts if part))


# -- examples


def _examples(node: Node) -> tuple[str, ...]:
    """Of a command whose help has none: as it is called most, as JSON, again and again."""
    if node.children:
        return ()
    words = list(node.path)
    for parameter in node.command.params:
        if isinstance(parameter, click.Option):
            if parameter.required:
                return ()
            continue
        if not parameter.required:
            continue
        key = node.path[-2] if parameter.name == "name" else parameter.name
        if key not in SAMPLES:
            return ()
        words.append(SAMPLES[key or ""])
    line = " ".join(words)
    names = _names(node.command)
    lines = [line]
    if "--watch" in names:
        lines.append(f"{line} --watch --interval 5")
    if names & {"-j", "--json"}:
        lines.append(f"{line} --json")
    return tuple(lines)


# -- what surrounds a command


def codes(node: Node) -> tuple[int, ...]:
    """Exit codes of a command, as the help of its program lists them, without those of other commands."""
    whole = node.program.cli.help or ""
    listed = whole[whole.index("Exit codes:") :]
    found = [code for code in EXIT_CODES if re.search(rf"[:,]\s+{int(code)} ", listed)]
    if node.children:
        return tuple(found)
    names, said = _names(node.command), (node.command.help or "") + " ".join(o.help or "" for o in _shown(node.command))
    apart = {6: "--timeout" in names and "code 6" in said, 7: "code 7" in said}
    asks = "--socket" in names or "--url" in names
    return tuple(code for code in found if apart.get(code, True) and (asks or code in (0, 1, 2)))


def variables(node: Node) -> Iterator[Variable]:
    """Environment variables that the command looks at."""
    names = _names(node.command)
    if "--socket" in names:
        yield Variable("VRFWIRE_SOCKET", f"The control socket of `{node.program.daemon}`, as `--socket` gives it.")
    if "--url" in names:
        for option in _shown(node.command):
            if match := re.search(r"\[(VRFWIRE_\w+)\]", option.help or ""):
                yield Variable(match[1], f"As `{option.opts[0]}`, which stands over it.")
        yield Variable("VRFWIRE_MAP_TIMEOUT", "As `--timeout`, which stands over it.")
    if names & {"-j", "--json"}:
        yield Variable("NO_COLOR", "Print no colours, on a terminal either, when it isn't empty.")
    yield Variable("VRFWIRE_TRACEBACK", "When it isn't empty, an internal error shows where it happened.")


def _files(node: Node) -> Iterator[tuple[str, str]]:
    names = _names(node.command)
    kind = next(daemon.kind for daemon in DAEMONS if daemon.command == node.program.daemon)
    if "--socket" in names:
        yield f"/run/vrfwire/{kind}.sock", f"Control socket of `{node.program.daemon}`."
    if "--config" in names:
        yield f"/etc/vrfwire/{kind}.toml", f"Its configuration: vrfwire-{kind}.toml(5)."
    if "--url" in names:
        yield "/etc/vrfwire/map-client.toml", "The server and the user of commands: vrfwire-map-client.toml(5)."


def _related(node: Node) -> Iterator[tuple[str, int]]:
    yield "vrfwire", 7
    yield node.program.name, 1
    daemon = next(daemon for daemon in DAEMONS if daemon.command == node.program.daemon)
    yield daemon.page, 8
    names = _names(node.command)
    for configuration in CONFIGURATIONS:
        of_client = configuration.name == "map-client.toml"
        if configuration.package == node.program.package and ("--url" if of_client else "--config") in names:
            yield f"vrfwire-{configuration.name}", 5
    if len(node.path) == 1:
        for other in COMMANDS:
            yield other.name, 1
        return
    # What a group has, or what is beside a command in its group.
    root = Node(node.program, node.path[:1], node.program.cli)
    group = node if node.children else next(one for one in walk(root) if one.path == node.path[:-1])
    for relative in group.children if len(group.path) > 1 else ():
        if relative.documented:
            yield relative.name, relative.section
