"""Doctor: what systemd-networkd and NetworkManager do to objects of others. Pure: their files in, findings out.

systemd-networkd reads networkd.conf (of the first directory that has one), then the drop-ins of networkd.conf.d/ of all
four directories in the order of their file names; of several with one name that of the first directory counts, and of
several assignments the last (systemd.syntax, networkd.conf).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from datapath.values import DEVICE_PREFIX
from runtime.findings import Finding, good, unknown, warning

NETWORKD_DIRECTORIES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
"""Where systemd-networkd looks, the first one first."""
NETWORKD_DROP_IN = "/etc/systemd/networkd.conf.d/vrfwire.conf"
NETWORKD_UNMANAGED = "/etc/systemd/network/00-vrfwire.network"
NETWORK_MANAGER_DROP_IN = "/etc/NetworkManager/conf.d/vrfwire.conf"
NETWORK_MANAGER_DIRECTORIES = ("/usr/lib/NetworkManager", "/run/NetworkManager", "/etc/NetworkManager")
"""Where NetworkManager looks, the last one last; it reads its main file in the last of them before its drop-ins."""

KEYS = {
    "ManageForeignRoutes": "routes",
    "ManageForeignRoutingPolicyRules": "rules",
    "ManageForeignNextHops": "next hops",
}
"""Key of networkd.conf -> what it is about."""
NEXT_HOPS_SINCE = 256
"""Version of systemd that has ManageForeignNextHops=."""
OURS = f"{DEVICE_PREFIX}*"

_TRUE = {"1", "yes", "y", "true", "t", "on"}
_FALSE = {"0", "no", "n", "false", "f", "off"}
_CHECK = "systemd-networkd"
_MANAGER_CHECK = "NetworkManager"


@dataclass(frozen=True, slots=True)
class File:
    """A configuration file that was read."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a daemon's configuration. main: its main file, if it has one; drop_ins: by name."""

    main: File | None
    drop_ins: Mapping[str, File]


@dataclass(frozen=True, slots=True)
class Networkd:
    """systemd-networkd on this host. running: None when that can't be found out; version: of systemd, 0 if unknown.
    directories: in order of NETWORKD_DIRECTORIES. managed: devices of ours that it has taken in hand."""

    running: bool | None
    version: int
    directories: tuple[Directory, ...]
    managed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkManager:
    """NetworkManager on this host. directories: in order of NETWORK_MANAGER_DIRECTORIES."""

    running: bool | None
    directories: tuple[Directory, ...]


# -- systemd-networkd


def networkd_files(directories: Sequence[Directory]) -> list[File]:
    """The files that count, in the order in which they are read."""
    main = next((directory.main for directory in directories if directory.main is not None), None)
    drop_ins: dict[str, File] = {}
    for directory in directories:
        for name, file in directory.drop_ins.items():
            drop_ins.setdefault(name, file)
    return [*([main] if main is not None else []), *(drop_ins[name] for name in sorted(drop_ins))]


def networkd_settings(files: Iterable[File]) -> dict[str, tuple[bool, str]]:
    """The KEYS that are set: value, and path of the file that has set it."""
    found: dict[str, tuple[bool, str]] = {}
    for file in files:
        for section, key, value in assignments(file.text):
            if section == "Network" and key in KEYS and (truth := _truth(value)) is not None:
                found[key] = truth, file.path
    return found


def assignments(text: str) -> Iterator[tuple[str, str, str]]:
    """(section, key, value) of a file as systemd and GLib write them; what is neither is passed over."""
    section, line = "", ""
    for raw in text.splitlines():
        stripped = raw.strip()
        if stripped.startswith(("#", ";")):
            continue  # within a continued line, too
        line += stripped
        if line.endswith("\\"):
            line = f"{line[:-1]} "
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()
        line = ""


def _truth(text: str) -> bool | None:
    word = text.lower()
    return True if word in _TRUE else False if word in _FALSE else None


