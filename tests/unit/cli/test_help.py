"""--help of every group: a line a command, whole, in a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from agent.cli import cli as agent
from gateway.cli import cli as gateway
from ifmap.cli import cli as map_command

WIDTH = 80


def groups(command: click.Group, path: str) -> Iterator[tuple[str, click.Group]]:
    yield path, command
    for name, child in command.commands.items():
        if isinstance(child, click.Group):
            yield from groups(child, f"{path} {name}")


EVERY = [
    one
    for command, program in ((agent, "vrfwire"), (gateway, "vrfwire-gateway-ctl"), (map_command, "vrfwire-map"))
    for one in groups(command, program)
]


@pytest.mark.parametrize(("path", "group"), EVERY, ids=[path for path, _ in EVERY])
def test_a_command_has_a_line_of_its_own_that_is_not_cut(path: str, group: click.Group) -> None:
    text = group.get_help(click.Context(group, info_name=path, terminal_width=WIDTH))
    usage, _, rest = text.partition("\n")
    assert usage == f"Usage: {path} [OPTIONS] COMMAND [ARGS]..."
    lines = rest.splitlines()
    assert [line for line in lines if line.endswith("...") or len(line) > WIDTH] == []
    shown = [name for name, command in group.commands.items() if not command.hidden]
    listed = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[0] for line in listed] == shown, "what is too long is wrapped, not cut"
    assert all(len(line.split()) > 1 for line in listed), "each says what it does"
