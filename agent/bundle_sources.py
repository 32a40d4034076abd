"""What a bundle of diagnostics is made of: the daemon, the kernel, this machine, the journal."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agent.bundle import LIMIT, Source
from agent.config import AgentConfig
from agent.doctor import examine_configured
from agent.doctor_networkd import NETWORK_MANAGER_DIRECTORIES, NETWORKD_DIRECTORIES
from datapath.kernel import TUNNEL_DEVICE
from datapath.values import DEVICE_PREFIX, PROTOCOL
from runtime.bounded import run
from runtime.config import Loaded, load
from runtime.errors import OperatorError
from runtime.findings import documents, failed
from runtime.version import VERSION

COMMAND_TIME = 10.0
"""Seconds for one command."""
ROUTES = 500
"""Routes of the daemon's tables that are taken."""
JOURNAL_LINES = 5000
UNITS = ("vrfwire-agent", "vrfwire-gateway", "vrfwire-map")
SECRET_MAX = 1 << 16
"""Bytes of a file with a secret that are read, to look for them."""

Ask = Callable[[str, Mapping[str, object]], dict[str, object]]
"""Calls a method of the daemon. Raises OperatorError."""

_METHODS: tuple[tuple[str, str, Mapping[str, object]], ...] = (
    ("version.json", "version", {}),
    ("status.json", "status", {}),
    ("config.json", "config.show", {}),
    ("gateways.json", "gateway.list", {}),
    ("vpns.json", "vpn.list", {}),
    ("ports.json", "port.list", {}),
    ("routes.json", "route.list", {"limit": ROUTES}),
    ("objects.json", "object.list", {}),
    ("drops.json", "drops", {}),
    ("metrics.json", "metrics", {}),
)
_FILES = (
    *("/proc/version", "/proc/cmdline", "/proc/modules", "/proc/meminfo", "/proc/loadavg", "/proc/uptime"),
    *("/proc/net/dev", "/proc/net/snmp", "/proc/net/snmp6", "/proc/net/netstat", "/proc/net/softnet_stat"),
    *("/proc/self/status", "/proc/self/mountinfo", "/etc/os-release"),
)
_NETWORK_FILES = (
    *((place, pattern) for place in NETWORKD_DIRECTORIES for pattern in ("networkd.conf", "networkd.conf.d/*.conf")),
    *(
        (place, pattern)
        for place in NETWORK_MANAGER_DIRECTORIES
        for pattern in ("NetworkManager.conf", "conf.d/*.conf")
    ),
)
"""Directories, and what is taken there: the configuration of who may touch our devices."""
_COMMANDS = (
    *("ip -d -s link", "ip -d address", "ip -4 rule", "ip -6 rule", "ip -4 route show table main"),
    *("ip -6 route show table main", f"ip -4 -N route show table all proto {PROTOCOL}"),
    *(f"ip -6 -N route show table all proto {PROTOCOL}", f"ip -N -s nexthop show proto {PROTOCOL}", "ip -f mpls route"),
    *(f"ip -s neigh show dev {TUNNEL_DEVICE}", "ip -d link show type vrf", "ip netns", "tc -s -d qdisc"),
    *("systemctl status --no-pager --full vrfwire-agent.service", "systemctl show vrfwire-agent.service"),
    *("networkctl --no-pager list", "nmcli device", "timedatectl", "ss -tnp dport = :5222", "nft list ruleset"),
)
_PORT_COMMANDS = ("tc -s filter show dev {} ingress", "tc -s filter show dev {} egress")
_MOST_PORTS = 30
_SYSCTLS = ("net/ipv4", "net/ipv6/conf/all", "net/mpls")


def sources(ask: Ask, config: str | None) -> Iterator[Source]:
    """Everything, what tells most first. ask: of the daemon; config: its file, None for the usual one."""
    for name, method, params in _METHODS:
        yield Source(f"daemon/{name}", f"method {method}", partial(_answer, ask, method, params))
    yield Source("doctor.json", "vrfwire doctor", lambda: _document({"items": doctor(ask, config)}))
    yield Source("config/effective.json", "configuration as read here", lambda: _document(_loaded(config).document()))
    yield Source("versions.json", "versions", lambda: _document(versions()))
    units = [word for unit in UNITS for word in ("-u", unit)]
    argv = ["journalctl", "--no-pager", "-o", "short-iso-precise", "-n", str(JOURNAL_LINES), *units]
    yield Source("journal.txt", " ".join(argv), partial(command, argv))
    for line in _COMMANDS:
        if line.startswith("nft ") and not Path("/sys/module/nf_tables").exists():
            continue  # asking would load it
        yield Source(f"kernel/{_file_name(line)}.txt", line, partial(command, line.split()))
    yield Source("kernel/filters.txt", "tc -s filter of the ports", _filters)
    for path in _FILES:
        yield Source(f"files{path}", path, partial(_read, Path(path)))
    for found in network_files():
        yield Source(f"files{found}", found, partial(_read, Path(found)))
    for directory in _SYSCTLS:
        yield Source(f"sysctl/{_file_name(directory)}.txt", f"/proc/sys/{directory}", partial(_sysctls, directory))
    yield Source("state.txt", "names and sizes in the state directory", lambda: _listing(_state(ask, config)))


