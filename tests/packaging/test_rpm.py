"""The packages for rpm: built, looked at, installed into a root of their own, used there, upgraded, erased."""

from __future__ import annotations

import grp
import gzip
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from build_rpm import expanded, pack, prepare
from lab import machine_root
from layout import PACKAGES
from manpages import pages
from release import ROOT, Release, release
from tests.packaging.rpm_root import Root, Snapshot, distribution, provided

NEXT = "0.1.0+test1"
CONFIG = ROOT / "packaging/rpm/rpmlint.toml"
UNITS = ("vrfwire-agent", "vrfwire-gateway", "vrfwire-map")
WANTS = "etc/systemd/system/multi-user.target.wants"


class Built(NamedTuple):
    """Packages of this version, the same made again, those of the next one; the spec as it was used."""

    of: Release
    packages: tuple[Path, ...]
    again: tuple[Path, ...]
    upgrade: tuple[Path, ...]
    spec: Path


@pytest.fixture(scope="module")
def space() -> Iterator[Path]:
    """A folder in memory, if there is room."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30
    with tempfile.TemporaryDirectory(prefix="vrfwire-rpm-", dir=memory if roomy else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def built(space: Path) -> Built:
    work = space / "build"
    work.mkdir()
    of = release()
    macros = prepare(work, of) | {"_binary_payload": "w1.zstdio"}
    first = pack(macros, of, work)
    (work / f"made-{of.version}").rename(work / "first")
    again = pack(macros, of, work)
    spec = work / "vrfwire.spec"
    spec.write_text(expanded(macros, of))
    first = tuple(work / "first" / path.name for path in first)
    return Built(of, first, again, pack(macros, release(NEXT), work), spec)


class Site(NamedTuple):
    """A root with the packages. before: what was there; missing: what rpm said when there was no distribution; output,
    calls: of the last change.
    """

    root: Root
    before: Snapshot
    missing: str
    output: str
    calls: list[str]


@pytest.fixture(scope="module")
def site(built: Built, space: Path) -> Site:
    path = space / "root"
    path.mkdir(mode=0o755)
    tar = machine_root.archive(ROOT / "build/machine")
    subprocess.run(["tar", "-C", path, "-xpf", tar, "--numeric-owner"], check=True)
    root = Root(path)
    root.booted(True)
    refused = root.rpm("-i", *built.packages, check=False)
    assert refused.returncode != 0
    assert root.installed() == set()
    root.rpm("-i", distribution(provided(path), space))
    before = root.snapshot()
    root.noted()
    done = root.rpm("-i", *built.packages)
    return Site(root, before, refused.stderr, done.stdout + done.stderr, root.noted())


# -- the packages themselves


def test_the_same_sources_make_the_same_packages(built: Built) -> None:
    assert [path.name for path in built.packages] == [path.name for path in built.again]
    assert [path.read_bytes() for path in built.packages] == [path.read_bytes() for path in built.again]


def test_rpmlint_finds_nothing(built: Built) -> None:
    # rpm opens its database in the home of whoever calls it.
    done = subprocess.run(
        ["rpmlint", "--config", CONFIG, built.spec, *built.packages],
        env={**os.environ, "HOME": str(built.spec.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert " 4 packages and 1 specfiles checked; 0 errors, 0 warnings" in done.stdout, done.stdout
    assert done.returncode == 0


def test_nobody_is_served_by_private_libraries(built: Built) -> None:
    command = ["rpm", "--dbpath", str(built.spec.parent / "rpmdb"), "-qp", "--provides", str(built.packages[0])]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line for line in told.stdout.splitlines() if ".so" in line] == []
    assert "bundled(python3dist(cryptography))" in told.stdout


# -- installed


def test_dependencies_are_checked(site: Site) -> None:
    for wanted in ("/usr/bin/python3.11", "/usr/bin/systemctl", "libc.so.6(GLIBC_2.28)(64bit)", "/usr/sbin/modprobe"):
        assert f"{wanted} is needed by vrfwire-" in site.missing


def test_no_script_complains(site: Site) -> None:
    """Of rpm and of its scripts, which say which users they make and which units they enable."""
    told = ("Creating group", "Creating user", "Created symlink")
    left = [line for line in site.output.splitlines() if not line.startswith(told)]
    assert left == []


def test_files_are_as_packaged(site: Site) -> None:
    assert site.root.rpm("-V", *PACKAGES).stdout == ""


def test_a_changed_file_is_seen(site: Site) -> None:
    """So that the test above can fail."""
    unit = site.root.path / "usr/lib/systemd/system/vrfwire-map.service"
    before = unit.stat()
    unit.chmod(0o600)
    changed = site.root.rpm("-V", "vrfwire-map", check=False)
    unit.chmod(before.st_mode & 0o7777)
    assert "/usr/lib/systemd/system/vrfwire-map.service" in changed.stdout


def test_users_and_folders(site: Site) -> None:
    told = site.root.run("id", "vrfwire-agent", "--name", "--user").stdout
    assert told == "vrfwire-agent\n"
    listed = site.root.run("stat", "-c", "%A %U %G %n", "/etc/vrfwire", "/run/vrfwire").stdout.splitlines()
    assert listed == ["drwxr-x--- root vrfwire-daemon /etc/vrfwire", "drwxrwx--t root vrfwire-daemon /run/vrfwire"]
    for name in UNITS:
        assert site.root.run("getent", "passwd", name).stdout.endswith(":/usr/sbin/nologin\n")


def test_units_are_enabled_and_not_started(site: Site) -> None:
    for unit in UNITS:
        link = site.root.path / WANTS / f"{unit}.service"
        assert str(link.readlink()).endswith(f"/systemd/system/{unit}.service")
        assert f"systemctl --no-reload preset {unit}.service" in site.calls
    assert [call for call in site.calls if " start " in call or " restart " in call] == []


def test_what_the_next_boot_does_is_done_at_once(site: Site) -> None:
    assert "systemd-modules-load vrfwire-agent.conf" in site.calls
    assert "systemd-sysctl 60-vrfwire-agent.conf" in site.calls
    assert "systemctl daemon-reload" in site.calls


def test_manual_pages_are_there(site: Site, built: Built) -> None:
    for page in pages(built.of.version, built.of.date.date()):
        path = site.root.path / f"usr/share/man/{page.path}.gz"
        assert gzip.decompress(path.read_bytes()).decode() == page.text


@pytest.mark.parametrize(
    "command",
    [
        ("vrfwire", "--help"),
        ("vrfwire-gateway-ctl", "--help"),
        ("vrfwire-map", "--help"),
        ("vrfwire-agent", "--help"),
        ("vrfwire-gateway", "--help"),
        ("vrfwire-map", "serve", "--help"),
    ],
    ids=" ".join,
)
def test_programs_run(site: Site, command: tuple[str, ...]) -> None:
    done = site.root.run(*command, user="nobody")
    assert done.stdout.lower().startswith("usage: vrfwire")
    assert done.stderr == ""


def test_programs_have_the_version(site: Site, built: Built) -> None:
    assert f"vrfwire {built.of.version}\n" in site.root.run("vrfwire", "version").stdout


def test_completions_are_those_of_the_programs(site: Site) -> None:
    told = site.root.run("vrfwire-map", "completion", "zsh").stdout
    path = site.root.path / "usr/share/zsh/site-functions/_vrfwire-map"
    assert path.read_text().strip() == told.strip()


def test_modules_are_loaded_from_the_private_environment_alone(site: Site) -> None:
    """Libraries of others too, and nothing that is written beside them afterwards."""
    names = ("lxml.etree", "cryptography.x509", "psycopg", "httptools", "slixmpp", "datapath.kernel", "gateway.main")
    script = f"""import sys
