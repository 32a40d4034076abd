"""What the demo found out, and how it is shown. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lab.frames import Gre, IPv4, Mpls, Packet


@dataclass(frozen=True, slots=True)
class Machine:
    """A VM of the demo: shared are the addresses that another VPN uses as well, own those that exist once."""

    name: str
    vpn: str
    host: str
    tap: bool
    shared: tuple[str, str]
    own: tuple[str, str]
    """IPv4 and IPv6 each."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All, in the order they are given to the agent."""
        return self.shared + self.own


@dataclass(frozen=True, slots=True)
class Outage:
    """A gateway that was killed and started again while packets flowed. seconds: until all was back."""

    gateway: str
    sent: int
    lost: int
    seconds: float


@dataclass(slots=True)
class Findings:
    """Everything measured. rtt: seconds by (from, to, IP version); problems: what did not hold, one line each."""

    rtt: dict[tuple[str, str, int], float] = field(default_factory=dict)
    attach_ms: list[float] = field(default_factory=list)
    pings: int = 0
    pings_answered: int = 0
    identities: int = 0
    identities_right: int = 0
    isolation_probes: int = 0
    leaks: int = 0
    packet: Packet | None = None
    site_pings: int = 0
    site_pings_answered: int = 0
    site_leaks: int = 0
    outages: list[Outage] = field(default_factory=list)
    revoked_probes: int = 0
    revoked_leaks: int = 0
    revoke_sent: int = 0
    revoke_lost: int = 0
    problems: list[str] = field(default_factory=list)

    def as_json(self, machines: Sequence[Machine], environment: str, seconds: float) -> dict[str, object]:
        """The document of the last line. Times are in the units that the names say."""
        rtts = sorted(value * 1000 for value in self.rtt.values())
        return {
            "ok": not self.problems,
            "environment": environment,
            "seconds": round(seconds, 1),
            "hosts": len({machine.host for machine in machines}),
            "vms": len(machines),
            "vpns": len({machine.vpn for machine in machines}),
            "pings": self.pings,
            "pings_answered": self.pings_answered,
            "identities": self.identities,
            "identities_right": self.identities_right,
            "isolation_probes": self.isolation_probes,
            "leaks": self.leaks,
            "rtt_ms_p50": round(statistics.median(rtts), 2) if rtts else None,
            "rtt_ms_max": round(rtts[-1], 2) if rtts else None,
            "attach_ms_p50": round(statistics.median(self.attach_ms), 1) if self.attach_ms else None,
            "attach_ms_max": round(max(self.attach_ms), 1) if self.attach_ms else None,
            "packet": self.packet.path if self.packet else None,
            "bgp": {
                "site_pings": self.site_pings,
                "site_pings_answered": self.site_pings_answered,
                "site_leaks": self.site_leaks,
                "gateways_killed": [outage.gateway for outage in self.outages],
                "seconds_to_recover": [round(outage.seconds, 1) for outage in self.outages],
            },
            "map": {
                "probes_of_revoked": self.revoked_probes,
                "leaks_of_revoked": self.revoked_leaks,
                "sent_by_others": self.revoke_sent,
                "lost_by_others": self.revoke_lost,
            },
            "sent_gateway_kill": sum(outage.sent for outage in self.outages),
            "lost_gateway_kill": sum(outage.lost for outage in self.outages) if self.outages else None,
            "problems": self.problems,
        }


def matrix(machines: Sequence[Machine], findings: Findings) -> str:
    """Round trip times, from the VM of the row to that of the column: IPv4/IPv6 in ms; `-` between the VPNs."""
    rows = [["from \\ to", *(machine.name for machine in machines)]]
    for source in machines:
        row = [f"{source.name} ({source.host}, {'tap' if source.tap else 'veth'})"]
        for target in machines:
            if source.vpn != target.vpn:
                row.append("-")
            elif source is target:
                row.append("")
            else:
                row.append("/".join(_ms(findings.rtt.get((source.name, target.name, v))) for v in (4, 6)))
        rows.append(row)
    return table(rows)


def _ms(rtt: float | None) -> str:
    return "LOST" if rtt is None else f"{rtt * 1000:.1f}"


def table(rows: Iterable[Sequence[str]]) -> str:
    """Columns aligned, two blanks between them."""
    lines = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines
    )


def packet_lines(packet: Packet, names: Mapping[str, str]) -> Iterator[str]:
    """A decoded packet, one layer a line, the addresses of the underlay explained by the hosts' names."""
    outer = packet.get(IPv4)
    for line in packet.lines():
        if outer is not None and line.startswith("IPv4") and str(outer) in line:
            who = f"{names.get(str(outer.src), '?')} to {names.get(str(outer.dst), '?')}"
            yield f"    {line}  ({who})"
        else:
            yield f"    {line}"


def is_tunnelled(packet: Packet) -> bool:
    """Whether a packet of the underlay is IP in MPLS in GRE with an echo in it."""
    echo = packet.path.endswith(("/ICMP", "/ICMPv6"))
    return echo and packet.get(Gre) is not None and packet.get(Mpls) is not None
