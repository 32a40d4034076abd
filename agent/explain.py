"""Where packets of a VPN's VMs to an address go, and why: what is wanted, what each gateway says, and what the kernel
would do with such a packet at this moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.attachment import Attached, VpnRecord
from agent.candidates import covering, reason, selected
from agent.documents import Document, Documents
from agent.faults import shortly
from agent.hostagent import HostAgent
from agent.plan import Resolution, resolve
from agent.problems import blocked
from agent.routes import GatewayId
from datapath.driver import DumpInterrupted
from datapath.observe import FoundRoute
from datapath.values import PROTOCOL, Kind, NextHop, NextHopGroup, VrfRoute
from vpn import path as signalled
from vpn.path import Path
from vpn.prefix import Prefix, format_address
from vpn.table import Candidate, VrfTable


class Explainer:
    """Explanations of one agent's routes."""

    def __init__(self, agent: HostAgent, documents: Documents) -> None:
        self._agent = agent
        self._documents = documents

    def explain(self, vpn: str, address: bytes) -> Document:
        """The explanation of an address (packed). Raises OperatorError when no port here is in the VPN."""
        record = self._documents.joined(vpn)
        table = self._agent.tables.table(vpn)
        prefix = None if table is None else next((p for p in covering(address) if p in table), None)
        document: Document = {"vpn": vpn, "address": format_address(address)}
        if table is None or prefix is None:
            found, trouble = self._look(record, address)
            why = ["no gateway has announced a prefix that covers the address", *self._why_nothing(vpn, address)]
            document |= {"prefix": None, "desired": None, "per_gateway": [], "state": "absent"}
        else:
            # The route that is wanted, before the kernel is asked for the one that is there.
            document |= self._wanted(record, table, prefix)
            found, trouble = self._look(record, address)
            why = [*self._why(record, table, prefix)]
        document |= {
            "kernel": None if found is None else self._kernel(found),
            "underlay": self._underlay(found),
            "here": self._here(vpn, address),
        }
        why += self._differs(record, prefix, found, trouble)
        return document | {"why": why}

    # -- what is wanted

    def _wanted(self, record: VpnRecord, table: VrfTable[GatewayId], prefix: Prefix) -> Document:
        path = table.get(prefix)
        assert path is not None
        via = self._resolve(prefix, path).via
        return {
            "prefix": str(prefix),
            "desired": None if via is None else {"next_hops": self._hops(_members(via))},
            "per_gateway": self._per_gateway(table.candidates(prefix)),
            "state": self._documents.route_state(record, prefix, path)[0],
        }

    def _resolve(self, prefix: Prefix, path: Path) -> Resolution:
        planner = self._agent.planner
        return resolve(self._agent.host, prefix, path, planner.by_label, planner.down)

    def _why(self, record: VpnRecord, table: VrfTable[GatewayId], prefix: Prefix) -> Iterator[str]:
        path = table.get(prefix)
        assert path is not None
        candidates = table.candidates(prefix)
        yield f"{prefix} is the longest prefix that covers the address"
        chosen = selected(candidates)
        if next(c for c in candidates if c.source == chosen).stale:
            yield "the gateway that announced it is away: the route stays until that is back, or others are complete"
        resolution = self._resolve(prefix, path)
        for entry in resolution.ignored:
            yield f"next hop {_shown_hop(entry.next_hop)} is not used: {entry.reason}"
        state, error = self._documents.route_state(record, prefix, path)
        if resolution.via is None:
            yield "no usable next hop: packets are answered with ICMP unreachable"
            return
        members = _members(resolution.via)
        if len(members) > 1:
            yield f"{len(members)} next hops share the packets, each flow (addresses and ports) keeping to one"
        for member in members:
            attached = self._agent.planner.port_on(member.device)
            if attached is not None:
                yield f"port {attached.name} is on this host: delivered there, not sent through the tunnel"
                if not attached.allowed:
                    yield f"port {attached.name} is closed: {self._shut(attached)}"
        if state != "programmed":
            yield f"the kernel's route is {state}{': ' + error if error else ''}"
        elif error:
            yield f"not all next hops are used: {error}"

    def _why_nothing(self, vpn: str, address: bytes) -> Iterator[str]:
        agent = self._agent
        for attached in agent.inventory.members(vpn):
            if any(prefix.contains(address) for prefix in attached.attachment.announced()):
                if not attached.allowed:
                    yield f"port {attached.name} here has it, and is closed: {self._shut(attached)}"
                    continue
                yield (
                    f"port {attached.name} here has it, but a local prefix is forwarded locally only when a gateway "
                    "announces it back with this host's own label"
                )
        for peer in agent.peers.values():
            refusal = peer.signaling.vpn_refusal(vpn)
            if refusal is not None:
                yield f"gateway {peer.name} refuses the VPN: {refusal}"
            elif not peer.connected:
                yield f"gateway {peer.name} is {peer.session.state.value}"
            elif not peer.signaling.synchronised(vpn):
                yield f"gateway {peer.name} hasn't sent its whole table yet"

    def _shut(self, attached: Attached) -> str:
        if attached.closed:
            return "the host is drained"
        return blocked(self._agent, attached)[0]

    def _per_gateway(self, candidates: tuple[Candidate[GatewayId], ...]) -> list[Document]:
        chosen = selected(candidates)
        best = next(c for c in candidates if c.source == chosen)
        return [
            {
                "gateway": self._agent.peers[candidate.source].name,
                "next_hops": [self._documents.next_hop(hop) for hop in candidate.path.next_hops],
                "local_preference": candidate.path.local_preference,
                "sequence_number": candidate.path.sequence_number,
                "stale": candidate.stale,
                "selected": candidate.source == chosen,
                "reason": reason(candidate, best, len(candidates)),
            }
            for candidate in sorted(candidates, key=lambda c: (c.source != chosen, c.source))
        ]

    # -- what the kernel would do

    def _look(self, record: VpnRecord, address: bytes) -> tuple[FoundRoute | None, str]:
        """What the kernel does with a packet to the address; and why that isn't known."""
        observer = self._agent.observer
        if observer is None:
            return self._believed(record, address), ""
        try:
            return observer.route(address, record.device), ""
        except (OSError, DumpInterrupted) as error:
            return None, f"the kernel can't be asked: {getattr(error, 'strerror', None) or error}"

    def _believed(self, record: VpnRecord, address: bytes) -> FoundRoute | None:
        """What was written or read last, for want of a kernel that can be asked."""
        routes = self._agent.datapath.reconciler.kernel(Kind.VRF_ROUTE)
        for prefix in covering(address):
            route = routes.get((record.table, prefix))
            if isinstance(route, VrfRoute):
                return FoundRoute(prefix, record.table, PROTOCOL, "unicast", _members(route.via))
        return None

    def _kernel(self, found: FoundRoute) -> Document:
        return {
            "prefix": str(found.prefix),
            "type": found.kind,
            "protocol": "vrfwire" if found.protocol == PROTOCOL else found.protocol,
            "next_hops": self._hops(found.next_hops),
        }

    def _underlay(self, found: FoundRoute | None) -> list[Document]:
        """How the packets get to the remote hosts: the underlay's routes."""
        observer, tunnel = self._agent.observer, self._agent.host.tunnel
        if found is None or observer is None:
            return []
        rows: list[Document] = []
        for remote in sorted({hop.gateway[-4:] for hop in found.next_hops if hop.device == tunnel and hop.gateway}):
            try:
                route = observer.route(remote, None)
            except (OSError, DumpInterrupted):
                route = None
            row: Document = {"host": format_address(remote), "device": None, "gateway": None}
            if route is not None and route.next_hops:
                hop = route.next_hops[0]
                row |= {"device": hop.device, "gateway": format_address(hop.gateway) if hop.gateway else None}
            rows.append(row)
        return rows

    def _differs(
        self, record: VpnRecord, prefix: Prefix | None, found: FoundRoute | None, trouble: str
    ) -> Iterator[str]:
        """What the kernel does otherwise than wanted."""
        if trouble:
            yield trouble
            return
        planned = None if prefix is None else self._agent.planner.vrf_route(record.name, prefix)
        if found is not None and found.kind in ("blackhole", "prohibit"):
            yield f"a {found.kind} route of another program stops such packets"
            return
        if found is None or found.kind != "unicast":
            yield "the kernel answers such packets with ICMP unreachable"
            return
        if found.protocol != PROTOCOL:
            yield f"the kernel's route {found.prefix} was made by another program (protocol {found.protocol})"
        elif planned is None or found.prefix != prefix:
            yield f"the kernel goes by {found.prefix}, which is kept from before until every gateway has been heard"
        elif found.next_hops != tuple(sorted(_members(planned.via))):
            yield "the kernel's next hops are others than wanted: they are being changed"
        for row in self._underlay(found):
            if row["device"] is None:
                yield f"the underlay has no route to {row['host']}: see `ip route get {row['host']}`"

    # -- what comes from the network

    def _here(self, vpn: str, address: bytes) -> Document | None:
        """The port of this host that has the address: where packets from other hosts are delivered."""
        for attached in self._agent.inventory.members(vpn):
            covers = next((p for p in attached.attachment.announced() if p.contains(address)), None)
            if covers is not None:
                state, error = self._agent.ports.state(attached)
                return {
                    "port": attached.name,
                    "prefix": shortly(covers),
                    "label": attached.label,
                    "interface": attached.attachment.interface,
                    "state": state,
                    "announced": self._agent.ports.announced(attached.name)[0],
                    "blocked": covers in attached.blocked,
                    "error": error,
                }
        return None

    def _hops(self, members: tuple[NextHop, ...]) -> list[Document]:
        rows: list[Document] = []
        for member in members:
            remote = member.device == self._agent.host.tunnel
            gateway = member.gateway[-4:] if remote else member.gateway
            rows.append(
                {
                    "address": format_address(gateway) if gateway else None,
                    "label": member.labels[0] if member.labels else None,
                    "local": not remote,
                    "interface": member.device,
                }
            )
        return rows


def _shown_hop(next_hop: signalled.NextHop) -> str:
    return f"{format_address(next_hop.address)} label {next_hop.label}"


def _members(via: NextHop | NextHopGroup) -> tuple[NextHop, ...]:
    return via.members if isinstance(via, NextHopGroup) else (via,)
