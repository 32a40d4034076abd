"""Builds the Debian packages; nothing is built anew while what they are made of is the same.

python packaging/deb.py [--version VERSION]        # prints the paths of the packages
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from layout import DEB, PACKAGES
from release import ROOT, Release, changelog_text, release
from stage import documents, product, stage
from wheels import BuildError

BUILD = ROOT / "build/deb"
ARCHITECTURE = "amd64"


def build(version: str | None = None, directory: Path = BUILD) -> tuple[Path, ...]:
    """Build what isn't built yet; returns the packages' paths. version: another than the changelog's.

    Two at a time wait for each other. Raises BuildError, and ValueError for a version that isn't one.
    """
    of = release(version)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages = tuple(directory / f"{name}_{of.version}_{ARCHITECTURE}.deb" for name in PACKAGES)
        stamp = directory / f".{of.version}.stamp"
        made_of = inputs(of)
        if not (stamp.exists() and stamp.read_text() == made_of and all(path.exists() for path in packages)):
            stamp.unlink(missing_ok=True)
            _build(of, directory / f"tree-{of.version}", directory)
            stamp.write_text(made_of)
    return packages


def inputs(of: Release, root: Path = ROOT) -> str:
    """A digest of everything that the packages are made of."""
    digest = hashlib.sha256(of.version.encode())
    for name, content in _sources(root):
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[tuple[str, bytes]]:
    yield from product(root)
    for name in (*documents(root), "requirements-runtime.lock"):
        yield name, (root / name).read_bytes()
    for folder in ("packaging", "systemd"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(root)), path.read_bytes() + bytes([path.stat().st_mode & 0o100 != 0])


def _build(of: Release, tree: Path, results: Path) -> None:
    """Build in a tree of its own, which dpkg wants its results beside."""
    shutil.rmtree(tree, ignore_errors=True)
    source = tree / "source"
    shutil.copytree(ROOT / "packaging/debian", source / "debian")
    (source / "debian/changelog").write_text(changelog_text(of))
    control = source / "debian/control"
    control.write_text(control.read_text().replace("@MAINTAINER@", of.maintainer))
    stage(source / "stage", of, DEB)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tree),
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": str(of.epoch),
        "DEB_BUILD_OPTIONS": "nocheck noautodbgsym",
    }
    # -d: dpkg takes a compiler to be needed for every build, and nothing is compiled here.
    command = ["dpkg-buildpackage", "-d", "--no-sign", "--build=binary", "--no-pre-clean"]
    with (results / f"{of.version}.log").open("w") as log:
        done = subprocess.run(command, cwd=source, env=environ, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        last = "".join((results / f"{of.version}.log").read_text().splitlines(keepends=True)[-15:])
        raise BuildError(f"dpkg-buildpackage failed; the end of {results / f'{of.version}.log'}:\n{last}")
    for package in tree.glob("*.deb"):
        package.replace(results / package.name)
    shutil.rmtree(tree)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="packaging/deb.py", description="Build the Debian packages.")
    parser.add_argument("--version", help="in place of the changelog's")
    options = parser.parse_args(arguments)
    try:
        packages = build(options.version or None)
    except (BuildError, ValueError) as error:
        print(f"packages: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(path.relative_to(ROOT)) for path in packages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
