"""Manual pages against what they describe: every command, option, key and variable, and nothing that isn't there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import click
import pytest

import man_commands
import man_config
import man_daemons
from ifmap.map_options import MapOptions
from man_commands import Node, roots, walk
from man_common import EXIT_CODES
from manpages import pages
from programs import COMMANDS, CONFIGURATIONS, DAEMONS, Configuration, Daemon
from roff import Page, Stamp, Writer, literal, text
from runtime.command import Options
from runtime.config import load
from runtime.errors import ExitCode
from runtime.schema import describe

ROOT = Path(__file__).parents[3]
DAY = date(2024, 2, 29)
PAGES = {(page.name, page.section): page for page in pages("1.2.3", DAY)}
NODES = [node for root in roots() for node in walk(root)]
OTHERS = {("systemctl", 1), ("journalctl", 1), ("ip-vrf", 8)}
"""Pages of other programs that ours refer to."""


def unescaped(roff: str) -> str:
    """Roff as a terminal shows it, but for its lines."""
    plain = re.sub(r"\\f[BIR]|\\&|\\\|", "", roff)
    for escape, letter in {"\\-": "-", "\\(aq": "'", "\\(ga": "`", "\\(ti": "~", "\\(ha": "^", "\\ ": " "}.items():
        plain = plain.replace(escape, letter)
    return plain.replace("\\e", "\\")


def section(page: Page, title: str) -> list[str]:
    """The lines of a section, as a reader has them."""
    _, found, rest = page.text.partition(f"\n.SH {title}\n")
    return [unescaped(line) for line in rest.partition("\n.SH ")[0].split("\n")] if found else []


def tags(page: Page, title: str) -> list[str]:
    """What a section has descriptions for."""
    lines = section(page, title)
    return [lines[number + 1] for number, line in enumerate(lines) if line == ".TP"]


def options(page: Page) -> set[str]:
    return {name for tag in tags(page, "OPTIONS") for name in re.findall(r"(?<![\w-])--?[a-z][\w-]*", tag)}


# -- the form


def test_every_page_is_sound(tmp_path: Path) -> None:
    files = [tmp_path / f"{page.name}.{page.section}" for page in PAGES.values()]
    assert len(files) > 60
    for page, file in zip(PAGES.values(), files, strict=True):
        file.write_text(page.text)
    lint = subprocess.run(["mandoc", "-T", "lint", *files], capture_output=True, text=True, check=False)
    assert (lint.stdout, lint.returncode) == ("", 0)


def test_the_linter_sees_faults(tmp_path: Path) -> None:
    page = tmp_path / "x.1"
    page.write_text('.TH "X" "1" "2024-02-29"\n.SH NAME\nx \\- y\n.SH A\n.PP\n.XX\n')
    lint = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
    assert "unknown macro" in lint.stdout


def test_pages_have_version_and_date_and_are_the_same_each_time() -> None:
    assert all(f'"{DAY}" "vrfwire 1.2.3"' in page.text.split("\n", 1)[0] for page in PAGES.values())
    assert pages("1.2.3", DAY) == tuple(PAGES[key] for key in sorted(PAGES, key=lambda key: PAGES[key].path))


def test_another_hash_seed_makes_the_same_pages() -> None:
    """Sets have no order, and that of names differs from one process to the next."""
    code = "import datetime, manpages; print(manpages.pages('1.2.3', datetime.date(2024, 2, 29)))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'packaging'}"}
        done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
        assert done.stdout == f"{pages('1.2.3', DAY)}\n"


def test_every_page_is_in_one_package() -> None:
    packages = {page.path: page.package for page in PAGES.values()}
    assert set(packages.values()) == {"vrfwire-common", "vrfwire-agent", "vrfwire-gateway", "vrfwire-map"}
    assert len(packages) == len(pages("1.2.3", DAY))
    assert packages["man1/vrfwire-gateway-list.1"] == "vrfwire-agent"
    assert packages["man1/vrfwire-gateway-ctl-host-list.1"] == "vrfwire-gateway"
    assert [path for path, package in packages.items() if package == "vrfwire-common"] == ["man7/vrfwire.7"]


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.path)
def test_references_lead_somewhere(page: Page) -> None:
    found = {
        (name, int(number)) for name, number in re.findall(r"([a-z][a-z0-9.-]*) ?\(([1-8])\)", unescaped(page.text))
    }
    assert found
    assert found - set(PAGES) - OTHERS == set()
    assert len(section(page, "SEE ALSO")) > 1


@pytest.mark.parametrize(
    "page", [page for page in PAGES.values() if page.section in (1, 8)], ids=lambda page: page.path
)
def test_pages_of_programs_have_their_sections(page: Page) -> None:
    wanted = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"]
    found = re.findall(r"^\.SH (.+)$", page.text, re.MULTILINE)
    assert [title for title in found if title in wanted] == wanted


# -- commands


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    documented = {node.name for node in NODES if node.documented}
    assert {name for name, number in PAGES if number == 1} == documented
    without = {node.name for node in NODES if not node.documented}
    # The first is a daemon; the second is listed by vrfwire(1), since by its name one looks for the daemon.
    assert without == {"vrfwire-map-serve", "vrfwire-gateway"}
    assert without <= {name for name, number in PAGES if number == 8}


@pytest.mark.parametrize("node", [node for node in NODES if node.documented], ids=lambda node: node.name)
def test_every_option_is_documented_and_no_other(node: Node) -> None:
    page = PAGES[node.name, 1]
    real = {
        name
        for item in node.command.params
        if isinstance(item, click.Option) and not item.hidden
        for name in (*item.opts, *item.secondary_opts)
    }
    assert options(page) == real | {"-h", "--help"}
    if len(node.path) > 1:
        shown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", " ".join(section(page, "SYNOPSIS"))))
        wanted = [(max(item.opts, key=len), *item.secondary_opts) for item in man_commands.own_options(node)]
        assert shown == {name for names in wanted for name in names}


@pytest.mark.parametrize("node", [node for node in NODES if node.children], ids=lambda node: node.name)
def test_a_group_lists_its_commands(node: Node) -> None:
    if node.documented:
        below = [" ".join(one.path[1:]) for one in walk(node) if not one.children]
        assert tags(PAGES[node.name, 1], "COMMANDS") == below


LEAVES = [node for node in NODES if not node.children and node.documented]


@pytest.mark.parametrize("node", LEAVES, ids=lambda node: node.name)
def test_examples_are_commands_that_exist(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their words are taken apart as the program itself does; none is run."""
    monkeypatch.chdir(tmp_path)
    shown = [line for line in section(PAGES[node.name, 1], "EXAMPLES") if line and not line.startswith((".", "#"))]
    assert shown, f'give {" ".join(node.path)} an example in its docstring: \\b, "Example:", the lines'
    for line in " && ".join(shown).split(" && "):
        parse(line)


