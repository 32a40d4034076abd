"""ExaBGP as an oracle: python -m tests.differential.oracles.exabgp_oracle (in .venv-oracles)."""

from __future__ import annotations

from typing import Any

import exabgp.bgp.message.notification
import exabgp.bgp.message.refresh
import exabgp.bgp.message.update  # noqa: F401
from exabgp.bgp.message import Action
from exabgp.bgp.message.direction import Direction
from exabgp.bgp.message.message import Message
from exabgp.bgp.message.notification import Notification, Notify
from exabgp.bgp.message.open import Open
from exabgp.bgp.message.open.asn import ASN
from exabgp.bgp.message.open.capability import Capabilities
from exabgp.bgp.message.open.capability.asn4 import ASN4
from exabgp.bgp.message.open.capability.extended import ExtendedMessage
from exabgp.bgp.message.open.capability.graceful import Graceful
from exabgp.bgp.message.open.capability.mp import MultiProtocol
from exabgp.bgp.message.open.capability.negotiated import Negotiated
from exabgp.bgp.message.open.capability.nexthop import NextHop as NextHopCapability
from exabgp.bgp.message.open.capability.refresh import EnhancedRouteRefresh, RouteRefresh
from exabgp.bgp.message.open.holdtime import HoldTime
from exabgp.bgp.message.open.routerid import RouterID
from exabgp.bgp.message.open.version import Version
from exabgp.bgp.message.refresh import RouteRefresh as RouteRefreshMessage
from exabgp.bgp.message.update import EOR, Update
from exabgp.bgp.message.update.attribute import Attributes
from exabgp.bgp.message.update.attribute.aggregator import Aggregator
from exabgp.bgp.message.update.attribute.aspath import CONFED_SEQUENCE, CONFED_SET, SEQUENCE, SET, ASPath
from exabgp.bgp.message.update.attribute.atomicaggregate import AtomicAggregate
from exabgp.bgp.message.update.attribute.clusterlist import ClusterList
from exabgp.bgp.message.update.attribute.community.extended import ExtendedCommunities, ExtendedCommunity
from exabgp.bgp.message.update.attribute.community.extended.encapsulation import Encapsulation
from exabgp.bgp.message.update.attribute.community.extended.mac_mobility import MacMobility
from exabgp.bgp.message.update.attribute.community.extended.rt import (
    RouteTarget,
    RouteTargetASN2Number,
    RouteTargetASN4Number,
    RouteTargetIPNumber,
)
from exabgp.bgp.message.update.attribute.community.initial.communities import Communities
from exabgp.bgp.message.update.attribute.community.initial.community import Community
from exabgp.bgp.message.update.attribute.community.large.communities import LargeCommunities
from exabgp.bgp.message.update.attribute.community.large.community import LargeCommunity
from exabgp.bgp.message.update.attribute.generic import GenericAttribute
from exabgp.bgp.message.update.attribute.localpref import LocalPreference
from exabgp.bgp.message.update.attribute.med import MED
from exabgp.bgp.message.update.attribute.nexthop import NextHop
from exabgp.bgp.message.update.attribute.origin import Origin
from exabgp.bgp.message.update.attribute.originatorid import OriginatorID
from exabgp.bgp.message.update.nlri.ipvpn import IPVPN
from exabgp.bgp.message.update.nlri.qualifier import Labels, RouteDistinguisher
from exabgp.bgp.message.update.nlri.rtc import RTC
from exabgp.logger import log
from exabgp.protocol.family import AFI, SAFI
from exabgp.protocol.ip import IP, IPv4

from tests.differential.oracles.common import Meaning, address, distinguisher, pack_administrator, serve

_SEGMENTS: dict[int, Any] = {1: SET, 2: SEQUENCE, 3: CONFED_SEQUENCE, 4: CONFED_SET}
_WITHDRAWN, _DISCARDED = 65535, 65534
"""In place of attributes that ExaBGP found malformed."""
_WITH_TEXT = ((6, 2), (6, 4))


