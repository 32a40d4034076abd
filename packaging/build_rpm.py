"""Builds the packages for rpm, from the same files as those for dpkg.

    python packaging/build_rpm.py [--version VERSION] [--output DIRECTORY]

Prints the paths of what it has made. The same sources make the same packages, bit by bit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from layout import COMMON, PACKAGES, REMOVER, RPM, Entry
from release import ROOT, Release, changelog_text, release
from rpm_files import bundled, changelog, file_list, packed, presets
from stage import stage
from wheels import LOCK, BuildError

SPEC = ROOT / "packaging/rpm/vrfwire.spec"
OUTPUT = ROOT / "build/rpm"
RELEASE = "1"
ARCHITECTURE = "x86_64"


def build(of: Release, output: Path = OUTPUT) -> tuple[Path, ...]:
    """Build all packages into output; returns their paths. Raises BuildError."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=output) as work:
        macros = prepare(Path(work), of)
        made = pack(macros, of, Path(work))
        return tuple(path.replace(output / path.name) for path in made)


def prepare(work: Path, of: Release) -> dict[str, str]:
    """Lay everything out in work; returns the macros that the spec wants. Raises BuildError."""
    staged, lists = work / "staged", work / "lists"
    lists.mkdir()
    packages = stage(staged, of, RPM)
    common = {entry.path for entry in packages[COMMON]}
    for package, entries in packages.items():
        tree = staged / package
        final = [_pack(tree, entry, of) for entry in entries]
        for entry in presets(entries):
            final.append(entry)
            _write(tree / entry.path, entry.content, of)
        (lists / f"{package}.files").write_text(file_list(final, common if package != COMMON else ()))
    (work / "bundled").write_text(bundled(LOCK.read_text()))
    (work / "changes").write_text(changelog(changelog_text(of)))
    return {
        "staged": str(staged),
        "lists": str(lists),
        "bundled": f"%(cat {work}/bundled)",
        "changes": f"%(cat {work}/changes)",
        "remover": f"/{REMOVER}",
        "packager": of.maintainer,
        "vrfwire_release": RELEASE,
        # Nothing of when, where and by whom.
        "_buildhost": "localhost",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "_binary_payload": "w9.zstdio",
    }


def pack(macros: dict[str, str], of: Release, work: Path) -> tuple[Path, ...]:
    """Make packages of what is laid out; returns their paths, below work. Raises BuildError."""
    made = work / f"made-{of.version}"
    # Each build in a folder of its own: rpmbuild empties what it finds there.
    with tempfile.TemporaryDirectory(prefix="top-", dir=work) as top:
        folders = {"_topdir": top, "_builddir": f"{top}/BUILD", "_rpmdir": str(made)}
        name = "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"
        given = {**macros, **folders, "_rpmfilename": name, "vrfwire_version": of.version}
        _run("rpmbuild", ["-bb", "--quiet", "--noclean", "--target", ARCHITECTURE], given, of)
    return tuple(made / file_name(package, of) for package in PACKAGES)


def expanded(macros: dict[str, str], of: Release) -> str:
    """The spec with all its macros replaced, which is what one looks for mistakes in. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="top-") as top:
        return _run("rpmspec", ["--parse"], {**macros, "_topdir": top, "vrfwire_version": of.version}, of)


def file_name(package: str, of: Release) -> str:
    """Of a package; all but one have nothing in them that is of one kind of processor."""
    return f"{package}-{of.version}-{RELEASE}.{ARCHITECTURE if package == COMMON else 'noarch'}.rpm"


def _run(program: str, options: Sequence[str], macros: dict[str, str], of: Release) -> str:
    tool = shutil.which(program)
    if tool is None:
        raise BuildError(f"{program} isn't here: install rpm (Debian) or rpm-build")
    # On Debian rpm keeps what it knows of packages in the home of whoever calls it, unless told otherwise.
    macros = {**macros, "_dbpath": f"{macros['_topdir']}/rpmdb"}
    defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(of.epoch), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    command = [tool, *options, *defines, str(SPEC)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _pack(tree: Path, entry: Entry, of: Release) -> Entry:
    """Bring a file into rpm's form."""
    if entry.is_directory or not (tree / entry.path).is_file():
        return entry
    path = tree / entry.path
    final, content = packed(entry, path.read_bytes())
    if final.path != entry.path:
        path.unlink()
        _write(tree / final.path, content, of)
    return final


def _write(path: Path, content: object, of: Release) -> None:
    assert isinstance(content, bytes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)
    os.utime(path, (of.epoch, of.epoch))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="packaging/build_rpm.py", description="Build the packages for rpm.")
    parser.add_argument("--version", help="in place of the changelog's")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: build/rpm")
    options = parser.parse_args(arguments)
    try:
        made = build(release(options.version or None), options.output.absolute())
    except (BuildError, ValueError) as error:
        print(f"packages: {error}", file=sys.stderr)
        return 1
    for path in made:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
