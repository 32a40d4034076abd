"""Turns what happens in the agent's parts into events (agent/events.py)."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from agent.attachment import Attached, Phase
from agent.events import Hub
from agent.faults import shortly
from agent.inventory import Inventory
from agent.peer import Peer
from agent.planner import Planner
from agent.ports import Ports
from datapath.describe import describe
from datapath.drift import Drift
from datapath.plane import Datapath
from datapath.retry import WAITING
from datapath.status import Change, State
from datapath.values import Key, Kind, NextHop
from vpn.path import Path
from vpn.prefix import Prefix, format_address

_OF_PORTS = (Kind.TUNNEL, Kind.VRF, Kind.PORT, Kind.ANTI_SPOOFING, Kind.MPLS_ROUTE)
"""Kinds that come one by one: that one of them is programmed is worth a line."""


class Narrator:
    """Listens everywhere and publishes; costs next to nothing while nobody watches."""

    def __init__(self, hub: Hub, inventory: Inventory, ports: Ports, planner: Planner, datapath: Datapath) -> None:
        self._hub = hub
        self._inventory = inventory
        self._ports = ports
        self._planner = planner
        self._announced: dict[str, str] = {}
        inventory.listener = self._port_changed
        datapath.owner = self._owner
        datapath.listen_drift(self._drifted)
        datapath.listen(tuple(Kind), self._object_changed, failures_only=True)

    # -- ports

    def _port_changed(self, event: str, attached: Attached) -> None:
        """An attachment came, goes, is gone, or may not be used any more."""
        if event == "detached":
            self._announced.pop(attached.name, None)
        if not self._hub:
            return
        name, vpn = attached.name, attached.attachment.vpn
        addresses = ", ".join(map(shortly, attached.attachment.announced()))
        match event:
            case "attached":
                text = f"port {name} attached to VPN {vpn}: {addresses}, label {attached.label}"
            case "changed" if attached.closed:
                event, text = "closed", f"port {name}: closed, since the host is drained"
            case "changed" if attached.blocked:
                blocked = ", ".join(map(shortly, sorted(attached.blocked)))
                event, text = "blocked", f"port {name}: blocked, as the gateways forbid it: {blocked}"
            case "changed":
                event, text = "open", f"port {name}: open, nothing of it is blocked"
            case _:
                text = f"port {name} {'is detached' if event == 'detached' else 'is being detached'}"
        self._hub.publish("port", event, lambda: text, vpn=vpn, port=name)

    def settled(self, peer: Peer, items: Iterable[tuple[str, Prefix]]) -> None:
        """A gateway has answered what it thinks of items."""
        for name in dict.fromkeys(self._inventory.owner(vpn, prefix) for vpn, prefix in items):
            attached = self._inventory.get(name) if name is not None else None
            if attached is not None and attached.phase is Phase.ATTACHED:
                self._tell_announced(attached)

    def _tell_announced(self, attached: Attached) -> None:
        name = attached.name
        state, refusals = self._ports.announced(name)
        if self._announced.get(name) == state:
            return
        self._announced[name] = state
        why = "".join(f"; gateway {peer.name}: {refusal}" for peer, refusal in refusals[:1])
        self._hub.publish(
            "port",
            "announced",
            lambda: f"port {name}: announced: {state}{why}",
            vpn=attached.attachment.vpn,
            port=name,
            more=lambda: {"announced": state},
        )

    # -- gateways

    def gateway(self, peer: Peer, event: str, text: str, vpn: str | None = None) -> None:
        """Something about a gateway."""
        name = peer.name
        self._hub.publish("gateway", event, lambda: f"gateway {name}: {text}", vpn=vpn, more=lambda: {"gateway": name})

    # -- routes

    def __bool__(self) -> bool:
        """Whether routes are worth telling."""
        return bool(self._hub)

    def route(self, vpn: str, prefix: Prefix, path: Path | None) -> None:
        """The selected path of a prefix has changed."""
        owner = self._inventory.owner(vpn, prefix)
        if path is None:
            self._hub.publish(
                "route",
                "withdrawn",
                lambda: f"{prefix} in VPN {vpn}: no path any more",
                vpn=vpn,
                port=owner,
                more=lambda: {"prefix": str(prefix)},
            )
            return
        self._hub.publish(
            "route",
            "selected",
            lambda: f"{prefix} in VPN {vpn}: {_hops(path)}",
            vpn=vpn,
            port=owner,
            more=lambda: {
                "prefix": str(prefix),
                "next_hops": [{"address": format_address(hop.address), "label": hop.label} for hop in path.next_hops],
            },
        )

    # -- the datapath

    def _object_changed(self, change: Change) -> None:
        status = change.status
        if not self._hub:
            return
        if status.state is State.FAILED:
            if status.attempts != 1:
                return
            event = "waiting" if status.errno in WAITING else "failed"
            why = "waiting for the VM (no carrier)" if status.errno == errno.ENETDOWN else status.error
            self._object(change.kind, change.key, "kernel", event, why)
        elif status.settled and change.kind in _OF_PORTS:
            event, text = ("made", "programmed") if status.wanted else ("gone", "gone")
            self._object(change.kind, change.key, "kernel", event, text)

    def _drifted(self, news: list[Drift], more: int) -> None:
        for one in news:
            event, text = ("repaired", "repaired") if one.repaired else ("drift", one.what)
            self._object(one.kind, one.key, "repair", event, text)
        if more:
            self._hub.publish("repair", "drift", lambda: f"and {more} objects more", more=lambda: {"objects": more})

    def _object(self, kind: Kind, key: Key, what: str, event: str, text: str) -> None:
        name = describe(kind, key)
        vpn, port = self._belongs(kind, key)
        self._hub.publish(
            what,
            event,
            lambda: text if text.startswith(f"{name}: ") else f"{name}: {text}",
            vpn=vpn,
            port=port,
            more=lambda: {"object": name},
        )

    def _owner(self, kind: Kind, key: Key) -> dict[str, str]:
        """VPN and port of an object, as fields for the journal."""
        vpn, port = self._belongs(kind, key)
        return {field: name for field, name in (("vpn", vpn), ("port", port)) if name is not None}

    def _belongs(self, kind: Kind, key: Key) -> tuple[str | None, str | None]:
        """VPN and port of an object."""
        attached: Attached | None = None
        match key:
            case NextHop(device=device) | (str() as device, bytes()):
                attached = self._planner.port_on(device)
            case (int() as table, Prefix() as prefix):
                vpn = next((r.name for r in self._inventory.joined() if r.table == table), None)
                return vpn, None if vpn is None else self._inventory.owner(vpn, prefix)
            case int():
                attached = self._planner.by_label.get(key)
            case str() if kind is Kind.VRF:
                return next((r.name for r in self._inventory.joined() if r.device == key), None), None
            case str():
                attached = self._planner.port_on(key)
        return (None, None) if attached is None else (attached.attachment.vpn, attached.name)


def _hops(path: Path) -> str:
    return ", ".join(f"{format_address(hop.address)} label {hop.label}" for hop in path.next_hops)
