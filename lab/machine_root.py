"""The root file system of a Debian machine: made once by debootstrap, kept, and laid out anew for every machine.

What debootstrap makes is kept as it is, in an archive named after what it was made of. What the machine needs beside
that (kernel modules, the server that runs our commands, what is left out at boot) is put in at each lay-out, and so is
never out of date. The machine's disk is an ext4 image of that: on hostfs, all that daemons make would be root's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab import uml
from lab.errors import LabError
from lab.process import die_with_parent

SUITE = "bookworm"
"""Debian 12, whose Python is the one that the packages are made for."""

PACKAGES = ("systemd", "systemd-sysv", "dbus", "udev", "kmod", "python3", "iproute2", "iputils-ping")
"""What the machine has beside Debian's essential packages: systemd as on a host, and what our packages depend on."""

EXCHANGE = Path("/machine")
"""Where the machine sees the exchange directory, by which commands and their output go in and out."""

SERVER = Path(__file__).with_name("machine_server.py")

DISK = "2G"
"""Size of the disk; only what is written takes room."""

_PREFIX = "vrfwire-machine-"
_NEW = 10.0
"""Seconds in which a directory is taken for one that is just being made."""

_MODULES = ("kernel/net", "kernel/lib", "kernel/crypto", "kernel/drivers/net", "kernel/fs/autofs")
"""Folders of kernel modules that a network host uses."""