def check_networkd(facts: Networkd) -> Iterator[Finding]:
    """Whether it leaves foreign objects alone."""
    settings = networkd_settings(networkd_files(facts.directories))
    keys = [key for key in KEYS if key != "ManageForeignNextHops" or facts.version >= NEXT_HOPS_SINCE]
    wrong = [key for key in keys if settings.get(key, (True, ""))[0]]
    lines = "".join(rf"{key}=no\n" for key in KEYS)
    hint = f"{_write('[Network]', lines, NETWORKD_DROP_IN)}; systemctl restart systemd-networkd"
    said = [f"{key}=yes in {settings[key][1]}" for key in wrong if key in settings]
    if facts.running is False:
        if wrong and said:
            yield warning(_CHECK, f"doesn't run; when it is started it removes our routes: {', '.join(said)}", hint)
        else:
            yield good(_CHECK, "doesn't run")
    elif wrong:
        what = _listed([KEYS[key] for key in wrong])
        why = f" ({', '.join(said)})" if said else ""
        detail = f"removes {what} of others when it starts, or takes up a device{why}"
        if facts.running is None:
            yield unknown(_CHECK, f"can't be seen whether it runs; if so, it {detail}", hint)
        else:
            yield warning(_CHECK, detail, hint)
    else:
        places = sorted({path for _, path in settings.values()})
        yield good(_CHECK, f"leaves what others have made alone ({', '.join(places)})")
    if facts.managed:
        write = _write("[Match]", rf"Name={OURS}\n[Link]\nUnmanaged=yes\n", NETWORKD_UNMANAGED)
        detail = f"manages {_listed(facts.managed)}, and may take down what it hasn't set up itself"
        yield warning("systemd-networkd devices", detail, f"{write}; networkctl reload")


# -- NetworkManager


def network_manager_files(directories: Sequence[Directory]) -> list[File]:
    """The files that count, in the order in which they are read: drop-ins of a directory that a later one has as well
    don't."""
    found = []
    for index, directory in enumerate(directories):
        later = {name for other in directories[index + 1 :] for name in other.drop_ins}
        if directory.main is not None:
            found.append(directory.main)
        found += [directory.drop_ins[name] for name in sorted(directory.drop_ins) if name not in later]
    return found


def leaves_alone(files: Iterable[File], device: str) -> bool:
    """Whether NetworkManager is told not to manage a device of this name, as far as names decide it."""
    specs: list[str] = []
    sections: dict[str, dict[str, str]] = {}
    for file in files:
        for section, key, value in assignments(file.text):
            if section.startswith("device"):
                sections.setdefault(section, {})[key] = value
            elif section == "keyfile" and key.rstrip("+-").strip() == "unmanaged-devices":
                given = _specs(value)
                if key.endswith("+"):
                    specs += given
                elif key.endswith("-"):
                    specs = [spec for spec in specs if spec not in given]
                else:
                    specs = given
    if _matches(specs, device):
        return True
    for values in sections.values():
        if _truth(values.get("managed", "")) is False and _matches(_specs(values.get("match-device", "*")), device):
            return True
    return False


def _specs(text: str) -> list[str]:
    return [spec.strip() for spec in text.replace(",", ";").split(";") if spec.strip()]


def _matches(specs: Sequence[str], device: str) -> bool:
    """A list matches when one of it does, and none of its exceptions (NetworkManager.conf, "Device List Format")."""
    hit = any(_matches_one(spec, device) for spec in specs if not spec.startswith("except:"))
    return hit and not any(
        _matches_one(spec.removeprefix("except:"), device) for spec in specs if spec.startswith("except:")
    )


def _matches_one(spec: str, device: str) -> bool:
    if spec == "*":
        return True
    if spec.startswith("interface-name:="):
        return spec.removeprefix("interface-name:=") == device
    if spec.startswith("interface-name:"):
        return fnmatch.fnmatchcase(device, spec.removeprefix("interface-name:"))
    return spec == device


def check_network_manager(facts: NetworkManager) -> Iterator[Finding]:
    """Whether it leaves our devices alone."""
    alone = leaves_alone(network_manager_files(facts.directories), f"{DEVICE_PREFIX}gre")
    write = _write("[keyfile]", rf"unmanaged-devices+=interface-name:{OURS}\n", NETWORK_MANAGER_DROP_IN)
    hint = f"{write}; nmcli general reload"
    if facts.running is False:
        yield good(_MANAGER_CHECK, "doesn't run")
    elif alone:
        yield good(_MANAGER_CHECK, f"leaves {OURS} alone")
    elif facts.running is None:
        yield unknown(_MANAGER_CHECK, f"can't be seen whether it runs; it isn't told to leave {OURS} alone", hint)
    else:
        yield warning(_MANAGER_CHECK, f"isn't told to leave {OURS} alone, and may configure them", hint)


def _write(section: str, lines: str, path: str) -> str:
    """A command that writes a file. lines: with line ends as printf has them."""
    return rf"printf '{section}\n{lines}' | install -D -m 0644 /dev/stdin {path}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)