@pytest.mark.parametrize("node", LEAVES, ids=lambda node: node.name)
def test_the_synopsis_names_the_whole_command(node: Node) -> None:
    """groff takes only the first argument of .SY, mandoc all of them."""
    assert section(PAGES[node.name, 1], "SYNOPSIS")[0] == f'.SY "{" ".join(node.path)}"'


def test_long_choices_are_listed_in_the_description() -> None:
    page = PAGES["vrfwire-gateway-ctl-pki-revoke", 1]
    assert "[--reason REASON]" in section(page, "SYNOPSIS")
    assert "One of " in " ".join(section(page, "OPTIONS"))


def parse(line: str) -> None:
    """Take a command line apart; raises click.UsageError."""
    words = shlex.split(line.split(" > ")[0], comments=True)
    command = next(one for one in COMMANDS if one.name == words[0])
    for word in words:
        if word.endswith((".xml", ".json")):
            Path(word).touch()
    kind = MapOptions if command.name == "vrfwire-map" else Options
    with ExitStack() as opened:
        root = command.cli.make_context(command.name, words[1:], obj=kind(command.name, command.daemon, "/nowhere"))
        context = opened.enter_context(root)
        group: click.Command = command.cli
        while isinstance(group, click.Group):
            name, found, arguments = group.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            context = opened.enter_context(found.make_context(name, arguments, parent=context))
            group = found


def test_a_wrong_example_is_found() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        parse("vrfwire port attach web-1 --vpn blue --address 10.1.1.1 --tab tap0")
    with pytest.raises(click.UsageError, match="Missing"):
        parse("vrfwire port show")


def overview_lines() -> Iterator[str]:
    """Command lines of vrfwire(7)."""
    for block in re.findall(r"^\.nf\n(.*?)^\.fi", PAGES["vrfwire", 7].text, re.MULTILINE | re.DOTALL):
        yield from (unescaped(line) for line in block.split("\n") if not line.startswith((".", " ")))


def test_commands_of_the_overview_exist() -> None:
    programs = {command.name for command in COMMANDS}
    lines = [line for line in overview_lines() if line.split(" ")[0] in programs and "(" not in line]
    assert len(lines) > 10
    for line in lines:
        parse(line)


