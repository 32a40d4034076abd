"""What a kernel holds, read by other programs' decoders: pyroute2, and iproute2 where pyroute2 doesn't know a kind.

Nothing here uses a decoder or an encoder of the datapath: what that gets wrong in both directions shows here. The
objects come back as the datapath's values, so that they are compared as a whole.

    by pyroute2    links, addresses, rules, neighbours, qdiscs, routes of all three families with what they go by
    by iproute2    nexthop objects and groups; the keys of flower filters
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any

from pyroute2 import IPRoute

from datapath.values import (
    AntiSpoofing,
    MplsRoute,
    Neighbour,
    NextHop,
    NextHopGroup,
    Port,
    PortKind,
    Tunnel,
    Value,
    Vrf,
    VrfRoute,
)
from lab.namespace import Namespace
from vpn.prefix import Prefix, parse_address

OURS = 108
AF_MPLS = 28
RTN_UNICAST = 1
TC_INGRESS = 0xFFFFFFF2

Message = Any
"""A message of pyroute2: fields by name, attributes by get_attr() or get()."""


class Oracle:
    """Reads a namespace. The thread that makes it must be inside; close it afterwards."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.ipr: Any = IPRoute()

    def close(self) -> None:
        """Close the socket."""
        self.ipr.close()

    # Devices

    def links(self) -> dict[str, Message]:
        """Every device by name."""
        return {link.get_attr("IFLA_IFNAME"): link for link in self.ipr.get_links()}

    def names(self) -> dict[int, str]:
        """Names of the devices by index."""
        return {link["index"]: name for name, link in self.links().items()}

    def devices(self) -> Iterator[Tunnel | Vrf | Port]:
        """Tunnel, VRFs and ports: the devices with an alias of ours."""
        links = self.links()
        names = self.names()
        for name, link in links.items():
            program, _, rest = alias(link).partition(":")
            if program != "vrfwire":
                continue
            role, called, *fields = rest.split(":")
            kind = link_kind(link)
            if role == "tunnel" and kind == "gre":
                yield Tunnel(name, parse_address(link_data(link).get_attr("IFLA_GRE_LOCAL")))
            elif role == "vrf" and kind == "vrf":
                yield Vrf(name, link_data(link).get_attr("IFLA_VRF_TABLE"), called)
            elif role == "port":
                yield _port(name, kind, names.get(link.get_attr("IFLA_MASTER"), ""), called, fields)

    # Forwarding

    def neighbours(self) -> Iterator[Neighbour]:
        """Permanent neighbours of our protocol."""
        names = self.names()
        for family in (socket.AF_INET, socket.AF_INET6):
            for entry in self.ipr.get_neighbours(family=family):
                if entry.get_attr("NDA_PROTOCOL") == OURS:
                    assert entry["state"] == 0x80
                    lladdr = entry.get_attr("NDA_LLADDR")
                    packed = bytes.fromhex(lladdr.replace(":", "")) if ":" in lladdr else parse_address(lladdr)
                    yield Neighbour(names[entry["ifindex"]], parse_address(entry.get_attr("NDA_DST")), packed)

    def label_routes(self) -> Iterator[MplsRoute]:
        """MPLS routes of our protocol."""
        names = self.names()
        for route in self.ipr.get_routes(family=AF_MPLS):
            if route["proto"] == OURS:
                (entry,) = route.get_attr("RTA_DST")
                assert route.get_attr("RTA_NEWDST") is None
                via = parse_address(route.get_attr("RTA_VIA")["addr"])
                yield MplsRoute(entry["label"], names[route.get_attr("RTA_OIF")], via)

    def routes(self) -> Iterator[VrfRoute]:
        """Unicast routes of our protocol, with what the kernel says that they go by."""
        names = self.names()
        for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            for route in self.ipr.get_routes(family=family):
                if route["proto"] != OURS or route["type"] != RTN_UNICAST:
                    continue
                target = route.get_attr("RTA_DST")
                prefix = Prefix(parse_address(target) if target else bytes(size), route["dst_len"])
                paths = route.get_attr("RTA_MULTIPATH")
                via: NextHop | NextHopGroup
                if paths is None:
                    via = _path(route, names[route.get_attr("RTA_OIF")])
                else:
                    assert all(path["hops"] == 0 for path in paths), "every weight is one"
                    via = NextHopGroup(tuple(sorted(_path(path, names[path["oif"]]) for path in paths)))
                yield VrfRoute(route.get_attr("RTA_TABLE"), prefix, via)

    def next_hops(self) -> Iterator[NextHop | NextHopGroup]:
        """Nexthop objects and groups of our protocol."""
        found = [entry for entry in self.ip("-N", "nexthop", "show") if one(entry, "protocol") == "108"]
        single: dict[int, NextHop] = {}
        for entry in found:
            if "group" not in entry:
                assert "onlink" in one(entry, "flags")
                labels = tuple(map(int, one(entry, "dst").split("/"))) if "encap" in entry else ()
                hop = NextHop(one(entry, "dev"), parse_address(one(entry, "gateway")), labels)
                single[one(entry, "id")] = hop
        assert len(set(single.values())) == len(single), "each content once"
        yield from single.values()
        for entry in found:
            if "group" in entry:
                yield NextHopGroup(tuple(sorted(single[one(member, "id")] for member in one(entry, "group"))))

    # Filters

    def filters(self, device: str) -> list[dict[str, Any]]:
        """The filters on a device's ingress as tc shows them, without the heads of priorities."""
        text = self._namespace.output("tc", "-json", "filter", "show", "dev", device, "ingress")
        return [entry for entry in json.loads(text or "[]") if "options" in entry]

    def anti_spoofing(self) -> Iterator[AntiSpoofing]:
        """What VMs may send, by port."""
        ports = [name for name, link in self.links().items() if alias(link).startswith("vrfwire:port:")]
        for name in ports:
            admitted = [f for f in self.filters(name) if f["kind"] == "flower" and f["pref"] in (0x5604, 0x5605)]
            if admitted:
                (mac,) = {entry["options"]["keys"]["src_mac"] for entry in admitted}
                prefixes = tuple(Prefix.parse(entry["options"]["keys"]["src_ip"]) for entry in admitted)
                yield AntiSpoofing(name, bytes.fromhex(mac.replace(":", "")), prefixes)

    # All

    def values(self) -> set[Value]:
        """Everything of ours."""
        return {
            *self.devices(),
            *self.neighbours(),
            *self.next_hops(),
            *self.anti_spoofing(),
            *self.label_routes(),
            *self.routes(),
        }

    def ip(self, *words: str) -> list[dict[str, list[Any]]]:
        """What ip(8) prints, as JSON; each member with all values that it has: "dst" is there twice in a route with
        labels."""

        def collect(pairs: list[tuple[str, Any]]) -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {}
            for name, value in pairs:
                found.setdefault(name, []).append(value)
            return found

        text = self._namespace.output("ip", "-json", *words)
        found: list[dict[str, list[Any]]] = json.loads(text or "[]", object_pairs_hook=collect)
        return found


