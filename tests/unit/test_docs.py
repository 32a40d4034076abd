"""The documentation keeps up: every configuration key with its default, every command, every dependency, every link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click
import pytest

from agent import cli as agent_cli
from agent.config import AgentConfig
from gateway import cli as gateway_cli
from gateway.config import GatewayConfig
from ifmap import cli as map_cli
from ifmap.client_config import MapClientConfig
from ifmap.server.config import MapConfig
from runtime.errors import ExitCode
from runtime.schema import describe, plain

ROOT = Path(__file__).parents[2]
SCHEMAS = (AgentConfig, GatewayConfig, MapConfig, MapClientConfig)
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def rows(schema: type) -> list[str]:
    """The table rows that docs/configuration.md must have for a schema."""
    return [f"| `{name}` | {default(item.default)} | {item.option.help} |" for name, item in describe(schema)]


def default(value: Any) -> str:
    if value is MISSING:
        return "required"
    shown = plain(value)
    if shown is None:
        return "-"
    if isinstance(shown, bool):
        return f"`{str(shown).lower()}`"
    if isinstance(shown, list):
        return f"`[{', '.join(quoted(element) for element in shown)}]`"
    return f"`{quoted(shown)}`"


def quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_is_documented_with_its_default(schema: type) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    missing = [row for row in rows(schema) if row not in text.splitlines()]
    assert missing == [], "rows that docs/configuration.md lacks:\n" + "\n".join(missing)


def test_no_key_is_documented_that_does_not_exist() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    documented = re.findall(r"^\| `([a-z_.\[\]]+)` \|", text, re.MULTILINE)
    known = {name for schema in SCHEMAS for name, _ in describe(schema)}
    assert sorted(set(documented) - known) == []


def test_every_key_has_a_description() -> None:
    bare = [name for schema in SCHEMAS for name, item in describe(schema) if not item.option.help]
    assert bare == []


def commands(group: click.Group, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}"


@pytest.mark.parametrize(
    ("group", "program"),
    [(agent_cli.cli, agent_cli.PROGRAM), (gateway_cli.cli, gateway_cli.PROGRAM), (map_cli.cli, map_cli.PROGRAM)],
)
def test_every_command_is_in_the_readme(group: click.Group, program: str) -> None:
    text = (ROOT / "README.md").read_text()
    assert [line for line in commands(group, program) if line not in text] == []


def test_every_exit_code_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [code for code in ExitCode if f"| {int(code)} |" not in text] == []


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs/design/dependencies.md").read_text()
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert len(locked) > 10
    assert [name for name in locked if f"`{name}`" not in text] == []


def test_links_lead_somewhere() -> None:
    broken = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text()):
            if not (document.parent / target).exists():
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert broken == []


def anchors(text: str) -> set[str]:
    """What a link may name of a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_headings() -> None:
    assert anchors("# A gateway, `here`\n## Not-there yet\ntext") == {"a-gateway-here", "not-there-yet"}
    known = {document: anchors(document.read_text()) for document in DOCUMENTS}
    broken = []
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", document.read_text()):
            page = (document.parent / target).resolve() if target else document
            if page in known and anchor not in known[page]:
                broken.append(f"{document.relative_to(ROOT)}: {target}#{anchor}")
    assert broken == []
