"""What tests of wrong input share: a command that must fail as every command of vrfwire fails."""

from __future__ import annotations

from dataclasses import dataclass

from lab.node import Node, Result
from runtime.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Refused:
    """What a command said on stderr: `PROGRAM: WHAT: WHY` and `hint: HINT`."""

    message: str
    hint: str


def refused(node: Node, *arguments: str, code: ExitCode) -> Refused:
    """Run the node's command, which must fail with this exit code: two lines on stderr, nothing on stdout."""
    return check_refusal(node.cli(*arguments, check=False), code, node.control_program)


def check_refusal(result: Result, code: ExitCode, program: str) -> Refused:
    """Hold a failed command to the contract: exit code, one line and a hint, no traceback, no data."""
    assert result.status == code, f"exit status {result.status}\n{result.stdout}{result.stderr}"
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 2, result.stderr
    message, hint = lines
    assert message.startswith(f"{program}: "), result.stderr
    assert message.count(": ") >= 2, f"not WHAT: WHY: {message}"
    assert hint.startswith("hint: "), result.stderr
    return Refused(message.removeprefix(f"{program}: "), hint.removeprefix("hint: "))
