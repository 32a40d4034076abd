"""OpenBGPD. A route reflector here: without MPLS interfaces it originates no VPN routes."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from bgp.next_hop import address as mapped_address
from lab.errors import LabError
from lab.speakers.base import Neighbour, Received, Speaker
from vpn.prefix import format_address, parse_address

_FAMILIES = {"vpnv4": "IPv4 vpn", "vpnv6": "IPv6 vpn"}
_ENCAPSULATION = "[12] "
"""How it shows a community that it has no name for, by the number of its subtype."""


class OpenBgpd(Speaker):
    """One bgpd with its two helpers. Raises LabError when it is given announcements."""

    program = "openbgpd"
    hidden = ("/run/openbgpd",)

    def argv(self) -> list[str]:
        """In the foreground, with debugging output."""
        return ["/usr/sbin/bgpd", "-d", "-f", str(self.config_file)]

    @property
    def socket(self) -> str:
        """The control socket."""
        return str(self.directory / "bgpd.sock")

    def config(self) -> str:
        """bgpd.conf."""
        if self.announcements:
            raise LabError("OpenBGPD originates no VPN routes on this system")
        lines = [
            f"AS {self.asn}",
            f"router-id {self.address}",
            f"listen on {self.address} port {self.port}",
            *([f"listen on {self.address6} port {self.port}"] if self.address6 else []),
            "connect-retry 1",
            "fib-update no",
            f'socket "{self.socket}"',
            # Next hops are hosts in a lab's underlay that this machine needn't reach.
            "nexthop qualify via default",
        ]
        for neighbour in self.neighbours:
            lines += self._neighbour(neighbour)
        return "\n".join([*lines, "allow from any", "allow to any", ""])

    def _neighbour(self, neighbour: Neighbour) -> list[str]:
        options = [
            f"remote-as {neighbour.asn}",
            f"port {neighbour.port}",
            f"holdtime {neighbour.hold_time}",
            *[f"announce {_FAMILIES[family]}" for family in neighbour.families if family in _FAMILIES],
            f"announce restart {'yes' if neighbour.graceful_restart else 'no'}",
        ]
        if neighbour.asn == self.asn and neighbour.client:
            options.append(f"route-reflector {self.cluster_id}")
        if neighbour.passive:
            options.append("passive")
        # With a local address its listening socket isn't given the password of the neighbour.
        if neighbour.password is None or not neighbour.passive:
            options.append(f"local-address {self.own_address(neighbour)}")
        if neighbour.password is not None:
            options.append(f'tcp md5sig password "{neighbour.password}"')
        if neighbour.max_prefixes is not None:
            options.append(f"max-prefix {neighbour.max_prefixes}")
        if neighbour.ttl_security is not None:
            options.append("ttl-security yes")
        elif neighbour.asn != self.asn:
            options.append("multihop 64")
        return [f"neighbor {neighbour.address} {{", *[f"  {option}" for option in options], "}"]

    def reload(self) -> None:
        """Let it read its configuration file again."""
        self._run("reload")

    def _run(self, *words: str) -> str:
        """What bgpctl prints. Raises LabError when it fails."""
        argv = ["bgpctl", "-s", self.socket, *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode != 0:
            raise LabError(f"{' '.join(argv)}: exit status {done.returncode}", log=done.stderr + self.tail())
        return done.stdout

    def _ask(self, *words: str) -> dict[str, Any]:
        """What bgpctl prints as JSON."""
        return dict(json.loads(self._run("-j", *words)))

    def answers(self) -> bool:
        """Whether its control socket answers."""
        try:
            self._ask("show", "summary")
        except LabError:
            return False
        return True

    def sessions(self) -> dict[str, str]:
        """State of its sessions by the neighbour's address."""
        neighbours = self._ask("show", "neighbor").get("neighbors", [])
        return {one["remote_addr"]: str(one["state"]).lower() for one in neighbours}

    def statistics(self, address: str) -> dict[str, int]:
        """Withdrawals "sent" to a neighbour and "received" from it."""
        (found,) = (one for one in self._ask("show", "neighbor")["neighbors"] if one["remote_addr"] == address)
        withdraws = found["stats"]["update"]
        return {way: int(withdraws[way]["withdraws"]) for way in ("sent", "received")}

    def received(self, family: str) -> list[Received]:
        """Paths of a family. OpenBGPD doesn't show labels."""
        paths = self._ask("show", "rib", family, "detail").get("rib", [])
        return sorted(_received(path) for path in paths)


def _received(path: dict[str, Any]) -> Received:
    _, distinguisher, prefix = path["prefix"].split()
    attributes = {one["type"]: one for one in path.get("attributes", [])}
    communities = path.get("extended_communities", [])
    next_hop = parse_address(path["exit_nexthop"])
    return Received(
        rd=distinguisher,
        prefix=prefix,
        label=None,
        targets=tuple(sorted(one.removeprefix("rt ") for one in communities if one.startswith("rt "))),
        next_hop=format_address(mapped_address(next_hop)),
        stale=False,
        peer=path["neighbor"]["remote_addr"],
        encapsulations=tuple(sorted(int(one.split()[1], 16) for one in communities if one.startswith(_ENCAPSULATION))),
        local_pref=path["localpref"],
        as_path=path["aspath"],
        originator=attributes.get("Originator Id", {}).get("originator"),
        clusters=tuple(attributes.get("Cluster Id List", {}).get("cluster_list", ())),
    )
