"""The Debian packages: what is in them, where, and that it works there and disturbs nobody."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

import deb
from agent.config import DatapathSection
from datapath.sysctls import host_settings
from datapath.values import PROTOCOL
from layout import AGENT, COMMON, CONFIGURATIONS, DEB, GATEWAY, INTERPRETER, MAP, PACKAGES, PRODUCT, PROGRAMS, SITE
from release import ROOT, Release, changelog_text, release
from runtime.version import VERSION
from stage import documents, generated, product, with_version
from wheels import BuildError, compile_tree

pytestmark = pytest.mark.timeout(400)
"""Seconds; in a clean clone the first test fetches and builds."""

NEXT = "0.1.0+test1"
"""The version that the install test upgrades to."""
UNITS = {AGENT: 30, GATEWAY: 20, MAP: 20}
"""Unit of each package, and the greatest exposure that it may have, in tenths."""

ALLOWED = (
    *("etc/iproute2/rt_protos.d/", "etc/vrfwire/", "usr/bin/vrfwire", "usr/sbin/vrfwire", "usr/lib/vrfwire/"),
    *("lib/systemd/system/", "usr/lib/systemd/networkd.conf.d/", "usr/lib/NetworkManager/conf.d/"),
    *("usr/lib/modules-load.d/", "usr/lib/sysctl.d/", "usr/lib/sysusers.d/", "usr/lib/tmpfiles.d/"),
    *("usr/share/bash-completion/completions/", "usr/share/fish/vendor_completions.d/"),
    *("usr/share/zsh/vendor-completions/", "usr/share/man/", "usr/share/lintian/overrides/"),
    *(f"usr/share/doc/{package}/" for package in PACKAGES),
)

# Put together here, so that this file does not hold them itself.
HOSTS = re.compile("|".join(("pypi" + r"\.org", "python" + r"hosted\.org", "index" + "-url")).encode())


class Package(NamedTuple):
    """A package: members of its archive by name without "./", their contents, files of its control archive."""

    name: str
    members: dict[str, tarfile.TarInfo]
    files: dict[str, bytes]
    control: dict[str, str]

    @property
    def scripts(self) -> dict[str, str]:
        """Maintainer scripts."""
        return {name: self.control[name] for name in ("preinst", "postinst", "prerm", "postrm") if name in self.control}


def read(path: Path) -> Package:
    """Read a .deb."""
    members, files = _tar(path, "--fsys-tarfile")
    _, control = _tar(path, "--ctrl-tarfile")
    return Package(path.name.split("_")[0], members, files, {name: text.decode() for name, text in control.items()})


def _tar(path: Path, option: str) -> tuple[dict[str, tarfile.TarInfo], dict[str, bytes]]:
    raw = subprocess.run(["dpkg-deb", option, path], capture_output=True, check=True).stdout
    members, files = {}, {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive:
            name = member.name.removeprefix("./").removeprefix(".")
            if name:
                members[name] = member
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                files[name] = content.read()
    return members, files


@pytest.fixture(scope="module")
def paths() -> tuple[Path, ...]:
    return deb.build()


@pytest.fixture(scope="module")
def packages(paths: tuple[Path, ...]) -> dict[str, Package]:
    return {package.name: package for package in map(read, paths)}


@pytest.fixture(scope="module")
def root(paths: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages unpacked together."""
    directory = tmp_path_factory.mktemp("root")
    for path in paths:
        subprocess.run(["dpkg-deb", "--extract", path, directory], check=True)
    return directory


@pytest.fixture(scope="module")
def program(root: Path) -> Path:
    """A folder with the programs as they are, but for where the private environment is."""
    folder = root / "programs"
    folder.mkdir()
    for path in PROGRAMS:
        copy = folder / Path(path).name
        copy.write_text((root / path).read_text().replace(f"/{SITE}", f"{root}/{SITE}"))
        copy.chmod(0o755)
    return folder


def run(
    *argv: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd, env=env)


# -- building


