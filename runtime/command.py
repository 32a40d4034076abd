"""What vrfwire's commands share: options, errors and exit codes, tables or JSON, --watch, completion.

Everything here is imported by every command, so imports are few: click and the standard library's lighter modules.
"""

from __future__ import annotations

import functools
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from runtime.client import ControlClient
from runtime.errors import ExitCode, OperatorError
from runtime.output import Column, Row, details, document, table, use_colour, warn

F = TypeVar("F", bound=Callable[..., Any])

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""
BROKEN_PIPE = 141
"""Exit code when the reader of the output has left."""
TRACEBACK = "VRFWIRE_TRACEBACK"
"""Environment variable: let a bug show its traceback."""
_COMPLETION_TIMEOUT = 0.5
_SELDOM = ("error", "drain")
"""Fields of lists that are empty most of the time."""
SHELLS = ("bash", "fish", "zsh")

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""context_settings of a command."""

Reply = dict[str, object]


@dataclass(slots=True)
class Options:
    """The options that every command takes, wherever on the line they were given.

    daemon: name of the program that is asked; socket: of its control socket; watch: seconds between two looks, or None.
    """

    program: str
    daemon: str
    socket: str
    json: bool = False
    legend: bool = True
    watch: float | None = None

    def ask(self, method: str, params: Mapping[str, object] | None = None, timeout: float = 30.0) -> Reply:
        """One call of the daemon. Raises OperatorError."""
        with ControlClient(self.socket, self.daemon) as client:
            return client.call(method, params, timeout=timeout)

    # -- printing

    def print(self, text: str) -> None:
        """Data, to stdout."""
        sys.stdout.write(text)

    def show(self, reply: object, people: Callable[[bool], str]) -> None:
        """Print reply as JSON, or what people(colour) makes of it."""
        self.print(document(reply) if self.json else people(use_colour(sys.stdout)))

    def table(self, rows: Sequence[Row], columns: Sequence[Column], colour: bool) -> str:
        """A table with these options."""
        return table(rows, columns, legend=self.legend, colour=colour)

    def repeat(self, look: Callable[[], None]) -> None:
        """Call look once, or with --watch again and again until interrupted."""
        if self.watch is None:
            look()
            return
        clear = sys.stdout.isatty() and not self.json
        while True:
            if clear:
                self.print("\x1b[H\x1b[2J")
            look()
            if not clear and not self.json:
                self.print("\n")
            sys.stdout.flush()
            time.sleep(self.watch)

    def list(self, method: str, params: Mapping[str, object] | None, columns: Sequence[Column]) -> None:
        """Ask for a list, print it."""

        def look() -> None:
            reply = self.ask(method, params)
            rows = items(reply)
            # A column about what is seldom is worth its width only when there is some of it.
            idle = {name for name in _SELDOM if not any(row.get(name) for row in rows)}
            shown = [column for column in columns if column.field not in idle]
            self.show(reply, lambda colour: self.table(rows, shown, colour))

        self.repeat(look)

    def one(self, method: str, params: Mapping[str, object], columns: Sequence[Column]) -> None:
        """Ask for one thing, print it."""

        def look() -> None:
            reply = self.ask(method, params)
            shown = [column for column in columns if column.field != "hint" or reply.get("hint")]
            self.show(reply, lambda colour: details(reply, shown, colour=colour))

        self.repeat(look)


def items(reply: Mapping[str, object], key: str = "items") -> list[Row]:
    """The rows of a list in a reply."""
    found = reply.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


# -- options


def _store(name: str, value: Callable[[Any], Any] = lambda given: given) -> Callable[..., None]:
    def callback(context: click.Context, parameter: click.Parameter, given: Any) -> None:
        if given not in (None, False):
            setattr(context.find_root().obj, name, value(given))

    return callback


def _option(*names: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*names, expose_value=False, is_eager=True, **settings)


_SOCKET = _option(
    "--socket", metavar="PATH", callback=_store("socket"), help="Control socket of the daemon [VRFWIRE_SOCKET]."
)
_PRINTING = (
    _option("-j", "--json", is_flag=True, callback=_store("json"), help="One JSON document."),
    _option("--no-legend", is_flag=True, callback=_store("legend", lambda _: False), help="No heading line."),
)


def printing(function: F) -> F:
    """Decorates a command that asks no daemon by its control socket: --json, --no-legend."""
    for option in reversed(_PRINTING):
        function = option(function)
    return function


def common(function: F) -> F:
    """Decorates a command: --socket, --json, --no-legend."""
    return _SOCKET(printing(function))


def watching(function: F) -> F:
    """Decorates a command that looks at something: --watch and --interval."""
    function = click.option(
        "--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between looks."
    )(function)
    return click.option("--watch", "-w", is_flag=True, help="Look again and again, until Ctrl-C.")(_watched(function))


def watchable(function: F) -> F:
    """Decorates a command that looks at something: --watch and --interval, with the common options."""
    return watching(common(function))


def _watched(function: F) -> F:
    @functools.wraps(function)  # carries over the options that click keeps on a function
    def wrapper(*arguments: Any, watch: bool, interval: float, **named: Any) -> Any:
        if watch:
            click.get_current_context().find_root().obj.watch = interval
        return function(*arguments, **named)

    return cast(F, wrapper)


pass_options = click.make_pass_decorator(Options)


class Group(click.Group):
    """A group whose help keeps the commands in the order in which they were defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


# -- the whole command


def run(command: click.Group, options: Options, arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code. Errors are one line and a hint on stderr, never a traceback."""
    program = options.program
    variable = _completion_variable(program)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may hold what the terminal's encoding can't
    try:
        if instruction := os.environ.get(variable):
            return shell_complete(command, {"obj": options}, program, variable, instruction)
        with command.make_context(
            program, list(sys.argv[1:] if arguments is None else arguments), obj=options
        ) as context:
            code = command.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except OperatorError as error:
        return report(error, program)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else program
        where = path.removeprefix(program).strip() or "command line"
        why = error.format_message().rstrip(".")
        return report(OperatorError(where, why[:1].lower() + why[1:], f"{path} --help", ExitCode.USAGE), program)
    except click.ClickException as error:
        return report(OperatorError("command line", error.format_message()), program)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        return report(
            OperatorError("internal error", why, f"a bug: please report it; {TRACEBACK}=1 says where"), program
        )


def report(error: OperatorError, program: str) -> int:
    """Print an error the way every command does; returns its exit code."""
    warn(f"{error.what}: {error.why}", program)
    if error.hint:
        warn(error.hint, "hint")
    return int(error.code)


# -- completion


def names(method: str, field: str = "name") -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completes an argument with what the daemon knows; silent when it doesn't answer at once."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        options = context.find_root().obj
        if not isinstance(options, Options):
            return []
        try:
            with ControlClient(options.socket, options.daemon) as client:
                reply = client.call(method, timeout=_COMPLETION_TIMEOUT)
        except OperatorError:
            return []
        found = sorted(str(row[field]) for row in items(reply) if field in row)
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]

    return complete


def _completion_variable(program: str) -> str:
    """What the shell sets when it asks the program itself for completions."""
    return f"_{program.replace('-', '_').upper()}_COMPLETE"


def completion_script(command: click.Group, program: str, shell: str) -> str:
    """What a shell has to read to complete the program's arguments."""
    kind = get_completion_class(shell)
    if kind is None:
        raise OperatorError(f"shell {shell}", "not supported", f"one of {', '.join(SHELLS)}", ExitCode.USAGE)
    completer = kind(command, {}, program, _completion_variable(program))
    return str(completer.source_template % completer.source_vars())
