"""A root of its own that rpm installs into: a Debian system, with a package that provides what a distribution would.

Nothing outside of the root is touched: rpm and the scripts run in namespaces of their own, without /sys and devices. In
the place of what would talk to systemd stand scripts that note how they were called.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from rpm_files import SYSTEM_FOLDERS

NOTED = "/noted"
"""Where calls are noted, a line each."""

_OFFLINE = f"""#!/bin/sh
echo "systemctl $*" >> {NOTED}
case "$*" in
    *--no-reload\\ disable\\ --now\\ *) shift 3; set -- disable "$@" ;;
    *--no-reload*) shift ;;
    *) exit 0 ;;
esac
SYSTEMD_OFFLINE=1 exec /usr/bin/systemctl.real "$@"
"""
"""Changes of what is enabled are made, in the files; nothing is started or stopped, as there is nothing to ask."""

_NOTE = f"""#!/bin/sh
echo "${{0##*/}} ${{*##*/}}" >> {NOTED}
"""

_DEVICES = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9)}

_PASSING = ("var/lib/rpm/", "noted", "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/.pwd.lock")
"""What may differ when all is erased: rpm's own, and users, who stay so that nobody else ever gets their numbers."""

Snapshot = dict[str, tuple[int, int, int, bytes]]


class Root:
    """Of an unpacked Debian system at path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in ("dev", "proc", *SYSTEM_FOLDERS):
            (path / folder).mkdir(parents=True, exist_ok=True)
        for name, (major, minor) in _DEVICES.items():
            os.mknod(path / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            (path / "dev" / name).chmod(0o666)
        (path / "usr/bin/systemctl").rename(path / "usr/bin/systemctl.real")
        self._program("usr/bin/systemctl", _OFFLINE)
        for name in ("systemd-modules-load", "systemd-sysctl"):
            self._program(f"usr/lib/systemd/{name}", _NOTE)

    def _program(self, name: str, text: str) -> None:
        path = self.path / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def booted(self, yes: bool) -> None:
        """Whether scripts find systemd running."""
        marker = self.path / "run/systemd/system"
        if yes:
            marker.mkdir(parents=True, exist_ok=True)
        else:
            shutil.rmtree(marker.parent, ignore_errors=True)

    # -- commands

    def rpm(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run rpm with the root as its root."""
        # On Debian rpm has a word for who means dpkg, and another place for what it knows.
        options = ["--force-debian", "--root", str(self.path), "--dbpath", "/var/lib/rpm"]
        return self._run(["rpm", *options, *map(str, arguments)], check)

    def run(self, *arguments: str, user: str = "root", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command within the root."""
        return self._run(["chroot", f"--userspec={user}", str(self.path), *arguments], check)

    def _run(self, command: Sequence[str], check: bool) -> subprocess.CompletedProcess[str]:
        namespaces = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL"]
        namespaces.append(f"--mount-proc={self.path}/proc")
        done = subprocess.run(
            [*namespaces, *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    # -- what there is

    def noted(self) -> list[str]:
        """The calls since the last time that this was asked."""
        path = self.path / NOTED.lstrip("/")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def installed(self) -> set[str]:
        """Packages of vrfwire that rpm knows: NAME-VERSION-RELEASE."""
        return {line for line in self.rpm("-qa", "vrfwire-*").stdout.splitlines() if "distribution" not in line}

    def snapshot(self) -> Snapshot:
        """Mode, owner and content of everything that may not differ afterwards."""
        found: Snapshot = {}
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                path = Path(folder, name)
                relative = str(path.relative_to(self.path))
                if not f"{relative}/".startswith(_PASSING) and not relative.startswith(_PASSING):
                    found[relative] = _state(path)
        return found


def _state(path: Path) -> tuple[int, int, int, bytes]:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        content = str(path.readlink()).encode()
    else:
        # Large files of the system are told apart by size: nobody changes a few bytes of these in place.
        large = status.st_size > 1 << 16
        content = str(status.st_size).encode() if large else path.read_bytes() if path.is_file() else b""
    return status.st_mode, status.st_uid, status.st_gid, content


def provided(root: Path) -> list[str]:
    """What the Debian system has that packages of rpm may ask for: programs, and libraries with their versions."""
    programs = [f"/{folder}/{path.name}" for folder in ("usr/bin", "usr/sbin") for path in (root / folder).iterdir()]
    libraries = sorted((root / "usr/lib/x86_64-linux-gnu").glob("*.so.*"))
    told = subprocess.run(
        ["/usr/lib/rpm/elfdeps", "--provides"],
        input="".join(f"{path}\n" for path in libraries),
        capture_output=True,
        text=True,
        check=True,
    )
    return [*programs, "/bin/sh", "rtld(GNU_HASH)", *sorted(set(told.stdout.split("\n")) - {""})]


def distribution(provides: Iterable[str], work: Path) -> Path:
    """A package without files that provides these."""
    spec = work / "distribution.spec"
    head = ["Name: vrfwire-test-distribution", "Version: 1", "Release: 1", "Summary: x", "License: x"]
    lines = [*head, "BuildArch: noarch", *(f"Provides: {name}" for name in provides)]
    spec.write_text("\n".join([*lines, "%description", "x", "%files", ""]))
    defines = [f"_topdir {work}/top", f"_rpmdir {work}", "_rpmfilename distribution.rpm", f"_dbpath {work}/rpmdb"]
    options = [word for define in defines for word in ("--define", define)]
    subprocess.run(["rpmbuild", "-bb", "--quiet", *options, spec], check=True, capture_output=True)
    return work / "distribution.rpm"
