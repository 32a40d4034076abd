"""python -m lab: run things in a lab on this machine."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import environment, uml
from lab.environment import Job
from lab.errors import EXIT_LAB, LabError
from lab.probe import TRIALS, probe

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

PLACES = {"native": "the lab runs on it, in private namespaces", "uml": "the lab boots user-mode Linux"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m lab",
        description="A lab on a real kernel: this one in private namespaces if it has VRF, MPLS and GRE, "
        "else a user-mode Linux that is booted for it.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    place = common.add_mutually_exclusive_group()
    place.add_argument("--native", dest="where", action="store_const", const="native", help="use this kernel")
    place.add_argument("--uml", dest="where", action="store_const", const="uml", help="boot user-mode Linux")
    common.add_argument("--memory", type=int, default=uml.DEFAULT_MEMORY, help="MiB of a user-mode Linux (%(default)s)")
    run = commands.add_parser("run", parents=[common], help="run a command inside")
    run.add_argument("--timeout", type=float, help="seconds until it is ended")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    commands.add_parser("shell", parents=[common], help="a shell inside")
    demo = commands.add_parser("demo", parents=[common], help="the main job, shown; the last line is JSON")
    demo.add_argument("--timeout", type=float, default=300.0, help="seconds until it is ended (%(default)g)")
    test = commands.add_parser("test", parents=[common], help="all tests; other arguments go to pytest")
    test.add_argument("--timeout", type=float, default=1500.0, help="seconds for the tests inside (%(default)g)")
    machine = commands.add_parser("machine", help="a Debian machine with systemd: a shell on it, or one command")
    machine.add_argument("--deb", type=Path, action="append", default=[], help="package to install before it boots")
    machine.add_argument("--memory", type=int, default=1000, help="MiB of memory (%(default)s)")
    machine.add_argument("--timeout", type=float, default=300.0, help="seconds for the command (%(default)g)")
    machine.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    commands.add_parser("probe", help="what this kernel has")
    return top


def command_run(arguments: argparse.Namespace) -> int:
    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        raise LabError("no command given", "python -m lab run -- COMMAND...")
    job = Job(argv, timeout=arguments.timeout, memory=arguments.memory)
    return environment.run(job, environment.choose(arguments.where))


def command_shell(arguments: argparse.Namespace) -> int:
    tty = sys.stdin is not None and sys.stdin.isatty()
    stdin = None if tty or sys.stdin is None else sys.stdin.buffer.read()
    job = Job([environment.shell()], console=tty, stdin=stdin, memory=arguments.memory)
    return environment.run(job, environment.choose(arguments.where))


def command_demo(arguments: argparse.Namespace) -> int:
    start = time.time()
    try:
        where = arguments.where
        if where is None:
            found = probe()
            where = "native" if found.capable else "uml"
            print(f"[  0.0 s] {found}: {PLACES[where]}", flush=True)
        job = Job(
            [sys.executable, "-m", "lab.demo"],
            timeout=arguments.timeout,
            memory=arguments.memory,
            environ={environment.STARTED: repr(start)},
        )
        return environment.run(job, where)
    except LabError as error:
        status = complain(error)
        print(json.dumps({"ok": False, "problems": [str(error)], "seconds": round(time.time() - start, 1)}), flush=True)
        return status


def command_test(arguments: argparse.Namespace) -> int:
    from lab import suites

    place = [f"--{arguments.where}"] if arguments.where else []
    limits = ["--memory", str(arguments.memory), "--timeout", str(arguments.timeout)]
    inside = [sys.executable, "-m", "lab", "run", *place, *limits, "--"]
    # So that the lab is taken down by what is underway: an exception, as for SIGINT.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        return suites.run(arguments.rest, inside, ROOT)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def command_machine(arguments: argparse.Namespace) -> int:
    from lab.machine import Machine, shell
    from lab.machine_root import Root, archive

    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    with Root(archive(ROOT / "build" / "machine")) as root:
        if arguments.deb:
            root.install(arguments.deb)
        if not argv:
            return shell(root, arguments.memory)
        with Machine(root, arguments.memory) as machine:
            machine.boot()
            machine.wait_booted()
            done = machine.run(*argv, deadline=arguments.timeout, check=False)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.status if done.status >= 0 else 128 - done.status


def command_probe(_arguments: argparse.Namespace) -> int:
    found = probe()
    for name in [*found.missing, *(n for n in TRIALS if found.capable)]:
        print(f"{name}: {found.missing.get(name, 'ok')}")
    print(f"environment: {'native' if found.capable else 'user-mode Linux'}")
    return 0


COMMANDS = {
    "run": command_run,
    "shell": command_shell,
    "test": command_test,
    "demo": command_demo,
    "machine": command_machine,
    "probe": command_probe,
}


def complain(error: LabError) -> int:
    """Show why the lab failed. Returns the exit status for it."""
    if error.log:
        print("--- last lines of the console ---", error.log, "---", sep="\n", file=sys.stderr)
    print(f"lab: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return EXIT_LAB


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the lab. Returns its exit status: the inner command's own, or 70 when the lab failed."""
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    if rest and arguments.command != "test":
        top.error(f"unrecognised arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        return COMMANDS[arguments.command](arguments)
    except LabError as error:
        return complain(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_LAB


if __name__ == "__main__":
    sys.exit(main())
