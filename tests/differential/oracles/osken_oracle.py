"""os-ken as an oracle: python -m tests.differential.oracles.osken_oracle (in .venv-oracles)."""

from __future__ import annotations

from typing import Any

from os_ken.lib.packet import bgp

from tests.differential.oracles.common import Meaning, address, serve

# os-ken guesses whether AS numbers have two octets or four, which can't be known from the bytes; here it is told.
_SIZE = {True: "!I", False: "!H"}
_RD = {0: bgp.BGPTwoOctetAsRD, 1: bgp.BGPIPv4AddressRD, 2: bgp.BGPFourOctetAsRD}
_WITH_TEXT = ((6, 2), (6, 4))
_NLRI = {1: bgp.LabelledVPNIPAddrPrefix, 2: bgp.LabelledVPNIP6AddrPrefix}


def tell(session: Meaning) -> None:
    """Let os-ken know how large AS numbers are."""
    four_octet = session["four_octet_as"]
    bgp.BGPPathAttributeAsPath._is_valid_16bit_as_path = classmethod(lambda _cls, _buf: not four_octet)
    bgp.BGPPathAttributeAsPath._AS_PACK_STR = _SIZE[four_octet]
    bgp.BGPPathAttributeAggregator._VALUE_PACK_STR = "!I4s" if four_octet else "!H4s"


# -- out of messages


def decode(message: bytes, session: Meaning) -> Meaning:
    """The meaning of one message."""
    tell(session)
    found, _, rest = bgp.BGPMessage.parser(message)
    if rest:
        raise ValueError("not one whole message")
    match found:
        case bgp.BGPOpen():
            return {
                "kind": "open",
                "my_as": found.my_as,
                "hold_time": found.hold_time,
                "router_id": found.bgp_identifier,
                "capabilities": _read_capabilities(found.opt_param),
            }
        case bgp.BGPNotification():
            meaning = {"kind": "notification", "code": found.error_code, "subcode": found.error_subcode}
            if (found.error_code, found.error_subcode) in _WITH_TEXT and found.data:
                return meaning | {"text": found.data[1 : 1 + found.data[0]].decode()}
            return meaning | {"data": found.data.hex()}
        case bgp.BGPRouteRefresh():
            return {"kind": "refresh", "family": [found.afi, found.safi], "subtype": found.demarcation}
        case bgp.BGPUpdate():
            return _read_update(found)
    return {"kind": "keepalive"}


def _read_capabilities(found: list[Any]) -> Meaning:
    said: Meaning = {}
    for one in found:
        name = str(one.cap_code)
        match one:
            case bgp.BGPOptParamCapabilityMultiprotocol():
                said.setdefault(name, []).append([one.afi, one.safi])
            case bgp.BGPOptParamCapabilityGracefulRestart():
                families = [[afi, safi, bool(flags & 0x80)] for afi, safi, flags in one.tuples]
                said[name] = [one.time, bool(one.flags & 8), bool(one.flags & 4), families]
            case bgp.BGPOptParamCapabilityFourOctetAsNumber():
                said[name] = one.as_number
            case bgp.BGPOptParamCapabilityRouteRefresh() | bgp.BGPOptParamCapabilityEnhancedRouteRefresh():
                said[name] = True
            case _:
                said.setdefault(name, []).append(bytes(getattr(one, "cap_value", b"")).hex())
    return said


def _read_update(found: Any) -> Meaning:
    meaning: Meaning = {"kind": "update"}
    attributes = {one.type: one for one in found.path_attributes}
    unreach, reach = attributes.pop(15, None), attributes.pop(14, None)
    if unreach is not None and not (unreach.withdrawn_routes or attributes or reach):
        return {"kind": "update", "end_of_rib": [unreach.afi, unreach.safi]}
    if unreach is not None:
        routes = [_read_nlri(one) for one in unreach.withdrawn_routes]
        for route in routes:
            del route["labels"]
        meaning["unreach"] = {"family": [unreach.afi, unreach.safi], "routes": routes}
    if reach is not None:
        meaning["reach"] = {
            "family": [reach.afi, reach.safi],
            "next_hop": [address(hop) for hop in reach.next_hop_list],
            "routes": [_read_nlri(one) for one in reach.nlri],
        }
        meaning["attributes"] = _read_attributes(attributes)
    return meaning


def _read_nlri(nlri: Any) -> Meaning:
    labels, rd, prefix = nlri.addr
    length = nlri.length - 64 - 24 * len(labels)
    return {"rd": [rd.type, rd.admin, rd.assigned], "prefix": f"{address(prefix)}/{length}", "labels": labels}


