"""What this kernel lets us do: the drivers try it out in a namespace that is gone afterwards.

Trying is the only reliable test: a module may be built in, loaded on demand, or there but refused. The namespace
belongs to a thread of its own (unshare moves the calling thread alone) and ends with it, with all that was made in it.
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datapath.driver import Operation, Outcome, Verb
from datapath.kernel import Kernel, KernelConfig, open_kernel
from datapath.namespaces import leave
from datapath.sysctls import Sysctls
from datapath.values import (
    AntiSpoofing,
    Kind,
    MplsRoute,
    Neighbour,
    NextHop,
    Port,
    PortKind,
    Tunnel,
    Value,
    Vrf,
    VrfRoute,
)
from vpn.prefix import Prefix


class State(enum.StrEnum):
    """How a check ended. WARNING: it works, but badly or not in all cases."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check: what was looked at, what was found, and what to do about it ("" if nothing)."""

    check: str
    state: State
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A feature: values that must be made for it, modules that provide it, and trials it builds on."""

    check: str
    values: tuple[Value, ...]
    modules: tuple[str, ...]
    needs: tuple[str, ...] = ()


_MAC = bytes.fromhex("020000000001")
_LOCAL, _REMOTE = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
_GUEST = bytes((198, 51, 100, 1))
_CONFIG = KernelConfig(_LOCAL, range(10000, 10001), range(1000, 1001))
_VRF = Vrf("vw-probe", 10000, "probe")
_TAP = Port("vw-probe-tap", PortKind.TAP, _VRF.name, "probe", guest_mac=_MAC)
_HOP = NextHop("vw-gre", _REMOTE, (1000,))


def _trials(namespace: str) -> tuple[_Trial, ...]:
    veth = Port("vw-probe-veth", PortKind.VETH, _VRF.name, "probe", namespace, "probe0", _MAC, (_GUEST,))
    filters = AntiSpoofing(_TAP.name, _MAC, (Prefix(_GUEST, 32), Prefix(bytes(15) + b"\1", 128)))
    route = VrfRoute(_VRF.table, Prefix(_GUEST, 32), _HOP)
    return (
        _Trial("VRF", (_VRF,), ("vrf",)),
        _Trial("GRE tunnel with MPLS", (Tunnel("vw-gre", _LOCAL),), ("ip_gre", "mpls_router")),
        _Trial("tap ports", (_TAP,), ("tun", "sch_ingress", "cls_matchall", "cls_flower", "act_skbedit"), ("VRF",)),
        _Trial("ports in a namespace", (veth,), ("veth", "sch_ingress", "cls_flower", "act_skbedit"), ("VRF",)),
        _Trial("anti-spoofing", (filters,), ("cls_flower", "act_gact", "act_bpf"), ("tap ports",)),
        _Trial("MPLS routes", (MplsRoute(1000, _TAP.name, _GUEST),), ("mpls_router",), ("tap ports",)),
        _Trial(
            "routes into the tunnel",
            (Neighbour("vw-gre", _REMOTE, _REMOTE), _HOP, route),
            ("mpls_iptunnel",),
            ("VRF", "GRE tunnel with MPLS"),
        ),
    )


_CAPABILITIES = (
    ("CAP_NET_ADMIN", 12, "everything"),
    ("CAP_SYS_ADMIN", 21, "ports in a namespace, and this check"),
    ("CAP_BPF", 39, "answering ARP and ND for every address"),
)
_MODULES_ROOT = Path("/lib/modules")


def probe() -> list[Finding]:
    """Look at everything. Blocks for some tenths of a second; raises nothing."""
    return [*_capabilities(), *_in_namespace(), _offload(), *_conflicts()]


def _capabilities() -> Iterator[Finding]:
    held = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
    missing = [(name, use) for name, number, use in _CAPABILITIES if not held >> number & 1]
    if not missing:
        yield Finding("privileges", State.OK, ", ".join(name for name, _, _ in _CAPABILITIES))
    for name, use in missing:
        state = State.FAILED if name == "CAP_NET_ADMIN" else State.WARNING
        yield Finding("privileges", state, f"{name} is missing; needed for {use}", f"run with {name}, or as root")


def _in_namespace() -> list[Finding]:
    findings: list[Finding] = []

    def work() -> None:
        try:
            leave()
            with contextlib.closing(
                open_kernel(KernelConfig(_LOCAL, range(10000, 10001), range(1000, 1001)))
            ) as kernel:
                findings.extend(_try_out(kernel))
        except OSError as error:
            hint = "run it as root, on a kernel with network namespaces"
            findings.append(Finding("test namespace", State.FAILED, error.strerror or str(error), hint))

    thread = threading.Thread(target=work, name="probe")
    thread.start()
    thread.join()
    return findings


def _try_out(kernel: Kernel) -> Iterator[Finding]:
    done: set[str] = set()
    drivers: dict[Kind, Callable[[list[Operation]], list[Outcome]]] = {one.kind: one.apply for one in kernel.drivers}
    for trial in _trials(f"/proc/self/task/{threading.get_native_id()}/ns/net"):
        lacking = [name for name in trial.needs if name not in done]
        if lacking:
            hint = f"see {lacking[0]}; then {_load(trial.modules)}"
            yield Finding(trial.check, State.FAILED, f"not tried without {' and '.join(lacking)}", hint)
            continue
        for value in trial.values:
            outcome = drivers[value.kind]([Operation(Verb.PUT, value)])[0]
            if outcome is not None:
                yield Finding(trial.check, State.FAILED, outcome.text, _load(trial.modules))
                break
        else:
            done.add(trial.check)
            yield Finding(trial.check, State.OK, "works")
    if kernel.responder_error:
        hint = "give CAP_BPF (or CAP_SYS_ADMIN) and a kernel with BPF; until then only known addresses are answered"
        yield Finding("ARP and ND responder", State.WARNING, kernel.responder_error, hint)
    else:
        yield Finding("ARP and ND responder", State.OK, "works")


def _offload() -> Finding:
    """mpls_gso: without it TCP through MPLS falls to a few Mbit/s. Nothing but its presence shows it."""
    builtin = _MODULES_ROOT / os.uname().release / "modules.builtin"
    with contextlib.suppress(OSError):
        if Path("/sys/module/mpls_gso").exists() or "/mpls_gso.ko" in builtin.read_text():
            return Finding("segmentation of MPLS", State.OK, "mpls_gso is there")
    return Finding("segmentation of MPLS", State.WARNING, "TCP between hosts will be slow", _load(("mpls_gso",)))


def _conflicts() -> Iterator[Finding]:
    sysctls = Sysctls()
    found = [(State.FAILED, one) for one in sysctls.conflicts()] + [(State.WARNING, one) for one in sysctls.risks()]
    for state, conflict in found:
        detail = f"{conflict.name} is {conflict.value}: {conflict.why}"
        yield Finding("settings of the host", state, detail, conflict.hint)
    if not found:
        yield Finding("settings of the host", State.OK, "none in the way")


def _load(modules: tuple[str, ...]) -> str:
    return f"modprobe {' '.join(modules)}" if len(modules) == 1 else f"modprobe -a {' '.join(modules)}"
