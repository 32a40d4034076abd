"""tshark as an oracle: one capture of all messages in, what Wireshark's dissector shows of each out.

A capture has one message a packet, so that what is said of a packet is said of a message. What the dissector finds
wrong with a message ("expert information") is reported beside its meaning.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.differential.oracles.common import Meaning, address, administrator, distinguisher

_HEADERS = 40
"""Bytes of IPv4 and TCP in front of a message."""
_WARNING = 0x600000
"""Severity of expert information that is more than a remark."""
_ATTRIBUTE = "bgp.update.path_attribute"
_UNKNOWN = "bgp.update.path_attributes.unknown"
_LABELS = re.compile(r"(?P<labels>[\d,]+) \((?:bottom|withdrawn)\)")
_VPNV6 = re.compile(r"RD=(?P<rd>\S+), IPv6=(?P<prefix>\S+)")


class Dissected(NamedTuple):
    """What tshark makes of a message. complaints: of its dissector about what it has read."""

    meaning: Meaning
    complaints: list[str]


def dissect(messages: Sequence[bytes], *, four_octet_as: bool) -> list[Dissected]:
    """What tshark makes of messages, each at most 65495 bytes, of a session with AS numbers of that size."""
    with tempfile.TemporaryDirectory(prefix="vrfwire-tshark-") as directory:
        capture = Path(directory) / "messages.pcap"
        capture.write_bytes(b"".join(_capture(messages)))
        size = f"bgp.asn_len:{'4 octet' if four_octet_as else '2 octet'}"
        # Whoever runs this may have preferences; an empty home has none.
        command = ["tshark", "-n", "-r", str(capture), "-o", size, "-d", "tcp.port==179,bgp", "-T", "pdml"]
        done = subprocess.run(command, capture_output=True, check=True, env={"HOME": directory, "PATH": _PATH})
    packets = ElementTree.fromstring(done.stdout).findall("packet")
    assert len(packets) == len(messages)
    return [_packet(packet, message) for packet, message in zip(packets, messages, strict=True)]


_PATH = "/usr/local/bin:/usr/bin:/bin"


def _capture(messages: Iterable[bytes]) -> Iterable[bytes]:
    """A file of raw IPv4 packets (LINKTYPE_IPV4)."""
    yield struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 228)
    sequence = 1
    for number, message in enumerate(messages):
        size = _HEADERS + len(message)
        yield struct.pack("<IIII", number, 0, size, size)
        yield struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 6, 0, b"\xc0\0\2\1", b"\xc0\0\2\2")
        yield struct.pack("!HHIIBBHHH", 40000, 179, sequence & 0xFFFFFFFF, 1, 0x50, 0x18, 65535, 0, 0)
        yield message
        sequence += len(message)


# -- fields


def _all(node: Element, name: str) -> list[Element]:
    return [field for field in node.iter("field") if field.get("name") == name]


def _bytes(node: Element) -> bytes:
    return bytes.fromhex(node.get("value", ""))


def _number(node: Element, name: str) -> int:
    """The one field of a name, as its bytes are on the wire."""
    (field,) = _all(node, name)
    return int.from_bytes(_bytes(field), "big")


def _shown(node: Element, name: str) -> str:
    (field,) = _all(node, name)
    return field.get("show", "")


def _packet(packet: Element, message: bytes) -> Dissected:
    experts = zip(_all(packet, "_ws.expert.message"), _all(packet, "_ws.expert.severity"), strict=True)
    complaints = [text.get("show", "") for text, how in experts if int(how.get("show", "0"), 0) >= _WARNING]
    found = [proto for proto in packet.findall("proto") if proto.get("name") == "bgp"]
    if len(found) != 1:
        return Dissected({"kind": f"{len(found)} messages"}, complaints)
    (bgp,) = found
    if invalid := _all(bgp, "bgp.length.invalid"):
        return Dissected({"refused": invalid[0].get("showname", "")}, [])
    for field in (*_all(bgp, _UNKNOWN), *_all(bgp, "bgp.cap")):
        # Of these only the place is told.
        start = int(field.get("pos", "0")) - _HEADERS
        field.set("value", message[start : start + int(field.get("size", "0"))].hex())
    if _number(bgp, "bgp.length") != len(message):
        complaints.append("another length")
    readers = {1: _open, 2: _update, 3: _notification, 4: lambda _: {"kind": "keepalive"}, 5: _refresh}
    return Dissected(readers[_number(bgp, "bgp.type")](bgp), complaints)


def _notification(bgp: Element) -> Meaning:
    minor = next(field for field in bgp if field.get("name", "").startswith("bgp.notify.minor_error"))
    meaning: Meaning = {
        "kind": "notification",
        "code": _number(bgp, "bgp.notify.major_error"),
        "subcode": int.from_bytes(_bytes(minor), "big"),
    }
    if texts := _all(bgp, "bgp.notify.communication"):
        return meaning | {"text": _bytes(texts[0]).decode()}
    data = _all(bgp, "bgp.notify.minor_data") or _all(bgp, "bgp.notify.cease.data")
    return meaning | {"data": b"".join(map(_bytes, data)).hex()}


def _refresh(bgp: Element) -> Meaning:
    family = [_number(bgp, "bgp.route_refresh.afi"), _number(bgp, "bgp.route_refresh.safi")]
    return {"kind": "refresh", "family": family, "subtype": _number(bgp, "bgp.route_refresh.subtype")}


def _open(bgp: Element) -> Meaning:
    capabilities: Meaning = {}
    for one in _all(bgp, "bgp.cap"):
        code = _number(one, "bgp.cap.type")
        value = _capability(code, one)
        if code == 1:
            capabilities.setdefault("1", []).append(value)
        else:
            capabilities[str(code)] = value
    return {
        "kind": "open",
        "my_as": _number(bgp, "bgp.open.myas"),
        "hold_time": int(_shown(bgp, "bgp.open.holdtime")),
        "router_id": _shown(bgp, "bgp.open.identifier"),
        "capabilities": capabilities,
    }


def _capability(code: int, one: Element) -> Any:
    def column(name: str) -> list[int]:
        return [int.from_bytes(_bytes(field), "big") for field in _all(one, name)]

    match code:
        case 1:
            return [_number(one, "bgp.cap.mp.afi"), _number(one, "bgp.cap.mp.safi")]
        case 2 | 6 | 70:
            return True
        case 5:
            return list(
                map(list, zip(*(column(f"bgp.cap.enh.{name}") for name in ("afi", "safi", "nhafi")), strict=True))
            )
        case 64:
            seconds = int(_shown(one, "bgp.cap.gr.timers.restart_time"))
            bits = [_shown(one, f"bgp.cap.gr.timers.{name}_flag") == "1" for name in ("restart", "notification")]
            families = zip(
                column("bgp.cap.gr.afi"),
                column("bgp.cap.gr.safi"),
                [flag & 0x80 != 0 for flag in column("bgp.cap.gr.flag")],
                strict=True,
            )
            return [seconds, *bits, list(map(list, families))]
        case 65:
            return _number(one, "bgp.cap.4as")
    return [_bytes(one)[2:].hex()]


# -- UPDATEs


def _update(bgp: Element) -> Meaning:
    meaning: Meaning = {"kind": "update"}
    attributes: Meaning = {}
    for one in _all(bgp, _ATTRIBUTE):
        code = _number(one, f"{_ATTRIBUTE}.type_code")
        if code == 14:
            meaning["reach"] = _reach(one)
        elif code == 15:
            meaning["unreach"] = _unreach(one)
        else:
            _read(attributes, code, one)
    if "reach" in meaning:
        return meaning | {"attributes": attributes}
    if not meaning.get("unreach", {}).get("routes") and not attributes:
        return {"kind": "update", "end_of_rib": meaning["unreach"]["family"]}
    return meaning


def _reach(one: Element) -> Meaning:
    name = f"{_ATTRIBUTE}.mp_reach_nlri"
    hops = [
        address(_bytes(field))
        for field in one.iter("field")
        if field.get("name", "").startswith(f"{name}.next_hop.ipv")
    ]
    family = [_number(one, f"{name}.afi"), _number(one, f"{name}.safi")]
    routes = [route for field in _all(one, name) for route in _nlri(family, field)]
    return {"family": family, "next_hop": hops, "routes": routes}


def _unreach(one: Element) -> Meaning:
    name = f"{_ATTRIBUTE}.mp_unreach_nlri"
    family = [_number(one, f"{name}.afi"), _number(one, f"{name}.safi")]
    routes = [route for field in _all(one, name) for route in _nlri(family, field)]
    for route in routes:
        route.pop("labels", None)
    return {"family": family, "routes": routes}


def _nlri(family: list[int], field: Element) -> list[Meaning]:
    read = _membership if family[1] == 132 else _vpnv4 if family[0] == 1 else _vpnv6
    return [read(one) for one in field]


def _labels(text: str) -> list[int]:
    found = _LABELS.search(text)
    return [int(label) for label in found["labels"].split(",")] if found else []


def _vpnv4(one: Element) -> Meaning:
    labels = _labels(_shown(one, "bgp.label_stack"))
    (rd,) = _all(one, "bgp.rd")
    (prefix,) = (field for field in one if field.get("name", "").endswith("reach_nlri_ipv4_prefix"))
    length = _number(one, "bgp.prefix_length") - 64 - 24 * len(labels)
    said = distinguisher(_bytes(rd))
    assert rd.get("show") == "{1}:{2}".format(*said)
    return {"rd": said, "prefix": f"{address(prefix.get('show', ''))}/{length}", "labels": labels}


def _vpnv6(one: Element) -> Meaning:
    # One field for all of it; the text says where the labels end, and is itself held against the bytes.
    text, value = one.get("showname", ""), _bytes(one)
    labels = _labels(text)
    length = value[0] - 64 - 24 * len(labels)
    rest = value[1 + 3 * len(labels) :]
    rd = distinguisher(rest[:8])
    prefix = f"{address(rest[8:].ljust(16, bytes(1)))}/{length}"
    shown = _VPNV6.search(text)
    # Wireshark 4.0 has a format string in place of the text where the route distinguisher is of type 2.
    assert (shown is None) == (rd[0] == 2)
    if shown is not None:
        seen, _, bits = shown["prefix"].partition("/")
        assert (shown["rd"], f"{address(seen)}/{bits}") == ("{1}:{2}".format(*rd), prefix)
    return {"rd": rd, "prefix": prefix, "labels": labels}


def _membership(one: Element) -> Meaning:
    if one.get("name") == "bgp.wildcard_route_target":
        return {"length": 0}
    target = b"".join(map(_bytes, _all(one, "bgp.community_prefix")))
    return {
        "length": _number(one, "bgp.prefix_length"),
        "origin_as": _number(one, "bgp.originating_as"),
        "target": target.ljust(8, b"\0").hex(),
    }


def _read(said: Meaning, code: int, one: Element) -> None:
    """One attribute, into what the others have said."""

    def numbers(name: str) -> list[int]:
        return [int.from_bytes(_bytes(field), "big") for field in _all(one, name)]

    match code:
        case 1:
            said["origin"] = _number(one, f"{_ATTRIBUTE}.origin")
        case 2 | 17:
            path = [_segment(segment) for segment in _all(one, f"{_ATTRIBUTE}.as_path_segment")]
            if path:
                said["as_path" if code == 2 else "as4_path"] = path
        case 3:
            # NEXT_HOP beside MP_REACH_NLRI means nothing (RFC 4760, section 3).
            pass
        case 4:
            said["med"] = _number(one, f"{_ATTRIBUTE}.multi_exit_disc")
        case 5:
            said["local_pref"] = _number(one, f"{_ATTRIBUTE}.local_pref")
        case 6:
            said["atomic_aggregate"] = True
        case 7 | 18:
            asn = _number(one, f"{_ATTRIBUTE}.aggregator_as")
            name = "aggregator" if code == 7 else "as4_aggregator"
            said[name] = [asn, _shown(one, f"{_ATTRIBUTE}.aggregator_origin")]
        case 8:
            said["communities"] = [
                int.from_bytes(b"".join(_bytes(part) for part in each.iter("field")), "big")
                for each in one.iter("field")
                if each.get("name") in (f"{_ATTRIBUTE}.community", f"{_ATTRIBUTE}.community_wellknown")
            ]
        case 9:
            said["originator_id"] = _shown(one, f"{_ATTRIBUTE}.originator_id")
        case 10:
            said["cluster_list"] = [field.get("show") for field in _all(one, "bgp.path_attribute.cluster_id")]
        case 16:
            said["extended_communities"] = [_extended(each) for each in _all(one, "bgp.ext_community")]
        case 32:
            parts = [numbers(f"bgp.large_communities.{name}") for name in ("ga", "ldp1", "ldp2")]
            said["large_communities"] = list(map(list, zip(*parts, strict=True)))
        case _:
            flags = _number(one, f"{_ATTRIBUTE}.flags") & 0xE0
            value = b"".join(map(_bytes, _all(one, _UNKNOWN)))
            said.setdefault("unknown", []).append([code, flags, value.hex()])


def _segment(segment: Element) -> list[Any]:
    name = f"{_ATTRIBUTE}.as_path_segment"
    numbers = [
        int.from_bytes(_bytes(field), "big") for field in segment if field.get("name") in (f"{name}.as2", f"{name}.as4")
    ]
    assert len(numbers) == _number(segment, f"{name}.length")
    return [_number(segment, f"{name}.type"), numbers]


def _extended(one: Element) -> list[Any]:
    kind = _number(one, "bgp.ext_com.type")
    (subtype,) = (field for field in one if field.get("name", "").startswith("bgp.ext_com.stype"))
    values = [field for field in one if field not in (subtype, *_all(one, "bgp.ext_com.type"))]
    match kind, _bytes(subtype)[0]:
        case ((0 | 1 | 2), 2):
            assert one.get("showname", "").startswith("Route Target: ")
            return ["rt", kind, *administrator(kind, b"".join(map(_bytes, values)))]
        case 3, 0x0C:
            return ["encapsulation", _number(one, "bgp.ext_com.tunnel_type")]
        case 6, 0:
            return ["mac-mobility", _number(one, "bgp.ext_com_evpn.mmac.seq"), "Sticky" in one.get("showname", "")]
    return ["other", (bytes((kind, _bytes(subtype)[0])) + b"".join(map(_bytes, values))).hex()]
