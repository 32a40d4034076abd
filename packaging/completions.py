"""Completions for bash, zsh and fish, as files that packages bring.

The files are fixed at build; those of commands ask the program itself when a word is to be completed, so that names of
ports and VPNs are completed too. Daemons have so few options that these stand in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from programs import COMMANDS, DAEMONS, Daemon
from runtime.command import completion_script


class Completion(NamedTuple):
    """A file. package: that brings it; path: below /usr/share."""

    package: str
    path: str
    text: str


def completions(zsh: str) -> Iterator[Completion]:
    """All of them. zsh: folder of zsh's functions below /usr/share."""
    for command in COMMANDS:
        for shell in ("bash", "zsh", "fish"):
            text = completion_script(command.cli, command.name, shell).strip() + "\n"
            yield Completion(command.package, _path(command.name, shell, zsh), text)
    for daemon in DAEMONS:
        if daemon.name == daemon.command:
            for shell, make in (("bash", _bash), ("zsh", _zsh), ("fish", _fish)):
                yield Completion(daemon.package, _path(daemon.name, shell, zsh), make(daemon))


def _path(program: str, shell: str, zsh: str) -> str:
    return {
        "bash": f"bash-completion/completions/{program}",
        "zsh": f"{zsh}/_{program}",
        "fish": f"fish/vendor_completions.d/{program}.fish",
    }[shell]


# -- daemons


def _options(daemon: Daemon) -> Iterator[tuple[tuple[str, ...], bool, str]]:
    """Names, whether a file follows, description."""
    for action in daemon.options():
        yield tuple(action.option_strings), action.nargs != 0, (action.help or "").replace("'", "")


def _bash(daemon: Daemon) -> str:
    function = "_" + daemon.name.replace("-", "_")
    names = [name for names, _, _ in _options(daemon) for name in names]
    files = [name for names, takes_file, _ in _options(daemon) for name in names if takes_file]
    return f"""{function}() {{
    COMPREPLY=()
    case $3 in
        {"|".join(files)}) compopt -o default ;;
        *) mapfile -t COMPREPLY < <(compgen -W "{" ".join(names)}" -- "$2") ;;
    esac
}}
complete -F {function} {daemon.name}
"""


def _zsh(daemon: Daemon) -> str:
    lines = [f"#compdef {daemon.name}", "", "_arguments \\"]
    for names, takes_file, text in _options(daemon):
        label = text.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
        after = ":file:_files" if takes_file else ""
        lines += [f"    '{name}[{label}]{after}' \\" for name in names]
    return "\n".join(lines).removesuffix(" \\") + "\n"


def _fish(daemon: Daemon) -> str:
    lines = []
    for names, takes_file, text in _options(daemon):
        flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in names)
        lines.append(f"complete -c {daemon.name} {flags}{' -r -F' if takes_file else ' -f'} -d '{text}'")
    return "\n".join(lines) + "\n"