def network_files(root: Path = Path("/")) -> Iterator[str]:
    """Paths of the configuration of systemd-networkd and NetworkManager, drop-ins of all directories that they read."""
    for place, pattern in _NETWORK_FILES:
        for path in sorted((root / place.lstrip("/")).glob(pattern)):
            if path.is_file():  # a link to /dev/null hides others of its name, and has nothing to read
                yield f"/{path.relative_to(root)}"


def doctor(ask: Ask, path: str | None) -> list[dict[str, object]]:
    """Of the daemon, or of this command when that doesn't answer."""
    try:
        items: Any = ask("doctor", {})["items"]
        found: list[dict[str, object]] = items
        return found
    except OperatorError as error:
        missing = failed("daemon", str(error), error.hint)
    return documents([missing, *examine_configured(path)])


def secrets(ask: Ask, path: str | None) -> list[str]:
    """What must not be in the bundle: contents of the files that the configuration says hold secrets, as far as this
    user may read them; what it may not read, it can't give away."""
    found = []
    for value in _secret_files(ask, path):
        try:
            with Path(value).open("rb") as file:
                found.append(file.read(SECRET_MAX).decode(errors="replace"))
        except OSError:
            continue
    return found


def _secret_files(ask: Ask, path: str | None) -> Iterator[str]:
    asked: list[Callable[[], Any]] = [lambda: ask("config.show", {}), lambda: _loaded(path).document()]
    for document in asked:
        try:
            rows = document().get("items", [])
        except OperatorError:
            continue
        for row in rows:
            key, value = str(row.get("key")), row.get("value")
            if isinstance(value, str) and (key.endswith("_file") or key.rpartition(".")[2] == "key"):
                yield value


def versions() -> dict[str, object]:
    """Of the command, Python, its packages and the kernel."""
    # Imported here: it is slow, and nothing else needs it.
    from importlib import metadata

    packages = {str(one.metadata["Name"]): one.version for one in metadata.distributions()}
    return {
        "vrfwire": VERSION,
        "python": sys.version,
        "packages": dict(sorted(packages.items())),
        "kernel": platform.uname()._asdict(),
        "user": os.geteuid(),
    }


def command(argv: Sequence[str]) -> str:
    """What a command prints, with its complaint. Raises OSError, which has the words of a person who typed it."""
    try:
        output = run(argv, seconds=COMMAND_TIME, limit=LIMIT)
    except FileNotFoundError:
        raise OSError(f"there is no {argv[0]} here") from None
    text = output.text
    if output.complaint:
        text += f"\n[{output.complaint}]\n{output.error}"
    return text


def _document(value: object) -> str:
    return json.dumps(value, indent=1, default=str) + "\n"


def _loaded(path: str | None) -> Loaded[AgentConfig]:
    return load(AgentConfig, program="agent", path=path)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def _answer(ask: Ask, method: str, params: Mapping[str, object]) -> str:
    return _document(ask(method, params))


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LIMIT).decode(errors="backslashreplace")


def _filters() -> str:
    """Those of our ports: taps have names of others, and our alias."""
    text = ""
    names = [name for name in sorted(os.listdir("/sys/class/net")) if _is_port(name)]  # noqa: PTH208
    for name in names[:_MOST_PORTS]:
        for line in _PORT_COMMANDS:
            text += f"# {line.format(name)}\n{command(line.format(name).split())}"
    return text + (f"# and of {len(names) - _MOST_PORTS} ports more\n" if len(names) > _MOST_PORTS else "")


def _is_port(name: str) -> bool:
    try:
        alias = Path("/sys/class/net", name, "ifalias").read_text()
    except OSError:
        return False
    return alias.startswith("vrfwire:") or (name.startswith(DEVICE_PREFIX) and not alias)


def _sysctls(directory: str) -> str:
    lines = []
    for path in sorted(Path("/proc/sys", directory).rglob("*")):
        # What is a secret of the kernel isn't for a bundle: keys of SYN cookies and of stable addresses.
        if path.is_file() and not any(word in path.name for word in ("secret", "key")):
            try:
                lines.append(f"{path.relative_to('/proc/sys')} = {path.read_text().strip()}\n")
            except OSError:
                continue  # for writing alone
    return "".join(lines)


def _state(ask: Ask, path: str | None) -> Path:
    try:
        rows: Any = ask("config.show", {})["items"]
        return Path(next(str(row["value"]) for row in rows if row["key"] == "state.directory"))
    except (OperatorError, StopIteration):
        return _loaded(path).value.state.directory


def _listing(directory: Path) -> str:
    text = ""
    for path in sorted(directory.iterdir()):
        status = path.lstat()
        text += f"{status.st_mode:06o} {status.st_uid}:{status.st_gid} {status.st_size} {path.name}\n"
    return text
