"""FRR's bgpd alone: without zebra, as root, in the foreground; asked by its own socket instead of with vtysh."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lab.errors import LabError
from lab.speakers.base import STOP, Announcement, Neighbour, Received, Speaker, converse, plain
from lab.wait import wait_until

AFI = {"vpnv4": "ipv4", "vpnv6": "ipv6"}
_SUCCESS = (0, 10)
"""CMD_SUCCESS and CMD_SUCCESS_DAEMON."""
_OURS = ("(unspec)", "::")
"""What bgpd calls the peer of a route of its own, in lists and in detail."""


class Frr(Speaker):
    """See the module. A route reflector towards neighbours with client=True.

    It begins to send to a new session 1 s after that is up, and 50 ms later per neighbour (update groups coalesce).
    """

    program = "bgpd"
    hidden = ("/run/frr", "/var/tmp")
    update_delay: int | None = None
    """Seconds, at most, that it tells nothing after its start, until all neighbours have told what they have. None: not
    at all. It takes those for done that say they restart, and FRR says so itself in the first 120 s of its life."""
    select_defer_time = 10
    """Seconds, at most, that it tells nothing after a graceful restart, until those neighbours have told that came back
    quickly. 0: not at all. With VPN routes of others it goes on for ever (FRR 8.4 counts RDs, not routes)."""

    def argv(self) -> list[str]:
        """See Speaker."""
        argv = ["/usr/lib/frr/bgpd", "-S", "-Z", "-p", str(self.port), "-A", self.address, "-P", "0"]
        for address in filter(None, (self.address, self.address6)):
            argv += ["-l", address]
        argv += ["-f", str(self.config_file), "-i", str(self.directory / "bgpd.pid")]
        return [*argv, "--vty_socket", str(self.directory)]

    def config(self) -> str:
        """See Speaker."""
        # Route maps come before what uses them: without, bgpd silently makes no route.
        maps = dict.fromkeys(_route_map(route) for route in self.announcements)
        lines = ["frr defaults traditional", f"hostname {self.name}", "log stdout debugging"]
        lines += [line for name, *inner in maps for line in (f"route-map {name} permit 10", *inner)]
        lines += [
            f"router bgp {self.asn}",
            f" bgp router-id {self.address}",
            " no bgp ebgp-requires-policy",
            " no bgp default ipv4-unicast",
            " no bgp suppress-duplicates",
            f" bgp cluster-id {self.cluster_id}",
        ]
        restarting = [neighbour.restart_time for neighbour in self.neighbours if neighbour.graceful_restart]
        if restarting:
            lines += [
                " bgp graceful-restart",
                f" bgp graceful-restart restart-time {max(restarting)}",
                " bgp graceful-restart preserve-fw-state",
                f" bgp graceful-restart select-defer-time {self.select_defer_time}",
            ]
        if self.update_delay is not None:
            lines.append(f" update-delay {self.update_delay}")
        for neighbour in self.neighbours:
            lines += [f" neighbor {neighbour.address} {line}" for line in self._session(neighbour)]
        for family in AFI:
            lines += [f" address-family {AFI[family]} vpn"]
            for neighbour in self.neighbours:
                if family in neighbour.families:
                    lines += [f"  neighbor {neighbour.address} {line}" for line in self._family(neighbour)]
            lines += [f"  {_network(route)}" for route in self.announcements if route.family == family]
            lines += [" exit-address-family"]
        return "\n".join([*lines, "line vty", ""])

    def _session(self, neighbour: Neighbour) -> list[str]:
        lines = [
            f"remote-as {neighbour.asn}",
            f"port {neighbour.port}",
            f"timers {max(1, neighbour.hold_time // 3)} {neighbour.hold_time}",
            f"timers connect {neighbour.connect_retry}",
            f"update-source {self.own_address(neighbour)}",
        ]
        if neighbour.ttl_security is not None:
            lines.append(f"ttl-security hops {neighbour.ttl_security}")
        elif neighbour.asn != self.asn:
            lines.append("ebgp-multihop 64")
        if neighbour.password is not None:
            lines.append(f"password {neighbour.password}")
        if neighbour.passive:
            lines.append("passive")
        return lines

    def _family(self, neighbour: Neighbour) -> list[str]:
        lines = ["activate", "send-community both"]
        if neighbour.client:
            lines.append("route-reflector-client")
        if neighbour.asn != self.asn:
            lines.append("attribute-unchanged next-hop")
        if neighbour.max_prefixes is not None:
            lines.append(f"maximum-prefix {neighbour.max_prefixes}")
        return lines

    def launch(self) -> None:
        """See Speaker."""
        self._told = list(self.announcements)
        super().launch()

    def reload(self) -> None:
        """Apply changed announcements by command: bgpd has no way to read its file again without ending sessions."""
        gone = [route for route in self._told if route not in self.announcements]
        new = [route for route in self.announcements if route not in self._told]
        self._networks(f"no network {route.prefix} rd {route.rd} label {route.label}" for route in gone)
        # bgpd keeps the label of a network that comes back before its route is gone.
        wait_until(lambda: not any(map(self._originates, gone)), STOP, f"{self.name} to have withdrawn routes")
        maps = dict.fromkeys(_route_map(route) for route in new)
        self.configure(*(line for name, *inner in maps for line in (f"route-map {name} permit 10", *inner, "exit")))
        self._networks(map(_network, new))
        self._told = list(self.announcements)

    def _networks(self, commands: Iterable[str]) -> None:
        """Run `network` commands in the address families that they belong to."""
        sorted_out: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
        for command in commands:
            prefix = command.removeprefix("no ").split()[1]
            sorted_out["ipv6" if ":" in prefix else "ipv4"].append(command)
        for afi, chosen in sorted_out.items():
            if chosen:
                self.configure(f"router bgp {self.asn}", f"address-family {afi} vpn", *chosen)

    def _originates(self, route: Announcement) -> bool:
        paths = self._detail(route.family, [(route.rd, route.prefix)])
        return any(path["peer"]["peerId"] in _OURS for _, _, path in paths)

    def configure(self, *commands: str) -> None:
        """Run commands in the configuration mode, as at `configure terminal`. Raises LabError when one is refused."""
        self.vty("configure terminal", *commands)

    def vty(self, *commands: str) -> str:
        """Run commands one after the other and return what the last one prints. Raises LabError when one is refused."""
        answer = ""
        requests = ["enable", *commands]
        for request, (answer, status) in zip(requests, self._answers_of(requests), strict=True):
            if status not in _SUCCESS:
                raise LabError(f"{self.name}: bgpd refuses {request!r} (status {status})", log=answer)
        return answer

    def show(self, command: str) -> Any:
        """What a command says in JSON; `json` is added to it."""
        return json.loads(self.vty(f"{command} json") or "{}")

    def answers(self) -> bool:
        """See Speaker."""
        try:
            return bool(self.vty("show version"))
        except OSError:
            return False

    def sessions(self) -> dict[str, str]:
        """See Speaker."""
        neighbours = self.show("show bgp neighbors")
        return {
            address: str(known["bgpState"]).lower()
            for address, known in neighbours.items()
            if isinstance(known, dict) and "bgpState" in known
        }

    def neighbour(self, address: str) -> dict[str, Any]:
        """What `show bgp neighbors ADDRESS json` says of one neighbour."""
        found: dict[str, Any] = self.show(f"show bgp neighbors {address}")[address]
        return found

    def counts(self, family: str) -> dict[str, int]:
        """See Speaker."""
        peers = self.show(f"show bgp {AFI[family]} vpn summary").get("peers", {})
        return {address: int(peer.get("pfxRcd", 0)) for address, peer in peers.items()}

    def received(self, family: str) -> list[Received]:
        """See Speaker. Asks for each prefix alone, since only that tells label and targets: not for thousands."""
        tables = self.show(f"show bgp {AFI[family]} vpn").get("routes", {}).get("routeDistinguishers", {})
        wanted = [
            (rd, prefix)
            for rd, table in tables.items()
            for prefix, paths in table.items()
            if any(path["peerId"] not in _OURS for path in paths)
        ]
        found = [_received(*one) for one in self._detail(family, wanted) if one[2]["peer"]["peerId"] not in _OURS]
        return sorted(found, key=lambda path: (*path[:2], path.peer))

    def _detail(self, family: str, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str, dict[str, Any]]]:
        """All that is known of some destinations: (RD, prefix, path)."""
        questions = [f"show bgp {AFI[family]} vpn rd {rd} {prefix} json" for rd, prefix in wanted]
        found: list[tuple[str, str, dict[str, Any]]] = []
        for (rd, prefix), (answer, status) in zip(wanted, self._answers_of(questions), strict=True):
            # What has gone since the list was made is refused or empty.
            detail = json.loads(answer or "{}").get(rd, {}) if status in _SUCCESS else {}
            found += [(rd, prefix, path) for path in detail.get("paths", [])]
        return found

    def _answers_of(self, commands: list[str]) -> list[tuple[str, int]]:
        answers = converse(
            self.directory / "bgpd.vty",
            [command.encode() + b"\0" for command in commands],
            lambda end: end[-4:-1] == b"\0\0\0",
        )
        return [(answer[:-4].decode(errors="replace"), answer[-1]) for answer in answers]


def _route_map(route: Announcement) -> tuple[str, ...]:
    """A route map that gives a route its targets and next hop: its name, and its lines."""
    if route.encapsulations:
        raise ValueError(f"FRR can't originate an encapsulation community, as {route.prefix} asks for")
    next_hop = plain(route.next_hop)
    name = "-".join(["RM", *route.targets, next_hop]).replace(":", ".")
    lines = [f"set extcommunity rt {' '.join(route.targets)}"] if route.targets else []
    if ":" in next_hop:
        return (name, *lines, f"set ipv6 vpn next-hop {next_hop}")
    return (name, *lines, f"set ipv4 vpn next-hop {next_hop}", f"set ipv6 vpn next-hop ::ffff:{next_hop}")


def _network(route: Announcement) -> str:
    return f"network {route.prefix} rd {route.rd} label {route.label} route-map {_route_map(route)[0]}"


def _received(rd: str, prefix: str, path: dict[str, Any]) -> Received:
    communities = path.get("extendedCommunity", {}).get("string", "").split()
    path_string = path["aspath"]["string"]
    return Received(
        rd,
        prefix,
        path.get("remoteLabel"),
        tuple(sorted(text[3:] for text in communities if text.startswith("RT:"))),
        plain(path["nexthops"][0]["ip"]),
        bool(path.get("stale")),
        path["peer"]["peerId"],
        tuple(sorted(int(text[3:]) for text in communities if text.startswith("ET:"))),
        path.get("locPrf"),
        "" if path_string == "Local" else path_string,
        path.get("originatorId"),
        tuple(path.get("clusterList", {}).get("list", ())),
    )
