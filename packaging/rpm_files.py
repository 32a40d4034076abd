"""What rpm has to be told of the files of a package: its lists (%files) and its changelog."""

from __future__ import annotations

import gzip
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from layout import Entry, Flag

SYSTEM_FOLDERS = frozenset(
    (
        *("etc", "usr", "usr/bin", "usr/lib", "usr/sbin", "usr/share", "usr/share/doc", "usr/share/man"),
        *(f"usr/share/man/man{section}" for section in range(1, 9)),
        *("usr/lib/systemd", "usr/lib/systemd/system", "usr/lib/systemd/system-preset"),
        *(f"usr/lib/{name}.d" for name in ("modules-load", "sysctl", "sysusers", "tmpfiles")),
    )
)
"""Folders that every machine with systemd has: packages of vrfwire leave them alone.

All others a package has as its own, beside other packages that do, since what nobody has stays when all is erased.
"""

MANUAL = "usr/share/man/"
PRESET = "usr/lib/systemd/system-preset/80-{package}.preset"


def packed(entry: Entry, content: bytes) -> tuple[Entry, bytes]:
    """An entry as rpm's packages have it: manual pages are compressed, the same each time."""
    if not entry.path.startswith(MANUAL):
        return entry, content
    return replace(entry, path=f"{entry.path}.gz"), gzip.compress(content, mtime=0)


def presets(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Says that a package's units are meant to be enabled; presets of the administrator go before."""
    for entry in entries:
        if entry.path.endswith(".service") and "/systemd/system/" in entry.path:
            path = PRESET.format(package=entry.package)
            yield Entry(entry.package, path, f"enable {PurePosixPath(entry.path).name}\n".encode())


def file_list(entries: Iterable[Entry], others: Container[str] = ()) -> str:
    """The list of a package: every entry with its mode and owner, and the folders above that are its own.

    others: paths of packages that it requires, which look after these themselves.
    """
    listed = {entry.path: entry for entry in entries}
    package = next(iter(listed.values())).package
    for entry in tuple(listed.values()):
        for folder in PurePosixPath(entry.path).parents:
            path = str(folder)
            if path != "." and path not in SYSTEM_FOLDERS and path not in others:
                listed.setdefault(path, Entry(package, path, None, 0o755))
    return "".join(f"{_line(listed[path])}\n" for path in sorted(listed))


def _line(entry: Entry) -> str:
    marks = [f"%attr({entry.mode:04o}, {entry.owner}, {entry.group})"]
    if entry.is_directory:
        marks.append("%dir")
    elif entry.flag is Flag.CONFIG:
        marks.append("%config(noreplace)")
    elif entry.flag is Flag.DOC:
        marks.append("%doc")
    # A name with a blank would be two.
    return f'{" ".join(marks)} "/{entry.path}"'


_ENTRY = re.compile(r"^vrfwire \((\S+)\)[^\n]*\n\n(.*?)\n -- (.+?)  (\w+), +(\d+) (\w+) (\d+) [^\n]*$", re.M | re.S)


def changelog(debian: str) -> str:
    """rpm's changelog from a Debian one."""
    entries = []
    for version, body, who, weekday, day, month, year in _ENTRY.findall(debian):
        points = re.sub(r"\n {3,}(?=\S)", " ", body.strip("\n")).split("\n")
        text = [f"- {point.removeprefix('  * ').strip()}" for point in points if point.strip()]
        entries.append("\n".join([f"* {weekday} {month} {int(day):02} {year} {who} - {version}-1", *text]))
    return "\n\n".join(entries).replace("%", "%%") + "\n"


def bundled(lock: str) -> str:
    """What the private environment brings, as distributions want it told: a Provides: for each package of a lock."""
    pins = re.findall(r"^([a-z0-9._-]+)==([0-9][^ \\\\;]*)", lock, re.MULTILINE)
    return "\n".join(f"Provides:       bundled(python3dist({name})) = {version}" for name, version in pins)
