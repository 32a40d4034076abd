"""Gateways without their shells: a service, BGP tables and the exchange between them, linked in memory."""

from __future__ import annotations

from collections.abc import Iterable

from bgp.attributes import Attributes
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.message import HEADER_LENGTH
from bgp.negotiation import Negotiated, RestartPolicy, SessionConfig, negotiate
from bgp.rib.peer import PeerPolicy
from bgp.rib.policy import Identity
from bgp.rib.rib import Rib as BgpRib
from bgp.rib.values import SourceKind
from bgp.update import UpdateDecoder, UpdateOptions
from gateway.exchange import Exchange
from gateway.policy import Policy
from gateway.rib import Learnt, Rib
from tests.unit.gateway.harness import MESH, Bench
from vpn.path import NextHop, Path
from vpn.prefix import Prefix

AS = 64512
LINGER = 60.0
FAMILIES = (VPNV4, VPNV6, RTC)


class Gateway(Bench):
    """A gateway. number: the last byte of its address."""

    def __init__(self, number: int = 1, policy: Policy = MESH, asn: int = AS) -> None:
        super().__init__(policy)
        self.name = f"gw{number}"
        self.asn = asn
        self.router_id = bytes((192, 0, 2, number))
        self.bgp = BgpRib(Identity(asn, self.router_id, self.router_id), self.router_id)
        self.exchange = Exchange(self.service, self.bgp, linger=LINGER)
        self.decoders: dict[str, UpdateDecoder] = {}
        self.work()

    @property
    def rib(self) -> Rib:
        """The hosts' items and the VRF tables."""
        return self.service.rib

    def config(self, other: Gateway, families: tuple[Family, ...] = FAMILIES) -> SessionConfig:
        """Of the session with another gateway."""
        restart = RestartPolicy(120, families, long_lived=3600)
        return SessionConfig(self.asn, other.asn, self.router_id, families, restart=restart)

    def work(self, limit: int = 4000) -> bool:
        """What the shell does between reads, without taking what waits for peers; whether anything was done."""
        worked = False
        while self.exchange.has_work:
            self.exchange.export(self.now, limit)
            worked = True
        while self.bgp.step(limit) or self.exchange.take_in(limit):
            worked = True
        return worked

    def path(self, vpn: str, prefix: str) -> Path | None:
        """The selected path."""
        return self.rib.tables[vpn].get(Prefix.parse(prefix))

    def hops(self, vpn: str, prefix: str) -> list[tuple[str, int]]:
        """Address and label of each next hop of the selected path."""
        path = self.path(vpn, prefix)
        return [(".".join(map(str, hop.address)), hop.label) for hop in path.next_hops] if path is not None else []

    def sources(self, vpn: str, prefix: str) -> set[str]:
        """Hosts, and route distinguishers of what came by BGP, that have a path."""
        candidates = self.rib.tables[vpn].candidates(Prefix.parse(prefix))
        return {str(c.source.distinguisher) if isinstance(c.source, Learnt) else c.source.host for c in candidates}

    def originated(self) -> dict[tuple[Family, bytes], tuple[Attributes, bytes, bytes]]:
        """Attributes, next hop and labels of the hosts' routes by NLRI."""
        return {
            (family, path_key): (path.attributes.attributes, path.attributes.next_hop, path.labels)
            for family, table in self.bgp.tables.items()
            for source, adj in table.sources.items()
            if source.kind is SourceKind.HOST
            for path_key, path in adj.paths.items()
        }

    def tables(self) -> dict[str, dict[Prefix, Path]]:
        """Selected paths by VPN."""
        return {name: dict(table.routes()) for name, table in self.rib.tables.items()}


def join(left: Gateway, right: Gateway, kind: SourceKind = SourceKind.INTERNAL) -> None:
    """A session between two gateways that know each other or not."""
    for us, them in ((left, right), (right, left)):
        if them.name not in us.bgp.peers:
            us.bgp.add_peer(them.name, them.router_id, PeerPolicy(kind))
    for us, them in ((left, right), (right, left)):
        negotiated = agreed(us, them)
        us.bgp.session_up(them.name, negotiated, us.now)
        options = UpdateOptions(negotiated.families, internal=kind is not SourceKind.EXTERNAL)
        us.decoders[them.name] = UpdateDecoder(options)


def agreed(us: Gateway, them: Gateway) -> Negotiated:
    """What a session comes to."""
    return negotiate(us.config(them), us.config(them).open(), them.config(us).open(restarting=True))


def part(left: Gateway, right: Gateway, *, preserve: bool = False) -> None:
    """The session between two gateways is lost; what was under way is lost with it."""
    for us, them in ((left, right), (right, left)):
        us.bgp.session_down(them.name, frozenset(FAMILIES if preserve else ()), us.now)
        del us.decoders[them.name]


def settle(gateways: Iterable[Gateway], limit: int = 4000) -> None:
    """Until nothing moves any more."""
    by_name = {gateway.name: gateway for gateway in gateways}
    moved = True
    while moved:
        moved = False
        for us in by_name.values():
            moved |= us.work(limit)
            for name in us.decoders:
                messages = us.bgp.take(name, 1 << 30)
                moved |= bool(messages)
                them = by_name[name]
                for message in messages:
                    them.bgp.update(us.name, them.decoders[us.name].decode(message[HEADER_LENGTH:]))


def path(host: int, label: int = 100, preference: int = 100, sequence: int = 0) -> Path:
    """A path to the host 192.0.2.HOST."""
    return Path((NextHop(bytes((192, 0, 2, host)), label),), preference, sequence)


def item_id(host: int, prefix: str, instance: int = 1) -> str:
    """The id that the host 192.0.2.HOST gives an item."""
    return f"192.0.2.{host}:{instance}:{prefix}"
