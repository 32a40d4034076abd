"""What the control socket shows: documents with stable field names, made from the agent's state without changing it."""

from __future__ import annotations

import errno
import time
from itertools import islice

from agent.attachment import Attached, VpnRecord, address_texts, format_mac
from agent.candidates import selected
from agent.drain_state import DrainPhase, at_gateway
from agent.faults import DRAINED_HINT, refusal_hint
from agent.hostagent import HostAgent
from agent.peer import Peer
from agent.plan import resolve
from agent.problems import blocked, find_problems
from agent.routes import GatewayId
from datapath.status import Change, State, Status
from datapath.values import Kind, NextHop, NextHopGroup, VrfRoute
from runtime.errors import ExitCode, OperatorError
from vpn import path as signalled
from vpn.path import Path
from vpn.prefix import Prefix, format_address

Document = dict[str, object]
_SHOWN_PROBLEMS = 50
_DIGITS = 19
"""Of a revision."""


def timestamp(seconds: float) -> str:
    """Wall clock as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Documents:
    """Documents about one agent."""

    def __init__(self, agent: HostAgent) -> None:
        self._agent = agent

    # -- ports

    def port(self, attached: Attached) -> Document:
        """One port."""
        agent, attachment = self._agent, attached.attachment
        state, error = agent.ports.state(attached)
        announced, refusals = agent.ports.announced(attached.name)
        hint = ""
        if not error and attached.closed:
            error, hint = "the host is drained, nothing passes from or to it", DRAINED_HINT
        elif not error and attached.blocked:
            error, hint = blocked(agent, attached)
        elif not error and refusals:
            peer, refusal = refusals[0]
            error, hint = f"gateway {peer.name} refused: {refusal}", refusal_hint(refusal, attachment)
        return {
            "name": attached.name,
            "vpn": attachment.vpn,
            "attachment": attachment.known_as,
            "blocked": [str(prefix) for prefix in sorted(attached.blocked)],
            "kind": attachment.kind.value,
            "interface": attachment.interface,
            "netns": attachment.netns,
            "guest_interface": attachment.guest_interface or None,
            "addresses": address_texts(attachment),
            "prefixes": [str(prefix) for prefix in attachment.prefixes],
            "mac": format_mac(attachment.mac),
            "label": attached.label,
            "mtu": agent.mtu,
            "state": state,
            "announced": announced,
            "carrier": attachment.interface not in agent.datapath.without_carrier(),
            "error": error,
            "hint": hint,
        }

    def ports(self, vpn: str | None) -> Document:
        """All ports, or those of one VPN."""
        found = self._agent.inventory.attachments()
        return {"items": [self.port(entry) for entry in found if vpn is None or entry.attachment.vpn == vpn]}

    def named_port(self, name: str) -> Document:
        """One port by name; raises OperatorError (NOT_FOUND)."""
        attached = self._agent.inventory.get(name)
        if attached is None:
            raise OperatorError(f"port {name}", "no such port", "see `vrfwire port list`", ExitCode.NOT_FOUND)
        return self.port(attached)

    # -- VPNs

    def joined(self, name: str) -> VpnRecord:
        """A VPN with ports here, by name; raises OperatorError (NOT_FOUND)."""
        record = self._agent.inventory.vpn(name)
        if record is None or not self._agent.inventory.members(name):
            raise OperatorError(f"VPN {name}", "no port here is in it", "see `vrfwire vpn list`", ExitCode.NOT_FOUND)
        return record

    def vpn(self, record: VpnRecord) -> Document:
        """One VPN."""
        agent = self._agent
        table = agent.tables.table(record.name)
        gateways = []
        for peer in agent.peers.values():
            refusal = peer.signaling.vpn_refusal(record.name)
            gateways.append(
                {
                    "address": peer.name,
                    "state": "refused" if refusal is not None else peer.session.state.value,
                    "synchronised": peer.signaling.synchronised(record.name),
                    "routes": 0 if table is None else table.source_size(peer.gateway),
                    "error": "" if refusal is None else str(refusal),
                }
            )
        return {
            "name": record.name,
            "table": record.table,
            "instance_id": record.instance_id,
            "device": record.device,
            "ports": [attached.name for attached in agent.inventory.members(record.name)],
            "routes": 0 if table is None else len(table),
            "gateways": gateways,
        }

    def vpns(self) -> Document:
        """All VPNs with ports here."""
        return {"items": [self.vpn(record) for record in sorted(self._agent.inventory.joined(), key=lambda r: r.name)]}

    # -- routes

    def route_page(self, vpn: str | None, after: str | None, limit: int) -> Document:
        """A page of the routes of all VPNs, or of one: {"items", "after"}; after: what to ask for next, None at the
        end. Raises OperatorError.

        VPN by VPN in the order of the last change; a route that changes while somebody reads page by page comes again,
        and the later row holds.
        """
        name, revision = _position(after)
        items: list[Document] = []
        looked = 0
        for record in self._records(vpn):
            table = self._agent.tables.table(record.name)
            if record.name < name or table is None:
                continue
            if looked >= limit:
                return {"items": items, "after": f"0/{record.name}"}
            found, reached = table.read(revision if record.name == name else 0, limit - looked)
            items += [self._route(record, prefix, path) for prefix, path in found]
            if reached < table.revision:
                return {"items": items, "after": f"{reached}/{record.name}"}
            looked += len(found) + 1
        return {"items": items, "after": None}

    def _records(self, vpn: str | None) -> list[VpnRecord]:
        records = self._agent.inventory.joined() if vpn is None else [self.joined(vpn)]
        return sorted(records, key=lambda record: record.name)

    def _route(self, record: VpnRecord, prefix: Prefix, path: Path) -> Document:
        agent = self._agent
        table = agent.tables.table(record.name)
        candidates = () if table is None else table.candidates(prefix)
        state, error = self.route_state(record, prefix, path)
        return {
            "vpn": record.name,
            "prefix": str(prefix),
            "next_hops": [self.next_hop(next_hop) for next_hop in path.next_hops],
            "state": state,
            "error": error,
            "gateway": self._name(selected(candidates)) if candidates else None,
        }

    def route_state(self, record: VpnRecord, prefix: Prefix, path: Path) -> tuple[str, str]:
        """State of a route for an operator, and why it isn't as wanted, or ""."""
        planned = self._agent.planner.vrf_route(record.name, prefix)
        if planned is None:
            ignored = resolve(self._agent.host, prefix, path, self._agent.planner.by_label).ignored
            return "unusable", "; ".join(entry.reason for entry in ignored)
        if all(self._dormant(member) for member in _members(planned.via)):
            return "pending", "; ".join(self._missing(member) for member in _members(planned.via))
        state, error = _shown(self._agent.datapath.status(Kind.VRF_ROUTE, planned.key))
        if not error:
            error = "; ".join(self._missing(hop) for hop in self._agent.planner.waiting(record.name, prefix))
        return state, error

    def _missing(self, next_hop: NextHop) -> str:
        """Why a next hop of a port isn't used."""
        if self._dormant(next_hop):
            return f"{next_hop.device}: waiting for the VM (no carrier)"
        return f"{next_hop.device}: {self._agent.datapath.status(Kind.NEXT_HOP, next_hop).error}"

    def _dormant(self, next_hop: NextHop) -> bool:
        """Whether a VM's next hop can't be made because nobody is at the other end of its port: Linux has no next hops
        on devices without carrier. It is made as soon as the carrier comes; until then nothing is wrong."""
        if next_hop.device == self._agent.host.tunnel:
            return False
        return self._agent.datapath.status(Kind.NEXT_HOP, next_hop).errno == errno.ENETDOWN

    def _expected(self, failure: Change) -> bool:
        """Whether a failure comes from a VM that isn't running."""
        desired = self._agent.datapath.reconciler.desired(failure.kind).get(failure.key)
        if isinstance(desired, VrfRoute):
            desired = desired.via
        return isinstance(desired, NextHop | NextHopGroup) and any(map(self._dormant, _members(desired)))

    def next_hop(self, next_hop: signalled.NextHop) -> Document:
        """A next hop as a gateway announced it."""
        local = next_hop.address == self._agent.host.address
        document: Document = {
            "address": format_address(next_hop.address),
            "label": next_hop.label,
            "encapsulations": [encapsulation.value for encapsulation in next_hop.encapsulations],
            "local": local,
        }
        attached = self._agent.planner.by_label.get(next_hop.label) if local else None
        if attached is not None:
            document["interface"] = attached.attachment.interface
        return document

    def _name(self, gateway: GatewayId) -> str:
        return self._agent.peers[gateway].name

    # -- gateways

    def gateways(self) -> Document:
        """All gateways."""
        return {"items": [self._gateway(peer) for peer in self._agent.peers.values()]}

    def _gateway(self, peer: Peer) -> Document:
        config = self._agent.config
        entry = next(g for g in config.gateway if (g.address.packed, g.port) == peer.gateway)
        joined = peer.signaling.joined
        return {
            "address": peer.name,
            "port": entry.port,
            "domain": entry.domain,
            "jid": f"{config.host.name}@{entry.domain}",
            "state": peer.session.state.value,
            "since": timestamp(peer.session.since),
            "last_error": peer.session.last_error,
            "vpns": list(joined),
            "routes": self._agent.tables.routes(peer.gateway),
            "bad_items": peer.bad_items,
            "synchronised": peer.connected and all(peer.signaling.synchronised(vpn) for vpn in joined),
            "drain": at_gateway(self._agent.drain.phase, peer.signaling.held),
        }

    # -- status

    def status(self) -> Document:
        """The agent as a whole: "ok" ("draining" or "drained" if the host is), or "degraded" and its problems."""
        agent = self._agent
        attached = list(agent.inventory.attachments())
        states = [agent.ports.state(entry)[0] for entry in attached]
        figures = agent.datapath.reconciler.figures()
        # A hundred thousand objects may fail for one reason: they are looked at once, and named no more than is shown.
        failures = agent.datapath.reconciler.failures()
        asleep = any(failure.status.errno == errno.ENETDOWN for failure in failures)
        dormant = sum(map(self._expected, failures)) if asleep else 0
        problems = list(islice(find_problems(agent, failures, self._expected), _SHOWN_PROBLEMS))
        phase = agent.drain.phase
        state = "ok" if phase is DrainPhase.ACTIVE else phase.value
        return {
            "state": "degraded" if problems else state,
            "host": agent.config.host.name,
            "drain": phase.value,
            "ports": len(attached),
            "ports_programmed": states.count("programmed"),
            "vpns": len(agent.inventory.joined()),
            "routes": sum(len(table) for r in agent.inventory.joined() if (table := agent.tables.table(r.name))),
            "gateways": len(agent.peers),
            "gateways_connected": sum(peer.connected for peer in agent.peers.values()),
            "labels_used": agent.inventory.labels.used,
            "labels_resting": agent.inventory.labels.resting,
            "recovered": agent.tables.complete,
            "objects": {f.kind.name.lower(): f"{f.kernel}/{f.wanted}" for f in figures},
            "pending": sum(f.pending for f in figures) - dormant,
            "failed": len(failures) - dormant,
            "without_carrier": dormant,
            "repaired": sum(f.repaired for f in figures),
            "problems": problems,
        }


def _position(after: str | None) -> tuple[str, int]:
    """VPN and revision that a page begins behind. Raises OperatorError (USAGE)."""
    if after is None:
        return "", 0
    revision, slash, name = after.partition("/")
    if not (slash and revision.isdecimal() and len(revision) <= _DIGITS):
        raise OperatorError("request", '"after" is not what a page ended with', code=ExitCode.USAGE)
    return name, int(revision)


def _shown(status: Status) -> tuple[str, str]:
    return ("error", status.error) if status.state is State.FAILED else (status.state.value, "")


def _members(via: NextHop | NextHopGroup) -> tuple[NextHop, ...]:
    return via.members if isinstance(via, NextHopGroup) else (via,)
