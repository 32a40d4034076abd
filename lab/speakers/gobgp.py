"""GoBGP, with route-target constraint (RFC 4684)."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from bgp.attributes import AttributeCode
from bgp.next_hop import address as mapped_address
from lab import toml
from lab.errors import LabError
from lab.speakers.base import Announcement, Neighbour, Received, Speaker
from vpn.prefix import format_address, parse_address

_FAMILIES = {"vpnv4": "l3vpn-ipv4-unicast", "vpnv6": "l3vpn-ipv6-unicast", "rtc": "rtc"}
_TUNNELS = {
    1: "l2tpv3",
    2: "gre",
    7: "ip-in-ip",
    8: "vxlan",
    9: "nvgre",
    10: "mpls",
    11: "mpls-in-gre",
    13: "mpls-in-udp",
}
"""Its names of tunnel types."""
_NOBODY = "<nil>"
"""The peer of a route of its own."""
_STATES = {0: "unknown", 1: "idle", 2: "connect", 3: "active", 4: "opensent", 5: "openconfirm", 6: "established"}


class GoBgp(Speaker):
    """One gobgpd, asked with gobgp by a socket in its directory.

    It accepts connections at once, but connects itself some 8 s after its start at the earliest, and rests for 5 s
    after a failure. After its first start with graceful restart it starts as one that restarts (-r). A long table in
    JSON takes it long: it keeps a copy of the UPDATE with every route.
    """

    program = "gobgpd"

    def argv(self) -> list[str]:
        """See Speaker."""
        return ["/usr/bin/gobgpd", "-f", str(self.config_file), "-p", "--api-hosts", self._api, "--pprof-disable"]

    @property
    def _api(self) -> str:
        return f"unix://{self.directory}/api"

    def config(self) -> str:
        """See Speaker."""
        addresses = [address for address in (self.address, self.address6) if address]
        settings = {"as": self.asn, "router-id": self.address, "port": self.port, "local-address-list": addresses}
        return toml.dumps(
            {"global": {"config": settings}, "neighbors": [self._neighbour(one) for one in self.neighbours]}
        )

    def _neighbour(self, neighbour: Neighbour) -> dict[str, object]:
        config: dict[str, object] = {"neighbor-address": neighbour.address, "peer-as": neighbour.asn}
        if neighbour.password is not None:
            config["auth-password"] = neighbour.password
        transport = {"local-address": self.own_address(neighbour), "remote-port": neighbour.port}
        timers = {
            "connect-retry": neighbour.connect_retry,
            "hold-time": neighbour.hold_time,
            "keepalive-interval": max(1, neighbour.hold_time // 3),
        }
        settings: dict[str, object] = {
            "config": config,
            "transport": {"config": {**transport, "passive-mode": neighbour.passive}},
            "timers": {"config": timers},
            "afi-safis": [self._family(family, neighbour) for family in neighbour.families],
        }
        if neighbour.client:
            reflector = {"route-reflector-client": True, "route-reflector-cluster-id": self.cluster_id}
            settings["route-reflector"] = {"config": reflector}
        if neighbour.graceful_restart:
            restart = {"enabled": True, "restart-time": neighbour.restart_time, "notification-enabled": True}
            settings["graceful-restart"] = {"config": restart}
        if neighbour.ttl_security is not None:
            settings["ttl-security"] = {"config": {"enabled": True, "ttl-min": 256 - neighbour.ttl_security}}
        elif neighbour.asn != self.asn:
            settings["ebgp-multihop"] = {"config": {"enabled": True, "multihop-ttl": 64}}
        return settings

    def _family(self, family: str, neighbour: Neighbour) -> dict[str, object]:
        settings: dict[str, object] = {"config": {"afi-safi-name": _FAMILIES[family]}}
        if neighbour.graceful_restart:
            settings["mp-graceful-restart"] = {"config": {"enabled": True}}
        if neighbour.max_prefixes is not None and family != "rtc":
            settings["prefix-limit"] = {"config": {"max-prefixes": neighbour.max_prefixes}}
        return settings

    def launch(self) -> None:
        """See Speaker."""
        again = self.log.exists() and any(neighbour.graceful_restart for neighbour in self.neighbours)
        self.daemon.argv = [*self.argv(), *(["-r"] if again else [])]
        (self.directory / "api").unlink(missing_ok=True)
        super().launch()

    def wait_ready(self) -> None:
        """See Speaker."""
        super().wait_ready()
        for one in self.announcements:
            self.ask("global", "rib", "add", *_path(one))

    def announce(self, *announcements: Announcement) -> None:
        """See Speaker."""
        keys = {(new.rd, new.prefix) for new in announcements}
        self.announcements = [old for old in self.announcements if (old.rd, old.prefix) not in keys]
        self.announcements += announcements
        for one in announcements:
            self.ask("global", "rib", "add", *_path(one))

    def withdraw(self, *announcements: Announcement) -> None:
        """See Speaker."""
        keys = {(gone.rd, gone.prefix) for gone in announcements}
        self.announcements = [old for old in self.announcements if (old.rd, old.prefix) not in keys]
        for one in announcements:
            self.ask("global", "rib", "del", *_path(one))

    def add_vrf(self, name: str, rd: str, *targets: str) -> None:
        """Make a VRF that imports and exports route targets, and say so to peers that speak RTC."""
        self.ask("vrf", "add", name, "rd", rd, "rt", "both", *targets)

    def delete_vrf(self, name: str) -> None:
        """Delete a VRF."""
        self.ask("vrf", "del", name)

    def ask(self, *words: str) -> str:
        """What gobgp prints. Raises LabError when it fails."""
        argv = ["/usr/bin/gobgp", "--target", self._api, *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0 or done.stderr:
            log = done.stdout + done.stderr + self.tail()
            raise LabError(f"{' '.join(argv)}: exit status {done.returncode}", log=log)
        return done.stdout

    def show(self, *words: str) -> Any:
        """What gobgp prints as JSON. Raises LabError when it fails."""
        return json.loads(self.ask("-j", *words) or "{}")

    def answers(self) -> bool:
        """See Speaker."""
        try:
            # Before the configuration has been read it answers, too, with AS 0.
            neighbours = self.show("neighbor")
        except (LabError, subprocess.TimeoutExpired):
            return False
        return len(neighbours) == len(self.neighbours)

    def sessions(self) -> dict[str, str]:
        """See Speaker."""
        states = {}
        for one in self.show("neighbor"):
            states[one["conf"]["neighbor_address"]] = _STATES[one["state"].get("session_state", 0)]
        return states

    def received(self, family: str) -> list[Received]:
        """See Speaker."""
        table = self.show("global", "rib", "-a", family)
        return sorted(_received(path) for paths in table.values() for path in paths if not _is_own(path))

    def memberships(self) -> set[str]:
        """Route targets that it or a peer of it wants ("AS:TARGET" of RTC routes); "0:default" is everything."""
        return set(self.show("global", "rib", "-a", "rtc"))


def _path(one: Announcement) -> list[str]:
    packed = parse_address(one.next_hop)
    next_hop = f"::ffff:{one.next_hop}" if ":" in one.prefix and len(packed) == 4 else one.next_hop
    words = ["-a", one.family, one.prefix, "label", str(one.label), "rd", one.rd, "rt", *one.targets]
    for kind in one.encapsulations:
        words += ["encap", _TUNNELS[kind]]
    return [*words, "nexthop", next_hop]


def _is_own(path: dict[str, Any]) -> bool:
    return path.get("neighbor-ip", _NOBODY) in ("", _NOBODY)


def _received(path: dict[str, Any]) -> Received:
    nlri = path["nlri"]
    attributes = {one["type"]: one for one in path["attrs"]}
    reach = attributes[AttributeCode.MP_REACH_NLRI]
    communities = attributes.get(AttributeCode.EXTENDED_COMMUNITIES, {}).get("value", [])
    as_path = attributes.get(AttributeCode.AS_PATH, {}).get("as_paths") or []
    return Received(
        rd=f"{nlri['rd']['admin']}:{nlri['rd']['assigned']}",
        prefix=nlri["prefix"],
        label=nlri["labels"][0],
        targets=tuple(sorted(one["value"] for one in communities if one.get("subtype") == 2 and one["type"] <= 2)),
        next_hop=format_address(mapped_address(parse_address(reach["nexthop"]))),
        stale=path["stale"],
        peer=path["neighbor-ip"],
        encapsulations=tuple(sorted(one["tunnel_type"] for one in communities if "tunnel_type" in one)),
        local_pref=attributes.get(AttributeCode.LOCAL_PREF, {}).get("value"),
        as_path=" ".join(str(asn) for segment in as_path for asn in segment["asns"]),
        originator=attributes.get(AttributeCode.ORIGINATOR_ID, {}).get("value"),
        clusters=tuple(attributes.get(AttributeCode.CLUSTER_LIST, {}).get("value", ())),
    )
