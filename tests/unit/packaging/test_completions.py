"""Completions: files that a shell takes, and that complete what the programs have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from completions import completions
from layout import DEB, RPM
from programs import COMMANDS, DAEMONS, Daemon

PROGRAMS = {"vrfwire", "vrfwire-agent", "vrfwire-gateway", "vrfwire-gateway-ctl", "vrfwire-map"}


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A folder in the place of Debian's /usr/share."""
    for completion in completions(DEB.zsh):
        path = tmp_path / completion.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(completion.text)
    return tmp_path


def bash(script: str, directory: Path) -> list[str]:
    """What a script prints, in a directory."""
    done = subprocess.run(["bash", "-euc", script], cwd=directory, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_every_program_has_one_for_every_shell() -> None:
    packages = {completion.path: completion.package for completion in completions(DEB.zsh)}
    assert set(packages.values()) == {"vrfwire-agent", "vrfwire-gateway", "vrfwire-map"}
    assert {path for path in packages if path.startswith("bash-completion/completions/")} == {
        f"bash-completion/completions/{name}" for name in PROGRAMS
    }
    assert len(packages) == len(list(completions(DEB.zsh))) == 3 * len(PROGRAMS)
    assert packages["zsh/vendor-completions/_vrfwire-gateway-ctl"] == "vrfwire-gateway"


def test_the_folder_of_zsh_can_be_another_one() -> None:
    assert ("vrfwire-agent", "zsh/site-functions/_vrfwire") in {one[:2] for one in completions(RPM.zsh)}


def test_zsh_finds_the_program_in_the_first_line() -> None:
    for completion in completions(DEB.zsh):
        if completion.path.startswith("zsh"):
            assert completion.text.startswith(f"#compdef {completion.path.rpartition('/_')[2]}\n")


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_bash_takes_it(name: str, share: Path) -> None:
    assert bash(f"source bash-completion/completions/{name}; complete -p {name}", share)[-1] == name


@pytest.mark.parametrize("daemon", [one for one in DAEMONS if one.name == one.command], ids=lambda one: one.name)
def test_options_of_daemons(daemon: Daemon, share: Path) -> None:
    function = "_" + daemon.name.replace("-", "_")
    script = f"source bash-completion/completions/{daemon.name}; {function} {daemon.name}"
    assert bash(f'{script} --c {daemon.name}; echo "${{COMPREPLY[@]}}"', share) == ["--config", "--check"]
    for folder, pattern in (("zsh/vendor-completions", f"_{daemon.name}"), ("fish/vendor_completions.d", "{}.fish")):
        text = (share / folder / pattern.format(daemon.name)).read_text()
        assert "config" in text and "check" in text and "socket" in text


def test_commands_are_completed_by_the_program(share: Path) -> None:
    """The file asks the program, which is the first word."""
    program = share / "vrfwire"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m agent.cli "$@"\n')
    program.chmod(0o755)
    script = """source bash-completion/completions/vrfwire
        COMP_WORDS=(vrfwire port a) COMP_CWORD=2
        _vrfwire_completion ./vrfwire a port
        echo "${COMPREPLY[@]}" """
    assert bash(script, share) == ["attach"]


def test_every_command_line_is_known() -> None:
    assert {command.name for command in COMMANDS} | {daemon.name for daemon in DAEMONS} == PROGRAMS
