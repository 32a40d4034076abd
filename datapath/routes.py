"""Drivers of VRF routes, MPLS routes and neighbours."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import cast

from datapath.bulk import BulkDriver, Unencodable
from datapath.channel import Channel
from datapath.driver import Operation, Outcome, Verb
from datapath.links import device_names
from datapath.nexthops import NOT_PROGRAMMED, NextHopIds, odd_next_hop
from datapath.values import PROTOCOL, Key, Kind, MplsRoute, Neighbour, Value, VrfRoute
from datapath.wire import NEW, SET
from datapath.wire_route import (
    AF_MPLS,
    NUD_PERMANENT,
    decode_mpls_route_dump,
    decode_neighbour_dump,
    decode_route_dump,
    encode_mpls_route,
    encode_mpls_route_delete,
    encode_neighbour,
    encode_neighbour_delete,
    encode_neighbour_dump,
    encode_route,
    encode_route_delete,
    encode_route_dump,
    encode_routes,
)
from vpn.prefix import Prefix

_MPLS_SETTINGS = "/proc/sys/net/mpls"
_IP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class VrfRouteDriver(BulkDriver):
    """Routes of the VRF tables by nexthop ids. tables: the table ids that are ours."""

    kind = Kind.VRF_ROUTE

    def __init__(self, channel: Channel, ids: NextHopIds, tables: range) -> None:
        super().__init__(channel)
        self.ids = ids
        self.tables = tables

    def encode(self, operation: Operation, sequence: int) -> bytes:
        value = operation.value
        assert isinstance(value, VrfRoute)
        table, (packed, length), via = value
        if operation.verb is Verb.REMOVE:
            return encode_route_delete(sequence, table, packed, length)
        next_hop = self.ids.by_value.get(via)
        if next_hop is None:
            raise Unencodable(NOT_PROGRAMMED)
        # Where nothing of ours should be, nothing of another program may be replaced.
        return encode_route(sequence, table, packed, length, next_hop, NEW if operation.actual is None else SET)

    def make(self, values: Sequence[Value]) -> list[Outcome]:
        """See Maker.make(). Routes of one family, which come by the thousand, are encoded column by column."""
        tables, prefixes, vias = zip(*cast(Sequence[VrfRoute], values), strict=True)
        next_hops = list(map(self.ids.by_value.get, vias, repeat(0)))
        packed, lengths = zip(*prefixes, strict=True)
        if 0 in next_hops or len(set(map(len, packed))) > 1:
            return super().make(values)
        first = self.channel.reserve(len(values))
        sequences = range(first, first + len(values))
        batch = encode_routes(sequences, tables, packed, lengths, next_hops, NEW)
        outcomes: list[Outcome] = [None] * len(values)
        for sequence, error in self.channel.transact([batch], len(values)).items():
            outcomes[sequence - first] = self.judge(Operation(Verb.PUT, values[sequence - first]), error)
        return outcomes

    def dump(self) -> dict[Key, Value]:
        """See Driver.dump(). Needs the dumps of next hops and groups before. Raises DumpInterrupted, OSError,
        WireError."""
        tables = self.tables
        next_hops = self.ids.by_id
        new = tuple.__new__
        routes: dict[Key, Value] = {}
        for family in _IP_FAMILIES:
            for chunk in self.channel.dump(partial(encode_route_dump, family), decode_route_dump):
                for protocol, table, packed, length, identity, plain in chunk:
                    if protocol != PROTOCOL or table not in tables:
                        continue
                    via = next_hops.get(identity)
                    if via is None or not plain:
                        via = odd_next_hop(identity)
                    key = (table, new(Prefix, (packed, length)))
                    routes[key] = new(VrfRoute, (*key, via))
        return routes


class MplsRouteDriver(BulkDriver):
    """Label to port. labels: the label values that are ours."""

    kind = Kind.MPLS_ROUTE

    def __init__(self, channel: Channel, labels: range) -> None:
        super().__init__(channel)
        self.labels = labels

    def encode(self, operation: Operation, sequence: int) -> bytes:
        value = operation.value
        assert isinstance(value, MplsRoute)
        if operation.verb is Verb.REMOVE:
            return encode_mpls_route_delete(sequence, value.label)
        flags = NEW if operation.actual is None else SET
        return encode_mpls_route(sequence, value.label, self.index(value.device), value.gateway, flags)

    def dump(self) -> dict[Key, Value]:
        """See Driver.dump(). Nothing where the kernel has no MPLS. Raises DumpInterrupted, OSError, WireError."""
        routes: dict[Key, Value] = {}
        if not Path(_MPLS_SETTINGS).exists():
            # The kernel would dump the routes of all other families instead.
            return routes
        names = device_names(self.channel)
        for chunk in self.channel.dump(partial(encode_route_dump, AF_MPLS), decode_mpls_route_dump):
            for label, protocol, oif, via, plain in chunk:
                if protocol == PROTOCOL and label in self.labels:
                    routes[label] = MplsRoute(label, names.get(oif, "") if plain else "", via)
        return routes


class NeighbourDriver(BulkDriver):
    """Permanent neighbours."""

    kind = Kind.NEIGHBOUR

    def encode(self, operation: Operation, sequence: int) -> bytes:
        value = operation.value
        assert isinstance(value, Neighbour)
        if operation.verb is Verb.REMOVE:
            return encode_neighbour_delete(sequence, self.index_for_removal(value.device), value.address)
        return encode_neighbour(sequence, self.index(value.device), value.address, value.lladdr)

    def dump(self) -> dict[Key, Value]:
        """See Driver.dump(). Raises DumpInterrupted, OSError, WireError."""
        names = device_names(self.channel)
        neighbours: dict[Key, Value] = {}
        for family in _IP_FAMILIES:
            for chunk in self.channel.dump(partial(encode_neighbour_dump, family), decode_neighbour_dump):
                for ifindex, address, lladdr, protocol, state in chunk:
                    if protocol == PROTOCOL:
                        device = names.get(ifindex, "")
                        right = lladdr if state & NUD_PERMANENT else b""
                        neighbours[device, address] = Neighbour(device, address, right)
        return neighbours