_MASKED = (
    # Waits and processes that mean something on a real host only; a process costs 30 ms and more in user-mode Linux.
    *("e2scrub_reap.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount"),
    *(f"modprobe@{name}.service" for name in ("configfs", "dm_mod", "drm", "efi_pstore", "fuse", "loop")),
    *("systemd-logind.service", "getty.target", "getty@.service", "systemd-update-utmp.service"),
    *("systemd-update-utmp-runlevel.service", "systemd-random-seed.service", "systemd-user-sessions.service"),
    *("systemd-journal-flush.service", "systemd-network-generator.service", "systemd-tmpfiles-setup-dev.service"),
    *("kmod-static-nodes.service", "systemd-remount-fs.service", "dev-mqueue.mount"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
)

_FILES = {
    "etc/hostname": "machine\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 machine\n::1 localhost\n",
    # Fixed: an empty one would make every boot a first boot, which enables all units that there are.
    "etc/machine-id": "5f0c3f6d7bb94cf5a1f0d3a4f6a3c1e2\n",
    "etc/systemd/journald.conf.d/machine.conf": "[Journal]\nStorage=volatile\nForwardToConsole=yes\n"
    "MaxLevelConsole=info\nRateLimitIntervalSec=0\n",
    # Of the console's 256 terminals none is of interest.
    "etc/systemd/system/systemd-udev-trigger.service.d/machine.conf": "[Service]\nExecStart=\n"
    "ExecStart=udevadm trigger --type=devices --action=add --subsystem-match=net --subsystem-match=module\n",
    "etc/systemd/system/machine-server.service": f"""[Unit]
Description=Runs the commands of whoever has booted this machine
ConditionKernelCommandLine=!machine.shell
RequiresMountsFor={EXCHANGE}
[Service]
ExecStart=/usr/bin/python3 -I {EXCHANGE}/server.py
KillMode=process
[Install]
WantedBy=multi-user.target
""",
    "etc/systemd/system/machine-shell.service": """[Unit]
Description=A shell for the person at the console
After=multi-user.target
ConditionKernelCommandLine=machine.shell
[Service]
ExecStart=/bin/bash -l
ExecStopPost=systemctl start --no-block poweroff.target
WorkingDirectory=/root
Environment=HOME=/root TERM=linux
StandardInput=tty-force
StandardOutput=tty
TTYPath=/dev/tty0
[Install]
WantedBy=multi-user.target
""",
    "etc/dpkg/dpkg.cfg.d/machine": "force-unsafe-io\n",
}

_CHROOT = """set -e
mount --make-rprivate /
mount -t tmpfs none "$0/run"
exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
"""


def mirror(targets: str, suite: str = SUITE) -> str | None:
    """Address of the Debian archive that this machine's apt takes `suite` from, None when it takes it from nowhere.

    targets: what `apt-get indextargets` prints with the format of `_targets`.
    """
    found = None
    for line in targets.splitlines():
        address, release, component, origin = line.split("|")
        if (release, component) == (suite, "main") and origin in ("Debian", ""):
            if origin:
                return address
            found = found or address
    return found


def _targets() -> str:
    """The archives of this machine's apt: "ADDRESS|SUITE|COMPONENT|ORIGIN" a line; origin only after an update."""
    shape = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"
    apt = shutil.which("apt-get")
    if apt is None:
        return ""
    command = [apt, "indextargets", "--format", shape, "Created-By: Packages"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


def archive(cache: Path, packages: Sequence[str] = PACKAGES, suite: str = SUITE) -> Path:
    """The archive with a fresh Debian system, from the directory `cache`, or made now (about a minute).

    Raises LabError when it can't be made.
    """
    key = hashlib.sha256("\n".join((suite, *packages)).encode()).hexdigest()[:12]
    path = cache / f"{suite}-{key}.tar"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for former in cache.glob(f"{suite}-*.tar"):
            former.unlink()
        _make_archive(path, packages, suite)
    return path


def _make_archive(path: Path, packages: Sequence[str], suite: str) -> None:
    tool = shutil.which("debootstrap", path=_environ()["PATH"])
    if tool is None:
        raise LabError("debootstrap is not installed", "run `make setup`")
    _need_root()
    with tempfile.TemporaryDirectory(prefix="vrfwire-root-", dir=_space()) as directory:
        root = Path(directory) / "root"
        source = mirror(_targets(), suite)
        # Without a mirror debootstrap has its own idea of one.
        command = [tool, "--variant=minbase", f"--include={','.join(packages)}", suite, str(root)]
        done = _run([*command, *([source] if source else [])])
        if done.returncode != 0:
            log = root / "debootstrap" / "debootstrap.log"
            text = log.read_text(errors="replace") if log.exists() else done.stdout
            raise LabError(
                f"debootstrap failed with status {done.returncode}",
                "it needs root and a Debian mirror; /etc/apt/sources.list* says which",
                log=uml.tail(text),
            )
        new = path.with_suffix(f".{os.getpid()}")
        with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(root, ".", filter=_wanted)
        new.rename(path)


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leaves out what no test reads: documents, lists and packages of apt, devices (the kernel makes them)."""
    name = member.name.removeprefix("./")
    bulky = ("usr/share/doc/", "usr/share/locale/", "usr/share/man/", "var/lib/apt/lists/", "var/cache/apt/", "dev/")
    return None if name.startswith(bulky) else member


def _environ() -> dict[str, str]:
    """Ours, with the directories of the administrator's programs in the path."""
    return {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program that ends with this process at the latest; all that it prints is its output."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
        check=False,
    )


def _need_root() -> None:
    if os.geteuid() != 0:
        raise LabError("a Debian machine's files belong to several users", "run this as root")


def _space() -> str:
    """Where a root fits: in memory if there is room."""
    return uml.choose_space(uml.look_for_space(["/dev/shm", tempfile.gettempdir(), "/var/tmp"]), 1 << 30)


def sweep(space: Path) -> None:
    """Remove roots in `space` whose process was killed: each is locked as long as its process lives."""
    for directory in space.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # One that is new may not be locked yet.
                if time.time() - directory.stat().st_mtime > _NEW:
                    shutil.rmtree(directory)
            finally:
                os.close(descriptor)


class Root:
    """A root file system of its own, gone at the end of a with block.

    path: where it is laid out, until it becomes a disk(); exchange: the directory that the machine sees as EXCHANGE;
    work: what the machine needs beside them.
    """

    def __init__(self, tar: Path) -> None:
        """Lay out `tar`, an archive(), ready to boot. Raises LabError without root or space."""
        _need_root()
        space = Path(_space())
        sweep(space)
        self._directory = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=space)
        self._lock = os.open(self._directory.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = Path(self._directory.name) / "root"
        self.exchange = Path(self._directory.name) / "exchange"
        self.work = Path(self._directory.name) / "work"
        self._disk = Path(self._directory.name) / "disk"
        try:
            self.path.mkdir(mode=0o755)
            self.exchange.mkdir(mode=0o700)
            self.work.mkdir(mode=0o700)
            subprocess.run(["tar", "-C", str(self.path), "-xpf", str(tar), "--numeric-owner"], check=True)
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        (self.path / "dev").mkdir(exist_ok=True)
        for name, text in _FILES.items():
            self.write(name, text)
        self.write(
            f"etc/systemd/system/{EXCHANGE.name}.mount",
            f"[Mount]\nWhat=none\nWhere={EXCHANGE}\nType=hostfs\nOptions={self.exchange}\n",
        )
        units = self.path / "etc/systemd/system"
        for unit in _MASKED:
            (units / unit).symlink_to("/dev/null")
        generators = self.path / "etc/systemd/system-generators"
        generators.mkdir()
        for generator in (self.path / "lib/systemd/system-generators").glob("*"):
            (generators / generator.name).symlink_to("/dev/null")
        wants = units / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        for unit in ("machine-server.service", "machine-shell.service"):
            (wants / unit).symlink_to(f"../{unit}")
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        shutil.copy(SERVER, self.exchange / "server.py")
        self._add_modules()

    def _add_modules(self, home: Path = uml.MODULE_HOME) -> None:
        """Modules of the installed user-mode kernels."""
        for source in home.iterdir() if home.is_dir() else ():
            target = self.path / "lib/modules" / source.name
            for folder in _MODULES:
                if (source / folder).is_dir():
                    shutil.copytree(source / folder, target / folder)
            for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
                shutil.copy(source / name, target)
            subprocess.run(["depmod", "-b", str(self.path), source.name], env=_environ(), check=True)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's. name: path in the machine, with or without the first slash."""
        path = self.path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def run(self, *argv: str) -> str:
        """Run a command in the root before it becomes a disk, in private namespaces. Returns what it prints.

        It sees no /proc and no /sys, so it can't change anything of this machine. Raises LabError when it fails.
        """
        namespaces = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL"]
        done = _run([*namespaces, "sh", "-c", _CHROOT, str(self.path), *argv])
        if done.returncode != 0:
            raise LabError(f"{' '.join(argv)}: exit status {done.returncode}", log=uml.tail(done.stdout))
        return done.stdout

    def install(self, packages: Sequence[Path]) -> str:
        """Install .deb files, as when an image is made. Returns what dpkg prints."""
        folder = self.path / "packages"
        folder.mkdir()
        for package in packages:
            shutil.copy(package, folder)
        try:
            return self.run("dpkg", "--install", *(f"/packages/{package.name}" for package in packages))
        finally:
            shutil.rmtree(folder)

    def bring(self, files: Iterable[Path]) -> list[str]:
        """Copy files into the exchange directory, at any time; returns their paths in the machine."""
        return [str(EXCHANGE / Path(shutil.copy(file, self.exchange)).name) for file in files]

    def disk(self) -> Path:
        """The image to boot from, made of what is laid out. From then on only the machine changes it."""
        if not self._disk.exists():
            # A machine that is new each time needs no check sums, and nobody to grow it.
            features = ["-O", "^metadata_csum,^resize_inode", "-J", "size=8", "-m", "0"]
            lazy = ["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]
            done = subprocess.run(
                ["mke2fs", "-q", "-F", "-t", "ext4", *features, *lazy, "-d", str(self.path), str(self._disk), DISK],
                env=_environ(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise LabError(f"mke2fs: exit status {done.returncode}", log=done.stderr)
            shutil.rmtree(self.path)
        return self._disk

    def close(self) -> None:
        """Remove it. Again: does nothing."""
        self._directory.cleanup()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
