"""Rules of the whole tree (docs/design/README.md): who may import whom, what protocol cores don't, sizes, names."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "datapath", "gateway", "bgp", "ifmap", "xmpp", "vpn", "runtime", "lab", "benchmarks", "packaging")

MAY_IMPORT = {
    "vpn": set[str](),
    "xmpp": {"vpn"},
    "bgp": {"vpn"},
    "ifmap": {"vpn", "runtime"},
    "runtime": set[str](),
    "datapath": {"vpn", "runtime"},
    "gateway": {"xmpp", "bgp", "ifmap", "vpn", "runtime"},
    "agent": {"datapath", "xmpp", "vpn", "runtime"},
    # The lab and the benchmarks stand outside and use the product; nothing imports them.
    "lab": {"agent", "gateway", "datapath", "xmpp", "bgp", "ifmap", "vpn", "runtime"},
    # Its modules stand beside each other, without the name of the folder before them.
    "packaging": {"agent", "gateway", "datapath", "xmpp", "bgp", "ifmap", "vpn", "runtime"},
    "benchmarks": {"lab", "agent", "gateway", "datapath", "xmpp", "bgp", "ifmap", "vpn", "runtime"},
}
"""Ours that each package may import beside itself."""

FORBIDDEN_IN_CORES = {"asyncio", "socket", "time", "logging", "threading", "selectors", "subprocess"}

CORES = {
    "vpn": None,
    "xmpp": None,
    "bgp": None,
    "agent": {
        *("doctor_firewall", "doctor_foreign", "doctor_kernel", "doctor_networkd", "doctor_underlay"),
        *("allocate", "attachment", "names", "plan", "planner", "requests", "routes", "signaling", "stanzas"),
        *("drain_state", "candidates", "drop_causes", "drops"),
        *("reader", "reconnect", "session_values"),
    },
    "gateway": {
        *("claims", "exchange", "exporting", "hosts", "obstacles", "policy", "publishing", "rib", "service", "session"),
        *("status", "candidates", "capabilities", "metrics", "peer_advice", "peer_config", "peer_status", "request"),
        *("roster", "route_status", "views", "arrivals", "holdings", "limits", "limit_status"),
        *("resumption", "retrieval"),
        *("pki_authority", "pki_database", "pki_snippet", "pki_subject", "pki_views"),
        *("component_guest", "component_hosts", "component_metrics", "item_cache"),
        *("admission", "authorization", "awaited", "grants", "host_notices", "item_index", "provisioning", "withheld"),
        *("attachment_state", "map_feed", "map_metrics", "map_snapshot", "map_status", "switchover"),
    },
    "ifmap": None,
    "datapath": {
        *("values", "driver", "tracker", "reconciler", "status", "retry", "relations", "describe", "wire"),
        *("counter_wire", "drift"),
    },
}
"""Modules that only compute: no I/O, no clock, no log. None: the whole package but for its SHELLS."""

SHELLS = {
    "ifmap": {
        *("cli", "commands_map", "commands_server", "commands_vpn", "map_arguments", "map_options", "watcher"),
        *("client", "client_channel", "client_config", "client_publisher", "client_session", "client_settings"),
        *("server.auth", "server.certificate", "server.connection", "server.daemon", "server.engine"),
        *("server.listener", "server.main", "server.metrics", "server.outgoing"),
        *("server.database", "server.notice", "server.postgres", "server.replay", "server.rows", "server.schema"),
        *("server.shared_writer", "server.sqlite", "server.storage", "server.store", "server.trust"),
        *("server.writer",),
    },
}
"""What is beside the cores in a package that is made of them: command lines, sockets, databases."""

ALLOWED = {("vpn.prefix", "socket")}
"""inet_pton and inet_ntop: they compute, wherever they live."""

LONG: dict[str, str] = {
    "xmpp/stream.py": "the state machine of a stream; parser, opening, SASL, liveness, counts are modules of their own",
}
"""Modules above MAX_LINES with the reason why they are not cut."""
MAX_LINES = 420


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours: ("agent.cli", path)."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it, dotted."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
    return found


def is_core(name: str) -> bool:
    package, _, rest = name.partition(".")
    listed = CORES.get(package, set())
    if listed is None:
        return rest not in SHELLS.get(package, ())
    return rest in listed or rest.partition(".")[0] in listed


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if name.split(".")[0] == package
        for imported in sorted(imports(path))
        if (top := imported.split(".")[0]) in PACKAGES and top != package and top not in MAY_IMPORT[package]
    ]
    assert wrong == []


def test_cores_know_no_world() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if is_core(name)
        for imported in sorted(imports(path))
        if imported.split(".")[0] in FORBIDDEN_IN_CORES and (name, imported) not in ALLOWED
    ]
    assert wrong == []


def test_the_listed_cores_exist() -> None:
    """So that a module that was renamed doesn't escape the rule above."""
    names = {name for name, _ in modules()}
    listed = {f"{package}.{module}" for package, inner in CORES.items() if inner is not None for module in inner}
    listed |= {f"{package}.{module}" for package, inner in SHELLS.items() for module in inner}
    assert listed - names == set()


@pytest.mark.parametrize("package", SHELLS)
def test_cores_do_not_lean_on_shells(package: str) -> None:
    shells = {f"{package}.{module}" for module in SHELLS[package]}
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        if name.startswith(f"{package}.") and is_core(name)
        for imported in sorted(imports(path) & shells)
    ]
    assert wrong == []


def test_modules_can_be_read_in_one_sitting() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for _, path in modules() if path.is_file()}
    too_long = {name: lines for name, lines in sizes.items() if lines > MAX_LINES and name not in LONG}
    assert too_long == {}
    assert [name for name in LONG if sizes.get(name, 0) <= MAX_LINES] == []


def tracked() -> list[Path]:
    """Files under version control; in an unpacked archive, the sources."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for package in (*PACKAGES, "tests", "docs") for path in (ROOT / package).rglob("*.*")]
    return [path for path in paths if path.is_file()]


# Put together here, so that this file does not hold them itself.
_INDEX_HOSTS = "|".join(
    ("pypi" + r"\.org", "pythonhosted" + r"\.org", "index" + "-url", "arti" + "factory", "dev" + "pi")
)
_MACHINE_PATHS = "|".join((r"/" + r"work/", r"/" + r"home/\w", r"/" + r"Users/", r"/" + r"root/\w"))
_NAMES = re.compile(f"{_INDEX_HOSTS}|{_MACHINE_PATHS}")


def test_no_names_of_machines_or_package_indexes() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if (match := _NAMES.search(line)) and "--no-emit-" not in line:
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name for name, path in modules() if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
