"""Every object of the datapath describes itself: what is wanted of it, what the kernel has, its status, who wants it
and what it stands on. Made from the agent's state without changing it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import chain, islice

from agent.documents import Document, timestamp
from agent.hostagent import HostAgent
from datapath.describe import key_of, name_of
from datapath.status import State
from datapath.values import (
    AntiSpoofing,
    Key,
    Kind,
    MplsRoute,
    Neighbour,
    NextHop,
    NextHopGroup,
    Port,
    Value,
    VrfRoute,
)
from runtime.errors import ExitCode, OperatorError
from vpn.prefix import Prefix, format_address

KINDS: Mapping[str, Kind] = {kind.name.lower().replace("_", "-"): kind for kind in Kind}
"""Kinds by the names that commands have for them."""
FEW = tuple(kind for kind in Kind if kind not in (Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP, Kind.VRF_ROUTE))
"""Kinds that are listed when none is asked for: those that don't come by the hundred thousand."""
PAGE = 500
"""Objects that are looked at for one answer: others wait meanwhile, some 10 ms."""
_USERS = 5
"""Routes that are named as those that want a next hop."""


def kind_of(name: str) -> Kind:
    """A kind by its name. Raises OperatorError (USAGE)."""
    kind = KINDS.get(name)
    if kind is None:
        raise OperatorError(f"kind {name[:64]}", "there is no such kind", f"one of {', '.join(KINDS)}", ExitCode.USAGE)
    return kind


