"""Where an oracle is known to be wrong, or doesn't know a thing, and what it says then.

Each entry turns what is right into what the oracle makes of it, so that nothing is left out of a comparison; only where
its answer can't be told is the message not compared. An entry whose bug has been mended makes a test fail, and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bgp.as_path import AS_TRANS
from bgp.message import MAX_LENGTH
from tests.differential.oracle import Agreement
from tests.differential.oracles.common import (
    Meaning,
    address,
    distinguisher,
    pack_address,
    pack_administrator,
)

REFUSED = "refused"
ANYTHING: Meaning = {"anything": True}
"""The answer depends on what stands in memory or on the wire by chance."""


class Said(NamedTuple):
    """What is right, the session it is said in, and its bytes where there are some."""

    meaning: Meaning
    agreement: Agreement
    message: bytes = b""


Answer = Callable[[Said], Meaning | None]


class Quirk(NamedTuple):
    """what: in a sentence; evidence: where it can be seen; answer: the oracle's, None where the bug isn't met."""

    what: str
    evidence: str
    answer: Answer


def expected(said: Said, quirks: Iterable[Quirk]) -> Meaning:
    """What an oracle with these bugs makes of a message."""
    for quirk in quirks:
        answer = quirk.answer(said)
        if answer is not None:
            said = said._replace(meaning=answer)
        if answer is ANYTHING or REFUSED in said.meaning:
            break
    return said.meaning


def agrees(got: Meaning, wanted: Meaning) -> bool:
    """Whether an answer is the one that is expected; a refusal by a part of its text."""
    if wanted is ANYTHING:
        return True
    if REFUSED in wanted:
        return REFUSED in got and wanted[REFUSED] in got[REFUSED]
    return got == wanted


def refuses(condition: Callable[[Said], bool], text: str) -> Answer:
    """The oracle refuses a message with a text."""
    return lambda said: {REFUSED: text} if condition(said) else None


# -- looking into meanings


def _hops(said: Said) -> list[str]:
    found: list[str] = said.meaning.get("reach", {}).get("next_hop", [])
    return found


def _family(said: Said) -> list[int]:
    part: Meaning = said.meaning.get("reach") or said.meaning.get("unreach") or {}
    found: list[int] = part.get("family", [])
    return found


def _routes(said: Said) -> list[Meaning]:
    return [route for part in ("reach", "unreach") for route in said.meaning.get(part, {}).get("routes", [])]


def _path(said: Said) -> list[Any]:
    found: list[Any] = said.meaning.get("attributes", {}).get("as_path", [])
    return found


def _is_membership(said: Said) -> bool:
    return _family(said) == [1, 132]


def _has_part_of_target(said: Said) -> bool:
    return _is_membership(said) and any(route["length"] not in (0, 96) for route in _routes(said))


def _text(said: Said) -> str:
    found: str = said.meaning.get("text", "")
    return found


def _has_confederation(said: Said) -> bool:
    return any(kind > 2 for kind, _ in _path(said))


def _needs_as4(said: Said) -> bool:
    return not said.agreement.four_octet_as and any(number > 0xFFFF for _, part in _path(said) for number in part)


def _pack(*parts: tuple[int, int]) -> bytes:
    return b"".join(int(number).to_bytes(size, "big") for number, size in parts)


_RAW: dict[str, Callable[[Any], list[str]]] = {
    "5": lambda value: [b"".join(_pack((afi, 2), (safi, 2), (hop, 2)) for afi, safi, hop in value).hex()],
    "6": lambda _: [""],
    "71": lambda value: [
        b"".join(_pack((afi, 2), (safi, 1), (bits << 7, 1), (time, 3)) for afi, safi, bits, time in value).hex()
    ],
}


def opaque(*codes: str) -> Answer:
    """The oracle doesn't look into these capabilities."""

    def answer(said: Said) -> Meaning | None:
        if said.meaning["kind"] != "open":
            return None
        found = said.meaning["capabilities"]
        return said.meaning | {
            "capabilities": {name: _RAW[name](value) if name in codes else value for name, value in found.items()}
        }

    return answer


# -- ExaBGP


def _one_label_where_it_fits(said: Said) -> Meaning | None:
    reach = said.meaning.get("reach")
    if not reach or _is_membership(said):
        return None
    bits = 32 if reach["family"][0] == 1 else 128
    return said.meaning | {"reach": reach | {"routes": [_as_one_label(route, bits) for route in reach["routes"]]}}


