"""ExaBGP 4: announces what its configuration says, and writes down what it hears."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bgp.next_hop import address as mapped_address
from lab.speakers.base import ESTABLISHED, Announcement, Neighbour, Received, Speaker
from vpn.prefix import format_address, parse_address

_FAMILIES = {"vpnv4": "ipv4 mpls-vpn", "vpnv6": "ipv6 mpls-vpn"}
_SETTINGS = {
    "exabgp.daemon.user": "root",
    "exabgp.log.destination": "stderr",
    "exabgp.log.level": "DEBUG",
    "exabgp.api.cli": "false",
    "exabgp.api.ack": "false",
    "exabgp.cache.nexthops": "true",
}


class ExaBgp(Speaker):
    """One exabgp. It has no tables of its own: sessions() and received() go by the events that it tells."""

    program = "exabgp"

    def argv(self) -> list[str]:
        """See Speaker."""
        settings = _SETTINGS | {"exabgp.tcp.port": str(self.port)}
        words = [f"{name}={value}" for name, value in settings.items()]
        return ["/usr/bin/env", *words, "/usr/sbin/exabgp", str(self.config_file)]

    def config(self) -> str:
        """See Speaker."""
        # What it tells of, JSON line by line, goes into a file. A process that closes its output counts as ended.
        lines = ["process events {", f"  run /bin/sh {self._sink};", "  encoder json;", "}"]
        for neighbour in self.neighbours:
            lines += self._neighbour(neighbour)
        return "\n".join([*lines, ""])

    @property
    def _events(self) -> Path:
        return self.directory / "events"

    @property
    def _sink(self) -> Path:
        return self.directory / "sink"

    def _neighbour(self, neighbour: Neighbour) -> Iterator[str]:
        yield f"neighbor {neighbour.address} {{"
        yield f"  router-id {self.address}; local-address {self.own_address(neighbour)};"
        yield f"  local-as {self.asn}; peer-as {neighbour.asn}; hold-time {neighbour.hold_time};"
        yield f"  passive; listen {self.port};" if neighbour.passive else f"  connect {neighbour.port};"
        if neighbour.password is not None:
            yield f'  md5-password "{neighbour.password}";'
        if neighbour.ttl_security is not None:
            yield f"  incoming-ttl {256 - neighbour.ttl_security}; outgoing-ttl 255;"
        families = [_FAMILIES[family] for family in neighbour.families if family in _FAMILIES]
        yield f"  family {{ {' '.join(f'{family};' for family in families)} }}"
        restart = f"graceful-restart {neighbour.restart_time};" if neighbour.graceful_restart else ""
        yield f"  capability {{ {restart} route-refresh enable; asn4 enable; }}"
        yield "  api { processes [ events ]; neighbor-changes; receive { parsed; update; } }"
        routes = [_route(one) for one in self.announcements if one.family in neighbour.families]
        yield from ["  static {", *routes, "  }", "}"]

    def reload(self) -> None:
        """See Speaker."""
        os.kill(self.pid, signal.SIGUSR1)

    def answers(self) -> bool:
        """See Speaker."""
        return self._events.exists()

    def launch(self) -> None:
        """See Speaker."""
        self._events.unlink(missing_ok=True)
        self._sink.write_text(f"exec dd bs=65536 of='{self._events}' status=none 3>&1\n", encoding="utf-8")
        super().launch()

    def events(self) -> Iterator[dict[str, Any]]:
        """What it has told of neighbours, oldest first."""
        with contextlib.suppress(FileNotFoundError), self._events.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n") and "neighbor" in (event := json.loads(line)):
                    yield event

    def sessions(self) -> dict[str, str]:
        """See Speaker."""
        states = {}
        for event in self.events():
            if event["type"] == "state":
                neighbour = event["neighbor"]
                up = neighbour["state"] == "up"
                states[neighbour["address"]["peer"]] = ESTABLISHED if up else str(neighbour["state"])
        return states

    def received(self, family: str) -> list[Received]:
        """See Speaker."""
        found: dict[tuple[str, str, str], Received] = {}
        for event in self.events():
            peer = event["neighbor"]["address"]["peer"]
            if event["type"] == "state" and event["neighbor"]["state"] != "up":
                found = {key: route for key, route in found.items() if route.peer != peer}
            update = event["neighbor"].get("message", {}).get("update", {})
            for one in update.get("withdraw", {}).get(_FAMILIES[family], []):
                found.pop((peer, one["rd"], one["nlri"]), None)
            for next_hop, routes in update.get("announce", {}).get(_FAMILIES[family], {}).items():
                for one in routes:
                    found[peer, one["rd"], one["nlri"]] = _received(one, next_hop, update["attribute"], peer)
        return sorted(found.values())


def _route(one: Announcement) -> str:
    communities = [f"target:{target}" for target in one.targets]
    communities += [f"0x030c00000000{kind:04x}" for kind in one.encapsulations]
    packed = parse_address(one.next_hop)
    next_hop = f"::ffff:{one.next_hop}" if ":" in one.prefix and len(packed) == 4 else one.next_hop
    words = f"route {one.prefix} rd {one.rd} label {one.label} next-hop {next_hop}"
    return f"    {words} extended-community [ {' '.join(communities)} ];"


def _received(one: dict[str, Any], next_hop: str, attributes: dict[str, Any], peer: str) -> Received:
    communities = [int(known["value"]).to_bytes(8, "big") for known in attributes.get("extended-community", [])]
    texts = [str(known["string"]) for known in attributes.get("extended-community", [])]
    return Received(
        rd=one["rd"],
        prefix=one["nlri"],
        label=one["label"][0][0],
        targets=tuple(sorted(text.removeprefix("target:") for text in texts if text.startswith("target:"))),
        next_hop=format_address(mapped_address(parse_address(next_hop))),
        stale=False,
        peer=peer,
        encapsulations=tuple(sorted(value[7] for value in communities if value[:2] == b"\x03\x0c")),
        local_pref=attributes.get("local-preference"),
        as_path=" ".join(map(str, attributes.get("as-path", []))),
        originator=attributes.get("originator-id"),
        clusters=tuple(attributes.get("cluster-list", ())),
    )