def test_unchanged_inputs_rebuild_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made_of, builds = ["one"], []

    def build(of: Release, tree: Path, results: Path) -> None:
        builds.append(of.version)
        for name in PACKAGES:
            (results / f"{name}_{of.version}_amd64.deb").touch()

    monkeypatch.setattr(deb, "_build", build)
    monkeypatch.setattr(deb, "inputs", lambda of: f"{of.version} {made_of[0]}")
    first = deb.build(directory=tmp_path)
    assert [path.name for path in first] == [f"{name}_{release().version}_amd64.deb" for name in PACKAGES]
    assert (deb.build(directory=tmp_path), builds) == (first, ["0.1.0"])
    deb.build(NEXT, tmp_path)
    deb.build(NEXT, tmp_path)
    deb.build(directory=tmp_path)
    assert builds == ["0.1.0", NEXT]
    made_of[0] = "other"
    deb.build(NEXT, tmp_path)
    first[0].unlink()
    deb.build(directory=tmp_path)
    assert builds == ["0.1.0", NEXT, NEXT, "0.1.0"]


def test_a_build_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def build(of: Release, tree: Path, results: Path) -> None:
        for name in PACKAGES:
            (results / f"{name}_{of.version}_amd64.deb").touch()
        raise BuildError("dpkg-buildpackage failed")

    monkeypatch.setattr(deb, "_build", build)
    for _ in range(2):
        with pytest.raises(BuildError):
            deb.build(directory=tmp_path)


def test_inputs_are_what_the_packages_are_made_of(tmp_path: Path) -> None:
    of = release()
    for name in ("README.md", "requirements-runtime.lock", "packaging/debian/rules", "systemd/x.service", "vpn/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    (tmp_path / "docs").mkdir()
    seen = {deb.inputs(of, tmp_path)}
    assert deb.inputs(of, tmp_path) in seen
    for name in ("README.md", "requirements-runtime.lock", "packaging/debian/rules", "systemd/x.service", "vpn/x.py"):
        (tmp_path / name).write_text("two")
        seen.add(deb.inputs(of, tmp_path))
    (tmp_path / "docs/new.md").write_text("")
    seen.add(deb.inputs(of, tmp_path))
    seen.add(deb.inputs(release(NEXT), tmp_path))
    assert len(seen) == 8


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    """What could differ from build to build: byte code, which keeps traces of the process that makes it, and pages."""
    sources = dict(product(ROOT))
    for copy in ("one", "two"):
        for name, content in sources.items():
            (tmp_path / copy / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / copy / name).write_bytes(content)
        compile_tree(tmp_path / copy)
    made = [
        {str(path.relative_to(tmp_path / copy)): path.read_bytes() for path in (tmp_path / copy).rglob("*.pyc")}
        for copy in ("one", "two")
    ]
    assert len(made[0]) > 200
    assert made[0] == made[1]
    assert list(generated(release(), DEB)) == list(generated(release(), DEB))


def test_every_file_is_as_old_as_the_release(packages: dict[str, Package]) -> None:
    for package in packages.values():
        assert {member.mtime for member in package.members.values()} == {release().epoch}


def test_another_version_is_in_the_program_and_in_the_changelog() -> None:
    source = (ROOT / "runtime/version.py").read_text()
    assert f'VERSION = "{NEXT}"' in with_version(source, NEXT)
    assert with_version(source, NEXT).count("VERSION =") == 1
    with pytest.raises(BuildError):
        with_version("", NEXT)
    assert changelog_text(release()).startswith(f"vrfwire ({VERSION}) ")
    text = changelog_text(release(NEXT))
    assert text.startswith(f"vrfwire ({NEXT}) ")
    assert text.endswith(changelog_text(release()))
    assert (release(NEXT).version, release(NEXT).epoch) == (NEXT, release().epoch)
    for wrong in ("-1", "1.0-1", "v1", "1 2", "1:2"):
        with pytest.raises(ValueError, match="must begin with a digit"):
            release(wrong)


# -- what is where


def test_nothing_is_outside_of_the_allowed_folders(packages: dict[str, Package]) -> None:
    for package in packages.values():
        outside = [name for name in package.files if not name.startswith(ALLOWED)]
        assert outside == [], package.name
        assert package.files, package.name


def test_everything_belongs_to_root_and_only_root_writes(packages: dict[str, Package]) -> None:
    for package in packages.values():
        for name, member in package.members.items():
            assert (member.uname, member.gname) == ("root", "root"), name
            assert member.mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID) == 0, name
            assert member.isfile() or member.isdir() or (member.issym() and name.startswith("usr/share/man/")), name
        assert package.members["etc/vrfwire"].mode == 0o750


def test_no_package_has_another_ones_file(packages: dict[str, Package]) -> None:
    owner: dict[str, str] = {}
    for package in packages.values():
        for name in package.files:
            assert owner.setdefault(name, package.name) == package.name, name