def one(entry: dict[str, list[Any]], name: str) -> Any:
    """The only value of a member."""
    (value,) = entry[name]
    return value


def alias(link: Message) -> str:
    """Alias of a device, "" for none."""
    return link.get_attr("IFLA_IFALIAS") or ""


def link_kind(link: Message) -> str:
    """Type of a device, "" for none."""
    info = link.get_attr("IFLA_LINKINFO")
    return "" if info is None else info.get_attr("IFLA_INFO_KIND")


def link_data(link: Message) -> Message:
    """Attributes of a device's type."""
    return link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")


def _port(name: str, kind: str, master: str, attachment: str, fields: list[str]) -> Port:
    said = dict(field.split("=", 1) for field in fields)
    addresses = [base64.urlsafe_b64decode(f"{text}==") for text in said.get("a", "").split(",") if text]
    return Port(
        name,
        {"tun": PortKind.TAP, "veth": PortKind.VETH}[kind],
        master,
        attachment,
        said.get("n"),
        said.get("g", "eth0"),
        bytes.fromhex(said["m"]),
        tuple(addresses),
    )


def _path(path: Message, device: str) -> NextHop:
    """What one path of a route goes by."""
    assert path["flags"] & 4, "onlink"
    labels: tuple[int, ...] = ()
    encapsulation = path.get_attr("RTA_ENCAP")
    if encapsulation is not None:
        assert path.get_attr("RTA_ENCAP_TYPE") == 1
        stack = encapsulation.get_attr("MPLS_IPTUNNEL_DST")
        assert [entry["bos"] for entry in stack] == [0] * (len(stack) - 1) + [1]
        labels = tuple(entry["label"] for entry in stack)
    return NextHop(device, parse_address(path.get_attr("RTA_GATEWAY")), labels)
