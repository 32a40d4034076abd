"""Doctor: modules and settings of the kernel, as far as they can be read. Pure. What the kernel can do is tried out by
datapath/probe.py, which needs privileges; the modules say something to those who have none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runtime.findings import Finding, failed, good, unknown, warning

MODULES = (
    *("vrf", "ip_gre", "mpls_router", "mpls_iptunnel", "mpls_gso", "tun", "veth"),
    *("sch_ingress", "cls_flower", "cls_matchall", "act_gact", "act_skbedit", "act_bpf"),
)
"""What a host needs, by the name that the kernel has for it."""


@dataclass(frozen=True, slots=True)
class Modules:
    """loaded: those of MODULES that are; built_in, installed: names, None when there is no list of them."""

    loaded: frozenset[str]
    built_in: frozenset[str] | None
    installed: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Value:
    """A setting that must be at least `least`. name: below /proc/sys, with slashes; value: None if there is none."""

    name: str
    least: int
    value: int | None
    why: str


def check_modules(facts: Modules) -> Iterator[Finding]:
    """Whether all are there, or can be loaded."""
    built_in, installed = facts.built_in or frozenset(), facts.installed or frozenset()
    lacking = [name for name in MODULES if name not in facts.loaded | built_in]
    absent = [name for name in lacking if name not in installed]
    if not lacking:
        yield good("kernel modules", "all are loaded or built in")
    elif absent and facts.installed is not None:
        hint = "install the whole kernel package: Debian's linux-image-amd64, not linux-image-cloud-amd64"
        yield failed("kernel modules", f"this kernel lacks {', '.join(absent)}", hint)
    elif absent:
        yield unknown("kernel modules", f"not loaded: {', '.join(absent)}", f"modprobe -a {' '.join(absent)}")
    else:
        yield good("kernel modules", f"to be loaded when they are needed: {', '.join(lacking)}")


def check_settings(values: Iterable[Value], running: bool) -> Iterator[Finding]:
    """Whether what the daemon raises is high enough. running: whether the daemon runs, and should have raised it."""
    low = [value for value in values if value.value is None or value.value < value.least]
    if not low:
        yield good("settings of the kernel", "as they must be")
    for value in low:
        name = value.name.replace("/", ".")
        if value.value is None:
            if running:
                module = "mpls_router" if name.startswith("net.mpls.") else "ipv6"
                yield failed("settings of the kernel", f"there is no {name}: {value.why}", f"modprobe {module}")
        elif running:
            detail = f"{name} is {value.value}, which is less than {value.least}: {value.why}"
            yield warning("settings of the kernel", detail, f"sysctl -w {name}={value.least}")
    if low and not running:
        names = ", ".join(value.name.replace("/", ".") for value in low)
        yield good("settings of the kernel", f"raised when the first port comes: {names}")
