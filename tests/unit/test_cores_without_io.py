"""The protocol cores and the value types do no input or output: they can't even import what would do it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "asyncio",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "logging",
    "datetime",
    "secrets",
}
# Pure parts of folders whose rest talks to the kernel, the network or a disk.
PURE = (
    *(f"datapath/{name}.py" for name in ("driver", "losses", "reconciler", "relations", "retry", "status", "tracker")),
    "datapath/values.py",
    "agent/planner.py",
)
CORES = sorted([*(ROOT / "xmpp").glob("*.py"), *(ROOT / "vpn").glob("*.py"), *(ROOT / name for name in PURE)])
# Text forms of addresses and the numbers of address families: pure functions and constants that live in that module.
TEXT_FORMS = {"inet_ntop", "inet_pton", "AF_INET", "AF_INET6"}


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", CORES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_no_input_or_output(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = imported(tree) & FORBIDDEN
    if path.name == "prefix.py":
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket"
        }
        assert used <= TEXT_FORMS
        found -= {"socket"}
    assert not found


def test_the_cores_are_found() -> None:
    assert {"stream.py", "entry.py", "prefix.py", "values.py"} <= {path.name for path in CORES}
