"""The private environment's share of others: wheels that are pinned and hashed, fetched once, unpacked and compiled.

Wheels are fetched for the Python of the layout on Linux, x86_64, whatever the Python that builds is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from layout import PYTHON, SITE

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-runtime.lock"
CACHE = ROOT / "build/packages"

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")
"""What Debian 12 and Enterprise Linux 9 both run: GNU libc 2.28 or older."""

_UNUSED = (".h", ".pxd", ".pyx", ".pxi", ".c", ".cpp", ".pyi", ".typed")
"""Endings of what only compilers and type checkers read."""
_UNUSED_FOLDERS = ("pip/", "tests/", "sqlalchemy/testing/", "cffi/_imp_emulation", "lxml/includes/")

COMPILE = """
import compileall, py_compile, sys
tree, prefix = sys.argv[1:]
done = compileall.compile_dir(
    tree, maxlevels=64, quiet=1, force=True, stripdir=tree, prependdir=prefix, optimize=-1,
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
sys.exit(not done)
"""


class BuildError(Exception):
    """The packages can't be built; the message says why and what to do."""


def interpreter() -> str:
    """A Python of the version that the packages are for; raises BuildError."""
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    name = f"python{PYTHON[0]}.{PYTHON[1]}"
    found = shutil.which(name)
    if found is None:
        raise BuildError(f"byte code has to be made by {name}, which isn't here: install it, or `make PYTHON={name}`")
    return found


def compile_tree(tree: Path, installed: str = f"/{SITE}") -> None:
    """Byte code beside every module, valid without a look at the source (a read-only /usr is fine), and the same
    each time. installed: absolute path that tree will have on a host. Raises BuildError."""
    # Not isolated: PYTHONHASHSEED is what makes the order of sets in byte code repeat.
    environ = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([interpreter(), "-SB", "-c", COMPILE, tree, installed], env=environ, check=False)
    if done.returncode != 0:
        raise BuildError(f"byte code of {tree} can't be made: see above")


def fetch(lock: Path = LOCK, cache: Path = CACHE) -> Path:
    """The folder with the wheels of the lock; fetched when it isn't there yet. Raises BuildError."""
    folder = cache / f"wheels-{_key(lock)}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(lock), "-d", str(partial)]
    command += ["--python-version", f"{PYTHON[0]}.{PYTHON[1]}", "--implementation", "cp"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    command += [word for abi in (f"cp{PYTHON[0]}{PYTHON[1]}", "abi3", "none") for word in ("--abi", abi)]
    try:
        if subprocess.run(command, check=False).returncode != 0:
            raise BuildError(f"the wheels of {lock.name} can't be fetched: see above")
        _settle(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def environment(lock: Path = LOCK, cache: Path = CACHE) -> Path:
    """The folder with everything of others in the private environment, compiled; made when it isn't there yet.

    It is a cache: copy it, don't change it. Raises BuildError.
    """
    folder = cache / f"environment-{_key(lock)}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for wheel in sorted(fetch(lock, cache).glob("*.whl")):
            unpack(wheel, partial)
        compile_tree(partial)
        _settle(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def unpack(wheel: Path, tree: Path) -> None:
    """Unpack a wheel's modules into a tree, without what no program reads. Raises BuildError: a file that is there
    already, or one outside the tree."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = installed_name(info.filename)
            if name is None or info.is_dir():
                continue
            target = tree / name
            if target.exists():
                raise BuildError(f"{wheel.name}: {name} is in another wheel too")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(info))
            target.chmod(0o644)


def installed_name(name: str) -> str | None:
    """Where a file of a wheel goes, relative to site-packages; None if it isn't needed. Raises BuildError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BuildError(f"a wheel has a file outside of itself: {name}")
    if path.parts[0].endswith(".data"):
        # Programs, headers and data of others have no business on a hypervisor.
        if path.parts[1] not in ("purelib", "platlib"):
            return None
        path = PurePosixPath(*path.parts[2:])
    kept = str(path)
    record = path.parts[0].endswith(".dist-info") and path.name in ("RECORD", "INSTALLER", "WHEEL", "REQUESTED")
    if record or kept.endswith(_UNUSED) or any(part in kept for part in _UNUSED_FOLDERS) or kept.endswith(".pth"):
        return None
    return kept


def _settle(partial: Path, folder: Path) -> None:
    """Give a finished folder its name; another build may have been faster."""
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _key(lock: Path) -> str:
    """Of everything that the result depends on: pins, and this module."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + lock.read_bytes())
    return digest.hexdigest()[:16]
