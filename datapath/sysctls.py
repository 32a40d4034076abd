"""Host-wide settings that the datapath needs: raised when they are too low, never lowered, never put back on stop.

Putting them back would cut off whoever came to rely on them meanwhile; what was changed is recorded and told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/proc/sys")
_ROUTES6 = Path("/proc/thread-self/net/ipv6_route")
_RTF_LEARNT_DEFAULT = 0x00050000
"""RTF_DEFAULT and RTF_ADDRCONF: a default route from a router advertisement."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A number that must be at least `least`."""

    name: str
    """Path below /proc/sys, with slashes (device names contain dots)."""
    least: int
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """What we changed."""

    name: str
    before: int
    after: int
    why: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A setting of somebody else that the datapath can't live with, and that isn't ours to change."""

    name: str
    value: int
    why: str
    hint: str


def host_settings(labels: int) -> tuple[Setting, ...]:
    """Settings for a host that uses MPLS labels below `labels`."""
    return (
        Setting("net/ipv4/ip_forward", 1, "VMs are reached by routing"),
        Setting("net/ipv6/conf/all/forwarding", 1, "VMs are reached by routing"),
        Setting("net/ipv4/fib_multipath_hash_policy", 1, "flows of one VM spread over equal paths"),
        Setting("net/ipv6/fib_multipath_hash_policy", 1, "flows of one VM spread over equal paths"),
        Setting("net/ipv6/fwmark_reflect", 1, "ICMPv6 'packet too big' finds its way back into the VRF"),
        Setting("net/mpls/platform_labels", labels, "size of the label table"),
    )


def tunnel_settings(device: str) -> tuple[Setting, ...]:
    """Settings of a tunnel device."""
    return (Setting(f"net/mpls/conf/{device}/input", 1, "MPLS packets are accepted from the tunnel"),)


class Sysctls:
    """Reads and raises settings, and remembers what it changed."""

    def __init__(self, root: Path = _ROOT, routes6: Path = _ROUTES6) -> None:
        self._root = root
        self._routes6 = routes6
        self.changes: list[Change] = []
        """Every change since the start, oldest first."""

    def read(self, name: str) -> int | None:
        """The value; None if the kernel has no such setting (or it is no number)."""
        try:
            return int((self._root / name).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def satisfied(self, settings: tuple[Setting, ...]) -> bool:
        """Whether every setting is high enough."""
        return all((value := self.read(setting.name)) is not None and value >= setting.least for setting in settings)

    def ensure(self, settings: tuple[Setting, ...]) -> list[Change]:
        """Raise what is too low; what was changed. Raises OSError, with the name of the setting."""
        changes = []
        for setting in settings:
            before = self.read(setting.name)
            if before is not None and before >= setting.least:
                continue
            path = self._root / setting.name
            # Opened for writing alone: "x" modes and truncation have no meaning here, a missing file must stay missing.
            with path.open("r+") as file:
                file.write(str(setting.least))
            changes.append(Change(setting.name.replace("/", "."), before or 0, setting.least, setting.why))
        self.changes += changes
        return changes

    def conflicts(self) -> list[Conflict]:
        """Settings of others that stop traffic of VMs."""
        found = []
        for name in ("all", "default"):
            if self.read(f"net/ipv6/conf/{name}/disable_ipv6"):
                found.append(
                    Conflict(
                        f"net.ipv6.conf.{name}.disable_ipv6",
                        1,
                        "new ports and VRF devices would have no IPv6",
                        f"set net.ipv6.conf.{name}.disable_ipv6=0",
                    )
                )
        return found

    def risks(self) -> list[Conflict]:
        """Settings of others that stop traffic in some cases. Reverse path filters want a route back to the VM in its
        VRF, which isn't there before a gateway has announced it, and never in a spoke. And a host that forwards, as we
        make it, ignores router advertisements: its own default route ends with the lifetime of the last one."""
        found = []
        value = self.read("net/ipv4/conf/all/rp_filter")
        if value:
            found.append(
                Conflict(
                    "net.ipv4.conf.all.rp_filter",
                    value,
                    "the kernel takes the greater of this and the VRF's own 0, and drops what VMs send whose VPN has "
                    "no route back to them (hub and spoke; before they are announced)",
                    "set net.ipv4.conf.all.rp_filter=0, and net.ipv4.conf.DEVICE.rp_filter on the devices meant",
                )
            )
        for device in sorted(self._devices_with_learnt_default()):
            name = f"net/ipv6/conf/{device}/accept_ra"
            value = self.read(name)
            if value == 1:
                found.append(
                    Conflict(
                        name.replace("/", "."),
                        value,
                        f"{device} has its IPv6 default route from router advertisements, which a host that forwards "
                        "ignores",
                        f"set {name.replace('/', '.')}=2",
                    )
                )
        return found

    def _devices_with_learnt_default(self) -> set[str]:
        try:
            rows = [line.split() for line in self._routes6.read_text().splitlines()]
        except OSError:
            return set()
        return {row[9] for row in rows if int(row[8], 16) & _RTF_LEARNT_DEFAULT == _RTF_LEARNT_DEFAULT}
