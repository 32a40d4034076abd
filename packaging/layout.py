"""Which file goes where, in which package: the layout of all packages, whatever they are packed with.

Nothing is read or written here; `stage` does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

COMMON = "vrfwire-common"
AGENT = "vrfwire-agent"
GATEWAY = "vrfwire-gateway"
MAP = "vrfwire-map"
PACKAGES = (COMMON, AGENT, GATEWAY, MAP)

PYTHON = (3, 11)
"""The Python of the private environment: compiled modules and byte code are of this one."""
INTERPRETER = "/usr/bin/python3.11"
LIBRARY = "usr/lib/vrfwire"
SITE = f"{LIBRARY}/site-packages"
REMOVER = f"{LIBRARY}/remove-datapath.pyz"
"""Takes the agent's datapath away without the rest of the package; see remover.py."""

PRODUCT = ("agent", "datapath", "gateway", "bgp", "ifmap", "xmpp", "vpn", "runtime")
"""Top-level packages of ours that run on a host; lab, tests and benchmarks don't."""

PROGRAMS = {
    "usr/bin/vrfwire": (AGENT, "agent.cli"),
    "usr/sbin/vrfwire-agent": (AGENT, "agent.main"),
    "usr/sbin/vrfwire-gateway": (GATEWAY, "gateway.main"),
    "usr/bin/vrfwire-gateway-ctl": (GATEWAY, "gateway.cli"),
    "usr/bin/vrfwire-map": (MAP, "ifmap.cli"),
}
"""Path: package that brings it, module with its main()."""

DAEMON_GROUP = "vrfwire-daemon"
"""Group that the daemons have in common: may enter /etc/vrfwire, and make sockets in /run/vrfwire."""


class Flag(Enum):
    """What a packer has to know of an entry beside its content."""

    PLAIN = "plain"
    CONFIG = "config"
    """Kept as the administrator has changed it."""
    DOC = "doc"


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between distributions. units: folder of systemd's units; zsh: of completions, below usr/share."""

    name: str
    units: str
    zsh: str


DEB = Family("deb", "lib/systemd/system", "zsh/vendor-completions")
RPM = Family("rpm", "usr/lib/systemd/system", "zsh/site-functions")
FAMILIES = {family.name: family for family in (DEB, RPM)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or, without content, a directory of a package.

    path: without the leading /; content: bytes, or the file to copy, or None; mode: permission bits. Owner and group
    are what it is to have on a host; `stage` leaves them to the packer.
    """

    package: str
    path: str
    content: bytes | PurePosixPath | None
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    flag: Flag = Flag.PLAIN

    @property
    def is_directory(self) -> bool:
        return self.content is None

    def line(self) -> str:
        """One line of a package's list: kind, mode, owner, group, flag, absolute path."""
        kind = "d" if self.is_directory else "f"
        return f"{kind} {self.mode:04o} {self.owner} {self.group} {self.flag.value} /{self.path}"


def launcher(module: str) -> bytes:
    """A program. -I and -S: nothing of the environment, the user, the working directory or a shared site-packages
    gets a say in what it imports."""
    return (
        f"#!{INTERPRETER} -IS\n"
        "import sys\n"
        "\n"
        f'sys.path.append("/{SITE}")\n'
        f"from {module} import main\n"
        "\n"
        "sys.exit(main())\n"
    ).encode()


def programs() -> Iterator[Entry]:
    """The programs."""
    for path, (package, module) in PROGRAMS.items():
        yield Entry(package, path, launcher(module), 0o755)


CONFIGURATIONS = {AGENT: ("agent",), GATEWAY: ("gateway",), MAP: ("map", "map-client")}
"""Files of /etc/vrfwire that each package reads; an example of each is shipped, and no file itself."""

SYSTEM_FILES = (
    # (source below the checkout, package, path; {units} is the family's folder)
    ("systemd/vrfwire-agent.service", AGENT, "{units}/vrfwire-agent.service"),
    ("systemd/vrfwire-gateway.service", GATEWAY, "{units}/vrfwire-gateway.service"),
    ("systemd/vrfwire-map.service", MAP, "{units}/vrfwire-map.service"),
    ("systemd/sysusers.d/vrfwire.conf", COMMON, "usr/lib/sysusers.d/vrfwire.conf"),
    ("systemd/sysusers.d/vrfwire-agent.conf", AGENT, "usr/lib/sysusers.d/vrfwire-agent.conf"),
    ("systemd/sysusers.d/vrfwire-gateway.conf", GATEWAY, "usr/lib/sysusers.d/vrfwire-gateway.conf"),
    ("systemd/sysusers.d/vrfwire-map.conf", MAP, "usr/lib/sysusers.d/vrfwire-map.conf"),
    ("systemd/tmpfiles.d/vrfwire.conf", COMMON, "usr/lib/tmpfiles.d/vrfwire.conf"),
    ("systemd/modules-load.d/vrfwire-agent.conf", AGENT, "usr/lib/modules-load.d/vrfwire-agent.conf"),
    ("systemd/sysctl.d/60-vrfwire-agent.conf", AGENT, "usr/lib/sysctl.d/60-vrfwire-agent.conf"),
    ("systemd/networkd.conf.d/vrfwire.conf", AGENT, "usr/lib/systemd/networkd.conf.d/vrfwire.conf"),
    ("systemd/NetworkManager/vrfwire.conf", AGENT, "usr/lib/NetworkManager/conf.d/vrfwire.conf"),
)

ROUTE_PROTOCOLS = ("packaging/etc/rt_protos.conf", AGENT, "etc/iproute2/rt_protos.d/vrfwire.conf")
"""Under /etc, because iproute2 before 6.5 looks nowhere else."""

DOCUMENTS = f"usr/share/doc/{COMMON}"


def system_files(family: Family) -> Iterator[Entry]:
    """Units and what systemd's tools and the network's managers read."""
    for source, package, path in SYSTEM_FILES:
        yield Entry(package, path.format(units=family.units), PurePosixPath(source))
    source, package, path = ROUTE_PROTOCOLS
    yield Entry(package, path, PurePosixPath(source), flag=Flag.CONFIG)


def configuration() -> Iterator[Entry]:
    """Directories below /etc/vrfwire, and examples of what is to be in them."""
    # Configuration has paths of keys, and the map's users with hashes of passwords: not for everybody.
    yield Entry(COMMON, "etc/vrfwire", None, 0o750, group=DAEMON_GROUP)
    for package, kinds in CONFIGURATIONS.items():
        for kind in kinds:
            yield Entry(package, f"etc/vrfwire/{kind}.toml.d", None, 0o755)
            example = PurePosixPath(f"packaging/examples/{kind}.toml")
            yield Entry(package, f"usr/share/doc/{package}/examples/{kind}.toml", example, flag=Flag.DOC)


def documents(sources: Iterable[str]) -> Iterator[Entry]:
    """README.md and docs/, with the folders that they have here, so that their links lead somewhere."""
    for source in sources:
        yield Entry(COMMON, f"{DOCUMENTS}/{source}", PurePosixPath(source), flag=Flag.DOC)


def fixed(family: Family, document_sources: Iterable[str]) -> tuple[Entry, ...]:
    """Everything but what is generated: private environment, manual pages, completions."""
    return (*programs(), *system_files(family), *configuration(), *documents(document_sources))
