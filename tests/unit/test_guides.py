"""The guides keep up: no block of them is without a test, and the commands that their sentences name exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agent import cli as agent_cli
from gateway import cli as gateway_cli
from ifmap import cli as map_cli
from tests import guide

TESTS = guide.ROOT / "tests"
GROUPS: dict[str, click.Group] = {
    agent_cli.PROGRAM: agent_cli.cli,
    gateway_cli.PROGRAM: gateway_cli.cli,
    map_cli.PROGRAM: map_cli.cli,
}
DAEMON_OPTIONS = {"--config", "--socket", "--check", "--help"}
DAEMONS = {
    "vrfwire-agent": DAEMON_OPTIONS | {"--remove-datapath"},
    "vrfwire-gateway": DAEMON_OPTIONS,
    "vrfwire-map serve": DAEMON_OPTIONS,
}
PAGES = ["README.md", *sorted(str(path.relative_to(guide.ROOT)) for path in (guide.ROOT / "docs").rglob("*.md"))]


def claims(source: str) -> Iterator[tuple[str, str]]:
    """What a test takes from pages: (page, beginning of a block), "" for all blocks.

    Pages and beginnings are literals in the call, or constants of the module.
    """
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("block", "blocks"):
            texts = [
                one.value if isinstance(one, ast.Constant) else constants.get(getattr(one, "id", ""))
                for one in node.args
            ]
            if len(texts) == (2 if name == "block" else 1) and all(isinstance(text, str) for text in texts):
                page, start = (*texts, "")[:2]
                if str(page) in guide.GUIDES:
                    yield str(page), str(start)


@pytest.fixture(scope="module")
def claimed() -> set[tuple[str, str]]:
    """By all tests that run something."""
    files = [path for path in TESTS.rglob("*.py") if not path.is_relative_to(TESTS / "unit")]
    return {claim for path in files for claim in claims(path.read_text(encoding="utf-8"))}


def without(page: str, claimed: set[tuple[str, str]]) -> list[str]:
    """Blocks of a page that no test takes and that aren't listed as shown."""
    starts = [start for of, start in {*claimed, *guide.SHOWN} if of == page]
    return [text for text in guide.blocks(page) if not text.startswith(tuple(starts))]


@pytest.mark.parametrize("page", guide.GUIDES)
def test_every_block_is_run_by_a_test(page: str, claimed: set[tuple[str, str]]) -> None:
    assert guide.blocks(page)
    assert without(page, claimed) == []


def test_what_is_claimed_or_shown_is_one_block(claimed: set[tuple[str, str]]) -> None:
    for page, start in {*claimed, *guide.SHOWN}:
        assert not start or guide.block(page, start)


def test_what_is_run_is_not_listed_as_shown_only(claimed: set[tuple[str, str]]) -> None:
    run = {guide.block(page, start) for page, start in claimed if start}
    assert [start for page, start in guide.SHOWN if guide.block(page, start) in run] == []
    assert all(guide.SHOWN.values())


def test_a_new_block_is_missed() -> None:
    taken = set(claims('block("docs/operations.md", "vrfwire drain")\nblock(page, "vrfwire undrain")'))
    assert taken == {("docs/operations.md", "vrfwire drain")}
    missed = without("docs/operations.md", taken)
    assert "vrfwire undrain\n" in missed and "vrfwire drain\n" not in missed
    assert set(claims('P = "docs/certificates.md"\nguide.blocks(P)')) == {("docs/certificates.md", "")}


def test_packages_are_built_by_what_the_guides_say() -> None:
    done = subprocess.run(["make", "-n", "deb", "rpm"], cwd=guide.ROOT, capture_output=True, text=True, check=True)
    assert "packaging/deb.py" in done.stdout and "packaging/build_rpm.py" in done.stdout
    assert 'ROOT / "build/deb"' in (guide.ROOT / "packaging/deb.py").read_text()


def test_blocks_are_what_is_indented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (
        "Text:\n\n    one\n      two\n\n    three\n\n- a list\n    that goes on\n\n      below it\n\nEnd\n\n    last\n"
    )
    (tmp_path / "page.md").write_text(page)
    monkeypatch.setattr(guide, "ROOT", tmp_path)
    assert guide.blocks("page.md") == ["one\n  two\n\nthree\n", "below it\n", "last\n"]
    assert guide.lines("a --b        # why\n\nc\n") == ["a --b", "c"]


def named(page: str) -> set[str]:
    """Commands of ours that a page names, in sentences, tables and blocks."""
    text = (guide.ROOT / page).read_text(encoding="utf-8")
    spans = [span.replace("\n", " ").replace("\\|", "|") for span in re.findall(r"`([^`]+)`", text)]
    commands = [line for block in guide.blocks(page) for line in guide.lines(block)]
    programs = "|".join(sorted({*GROUPS, *DAEMONS}, key=len, reverse=True))
    return {one for one in (*spans, *commands) if re.match(rf"({programs}) [a-z-]", one)}


def fault(command: str) -> str:
    """What is wrong with a command's name or options; "" for nothing. Values aren't looked at."""
    program, *words = shlex.split(re.sub(r"[\[\]()]|\.\.\.", " ", command).replace("|", " "), comments=True)
    if (program, *words[:1]) == ("vrfwire-map", "serve"):
        program = "vrfwire-map serve"
    if program in DAEMONS:
        unknown = [word for word in words if word.startswith("-") and word not in DAEMONS[program]]
        return f"no option {unknown}" if unknown else ""
    found: click.Command = GROUPS[program]
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        if words[0] not in found.commands:
            return f"no command {words[0]}"
        found = found.commands[words.pop(0)]
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return f"no option {unknown}" if unknown else ""


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_named_exist(page: str) -> None:
    assert {command: why for command in named(page) if (why := fault(command))} == {}


def test_commands_that_do_not_exist_are_found() -> None:
    assert fault("vrfwire drain --softly") == "no option ['--softly']"
    assert fault("vrfwire prot list") == "no command prot"
    assert fault("vrfwire-gateway-ctl pki enrol hv7") == "no command enrol"
    assert fault("vrfwire-agent --chek") == "no option ['--chek']"
    assert fault("vrfwire drain [--settle S] [--force]") == ""
    assert named("README.md") >= {"vrfwire undrain", "vrfwire-gateway-ctl pki init"}
