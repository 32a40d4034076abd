"""What the kernel should hold, as pure functions of the attachments and the selected routes.

`plan` is the definition; `agent.planner` gives the same answer change by change. What is forwarded where:

- from the network to a VM: the label of an attachment is an MPLS route straight to the VM's port;
- from a VM to the network: VRF routes, made from what the gateways announced. A local prefix is in the VRF table only
  when a gateway announced it with this host's own next hop and label (draft-ietf-l3vpn-end-system-06, section 4.2); it
  then points at the local port. Otherwise hub-and-spoke would be short-circuited on a host with two spokes;
- of several next hops those are used that the kernel takes. It has none towards a VM that isn't running, and no group
  with a member that it hasn't got. What is left out is planned all the same: that it is made is how we hear of the VM.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agent.attachment import Attached, Attachment, VpnRecord
from agent.names import TUNNEL_DEVICE
from datapath.values import (
    AntiSpoofing,
    MplsRoute,
    Neighbour,
    NextHop,
    NextHopGroup,
    Port,
    PortKind,
    Tunnel,
    Value,
    Vrf,
    VrfRoute,
)
from vpn import path as signalled
from vpn.path import Encapsulation, Path
from vpn.prefix import AFI_IPV4, Prefix

_MAPPED = bytes(10) + b"\xff\xff"
_LINK_LOCAL = b"\xfe\x80" + bytes(6)


@dataclass(frozen=True, slots=True)
class Host:
    """This host on the underlay. address: packed; encapsulations: those that it can send."""

    address: bytes
    encapsulations: tuple[Encapsulation, ...] = (Encapsulation.GRE,)
    tunnel: str = TUNNEL_DEVICE


class Ignored(NamedTuple):
    """A next hop that is not used, and why."""

    next_hop: signalled.NextHop
    reason: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a path is forwarded: by `via`, or not at all (None); which of its next hops are not used, and which will be
    when the kernel takes them."""

    via: NextHop | NextHopGroup | None
    ignored: tuple[Ignored, ...] = ()
    waiting: tuple[NextHop, ...] = ()


def host_values(host: Host) -> tuple[Value, ...]:
    """What a host needs before any attachment."""
    return (Tunnel(host.tunnel, host.address),)


def vpn_values(record: VpnRecord) -> tuple[Value, ...]:
    """What a VPN needs as soon as it has an attachment here."""
    return (Vrf(record.device, record.table, record.name),)


def attachment_values(attached: Attached, record: VpnRecord) -> tuple[Value, ...]:
    """What one attachment needs: downstream traffic, and what its VM may send. Of a port that is closed, or of which
    everything is blocked, the interface stays, and lets nothing pass."""
    attachment = attached.attachment
    device = attachment.interface
    veth = attachment.kind is PortKind.VETH
    port = Port(
        name=device,
        port_kind=attachment.kind,
        vrf=record.device,
        attachment=attachment.name,
        netns=attachment.netns,
        guest_name=attachment.guest_interface or "eth0",
        guest_mac=attachment.mac,
        guest_addresses=attachment.addresses if veth else (),
    )
    return (
        port,
        *(Neighbour(device, address, attachment.mac) for address in attachment.addresses),
        *([Neighbour(device, hop, attachment.mac)] if (hop := _hop6(attachment)) is not None else []),
        AntiSpoofing(device, attachment.mac, attached.allowed),
        *([MplsRoute(attached.label, device, attachment.addresses[0])] if attached.allowed else []),
    )


