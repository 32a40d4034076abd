"""What a host may do: the VPNs it may join and the next hops it may publish; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Host:
    """An entry of the configuration.

    name: localpart of the host's JID, prepared; addresses: packed underlay addresses it may name as next hops, empty to
    go by its certificate or connection; vpns: those it may join, None for all.
    """

    name: str
    addresses: frozenset[bytes] = frozenset()
    vpns: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """What one session may do. addresses: packed next hops it may publish; vpns: names, None for all."""

    addresses: frozenset[bytes]
    vpns: frozenset[str] | None = None

    def allows_vpn(self, vpn: str) -> bool:
        """Whether the host may join the VPN."""
        return self.vpns is None or vpn in self.vpns


@dataclass(frozen=True, slots=True)
class Hosts:
    """The configured hosts by name. A host without an entry that proves its name may join every VPN."""

    entries: Mapping[str, Host] = field(default_factory=dict)

    @classmethod
    def of(cls, hosts: Iterable[Host]) -> Hosts:
        """By name."""
        return cls({host.name: host for host in hosts})

    def permit(self, name: str, certified: frozenset[bytes], peer: bytes) -> Permit:
        """The permit of a session.

        Next hops: the addresses of the host's entry; else those its certificate names (certified, packed IP subject
        alternative names); else the address it connects from (peer, packed).
        """
        entry = self.entries.get(name)
        addresses = (entry.addresses if entry is not None else frozenset()) or certified or frozenset({peer})
        return Permit(addresses, entry.vpns if entry is not None else None)

    def listed(self, name: str) -> Permit | None:
        """The permit of a session of which neither certificate nor address is seen here; None without addresses in the
        host's entry."""
        entry = self.entries.get(name)
        return Permit(entry.addresses, entry.vpns) if entry is not None and entry.addresses else None