def test_the_private_environment_has_the_product_and_no_tests_of_it(packages: dict[str, Package]) -> None:
    names = packages[COMMON].files
    folders = {name.removeprefix(f"{SITE}/").split("/")[0] for name in names if name.startswith(f"{SITE}/")}
    assert set(PRODUCT) <= folders
    assert not folders & {"lab", "tests", "benchmarks", "packaging", "pyroute2", "scapy", "pytest", "pip", "bin"}
    assert f"{SITE}/xmpp/entry.xsd" in names
    assert not [name for name in names if name.endswith(".pth")]


def test_byte_code_is_there_for_good(packages: dict[str, Package]) -> None:
    """Beside every module, valid whatever the source's date is (PEP 552), so that nothing is ever written there."""
    files = packages[COMMON].files
    sources = [name for name in files if name.startswith(f"{SITE}/") and name.endswith(".py")]
    assert len(sources) > 500
    for name in sources:
        folder, _, module = name.rpartition("/")
        cached = files[f"{folder}/__pycache__/{module.removesuffix('.py')}.cpython-311.pyc"]
        assert int.from_bytes(cached[4:8], "little") == 0b01, name
    assert f"/{SITE}/agent/main.py".encode() in files[f"{SITE}/agent/__pycache__/main.cpython-311.pyc"]


def test_nothing_names_a_package_index_or_this_machine(packages: dict[str, Package]) -> None:
    ours = tuple(f"{SITE}/{package}/" for package in PRODUCT)
    here = str(ROOT).encode()
    for package in packages.values():
        for name, content in package.files.items():
            assert here not in content, name
            if name.startswith(ours) or not name.startswith(SITE):
                assert not HOSTS.search(content), name


def test_programs_have_manual_pages_and_completions(packages: dict[str, Package]) -> None:
    for path, (package, _) in PROGRAMS.items():
        name = Path(path).name
        files = packages[package].files
        section = 8 if path.startswith("usr/sbin/") else 1
        assert f"usr/share/man/man{section}/{name}.{section}.gz" in files
        assert f"usr/share/bash-completion/completions/{name}" in files
        assert files[path].startswith(f"#!{INTERPRETER} -IS\n".encode())


def test_every_dependency_is_in_the_copyright(packages: dict[str, Package]) -> None:
    text = packages[COMMON].files[f"usr/share/doc/{COMMON}/copyright"].decode()
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-runtime.lock").read_text(), re.MULTILINE)
    assert [name for name in locked if name not in text] == []
    licences = [name for name in packages[COMMON].files if ".dist-info/licenses/" in name]
    assert len(licences) >= len(locked)


def test_documents_are_all_there_in_their_folders(packages: dict[str, Package]) -> None:
    """So that their links, which tests/unit/test_docs.py holds, lead somewhere here too."""
    folder = f"usr/share/doc/{COMMON}/"
    packed = {name.removeprefix(folder) for name in packages[COMMON].files if name.startswith(folder)}
    assert len(packed) > 20
    assert packed - {"copyright", "changelog.gz"} == set(documents(ROOT))
    for package, kinds in CONFIGURATIONS.items():
        assert {f"usr/share/doc/{package}/examples/{kind}.toml" for kind in kinds} <= set(packages[package].files)


# -- units and what is beside them


def test_units_are_sound(root: Path, tmp_path: Path) -> None:
    """As systemd reads them, with the programs where they say."""
    for name in UNITS:
        unit = tmp_path / f"{name}.service"
        text = (root / f"lib/systemd/system/{name}.service").read_text()
        for path in PROGRAMS:
            text = text.replace(f"ExecStart=/{path} ", f"ExecStart={root}/{path} ")
        assert str(root) in text
        unit.write_text(text)
        checked = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_units_are_hardened(root: Path, name: str) -> None:
    unit = root / f"lib/systemd/system/{name}.service"
    scored = run("systemd-analyze", "security", "--offline=true", f"--threshold={UNITS[name]}", "--no-pager", unit)
    assert scored.returncode == 0, scored.stdout[-500:]


def test_a_threshold_can_be_exceeded(root: Path) -> None:
    """So that the test above can fail."""
    unit = root / "lib/systemd/system/vrfwire-agent.service"
    assert run("systemd-analyze", "security", "--offline=true", "--threshold=5", unit).returncode != 0