class Objects:
    """Documents about the objects of one agent."""

    def __init__(self, agent: HostAgent) -> None:
        self._agent = agent
        self._planner = agent.planner
        self._datapath = agent.datapath

    # -- lists

    def page(self, kind: Kind | None, vpn: str | None, state: str | None, after: int) -> Document:
        """A part of the list that begins behind `after` objects: {"items", "after"}; after: None at the end.

        A list that changes meanwhile may have an object twice, or not at all.
        """
        kinds = FEW if kind is None else (kind,)
        every = chain.from_iterable(((one, key) for key in self._keys(one)) for one in kinds)
        looked = list(islice(every, after, after + PAGE))
        items = [
            document
            for which, key in looked
            if (vpn is None or self._vpn(which, key) == vpn)
            for document in [self._row(which, key)]
            if state is None or document["state"] == state
        ]
        return {"items": items, "after": after + PAGE if len(looked) == PAGE else None}

    def _keys(self, kind: Kind) -> Iterator[Key]:
        """Wanted ones, then what the kernel has beside."""
        reconciler = self._datapath.reconciler
        desired = reconciler.desired(kind)
        yield from desired
        yield from (key for key in reconciler.unwanted(kind))

    def _row(self, kind: Kind, key: Key) -> Document:
        status = self._datapath.status(kind, key)
        repairs = self._datapath.repairs(kind, key)
        return {
            "kind": kind.name.lower().replace("_", "-"),
            "name": name_of(key),
            "state": status.state.value if status.wanted or status.state is State.FAILED else "unwanted",
            "wanted_by": self._wanted_by(kind, key) if status.wanted else [],
            "repaired": 0 if repairs is None else repairs[0].times,
            "error": status.error,
        }

    # -- one object

    def show(self, kind: Kind, name: str) -> Document:
        """One object. Raises OperatorError (NOT_FOUND)."""
        reconciler = self._datapath.reconciler
        key = key_of(kind, name)
        desired = None if key is None else reconciler.desired(kind).get(key)
        actual = None if key is None else reconciler.kernel(kind).get(key)
        if key is None or (desired is None and actual is None):
            noun = kind.name.lower().replace("_", "-")
            raise OperatorError(
                f"{noun} {name[:128]}", "there is no such object", f"see `vrfwire object list --kind {noun}`",
                ExitCode.NOT_FOUND,
            )  # fmt: skip
        status = self._datapath.status(kind, key)
        repairs = self._datapath.repairs(kind, key)
        retry = self._datapath.until_retry(status)
        return {
            **self._row(kind, key),
            "wanted_by": self._wanted_by(kind, key, named=True) if desired is not None else [],
            "desired": None if desired is None else content(desired),
            "kernel": None if actual is None else content(actual),
            "attempts": status.attempts,
            "next_retry": None if retry is None else round(retry, 3),
            "last_repair": None if repairs is None else timestamp(time.time() - repairs[1]),
            "needs": [self._need(*entry) for entry in self._needs(desired or actual)],
        }

    def _need(self, kind: Kind, key: Key) -> Document:
        row = self._row(kind, key)
        return {field: row[field] for field in ("kind", "name", "state", "error")}

    def _needs(self, value: Value | None) -> list[tuple[Kind, Key]]:
        """What an object stands on."""
        match value:
            case Port(vrf=vrf):
                return [(Kind.VRF, vrf)]
            case Neighbour(device=device) | AntiSpoofing(device=device) | MplsRoute(device=device):
                return [self._device(device)]
            case NextHop(device=device, gateway=gateway):
                tunnel = device == self._agent.host.tunnel
                known = self._datapath.reconciler.desired(Kind.NEIGHBOUR)
                neighbour = (device, gateway[-4:] if tunnel else gateway)
                return [self._device(device), *([(Kind.NEIGHBOUR, neighbour)] if neighbour in known else [])]
            case NextHopGroup(members=members):
                return [(Kind.NEXT_HOP, member) for member in members]
            case VrfRoute(via=via):
                return [(via.kind, via)]
        return []

    def _device(self, name: str) -> tuple[Kind, Key]:
        return (Kind.TUNNEL if name == self._agent.host.tunnel else Kind.PORT, name)

    # -- who wants it

    def _wanted_by(self, kind: Kind, key: Key, *, named: bool = False) -> list[str]:
        """named: with the routes' names, which has to look at all of them."""
        match key:
            case (int() as table, Prefix()):
                vpn = self._vpn_of_table(table)
                return [] if vpn is None else [f"VPN {vpn}"]
            case NextHop() | NextHopGroup():
                return self._routes_by(key) if named else [_times(self._planner.users(key), "user")]
            case (str() as device, bytes() as address) if device == self._agent.host.tunnel:
                return [f"remote host {format_address(address)}"]
            case (str() as device, bytes()):
                return self._port(device)
            case int():
                attached = self._planner.by_label.get(key)
                return [] if attached is None else [f"port {attached.name}"]
            case str() if kind is Kind.TUNNEL:
                return ["this host"]
            case str() if kind is Kind.VRF:
                vpn = next((r.name for r in self._agent.inventory.joined() if r.device == key), None)
                return [] if vpn is None else [f"VPN {vpn}"]
            case str():
                return self._port(key)
        return []

    def _port(self, device: str) -> list[str]:
        attached = self._planner.port_on(device)
        return [] if attached is None else [f"port {attached.name}"]

    def _routes_by(self, key: NextHop | NextHopGroup) -> list[str]:
        """The first routes and groups that go by a next hop or group, and how many more."""
        reconciler = self._datapath.reconciler
        routes, groups = reconciler.desired(Kind.VRF_ROUTE), reconciler.desired(Kind.NEXT_HOP_GROUP)
        # As few names as are shown: a hundred thousand routes may go by one next hop.
        by = [f"route {name_of(route)}" for route in islice((r for r, v in routes.items() if _via(v) == key), _USERS)]
        users = (g for g in groups if isinstance(g, NextHopGroup) and key in g.members)
        by += [f"group {name_of(group)}" for group in islice(users, _USERS - len(by))]
        more = self._planner.users(key) - len(by)
        return [*by, *([f"{more} more"] if more > 0 else [])]

    def _vpn(self, kind: Kind, key: Key) -> str | None:
        """The VPN that an object belongs to; None for what VPNs share."""
        match key:
            case (int() as table, Prefix()):
                return self._vpn_of_table(table)
            case (str() as device, bytes()) | NextHop(device=device):
                pass
            case int():
                attached = self._planner.by_label.get(key)
                return None if attached is None else attached.attachment.vpn
            case str() as device:
                if kind is Kind.VRF:
                    return next((r.name for r in self._agent.inventory.joined() if r.device == device), None)
            case _:
                return None
        attached = self._planner.port_on(device)
        return None if attached is None else attached.attachment.vpn

    def _vpn_of_table(self, table: int) -> str | None:
        return next((record.name for record in self._agent.inventory.joined() if record.table == table), None)


def _via(value: Value) -> NextHop | NextHopGroup | None:
    return value.via if isinstance(value, VrfRoute) else None


def content(value: Value) -> Document:
    """The fields of an object, as text and numbers."""
    names = [one.name for one in fields(value)] if is_dataclass(value) else [*value._fields]
    return {name: _plain(name, getattr(value, name)) for name in names}


def _plain(name: str, value: object) -> object:
    if isinstance(value, bytes):
        if not value:
            return None
        return value.hex(":") if name.endswith("mac") else format_address(value)
    if isinstance(value, NextHop | NextHopGroup):
        return name_of(value)
    if isinstance(value, tuple) and not isinstance(value, Prefix):
        return [_plain(name, element) for element in value]
    if isinstance(value, int | str) or value is None:
        return value
    return str(value)


def _times(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