def resolve(
    host: Host, prefix: Prefix, path: Path, by_label: Mapping[int, Attached], down: Container[NextHop] = ()
) -> Resolution:
    """How packets to a prefix are forwarded by the path that was selected for it.

    by_label: the attachments of this host by label. down: next hops that the kernel doesn't take at present; where all
    are, all are wanted, and the route waits for the first of them.
    """
    if len(path.next_hops) == 1:  # nearly every route
        answer = _next_hop(host, prefix, path.next_hops[0], by_label)
        if isinstance(answer, str):
            return Resolution(None, (Ignored(path.next_hops[0], answer),))
        return Resolution(answer)
    members: set[NextHop] = set()
    ignored = []
    for next_hop in path.next_hops:
        answer = _next_hop(host, prefix, next_hop, by_label)
        if isinstance(answer, str):
            ignored.append(Ignored(next_hop, answer))
        else:
            members.add(answer)
    waiting = {member for member in members if member in down}
    if len(waiting) == len(members):
        waiting = set()
    used = sorted(members - waiting)
    via = NextHopGroup(tuple(used)) if len(used) > 1 else next(iter(used), None)
    return Resolution(via, tuple(ignored), tuple(sorted(waiting)))


def _next_hop(
    host: Host, prefix: Prefix, next_hop: signalled.NextHop, by_label: Mapping[int, Attached]
) -> NextHop | str:
    """The forwarding next hop, or why there is none."""
    address, label, encapsulations = next_hop
    if address == host.address:
        attached = by_label.get(label)
        if attached is None:
            return f"label {label} is this host's, but no port here has it"
        attachment = attached.attachment
        gateway = attachment.gateway_of(prefix) if prefix.afi == AFI_IPV4 else _hop6(attachment)
        if gateway is None:
            return f"port {attached.name} has no address of the family"
        return NextHop(attachment.interface, gateway)
    if len(address) != 4:
        return "the next hop is not an IPv4 underlay address"
    if not any(encapsulation in host.encapsulations for encapsulation in encapsulations):
        return f"encapsulation {', '.join(encapsulations) or 'none'} is not supported here"
    return NextHop(host.tunnel, address if prefix.afi == AFI_IPV4 else _MAPPED + address, (label,))


def _hop6(attachment: Attachment) -> bytes | None:
    """The gateway of IPv6 routes to a VM: the link-local address that its MAC makes (RFC 4291, appendix A); None for a
    VM without IPv6.

    Not its own address: Linux refuses a gateway that has a route by another device, and the address has one as long as
    another host announces it too (a VM that is moved, an anycast address). A link-local gateway isn't looked up.
    """
    if not any(len(address) == 16 for address in attachment.addresses):
        return None
    mac = attachment.mac
    return _LINK_LOCAL + bytes((mac[0] ^ 0x02,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def parts(host: Host, value: NextHop | NextHopGroup) -> tuple[NextHop | Neighbour, ...]:
    """What must exist for a next hop or group and isn't an attachment's: members; the neighbour of a remote host."""
    if isinstance(value, NextHopGroup):
        return value.members
    if value.device != host.tunnel:
        return ()
    underlay = value.gateway[-4:]
    return (Neighbour(host.tunnel, underlay, underlay),)


def plan(
    host: Host,
    vpns: Mapping[str, VpnRecord],
    attachments: Iterable[Attached],
    routes: Mapping[tuple[str, Prefix], Path],
    down: Container[NextHop] = (),
) -> set[Value]:
    """Everything that the kernel should hold. routes: by VPN and prefix; VPNs without attachment are left out. down:
    see resolve()."""
    attachments = tuple(attachments)
    by_label = {attached.label: attached for attached in attachments}
    joined = {attached.attachment.vpn for attached in attachments}
    values: set[Value] = set(host_values(host))
    for name in joined:
        values.update(vpn_values(vpns[name]))
    for attached in attachments:
        values.update(attachment_values(attached, vpns[attached.attachment.vpn]))
    for (name, prefix), path in routes.items():
        if name not in joined:
            continue
        resolution = resolve(host, prefix, path, by_label, down)
        if resolution.via is not None:
            values.add(VrfRoute(vpns[name].table, prefix, resolution.via))
            for via in (resolution.via, *resolution.waiting):
                values.update(_with_parts(host, via))
    return values


def _with_parts(host: Host, value: NextHop | NextHopGroup) -> Iterable[Value]:
    yield value
    for part in parts(host, value):
        if isinstance(part, NextHop):
            yield from _with_parts(host, part)
        else:
            yield part
