"""`vrfwire-agent --remove-datapath`, as far as it goes without a kernel; the rest is in tests/kernel."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from agent import main as agent_main
from agent.remove_datapath import is_served, report
from datapath.removal import Removal
from datapath.values import Kind
from runtime.errors import ExitCode


def test_it_needs_no_configuration_and_refuses_beside_an_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        code = agent_main.main(["--remove-datapath", "--socket", str(path), "--config", str(tmp_path / "none.toml")])
    assert code == ExitCode.CONFLICT
    assert capsys.readouterr().err.splitlines() == [
        f"vrfwire-agent: remove the datapath: an agent is running ({path})",
        "hint: `vrfwire drain`, then stop it: systemctl stop vrfwire-agent",
    ]


def test_what_a_dead_agent_left_is_no_agent(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    assert not is_served(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
    assert path.exists()
    assert not is_served(path)


def test_an_agent_that_hangs_is_one(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(path))
        listener.listen(0)
        others = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        others.connect(str(path))
        assert is_served(path), "nobody takes the connection, and there is no room for another that waits"


def test_what_was_removed_is_told_in_one_line() -> None:
    assert report(Removal({}, ())) == "nothing to remove"
    done = Removal({Kind.VRF_ROUTE: 12, Kind.TUNNEL: 1}, ())
    assert report(done) == "removed tunnel: 1, route: 12"