def _as_one_label(route: Meaning, bits: int) -> Meaning:
    labels, (prefix, _, length) = route["labels"], route["prefix"].partition("/")
    longer = int(length) + 24 * (len(labels) - 1)
    if len(labels) == 1 or not 0 < longer <= bits:
        return route
    kind, admin, number = route["rd"]
    rest = b"".join((label << 4 | (at == len(labels) - 1)).to_bytes(3, "big") for at, label in enumerate(labels))[3:]
    rest += kind.to_bytes(2, "big") + pack_administrator(kind, admin, number) + pack_address(prefix)
    packed = rest[8 : 8 + (longer + 7) // 8].ljust(bits // 8, b"\0")
    return {"rd": distinguisher(rest[:8]), "prefix": f"{address(packed)}/{longer}", "labels": labels[:1]}


def _joined_sequences(said: Said) -> Meaning | None:
    if not _needs_as4(said):
        return None
    joined: list[Any] = []
    for kind, part in _path(said):
        if joined and joined[-1][0] == kind == 2:
            joined[-1] = [2, joined[-1][1] + part]
        else:
            joined.append([kind, part])
    return said.meaning | {"attributes": said.meaning["attributes"] | {"as_path": joined}}


def _only_known_capabilities(said: Said) -> Meaning | None:
    known = {"1", "2", "5", "6", "64", "65", "70"}
    if said.meaning["kind"] != "open" or said.meaning["capabilities"].keys() <= known:
        return None
    found = {name: value for name, value in said.meaning["capabilities"].items() if name in known}
    return said.meaning | {"capabilities": found}


def _one_next_hop(said: Said) -> Meaning | None:
    if len(_hops(said)) < 2:
        return None
    return said.meaning | {"reach": said.meaning["reach"] | {"next_hop": _hops(said)[:1]}}


def _with_local_pref(said: Said) -> Meaning | None:
    if not said.agreement.internal or "reach" not in said.meaning:
        return None
    return said.meaning | {"attributes": {"local_pref": 100} | said.meaning["attributes"]}


EXABGP_READS = (
    Quirk(
        "memberships of a part of a route target are read as whole ones, or refused",
        "nlri/rtc.py: no support yet for RTC variable length with prefixing",
        lambda said: ANYTHING if _has_part_of_target(said) else None,
    ),
    Quirk(
        "two next hops of VPNv4 are refused",
        "attribute/mprnlri.py: with extended next hops, 48 bytes are in neither list",
        refuses(lambda said: len(_hops(said)) == 2 and _family(said) == [1, 128], "with extended next-hop capability"),
    ),
    Quirk(
        "two next hops of VPNv6 are refused",
        "protocol/family.py: 24 and 40 bytes are the lengths it knows, RFC 4659 says 24 and 48",
        refuses(lambda said: len(_hops(said)) == 2 and _family(said) == [2, 128], "invalid ipv6 mpls-vpn next-hop"),
    ),
    Quirk(
        "a stack of labels is one label where what follows could be a prefix of the family",
        "nlri/inet.py: RFC 8277, section 2.2, to the letter, without the capability for several labels",
        _one_label_where_it_fits,
    ),
    Quirk(
        "with AS4_PATH, sequences beside each other become one; that is the same path",
        "attribute/attributes.py: _coalesce_segments",
        _joined_sequences,
    ),
    Quirk(
        "a text of a shutdown of more than 128 bytes is refused",
        "message/notification.py: SHUTDOWN_COMM_MAX_LEGACY; RFC 9003 raised the limit to 255",
        refuses(lambda said: len(_text(said).encode()) > 128, "(too large)"),
    ),
    Quirk("long-lived graceful restart is bytes to it", "open/capability has no module for it", opaque("71")),
)
EXABGP_WRITES = (
    Quirk(
        "memberships of a part of a route target can't be said",
        "nlri/rtc.py: no support yet for RTC variable length with prefixing",
        refuses(_has_part_of_target, "no class for a part of a route target"),
    ),
    Quirk("an NLRI has one next hop", "nlri/nlri.py", _one_next_hop),
    Quirk(
        "a route without LOCAL_PREF is sent to internal peers with 100, as RFC 4271 wants",
        "attribute/attributes.py: pack()",
        _with_local_pref,
    ),
    Quirk(
        "capabilities that it doesn't know can't be said, long-lived graceful restart among them",
        "open/capability/unknown.py: extract() is empty",
        _only_known_capabilities,
    ),
    Quirk(
        "a text of a shutdown that isn't ASCII, or has more than 127 bytes, fails",
        "message/notification.py: Notify puts the length in front as a character and encodes all of it as ASCII",
        refuses(lambda said: not _text(said).isascii() or len(_text(said)) > 127, "UnicodeEncodeError"),
    ),
)


# -- os-ken


def translated(said: Said) -> Meaning | None:
    """AS numbers of four octets as they are on the wire of a session of two (RFC 6793)."""
    attributes = dict(said.meaning.get("attributes", {}))
    if said.agreement.four_octet_as or not attributes:
        return None
    if _needs_as4(said):
        attributes["as4_path"] = attributes["as_path"]
        attributes["as_path"] = [
            [kind, [number if number <= 0xFFFF else AS_TRANS for number in part]] for kind, part in _path(said)
        ]
    if (aggregator := attributes.get("aggregator")) and aggregator[0] > 0xFFFF:
        attributes["as4_aggregator"] = aggregator
        attributes["aggregator"] = [AS_TRANS, aggregator[1]]
    return said.meaning | {"attributes": attributes}


def _cut_next_hops(said: Said) -> Meaning | None:
    if _family(said) != [1, 128] or not any(":" in hop for hop in _hops(said)):
        return None
    packed = [pack_address(hop) for hop in _hops(said)]
    cut = [address(part) for hop in packed for part in (hop[:4], hop[12:])]
    return said.meaning | {"reach": said.meaning["reach"] | {"next_hop": cut}}


def _has_extended_parameters(said: Said) -> bool:
    return said.meaning["kind"] == "open" and said.message[28:30] == b"\xff\xff"


_LEFT_TO_CALLER = Quirk(
    "AS4_PATH and AS4_AGGREGATOR are left to the caller",
    "bgp.py has nothing of RFC 6793, section 4.2.3; this is no bug of a codec",
    translated,
)
_BYTES_TO_OSKEN = Quirk("some capabilities are bytes to it", "bgp.py has no class for them", opaque("5", "6", "71"))


def _groups_capabilities(said: Said) -> bool:
    """Whether an OPEN has several capabilities in one parameter."""
    if said.meaning["kind"] != "open" or len(said.message) < 32:
        return False
    return said.message[28] == said.message[30] + 2 and said.message[32] + 2 < said.message[30]


OSKEN_READS = (
    Quirk(
        "of several capabilities in one parameter each reaches to the end of it",
        "bgp.py: _OptParamCapability.parse_value gives what follows to parse_cap_value(); BIRD and GoBGP send such",
        lambda said: ANYTHING if _groups_capabilities(said) else None,
    ),
    Quirk(
        "route-target membership isn't read at all",
        "bgp.py: RouteTargetMembershipNLRI.parser gives its constructor what that refuses",
        refuses(_is_membership, ""),
    ),
    Quirk(
        "segments of confederations aren't known",
        "bgp.py: _BGPPathAttributeAsPathCommon.parse_value",
        refuses(_has_confederation, "Unsupported segment type"),
    ),
    Quirk(
        "extended optional parameters (RFC 9072) aren't known",
        "bgp.py: BGPOpen.parser takes the length octet at its word",
        lambda said: ANYTHING if _has_extended_parameters(said) else None,
    ),
    _LEFT_TO_CALLER,
    Quirk(
        "an IPv6 next hop of VPNv4 (RFC 8950) is cut into IPv4 addresses",
        "bgp.py: BGPPathAttributeMpReachNLRI.parse_value",
        _cut_next_hops,
    ),
    _BYTES_TO_OSKEN,
)
OSKEN_WRITES = (
    Quirk(
        "route-target membership can't be said",
        "bgp.py: RouteTargetMembershipNLRI wants a text and then calls its serialize()",
        refuses(_is_membership, ""),
    ),
    Quirk(
        "segments of confederations can't be said",
        "bgp.py: _BGPPathAttributeAsPathCommon.serialize_value",
        refuses(_has_confederation, "no form for segments of confederations"),
    ),
)

OSKEN_TOLD = (_LEFT_TO_CALLER, _BYTES_TO_OSKEN)
"""What its caller has to say in bytes, or in two AS paths, when it writes."""

# -- tshark

TSHARK_READS = (
    Quirk(
        "extended messages (RFC 8654) aren't known",
        "packet-bgp.c of 4.0: BGP_MAX_PACKET_SIZE",
        refuses(lambda said: len(said.message) > MAX_LENGTH, "Length is invalid"),
    ),
    Quirk(
        "of a part of a route target it reads eight bytes; where none follow, as in a withdrawal, it gives up",
        "packet-bgp.c of 4.0: the text of the community prefix; its place and its bytes are right",
        lambda said: ANYTHING if "unreach" in said.meaning and _has_part_of_target(said) else None,
    ),
    Quirk("some capabilities are bytes to it", "packet-bgp.c of 4.0 has no long-lived graceful restart", opaque("71")),
    Quirk(
        "AS4_PATH and AS4_AGGREGATOR are shown beside the others",
        "a dissector shows what is on the wire",
        translated,
    ),
)

READS = {"exabgp": EXABGP_READS, "osken": OSKEN_READS}
WRITES = {"exabgp": EXABGP_WRITES, "osken": OSKEN_WRITES}
TOLD: dict[str, tuple[Quirk, ...]] = {"exabgp": (), "osken": OSKEN_TOLD}
"""In which form an oracle is told what to write."""
