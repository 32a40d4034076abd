"""Doctor: the network that carries the tunnels. Pure, over what the kernel says of addresses, MTU and routes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from agent.hostagent import OVERHEAD
from runtime.findings import Finding, failed, good, unknown, warning

IPV6_MINIMUM = 1280
"""Octets that every link of IPv6 must carry (RFC 8200, section 5)."""
SHOWN = 5
"""Hosts with the same trouble that are named."""


@dataclass(frozen=True, slots=True)
class Way:
    """The way to another host, as the kernel sees it without sending anything. mtu: path MTU in octets, as far as it
    knows, 0 if it doesn't; error: why there is none, "" if there is."""

    host: IPv4Address
    mtu: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Underlay:
    """address: of this host; error: why it can't be used, "" if it can. device: that has it, "" for none; mtu: of that.
    configured_mtu: [datapath] underlay_mtu. told_mtu: what VMs were told, None without the daemon. ways: to the hosts
    that have been announced; more: hosts that weren't looked at."""

    address: IPv4Address
    error: str = ""
    device: str = ""
    mtu: int = 0
    configured_mtu: int | None = None
    told_mtu: int | None = None
    ways: tuple[Way, ...] = ()
    more: int = 0


def check_underlay(facts: Underlay) -> Iterator[Finding]:
    """Address, MTU, and the way to every host."""
    hint = "set [host] address to one of `ip -4 -brief address`, or give it to a device: `ip address add ...`"
    if facts.error:
        yield failed("underlay address", f"{facts.address}: {facts.error}", hint)
    else:
        yield good("underlay address", f"{facts.address} on {facts.device}" if facts.device else str(facts.address))
    yield from _mtu(facts)
    yield from _routes(facts)
    yield from _path_mtu(facts)


def _mtu(facts: Underlay) -> Iterator[Finding]:
    carried = facts.configured_mtu if facts.configured_mtu is not None else facts.mtu
    if not carried:
        if not facts.error:
            hint = "set [datapath] underlay_mtu to what the underlay carries"
            yield unknown("underlay MTU", f"the device with {facts.address} isn't known", hint)
        return
    ours = carried - OVERHEAD
    shown = (
        f"{facts.device} carries {facts.mtu}" if facts.configured_mtu is None else f"[datapath] underlay_mtu {carried}"
    )
    larger = f"ip link set dev {facts.device or 'DEVICE'} mtu {carried}"
    if facts.configured_mtu is not None and facts.mtu and carried > facts.mtu:
        detail = f"[datapath] underlay_mtu is {carried}, but {facts.device} carries {facts.mtu}"
        yield failed("underlay MTU", detail, f"{larger}, or set underlay_mtu = {facts.mtu}")
    elif ours < IPV6_MINIMUM:
        enough = IPV6_MINIMUM + OVERHEAD
        detail = f"{shown}: VMs have {ours}, too little for IPv6, which needs {IPV6_MINIMUM}"
        yield failed("underlay MTU", detail, f"ip link set dev {facts.device or 'DEVICE'} mtu {enough}, on every host")
    elif facts.told_mtu is not None and facts.told_mtu != ours:
        detail = f"{shown}: VMs should have {ours}, but were told {facts.told_mtu} since the daemon's start"
        yield warning("underlay MTU", detail, f"systemctl restart vrfwire-agent, then give VMs MTU {ours}")
    else:
        yield good("underlay MTU", f"{shown}: VMs have {ours}")


def _routes(facts: Underlay) -> Iterator[Finding]:
    lost = [way for way in facts.ways if way.error]
    if lost:
        one = lost[0]
        detail = f"{_hosts(lost)}: {one.error}"
        yield failed(
            "underlay routes", detail, f"ip route get {one.host} from {facts.address}; add the route that lacks"
        )
    elif facts.ways:
        yield good("underlay routes", f"there is one to {_count(facts)}")


def _path_mtu(facts: Underlay) -> Iterator[Finding]:
    carried = facts.configured_mtu if facts.configured_mtu is not None else facts.mtu
    known = [way for way in facts.ways if way.mtu]
    narrow = sorted((way for way in known if way.mtu < carried), key=lambda way: way.mtu)
    if narrow:
        least = narrow[0]
        fits = f"ping -M do -s {least.mtu - 28} {least.host} should pass, a larger one not"
        yield warning(
            "path MTU",
            f"{_hosts(narrow)}: {least.mtu}, but VMs may send {carried - OVERHEAD} and the tunnel adds {OVERHEAD}",
            f"let the path carry {carried}, or set [datapath] underlay_mtu = {least.mtu} on every host; {fits}",
        )
    elif known and carried:
        yield good("path MTU", f"{min(way.mtu for way in known)} to {_count(facts)}, as far as the kernel knows")


def _hosts(ways: Sequence[Way]) -> str:
    shown = ", ".join(str(way.host) for way in ways[:SHOWN])
    return f"{shown} and {len(ways) - SHOWN} more" if len(ways) > SHOWN else shown


def _count(facts: Underlay) -> str:
    number = len(facts.ways)
    hosts = "1 host" if number == 1 else f"{number} hosts"
    return f"{hosts}; {facts.more} more weren't looked at" if facts.more else hosts