def test_units_do_as_documented(packages: dict[str, Package]) -> None:
    for name in UNITS:
        unit = packages[name].files[f"lib/systemd/system/{name}.service"].decode().splitlines()
        kind = name.removeprefix("vrfwire-")
        for line in (
            f"ConditionPathExists=/etc/vrfwire/{kind}.toml",
            *("Type=notify", "Restart=on-failure", "StartLimitIntervalSec=0", "WatchdogSec=30"),
            *(f"User={name}", "ProtectSystem=strict", "NoNewPrivileges=yes", "WantedBy=multi-user.target"),
        ):
            assert line in unit, f"{name}: {line}"
    agent = packages[AGENT].files["lib/systemd/system/vrfwire-agent.service"].decode()
    assert "Before=libvirtd.service" in agent
    assert "ExecStop" not in agent, "stopping leaves the datapath"


def test_users_and_directories_are_made(root: Path, tmp_path: Path) -> None:
    """By systemd's own tools, in a root of their own."""
    for tool in ("sysusers", "tmpfiles"):
        settings = tmp_path / f"usr/lib/{tool}.d"
        settings.mkdir(parents=True)
        for path in (root / f"usr/lib/{tool}.d").iterdir():
            (settings / path.name).write_bytes(path.read_bytes())
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}")
    assert made.returncode == 0, made.stderr
    users = dict(line.split(":", 1) for line in (tmp_path / "etc/passwd").read_text().splitlines())
    groups = dict(line.split(":", 1) for line in (tmp_path / "etc/group").read_text().splitlines())
    assert set(UNITS) <= set(users)
    assert {"vrfwire", "vrfwire-daemon", *UNITS} <= set(groups)
    assert all(users[name].endswith("nologin") for name in UNITS)
    done = run("systemd-tmpfiles", f"--root={tmp_path}", "--create")
    assert done.returncode == 0, done.stderr
    number = int(groups["vrfwire-daemon"].split(":")[1])
    for folder, mode in ((tmp_path / "run/vrfwire", 0o1771), (tmp_path / "etc/vrfwire", 0o750)):
        status = folder.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, 0, number), folder


def test_settings_are_those_that_the_datapath_wants(packages: dict[str, Package]) -> None:
    text = packages[AGENT].files["usr/lib/sysctl.d/60-vrfwire-agent.conf"].decode()
    values = dict(re.findall(r"^-?([a-z0-9_.]+) = (\d+)$", text, re.MULTILINE))
    section = DatapathSection()
    for setting in host_settings(section.label_base + section.label_count):
        assert int(values.pop(setting.name.replace("/", "."))) >= setting.least
    assert values == {}, "and none beside"
    assert "\nnet.ipv4.conf.vw-*.rp_filter = 0\n" in text, "after systemd's own, which is for all devices"
    protocols = packages[AGENT].files["etc/iproute2/rt_protos.d/vrfwire.conf"].decode()
    assert f"\n{PROTOCOL} vrfwire\n" in protocols
    assert packages[AGENT].control["conffiles"].split() == ["/etc/iproute2/rt_protos.d/vrfwire.conf"]


# -- what is run


def test_programs_are_isolated(program: Path, tmp_path: Path) -> None:
    """Neither the environment, nor the user's packages, nor the working directory gets a word in."""
    poison = "raise SystemExit('imported from elsewhere')\n"
    user = tmp_path / f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    user.mkdir(parents=True)
    for folder in (tmp_path, user):
        for module in ("click", "agent", "usercustomize", "sitecustomize", "json"):
            (folder / f"{module}.py").write_text(poison)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere"}
    shown = run(program / "vrfwire", "--socket", tmp_path / "none.sock", "version", cwd=tmp_path, env=environ)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"vrfwire {release().version}\n")
    for name in ("vrfwire-agent", "vrfwire-gateway", "vrfwire-gateway-ctl", "vrfwire-map"):
        helped = run(program / name, "--help", cwd=tmp_path, env=environ)
        assert (helped.returncode, helped.stderr) == (0, ""), name