def negotiated(session: Meaning) -> Any:
    """What ExaBGP holds of a session."""
    found = Negotiated({"capability": {"aigp": False}})
    found.asn4 = session["four_octet_as"]
    found.families = [(AFI.create(afi), SAFI.create(safi)) for afi, safi in session["families"]]
    found.nexthop = [(AFI.create(1), SAFI.create(128), AFI.create(2))] if session["extended_next_hops"] else []
    found.local_as = ASN(64512)
    found.peer_as = ASN(64512 if session["internal"] else 64513)
    found.msg_size = session["max_length"]
    return found


# -- out of messages


def decode(message: bytes, session: Meaning) -> Meaning:
    """The meaning of one message."""
    found = Message.unpack(message[18], message[19:], Direction.IN, negotiated(session))
    if isinstance(found, Open):
        return _read_open(found)
    if isinstance(found, Notification):
        meaning = {"kind": "notification", "code": found.code, "subcode": found.subcode}
        if (found.code, found.subcode) not in _WITH_TEXT or not found.data:
            return meaning | {"data": found.data.hex()}
        # ExaBGP keeps a sentence in place of the bytes.
        if found.data.startswith(b"invalid Shutdown Communication"):
            raise ValueError(found.data.decode())
        text = found.data.decode().removeprefix('Shutdown Communication: "').removesuffix('"')
        return meaning | {"text": text}
    if isinstance(found, RouteRefreshMessage):
        return {"kind": "refresh", "family": [int(found.afi), int(found.safi)], "subtype": int(found.reserved)}
    if isinstance(found, EOR):
        nlri = found.nlris[0]
        return {"kind": "update", "end_of_rib": [int(nlri.afi), int(nlri.safi)]}
    if isinstance(found, Update):
        return _read_update(found)
    return {"kind": type(found).__name__.lower()}


def _read_open(found: Any) -> Meaning:
    capabilities: Meaning = {}
    for code, value in found.capabilities.items():
        name = str(int(code))
        if isinstance(value, MultiProtocol):
            capabilities[name] = [[int(afi), int(safi)] for afi, safi in value]
        elif isinstance(value, Graceful):
            families = [[int(afi), int(safi), bool(flags & 0x80)] for (afi, safi), flags in value.items()]
            flags = value.restart_flag
            capabilities[name] = [value.restart_time, bool(flags & 8), bool(flags & 4), families]
        elif isinstance(value, ASN4):
            capabilities[name] = int(value)
        elif isinstance(value, NextHopCapability):
            capabilities[name] = [[int(part) for part in one] for one in value]
        elif code in (2, 6, 70):
            capabilities[name] = True
        else:
            parts = [value.data] if hasattr(value, "data") else value.extract()
            capabilities[name] = [bytes(part).hex() for part in parts]
    return {
        "kind": "open",
        "my_as": int(found.asn),
        "hold_time": int(found.hold_time),
        "router_id": str(found.router_id),
        "capabilities": capabilities,
    }


def _read_update(found: Any) -> Meaning:
    meaning: Meaning = {"kind": "update"}
    reach: dict[str, Any] = {}
    unreach: list[Any] = []
    for nlri in found.nlris:
        route = _read_nlri(nlri)
        if nlri.action == Action.WITHDRAW:
            route.pop("labels", None)
            unreach.append(route)
            meaning["unreach"] = {"family": [int(nlri.afi), int(nlri.safi)], "routes": unreach}
            continue
        family = [int(nlri.afi), int(nlri.safi)]
        reach = meaning.setdefault("reach", {"family": family, "next_hop": [], "routes": []})
        hop = address(str(nlri.nexthop))
        if hop not in reach["next_hop"]:
            reach["next_hop"].append(hop)
        if route not in reach["routes"]:
            reach["routes"].append(route)
    if found.attributes:
        meaning["attributes"] = _read_attributes(found.attributes)
    return meaning