sys.path.append("/usr/lib/vrfwire/site-packages")
for name in {names}: __import__(name)
print({{module.__file__ for module in sys.modules.values() if "site-packages" in (getattr(module, "__file__", "") or "")
    and not module.__file__.startswith("/usr/lib/vrfwire/")}})"""
    assert site.root.run("/usr/bin/python3.11", "-IS", "-c", script).stdout == "set()\n"
    assert site.root.run("/usr/bin/python3.11", "-IS", "-c", "import click", check=False).returncode != 0
    assert site.root.rpm("-V", "vrfwire-common").stdout == ""


def test_a_configuration_is_checked_by_its_daemon(site: Site) -> None:
    done = site.root.run(
        "vrfwire-gateway", "--config", "/usr/share/doc/vrfwire-gateway/examples/gateway.toml", "--check", check=False
    )
    assert (done.returncode, done.stderr.partition(":")[0]) == (1, "vrfwire-gateway")
    assert "Traceback" not in done.stderr


# -- the rest of a package's life. These change the root, in the order in which they stand here.


@pytest.fixture(scope="module")
def upgraded(site: Site, built: Built) -> Site:
    """The next version, over this one, where daemons run and the administrator has had a say."""
    root = site.root
    (root.path / WANTS / "vrfwire-map.service").unlink()
    with (root.path / "etc/iproute2/rt_protos.d/vrfwire.conf").open("a") as file:
        file.write("# mine\n")
    for name in ("etc/vrfwire/agent.toml", "etc/vrfwire/agent.key", *(f"var/lib/{state}/x" for state in STATES)):
        (root.path / name).parent.mkdir(exist_ok=True)
        (root.path / name).write_text("mine")
    root.noted()
    done = root.rpm("-U", *built.upgrade)
    return Site(root, site.before, "", done.stdout + done.stderr, root.noted())


STATES = ("vrfwire", "vrfwire-gateway", "vrfwire-map")


def test_an_upgrade_restarts_what_runs_when_all_is_in_place(upgraded: Site) -> None:
    assert upgraded.root.installed() == {
        f"{package}-{NEXT}-1.{'x86_64' if package == 'vrfwire-common' else 'noarch'}" for package in PACKAGES
    }
    changes = [call for call in upgraded.calls if call.startswith("systemctl") and call != "systemctl daemon-reload"]
    assert sorted(changes) == [f"systemctl try-restart {unit}.service" for unit in UNITS]
    assert upgraded.calls.index("systemctl daemon-reload") < upgraded.calls.index(changes[0])
    assert upgraded.output == ""


def test_an_upgrade_keeps_what_is_the_administrators(upgraded: Site) -> None:
    root = upgraded.root.path
    assert not (root / WANTS / "vrfwire-map.service").is_symlink()
    assert (root / WANTS / "vrfwire-agent.service").is_symlink()
    assert "# mine\n" in (root / "etc/iproute2/rt_protos.d/vrfwire.conf").read_text()
    assert (root / "etc/vrfwire/agent.toml").read_text() == "mine"
    assert all((root / f"var/lib/{state}/x").exists() for state in STATES)


@pytest.fixture(scope="module")
def erased(upgraded: Site) -> Site:
    root = upgraded.root
    root.noted()
    done = root.rpm("-e", *PACKAGES)
    return Site(root, upgraded.before, "", done.stdout + done.stderr, root.noted())


def test_erasing_stops_the_daemons(erased: Site) -> None:
    for unit in UNITS:
        assert f"systemctl --no-reload disable --now {unit}.service" in erased.calls
    assert erased.calls[-1] == "systemctl daemon-reload" or "systemctl reset-failed" in erased.calls[-1]


def test_erasing_takes_the_datapath_away(erased: Site) -> None:
    """There is none in this network namespace, which what looks for it says; nothing else has a complaint."""
    assert "nothing to remove" in erased.output.splitlines()
    rest = [line for line in erased.output.splitlines() if not line.startswith(("Removed ", "nothing to remove"))]
    kept = "/etc/iproute2/rt_protos.d/vrfwire.conf"
    assert rest == [f"warning: {kept} saved as {kept}.rpmsave"]


def test_erasing_leaves_what_others_have_written_and_no_more(erased: Site) -> None:
    root = erased.root.path
    assert erased.root.installed() == set()
    kept = {"etc/vrfwire/agent.toml", "etc/vrfwire/agent.key", "var/lib/vrfwire-map/x"}
    kept |= {"etc/iproute2/rt_protos.d/vrfwire.conf.rpmsave"}
    after = erased.root.snapshot()
    folders = {str(parent) for name in kept for parent in Path(name).parents}
    assert {name for name in set(after) - set(erased.before) if name not in folders} == kept
    assert {name for name in erased.before if after.get(name) != erased.before[name]} == set()
    assert (root / "etc/vrfwire/agent.toml").read_text() == "mine"


def test_users_stay(erased: Site) -> None:
    """Locked: their numbers may be on files somewhere."""
    assert erased.root.run("getent", "passwd", *UNITS).stdout.count("nologin") == len(UNITS)


def test_into_an_image_that_does_not_run(erased: Site, built: Built) -> None:
    """Where the kernel is another machine's: units are enabled there, and nothing else is done."""
    root = erased.root
    root.booted(False)
    root.noted()
    root.rpm("-i", *built.packages)
    assert sorted(root.noted()) == [f"systemctl --no-reload preset {unit}.service" for unit in UNITS]
    assert (root.path / WANTS / "vrfwire-agent.service").is_symlink()
    done = root.rpm("-e", *PACKAGES)
    assert sorted(root.noted()) == [f"systemctl --no-reload disable {unit}.service" for unit in UNITS]
    assert "nothing to remove" not in done.stdout
    assert not (root.path / WANTS / "vrfwire-agent.service").is_symlink()


def test_nothing_of_this_machine_was_touched() -> None:
    assert [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith("vrfwire")] == []
    assert [entry.gr_name for entry in grp.getgrall() if entry.gr_name.startswith("vrfwire")] == []
    assert not Path("/etc/vrfwire").exists()