def test_every_module_can_be_imported(root: Path) -> None:
    """The private environment lacks nothing, and nothing of ours needs the lab's packages."""
    names = [str(path.relative_to(ROOT)) for package in PRODUCT for path in sorted((ROOT / package).rglob("*.py"))]
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names]
    script = f"import sys, importlib\nsys.path.append({f'{root}/{SITE}'!r})\n" + "".join(
        f"importlib.import_module({module!r})\n" for module in modules if not module.endswith("__main__")
    )
    done = run(INTERPRETER, "-ISB", "-c", script + "print(len(sys.modules))", cwd=Path("/"))
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_remover_stands_alone(root: Path) -> None:
    """Everything that it imports is in it; what it does is tested with a kernel (tests/kernel/test_dp_removal.py)."""
    archive = root / "usr/lib/vrfwire/remove-datapath.pyz"
    script = f"import sys; sys.path.insert(0, {str(archive)!r}); import agent.remove_datapath as it; print(it.__file__)"
    done = run(INTERPRETER, "-IS", "-c", script, cwd=Path("/"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == f"{archive}/agent/remove_datapath.py"


def test_maintainer_scripts_are_sound(packages: dict[str, Package], tmp_path: Path) -> None:
    for package in packages.values():
        for name, text in package.scripts.items():
            script = tmp_path / f"{package.name}.{name}"
            script.write_text(text)
            checked = run("sh", "-n", script)
            assert (checked.returncode, checked.stderr) == (0, ""), script.name
            assert text.startswith("#!/bin/sh\nset -e\n"), script.name
            assert "#DEBHELPER#" not in text, script.name
            assert not re.search(r"\b(curl|wget|pip3?|apt(-get)?|https?:)", text), f"{script.name} fetches something"
            ours = re.sub(r"# Automatically added by.*?# End automatically", "", text, flags=re.DOTALL)
            for words in re.findall(r"^\s*(?:rm|install) (.*)$", ours, re.MULTILINE):
                # With --force-script-chrootless scripts run outside of the root that they are to change.
                paths = [word for word in words.split() if not re.fullmatch(r"-\S+|[0-7]{4}", word)]
                assert paths, words
                for path in paths:
                    assert re.fullmatch(r'"\$\{DPKG_ROOT:-\}/(etc|run|var/lib|usr/lib)/vrfwire[\w./-]*"', path), path


def scripts_run(packages: dict[str, Package], name: str, script: str, *arguments: str, root: Path) -> str:
    """Run a script of ours with the paths of a root of its own, and without what debhelper has added."""
    text = re.sub(
        r"# Automatically added by.*?# End automatically", "#", packages[name].control[script], flags=re.DOTALL
    )
    text = re.sub(r"(?:\$\{DPKG_ROOT:-\})?/(var|etc|run|usr/lib)/", rf"{root}/\1/", text)
    done = run("sh", "-c", text, script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_purging_leaves_nothing(packages: dict[str, Package], tmp_path: Path) -> None:
    files = ("etc/vrfwire/agent.toml.d/x.toml", "etc/vrfwire/agent.toml", "etc/vrfwire/hv7.key")
    for path in (*files, "run/vrfwire/agent.sock"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "usr/lib/vrfwire").mkdir(parents=True)
    (tmp_path / "usr/lib/vrfwire/remove-datapath.pyz").write_text("print('the datapath is gone')\n")
    for folder in ("vrfwire", "vrfwire-gateway", "vrfwire-map"):
        (tmp_path / "var/lib" / folder).mkdir(parents=True)
        (tmp_path / "var/lib" / folder / "state").touch()

    scripts_run(packages, AGENT, "prerm", "upgrade", "0.1.1", root=tmp_path)
    assert not (tmp_path / "var/lib/vrfwire-removal").exists()
    scripts_run(packages, AGENT, "prerm", "remove", root=tmp_path)
    kept = tmp_path / "var/lib/vrfwire-removal"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    scripts_run(packages, AGENT, "postinst", "configure", "0.1.0", root=tmp_path)
    assert not kept.exists(), "installed again, nothing is to be removed"
    scripts_run(packages, AGENT, "prerm", "remove", root=tmp_path)
    (tmp_path / "usr/lib/vrfwire/remove-datapath.pyz").unlink()
    assert "the datapath" not in scripts_run(packages, AGENT, "postrm", "remove", root=tmp_path)
    assert (tmp_path / "var/lib/vrfwire/state").exists(), "removal keeps the state"
    assert "the datapath is gone" in scripts_run(packages, AGENT, "postrm", "purge", root=tmp_path)
    for name in (GATEWAY, MAP, COMMON):
        scripts_run(packages, name, "postrm", "purge", root=tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == []
    assert list((tmp_path / "var/lib").iterdir()) == []
    assert not (tmp_path / "etc/vrfwire").exists()


def test_lintian_has_nothing_to_say(paths: tuple[Path, ...]) -> None:
    checked = run("lintian", "--tag-display-limit", "0", "--fail-on", "error,warning", "--allow-root", *paths)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