def _read_nlri(nlri: Any) -> Meaning:
    if isinstance(nlri, RTC):
        if nlri.rt is None:
            return {"length": 0}
        return {"length": 96, "origin_as": int(nlri.origin), "target": bytes(nlri.rt.community).hex()}
    return {
        "rd": distinguisher(nlri.rd.rd),
        "prefix": f"{address(nlri.cidr.top())}/{nlri.cidr.mask}",
        "labels": list(nlri.labels.labels),
    }


def _read_attributes(found: Any) -> Meaning:
    said: Meaning = {}
    for code, value in found.items():
        match int(code):
            case 1:
                said["origin"] = value.origin
            case 2 if value.aspath:
                said["as_path"] = [[part.ID, list(map(int, part))] for part in value.aspath]
            case 4:
                said["med"] = value.med
            case 5:
                said["local_pref"] = value.localpref
            case 6:
                said["atomic_aggregate"] = True
            case 7 | 18:
                said["aggregator"] = [int(value.asn), str(value.speaker)]
            case 8:
                said["communities"] = [int.from_bytes(one.community, "big") for one in value.communities]
            case 9:
                said["originator_id"] = address(str(value))
            case 10:
                said["cluster_list"] = [address(str(one)) for one in value.clusters]
            case 16:
                said["extended_communities"] = [_read_extended(one) for one in value.communities]
            case 32:
                said["large_communities"] = [list(map(int, str(one).split(":"))) for one in value.communities]
            case 2 | 3 | 17:
                pass
            case 65535:
                said["malformed"] = "withdrawn"
            case 65534:
                said.setdefault("malformed", "discarded")
            case number:
                said.setdefault("unknown", []).append([number, int(value.FLAG) & 0xE0, bytes(value.data).hex()])
    return said


def _read_extended(one: Any) -> list[Any]:
    if isinstance(one, RouteTarget):
        admin = one.ip if isinstance(one, RouteTargetIPNumber) else int(one.asn)
        return ["rt", one.COMMUNITY_TYPE, admin, one.number]
    if isinstance(one, Encapsulation):
        return ["encapsulation", one.tunnel_type]
    if isinstance(one, MacMobility):
        return ["mac-mobility", one.sequence, one.sticky]
    return ["other", bytes(one.community).hex()]


# -- into messages


def encode(meaning: Meaning, session: Meaning) -> list[bytes]:
    """Messages that say what a meaning says."""
    agreed = negotiated(session)
    match meaning["kind"]:
        case "open":
            return [_write_open(meaning)]
        case "notification":
            # Notify puts the length in front of a text by itself.
            data = meaning["text"] if "text" in meaning else bytes.fromhex(meaning["data"])
            return [bytes(Notify(meaning["code"], meaning["subcode"], data).message())]
        case "refresh":
            return [RouteRefreshMessage(*meaning["family"], meaning["subtype"]).message()]
        case "update" if "end_of_rib" in meaning:
            afi, safi = meaning["end_of_rib"]
            return [EOR(AFI.create(afi), SAFI.create(safi)).message()]
    attributes = _write_attributes(meaning.get("attributes", {}))
    nlris = []
    if reach := meaning.get("reach"):
        nlris += [_write_nlri(reach["family"], one, reach["next_hop"][0], Action.ANNOUNCE) for one in reach["routes"]]
    if unreach := meaning.get("unreach"):
        nlris += [_write_nlri(unreach["family"], one, None, Action.WITHDRAW) for one in unreach["routes"]]
    return list(Update(nlris, attributes).messages(agreed))


