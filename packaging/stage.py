"""Lays out the files of every package, for dpkg and rpm alike: DIRECTORY/PACKAGE/... and DIRECTORY/PACKAGE.list.

python packaging/stage.py DIRECTORY [--version VERSION] [--family deb|rpm]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import completions
import manpages
import remover
from layout import AGENT, COMMON, FAMILIES, LIBRARY, PACKAGES, PRODUCT, REMOVER, SITE, Entry, Family, Flag, fixed
from release import ROOT, Release, release
from wheels import BuildError, compile_tree, environment

_VERSION_LINE = re.compile(r'^VERSION = ".*"$', re.MULTILINE)


def stage(directory: Path, of: Release, family: Family, root: Path = ROOT) -> dict[str, tuple[Entry, ...]]:
    """Lay out every package below directory, which is made anew; returns the entries of each, in order of path.

    Everything has the release's date and mode as in the entry, and belongs to whoever calls this. Raises BuildError.
    """
    shutil.rmtree(directory, ignore_errors=True)
    for package in PACKAGES:
        (directory / package).mkdir(parents=True)
    entries = [*fixed(family, documents(root)), *generated(of, family, root)]
    for entry in entries:
        _write(directory, entry, root)
    entries += _private_environment(directory, of, root)
    listed = {name: tuple(sorted((e for e in entries if e.package == name), key=_path)) for name in PACKAGES}
    for package, its_entries in listed.items():
        (directory / f"{package}.list").write_text("".join(entry.line() + "\n" for entry in its_entries))
    _settle_folders(directory, entries)
    _date(directory, of.epoch)
    return listed


def documents(root: Path) -> tuple[str, ...]:
    """README.md, every page of docs/ and the rules for alarms, relative to root."""
    found = [path for pattern in ("*.md", "*.yml") for path in (root / "docs").rglob(pattern)]
    return ("README.md", *sorted(str(path.relative_to(root)) for path in found))


def product(root: Path) -> Iterator[tuple[str, bytes]]:
    """What of ours a host runs: name relative to site-packages, content."""
    for package in PRODUCT:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(root)), path.read_bytes()


def with_version(source: str, version: str) -> str:
    """runtime/version.py that gives another version."""
    changed, count = _VERSION_LINE.subn(f'VERSION = "{version}"', source)
    if count != 1:
        raise BuildError("runtime/version.py has no line VERSION = ...")
    return changed


def _path(entry: Entry) -> str:
    return entry.path


def _write(directory: Path, entry: Entry, root: Path) -> None:
    target = directory / entry.package / entry.path
    if entry.content is None:
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(
            (root / entry.content).read_bytes() if isinstance(entry.content, PurePosixPath) else entry.content
        )
    target.chmod(entry.mode)


def generated(of: Release, family: Family, root: Path = ROOT) -> Iterator[Entry]:
    """Completions and manual pages, which are made of the programs themselves; the remover, of their modules."""
    yield Entry(AGENT, REMOVER, remover.archive(product(root)))
    for completion in completions.completions(family.zsh):
        yield Entry(completion.package, f"usr/share/{completion.path}", completion.text.encode())
    for page in manpages.pages(of.version, of.date.date()):
        yield Entry(page.package, f"usr/share/man/{page.path}", page.text.encode(), flag=Flag.DOC)


def _private_environment(directory: Path, of: Release, root: Path) -> Iterator[Entry]:
    """Ours and others' modules with their byte code."""
    site = directory / COMMON / SITE
    shutil.copytree(environment(), site)
    ours = site.with_name("ours")
    for name, content in product(root):
        if name == "runtime/version.py":
            content = with_version(content.decode(), of.version).encode()
        (ours / name).parent.mkdir(parents=True, exist_ok=True)
        (ours / name).write_bytes(content)
    compile_tree(ours)
    for package in PRODUCT:
        (ours / package).rename(site / package)
    ours.rmdir()
    yield Entry(COMMON, LIBRARY, None, 0o755)
    for path in sorted((site, *site.rglob("*"))):
        mode = 0o755 if path.is_dir() else 0o644
        path.chmod(mode)
        name = str(path.relative_to(directory / COMMON))
        yield Entry(COMMON, name, None if path.is_dir() else PurePosixPath(name), mode)


def _settle_folders(directory: Path, entries: Iterable[Entry]) -> None:
    """Folders that several packages have in common have the same mode in each, whatever the caller's umask is."""
    modes = {entry.path: entry.mode for entry in entries if entry.is_directory}
    for package in PACKAGES:
        root = directory / package
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            folder.chmod(modes.get(str(folder.relative_to(root)), 0o755))


def _date(directory: Path, epoch: int) -> None:
    """Everything is as old as the release."""
    for folder, folders, files in os.walk(directory, topdown=False):
        for name in (*files, *folders):
            os.utime(Path(folder, name), (epoch, epoch), follow_symlinks=False)
    os.utime(directory, (epoch, epoch))


def main(arguments: Iterable[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="packaging/stage.py", description="Lay out the files of every package.")
    parser.add_argument("directory", type=Path, help="made anew")
    parser.add_argument("--version", help="in place of the changelog's")
    parser.add_argument("--family", choices=FAMILIES, default="deb")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        stage(options.directory, release(options.version), FAMILIES[options.family])
    except (BuildError, ValueError) as error:
        print(f"packages: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
