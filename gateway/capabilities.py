"""What both sides of a BGP session offered in their OPENs, what is in use, and why something is not; pure."""

from __future__ import annotations

from collections.abc import Iterable

from bgp.capabilities import Capabilities, CapabilityCode, GracefulRestart, LongLivedFamily, UnknownCapability
from bgp.family import IPV4_UNICAST, Family
from bgp.open import Open

Document = dict[str, object]

NOT_OFFERED = "the peer does not offer it"
NOT_HERE = "not configured here"

_KNOWN_CODES = {
    3: "outbound route filtering",
    4: "multiple routes to a destination",
    8: "BGPsec",
    9: "role",
    67: "dynamic capability",
    69: "add-path",
    73: "FQDN",
    74: "BFD strict mode",
    75: "software version",
    128: "route refresh (old code)",
}
"""Capabilities that are nothing to us, by IANA's names."""


def compare(ours: Open, theirs: Open) -> list[Document]:
    """A row for each capability that either side offers: capability, ours, theirs, used, why ("" when it is used).

    ours and theirs are texts, "" when that side doesn't offer it.
    """
    said, heard = ours.capabilities, theirs.capabilities
    rows = [*_families(said, heard)]
    rows.append(_row("route refresh", _yes(said.route_refresh), _yes(heard.route_refresh)))
    rows.append(
        _row("enhanced route refresh", _yes(said.enhanced_route_refresh), _yes(heard.enhanced_route_refresh)),
    )
    rows.append(_row("4-octet AS", _number(said.four_octet_as), _number(heard.four_octet_as)))
    rows.append(_row("extended message", _yes(said.extended_message), _yes(heard.extended_message)))
    rows += _restart(said, heard)
    rows.append(
        _row(
            "extended next hop",
            ",".join(str(one.family) for one in said.extended_next_hops),
            ",".join(str(one.family) for one in heard.extended_next_hops),
        )
    )
    rows += [_unknown(one) for one in heard.unknown]
    return [row for row in rows if row["ours"] or row["theirs"]]


def _row(name: str, ours: str, theirs: str, why: str | None = None) -> Document:
    if why is None:
        why = NOT_HERE if not ours else NOT_OFFERED if not theirs else ""
    return {"capability": name, "ours": ours, "theirs": theirs, "used": not why, "why": why}


def _yes(offered: bool) -> str:
    return "yes" if offered else ""


def _number(asn: int | None) -> str:
    return "" if asn is None else str(asn)


def _families(said: Capabilities, heard: Capabilities) -> Iterable[Document]:
    ours, theirs = frozenset(said.families), heard.effective_families
    # IPv4 unicast that is only implied by the absence of the capability is worth a row when it is all that there is.
    implied = {IPV4_UNICAST} - frozenset(heard.families)
    shown = ours | (theirs - implied) if heard.families else ours | theirs
    for family in sorted(shown):
        why = None
        if family in ours and family not in theirs and not heard.families:
            why = "the peer announces no families at all, which means plain IPv4 routes alone"
        elif family in theirs and family not in ours:
            why = 'not in "families" of this peer here' if _spoken(family) else "vrfwire does not speak it"
        yield _row(str(family), _yes(family in ours), _yes(family in theirs), why)


def _spoken(family: Family) -> bool:
    return str(family) in ("vpnv4", "vpnv6", "rtc")


def _restart(said: Capabilities, heard: Capabilities) -> Iterable[Document]:
    ours, theirs = said.graceful_restart, heard.graceful_restart
    why = None
    if ours is not None and theirs is not None and not theirs.families:
        why = "the peer keeps our routes while we restart, but says of no family that its own outlive it"
    yield _row("graceful restart", _restart_text(ours), _restart_text(theirs), why)
    if ours is not None and theirs is not None:
        yield _row("graceful restart after NOTIFICATION", _yes(ours.notification), _yes(theirs.notification))
    why = None
    if said.long_lived and heard.long_lived is not None and theirs is None:
        why = "the peer offers it without graceful restart, so it counts for nothing (RFC 9494, section 4.1)"
    yield _row("long-lived graceful restart", _long_lived(said.long_lived), _long_lived(heard.long_lived), why)


def _restart_text(restart: GracefulRestart | None) -> str:
    """How long its restart may take, for which families, and for which of them it has kept forwarding (the F bit)."""
    if restart is None:
        return ""
    names = ",".join(str(one.family) for one in restart.families) or "no family"
    kept = ",".join(str(one.family) for one in restart.families if one.forwarding)
    restarted = f"; restarted, kept {kept or 'nothing'}" if restart.restarting else ""
    return f"{restart.restart_time} s {names}{restarted}"


def _long_lived(families: tuple[LongLivedFamily, ...] | None) -> str:
    if families is None:
        return ""
    return ",".join(f"{one.family} {one.stale_time} s" for one in families) or "no family"


def _unknown(capability: UnknownCapability) -> Document:
    code, value = capability
    name = _KNOWN_CODES.get(code, "unknown capability")
    assert code not in {known.value for known in CapabilityCode}
    return _row(f"{name} ({code})", "", value.hex() or "yes", "vrfwire does not speak it")