def _write_open(meaning: Meaning) -> bytes:
    capabilities = Capabilities()
    for name, value in meaning["capabilities"].items():
        code = int(name)
        found: Any
        match code:
            case 1:
                found = MultiProtocol()
                found.extend((AFI.create(afi), SAFI.create(safi)) for afi, safi in value)
            case 2:
                found = RouteRefresh()
            case 5:
                found = NextHopCapability(
                    [(AFI.create(afi), SAFI.create(safi), AFI.create(hop)) for afi, safi, hop in value]
                )
            case 6:
                found = ExtendedMessage()
            case 64:
                seconds, restarting, notification, families = value
                kept = [(AFI.create(afi), SAFI.create(safi), bits << 7) for afi, safi, bits in families]
                found = Graceful().set(restarting << 3 | notification << 2, seconds, kept)
            case 65:
                found = ASN4(value)
            case 70:
                found = EnhancedRouteRefresh()
            case _:
                # What it doesn't know it can't send.
                continue
        capabilities[code] = found
    asn = meaning["capabilities"].get("65", meaning["my_as"])
    router_id = RouterID(meaning["router_id"])
    return bytes(Open(Version(4), ASN(asn), HoldTime(meaning["hold_time"]), router_id, capabilities).message())


def _write_nlri(family: list[int], route: Meaning, next_hop: str | None, action: Any) -> Any:
    afi, safi = AFI.create(family[0]), SAFI.create(family[1])
    if family[1] == 132:
        hop = NextHop(next_hop) if next_hop else None
        if route["length"] == 0:
            return RTC.new(afi, safi, ASN(0), None, *([hop] if hop else []), action=action)
        if route["length"] != 96:
            raise ValueError("no class for a part of a route target")
        target = RouteTarget.unpack(bytes.fromhex(route["target"]))
        return RTC.new(afi, safi, ASN(route["origin_as"]), target, *([hop] if hop else []), action=action)
    prefix, _, length = route["prefix"].partition("/")
    kind, admin, number = route["rd"]
    rd = kind.to_bytes(2, "big") + pack_administrator(kind, admin, number)
    packed = IP.pton(prefix)
    labels = Labels(route.get("labels", [0]))
    return IPVPN.new(afi, safi, packed, int(length), labels, RouteDistinguisher(rd), next_hop, action)


def _write_attributes(said: Meaning) -> Any:
    found = Attributes()
    segments = [_SEGMENTS[kind](map(ASN, numbers)) for kind, numbers in said.get("as_path", [])]
    makers: dict[str, Any] = {
        "origin": Origin,
        "med": MED,
        "local_pref": LocalPreference,
        "atomic_aggregate": lambda _: AtomicAggregate(),
        "aggregator": lambda value: Aggregator(ASN(value[0]), IPv4.create(value[1])),
        "communities": lambda value: Communities([Community(one.to_bytes(4, "big")) for one in value]),
        "originator_id": OriginatorID,
        "cluster_list": lambda value: ClusterList([IPv4.create(one) for one in value]),
        "extended_communities": lambda value: ExtendedCommunities([_write_extended(one) for one in value]),
        "large_communities": lambda value: LargeCommunities(
            [LargeCommunity(b"".join(part.to_bytes(4, "big") for part in one)) for one in value]
        ),
    }
    for name, value in said.items():
        if name in makers:
            found.add(makers[name](value))
    found.add(ASPath(segments))
    for code, flags, data in said.get("unknown", []):
        found.add(GenericAttribute(code, flags, bytes.fromhex(data)))
    return found


def _write_extended(one: list[Any]) -> Any:
    match one:
        case ["rt", kind, admin, number]:
            return (RouteTargetASN2Number, RouteTargetIPNumber, RouteTargetASN4Number)[kind](admin, number)
        case ["encapsulation", number]:
            return Encapsulation(number)
        case ["mac-mobility", number, static]:
            return MacMobility(number, static)
        case [_, packed]:
            return ExtendedCommunity(bytes.fromhex(packed))
    raise ValueError(one)


if __name__ == "__main__":
    log.disable()
    serve(decode, encode)