def _read_attributes(found: dict[int, Any]) -> Meaning:
    said: Meaning = {}
    for code, one in found.items():
        match code:
            case 1:
                said["origin"] = one.value
            case 2 if one.value:
                said["as_path"] = _read_path(one)
            case 4:
                said["med"] = one.value
            case 5:
                said["local_pref"] = one.value
            case 6:
                said["atomic_aggregate"] = True
            case 7:
                said["aggregator"] = [one.as_number, one.addr]
            case 8:
                said["communities"] = one.communities
            case 9:
                said["originator_id"] = one.value
            case 10:
                said["cluster_list"] = one.value
            case 16:
                said["extended_communities"] = [_read_extended(each) for each in one.communities]
            case 17:
                said["as4_path"] = _read_path(one)
            case 18:
                said["as4_aggregator"] = [one.as_number, one.addr]
            case 32:
                numbers = [int.from_bytes(one.value[at : at + 4], "big") for at in range(0, len(one.value), 4)]
                said["large_communities"] = [numbers[at : at + 3] for at in range(0, len(numbers), 3)]
            case 2 | 3:
                pass
            case _:
                said.setdefault("unknown", []).append([code, one.flags & 0xE0, bytes(one.value).hex()])
    return said


def _read_path(one: Any) -> list[Any]:
    return [[2, part] if isinstance(part, list) else [1, sorted(part)] for part in one.path_seg_list]


def _read_extended(one: Any) -> list[Any]:
    match one:
        case bgp.BGPTwoOctetAsSpecificExtendedCommunity(type=0, subtype=2):
            return ["rt", 0, one.as_number, one.local_administrator]
        case bgp.BGPIPv4AddressSpecificExtendedCommunity(type=1, subtype=2):
            return ["rt", 1, one.ipv4_address, one.local_administrator]
        case bgp.BGPFourOctetAsSpecificExtendedCommunity(type=2, subtype=2):
            return ["rt", 2, one.as_number, one.local_administrator]
        case bgp.BGPEncapsulationExtendedCommunity(type=3):
            return ["encapsulation", one.tunnel_type]
        case bgp.BGPEvpnMacMobilityExtendedCommunity(type=6):
            return ["mac-mobility", one.sequence_number, bool(one.flags & 1)]
    return ["other", bytes(one.serialize()).hex()]


# -- into messages


def encode(meaning: Meaning, session: Meaning) -> list[bytes]:
    """Messages that say what a meaning says."""
    tell(session)
    match meaning["kind"]:
        case "open":
            found: Any = bgp.BGPOpen(
                my_as=meaning["my_as"],
                bgp_identifier=meaning["router_id"],
                hold_time=meaning["hold_time"],
                opt_param=_write_capabilities(meaning["capabilities"]),
            )
        case "notification":
            text = meaning.get("text", "").encode()
            data = bytes((len(text),)) + text if text else bytes.fromhex(meaning["data"])
            found = bgp.BGPNotification(meaning["code"], meaning["subcode"], data)
        case "refresh":
            afi, safi = meaning["family"]
            found = bgp.BGPRouteRefresh(afi, safi, demarcation=meaning["subtype"])
        case "update":
            # os-ken knows no limit; ten routes are within it.
            return [bytes(bgp.BGPUpdate(path_attributes=_write_update(part)).serialize()) for part in _parts(meaning)]
        case _:
            found = bgp.BGPKeepAlive()
    return [bytes(found.serialize())]


def _write_capabilities(said: Meaning) -> list[Any]:
    found: list[Any] = []
    for name, value in said.items():
        match int(name):
            case 1:
                found += [bgp.BGPOptParamCapabilityMultiprotocol(afi=afi, safi=safi) for afi, safi in value]
            case 2:
                found.append(bgp.BGPOptParamCapabilityRouteRefresh())
            case 64:
                seconds, restarting, notification, families = value
                kept = [(afi, safi, bits << 7) for afi, safi, bits in families]
                flags = restarting << 3 | notification << 2
                found.append(bgp.BGPOptParamCapabilityGracefulRestart(flags=flags, time=seconds, tuples=kept))
            case 65:
                found.append(bgp.BGPOptParamCapabilityFourOctetAsNumber(as_number=value))
            case 70:
                found.append(bgp.BGPOptParamCapabilityEnhancedRouteRefresh())
            case code:
                found += [
                    bgp.BGPOptParamCapabilityUnknown(cap_code=code, cap_value=bytes.fromhex(one)) for one in value
                ]
    return found


