"""Takes the datapath away for good: `vrfwire-agent --remove-datapath`, and what purging the package runs.

Needs no configuration, since what is ours bears our mark in the kernel; and nothing beside datapath/ and the standard
library, since the package's files may be gone when this runs (packaging/remover.py).
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from datapath.describe import NOUNS
from datapath.kernel import KernelConfig, open_kernel
from datapath.removal import EVERY_LABEL, EVERY_TABLE, Removal, remove_all
from runtime.errors import ExitCode, OperatorError

DEFAULT_SOCKET = Path("/run/vrfwire/agent.sock")
WHAT = "remove the datapath"


def remove(path: Path | None = None) -> None:
    """Remove everything of ours from the kernel of this network namespace, and print what that was.

    path: control socket of the agent that must not run meanwhile. Raises OperatorError: it does; the kernel can't be
    read; something couldn't be removed.
    """
    if is_served(path or DEFAULT_SOCKET):
        raise OperatorError(
            WHAT,
            f"an agent is running ({path or DEFAULT_SOCKET})",
            "`vrfwire drain`, then stop it: systemctl stop vrfwire-agent",
            ExitCode.CONFLICT,
        )
    try:
        # The underlay address matters for what is made only, and nothing is.
        kernel = open_kernel(KernelConfig(bytes(4), EVERY_TABLE, EVERY_LABEL))
    except OSError as error:
        raise OperatorError(WHAT, error.strerror or str(error), "it takes root", ExitCode.NOT_PERMITTED) from error
    try:
        done = remove_all(kernel.drivers)
    finally:
        kernel.close()
    print(report(done))
    if done.left:
        raise OperatorError(WHAT, "; ".join(done.left[:10]), "remove what uses these, then try again")


def is_served(path: Path) -> bool:
    """Whether somebody listens at a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            # It hangs: there is no room for one more who waits.
            return True
        except OSError as error:
            raise OperatorError(f"control socket {path}", error.strerror or str(error), "it takes root") from error
    return True


def report(done: Removal) -> str:
    """One line for an operator."""
    counts = ", ".join(f"{NOUNS[kind]}: {count}" for kind, count in sorted(done.removed.items()))
    return f"removed {counts}" if counts else "nothing to remove"


def main() -> int:
    """The command when the package is gone; returns its exit code."""
    try:
        remove()
    except OperatorError as error:
        print(f"vrfwire: {error}", file=sys.stderr)
        print(f"hint: {error.hint}", file=sys.stderr)
        return error.code
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