def test_exit_codes() -> None:
    assert set(EXIT_CODES) == set(ExitCode)
    attach = next(node for node in NODES if node.name == "vrfwire-port-attach")
    status = next(node for node in NODES if node.name == "vrfwire-map-status")
    completion = next(node for node in NODES if node.name == "vrfwire-completion")
    assert man_commands.codes(attach) == (0, 1, 2, 3, 4, 5, 6, 77)
    assert man_commands.codes(status) == (0, 1, 2, 3, 4, 5, 7, 77)
    assert man_commands.codes(completion) == (0, 1, 2)
    assert tags(PAGES["vrfwire", 1], "EXIT STATUS") == [str(int(code)) for code in ExitCode]


def test_every_environment_variable_is_documented() -> None:
    """Those that programs look up by name."""
    sources = "".join(
        path.read_text() for top in ("agent", "gateway", "ifmap", "runtime") for path in (ROOT / top).rglob("*.py")
    )
    used = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z][A-Z_]+)"', sources)) - {"TERM", "PATH"}
    assert {"VRFWIRE_SOCKET", "NOTIFY_SOCKET"} < used
    documented = {tag for page in PAGES.values() for tag in tags(page, "ENVIRONMENT")}
    mentioned = "".join(unescaped("\n".join(section(page, "ENVIRONMENT"))) for page in PAGES.values())
    assert [name for name in sorted(used) if name not in mentioned] == []
    assert {name for name in documented if name.startswith("VRFWIRE_MAP_")} >= {"VRFWIRE_MAP_URL", "VRFWIRE_MAP_USER"}


# -- daemons and files


@pytest.mark.parametrize("daemon", DAEMONS, ids=lambda daemon: daemon.name)
def test_options_of_daemons(daemon: Daemon) -> None:
    page = PAGES[daemon.page, 8]
    assert options(page) == {name for action in daemon.options() for name in action.option_strings}
    for line in man_daemons.examples(daemon):
        words = shlex.split(line.removeprefix(daemon.command))
        daemon.parser().parse_args(words)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda one: one.name)
def test_every_key_is_documented_with_its_default(configuration: Configuration) -> None:
    page = PAGES[f"vrfwire-{configuration.name}", 5]
    assert tags(page, "KEYS") == [name.rpartition(".")[2] for name, _ in describe(configuration.schema)]
    shown = " ".join(section(page, "KEYS"))
    for name, field in describe(configuration.schema):
        assert text(man_config._sentence(field)).split("\\")[0] in " ".join(page.text.split("\n")), name
        default = None if field.required else man_config.default(field.default)
        assert default is None or f"Default: {default}." in shown, name


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda one: one.name)
def test_examples_of_files_are_taken(configuration: Configuration, tmp_path: Path) -> None:
    lines = section(PAGES[f"vrfwire-{configuration.name}", 5], "EXAMPLES")
    file = tmp_path / configuration.name
    file.write_text("\n".join(line for line in lines if not line.startswith(".")))
    load(configuration.schema, program=configuration.name.removesuffix(".toml"), path=file, environ={})


# -- the language


def test_escapes() -> None:
    assert literal("a-b 'c' \\ ~^`") == "a\\-b \\(aqc\\(aq \\e \\(ti\\(ha\\(ga"
    assert text("see `x -y`, --watch, and vrfwire-map(1): a-b é") == (
        "see \\fBx \\-y\\fR, \\fB\\-\\-watch\\fR, and \\fBvrfwire\\-map\\fR(1): a-b \\[u00E9]"
    )


def test_no_line_is_taken_for_a_request() -> None:
    writer = Writer("x", 1, "y", Stamp("1", DAY))
    writer.heading("EXAMPLES")
    writer.example(".TH\n'x'")
    writer.paragraph(".so /etc/passwd " + "word " * 20 + "'x")
    body = writer.page("p").text.split(".SH EXAMPLES\n")[1].split("\n")
    requests = [line for line in body if line.startswith((".", "'"))]
    assert requests == [".RS 4", ".nf", ".fi", ".RE", ".PP"]


@pytest.mark.parametrize("wide", ["\\\\", "'", "-"])
def test_words_stay_whole_where_lines_are_cut(wide: str) -> None:
    writer = Writer("x", 1, "y", Stamp("1", DAY))
    words = [f"w{wide}{number}" for number in range(60)]
    writer.paragraph(" ".join(words))
    lines = writer.page("p").text.split("\n")
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(lines).endswith(" ".join(words) + " ")


def test_mandoc_is_there() -> None:
    """Without it nothing above would look at the form of pages."""
    assert shutil.which("mandoc")


@pytest.mark.parametrize("said", [None, "\b\nExample:\n  x y"])
def test_a_command_that_does_not_say_what_it_does(said: str | None) -> None:
    with pytest.raises(ValueError, match="command x: its help"):
        man_commands.read_help(click.Command("x", help=said))