def _parts(meaning: Meaning) -> list[Meaning]:
    for name in ("reach", "unreach"):
        if part := meaning.get(name):
            routes = part["routes"]
            return [meaning | {name: part | {"routes": routes[at : at + 10]}} for at in range(0, len(routes), 10)]
    return [meaning]


def _write_update(meaning: Meaning) -> list[Any]:
    if family := meaning.get("end_of_rib"):
        return [bgp.BGPPathAttributeMpUnreachNLRI(*family, [])]
    found: list[Any] = []
    if unreach := meaning.get("unreach"):
        routes = [_write_nlri(unreach["family"], one | {"labels": [0x80000]}) for one in unreach["routes"]]
        found.append(bgp.BGPPathAttributeMpUnreachNLRI(*unreach["family"], routes))
    if reach := meaning.get("reach"):
        routes = [_write_nlri(reach["family"], one) for one in reach["routes"]]
        found.append(bgp.BGPPathAttributeMpReachNLRI(*reach["family"], reach["next_hop"], routes))
        found += _write_attributes(meaning["attributes"])
    return found


def _write_nlri(family: list[int], route: Meaning) -> Any:
    if family[1] == 132:
        return bgp.RouteTargetMembershipNLRI(route.get("origin_as", "0:0"), route.get("target", "0:0"))
    prefix, _, length = route["prefix"].partition("/")
    kind, admin, number = route["rd"]
    rd = _RD[kind](admin=admin, assigned=number)
    labels = route["labels"]
    # Given as it is on the wire: made of its parts, a prefix of no bits is refused.
    return _NLRI[family[0]](int(length) + 64 + 24 * len(labels), (labels, rd, prefix))


def _write_attributes(said: Meaning) -> list[Any]:
    found: list[Any] = [bgp.BGPPathAttributeAsPath(_write_path(said.get("as_path", [])))]
    makers: dict[str, Any] = {
        "origin": bgp.BGPPathAttributeOrigin,
        "med": bgp.BGPPathAttributeMultiExitDisc,
        "local_pref": bgp.BGPPathAttributeLocalPref,
        "atomic_aggregate": lambda _: bgp.BGPPathAttributeAtomicAggregate(),
        "aggregator": lambda value: bgp.BGPPathAttributeAggregator(*value),
        "as4_path": lambda value: bgp.BGPPathAttributeAs4Path(_write_path(value)),
        "as4_aggregator": lambda value: bgp.BGPPathAttributeAs4Aggregator(*value),
        "communities": bgp.BGPPathAttributeCommunities,
        "originator_id": bgp.BGPPathAttributeOriginatorId,
        "cluster_list": bgp.BGPPathAttributeClusterList,
        "extended_communities": lambda value: bgp.BGPPathAttributeExtendedCommunities(
            [_write_extended(one) for one in value]
        ),
        "large_communities": lambda value: bgp.BGPPathAttributeUnknown(
            b"".join(part.to_bytes(4, "big") for one in value for part in one), flags=0xC0, type_=32
        ),
    }
    found += [makers[name](value) for name, value in said.items() if name in makers]
    for code, flags, data in said.get("unknown", []):
        found.append(bgp.BGPPathAttributeUnknown(bytes.fromhex(data), flags=flags, type_=code))
    return found


def _write_path(segments: list[Any]) -> list[Any]:
    if any(kind > 2 for kind, _ in segments):
        raise ValueError("no form for segments of confederations")
    return [numbers if kind == 2 else set(numbers) for kind, numbers in segments]


def _write_extended(one: list[Any]) -> Any:
    match one:
        case ["rt", 1, admin, number]:
            return bgp.BGPIPv4AddressSpecificExtendedCommunity(
                subtype=2, ipv4_address=admin, local_administrator=number
            )
        case ["rt", 0, admin, number]:
            return bgp.BGPTwoOctetAsSpecificExtendedCommunity(subtype=2, as_number=admin, local_administrator=number)
        case ["rt", _, admin, number]:
            return bgp.BGPFourOctetAsSpecificExtendedCommunity(subtype=2, as_number=admin, local_administrator=number)
        case ["encapsulation", number]:
            return bgp.BGPEncapsulationExtendedCommunity(subtype=12, tunnel_type=number)
        case ["mac-mobility", number, static]:
            return bgp.BGPEvpnMacMobilityExtendedCommunity(subtype=0, flags=int(static), sequence_number=number)
        case [_, packed]:
            return bgp._ExtendedCommunity.parse(bytes.fromhex(packed))[0]
    raise ValueError(one)


if __name__ == "__main__":
    serve(decode, encode)
