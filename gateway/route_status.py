"""Routes of BGP for commands: the tables in pages, and why one route is as it is; no I/O."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Generator, Iterable
from itertools import islice
from typing import NamedTuple

from bgp.communities import route_target
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.nlri import split_vpn_key, unpack_labels, vpn_key
from bgp.rib.rib import VPN_FAMILIES, Rib
from bgp.rib.table import Destination, Table
from bgp.rib.values import AttributeSet, Source, SourceKind
from bgp.rib.views import describe_key, describe_path, explain, not_told
from gateway.candidates import describe_candidates, describe_next_hops
from gateway.request import read_family, read_number, required_text
from gateway.service import Service
from gateway.status import Document
from runtime.errors import ExitCode, OperatorError
from vpn.community import CommunityError, RouteDistinguisher, RouteTarget
from vpn.label import LABEL_MIN
from vpn.prefix import Prefix, PrefixError, parse_address

PAGE = 500
"""Routes in a page, unless asked otherwise."""
MAX_PAGE = 2000
_LOOK = 20_000
"""Destinations looked at for one page when few of them are asked for."""
_SLICE = 20_000
"""Destinations looked at in one go when all of them are searched."""
MAX_DESTINATIONS = 64
"""Destinations explained at once."""
MAX_OTHERS = 20
"""Destinations listed that a VPN doesn't import."""
_DIGITS = 20
"""Of a revision, at most."""
_ANY = RouteDistinguisher(0, bytes(6))


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


class _Query(NamedTuple):
    """What is to be explained. prefixes: the longest first; address: whether an address was given."""

    text: str
    family: Family
    prefixes: tuple[Prefix, ...]
    address: bool


def finish(work: Generator[None, None, Document]) -> Document:
    """What comes of an explanation, all slices in one go."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            document: Document = done.value
            return document


class RouteStatus:
    """Documents about routes. service: for VPNs and their tables."""

    def __init__(self, service: Service) -> None:
        self._service = service

    # -- bgp.routes

    def page(self, rib: Rib, params: Document) -> Document:
        """A page of destinations: {"items", "after", "total"}; after: what to ask for next, None at the end.

        params: rd, a route distinguisher or "all"; family; after; limit, of the page. The order is that of the last
        change; a route that changes while somebody reads page by page comes again, and the later row holds. A page may
        be empty and not be the last one. total: destinations in the tables, of all route distinguishers.
        """
        asked = read_family(params)
        rd = params.get("rd", "all")
        limit = read_number(params, "limit", PAGE, MAX_PAGE)
        prefix = b"" if rd == "all" else _pack(_distinguisher(rd))
        families = VPN_FAMILIES if asked is None else (asked,)
        if asked == RTC and prefix:
            why = "memberships have no route distinguisher"
            raise OperatorError("--family rtc", why, "leave out --rd, or say --rd all", ExitCode.USAGE)
        position, reached = _position(params.get("after"), len(families))
        family = families[position]
        table = rib.tables[family]
        found, reached = _read(table, prefix, reached, limit)
        after: str | None = f"{position}.{reached}"
        if reached >= table.log.revision:
            after = f"{position + 1}.0" if position + 1 < len(families) else None
        described: dict[tuple[AttributeSet, Source], Document] = {}
        return {
            "items": [_row(rib, table, destination, described) for destination in found],
            "after": after,
            "total": sum(len(rib.tables[family]) for family in families),
        }

    # -- route.explain

    def explaining(self, rib: Rib | None, params: Document) -> Generator[None, None, Document]:
        """Everything about the routes to a prefix or address, in slices of some milliseconds between which tables may
        change; finish() does all at once.

        params: prefix, or an address for the longest match; vpn, or rd (one, or "all"); family. Raises OperatorError.
        """
        query = _query(params)
        vpn, rd = params.get("vpn"), params.get("rd")
        if (vpn is None) == (rd is None):
            raise OperatorError("request", 'needs one of "vpn" and "rd"', code=ExitCode.USAGE)
        if isinstance(vpn, str):
            return (yield from self._in_vpn(rib, vpn, query))
        if rib is None:
            hint = "--vpn looks in a VPN's table; for BGP add a [[bgp.peer]] to gateway.toml"
            raise OperatorError("BGP", "not configured on this gateway", hint, ExitCode.CONFLICT)
        table = rib.tables[query.family]
        if rd == "all":
            keys = _longest(query, (yield from _search(table, query)))
        else:
            distinguisher = _distinguisher(rd)
            keys = [key for one in query.prefixes if table.get(key := vpn_key(distinguisher, one)) is not None][:1]
        if not keys:
            hint = "`vrfwire-gateway-ctl route list --rd all` has all routes"
            if not query.address:
                hint = "give an address to find the longest prefix that has it"
            where = "any route distinguisher" if rd == "all" else f"route distinguisher {rd}"
            raise OperatorError(f"route {query.text}", f"not there under {where}", hint, ExitCode.NOT_FOUND)
        shown = [self._destination(rib, query.family, key) for key in sorted(keys)[:MAX_DESTINATIONS]]
        return {
            "query": query.text,
            "vpn": None,
            "prefix": str(split_vpn_key(query.family, keys[0])[1]),
            "next_hops": [],
            "candidates": [],
            "destinations": [one for one in shown if one is not None],
            "destinations_total": len(keys),
            "others": [],
            "others_total": 0,
            "why": [],
        }

    def _in_vpn(self, rib: Rib | None, vpn: str, query: _Query) -> Generator[None, None, Document]:
        """What a VPN has for a prefix, and what it doesn't have."""
        tables = self._service.rib.tables
        policy = self._service.rib.policy.vpns.get(vpn)
        if policy is None or vpn not in tables:
            near = difflib.get_close_matches(vpn, tables, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise OperatorError(
                f"vpn {vpn}", "no such VPN here", f"{hint}`vrfwire-gateway-ctl vpn list` has all", ExitCode.NOT_FOUND
            )
        keys = [] if rib is None else (yield from _search(rib.tables[query.family], query))
        prefix = next((one for one in query.prefixes if one in tables[vpn]), None)
        path = tables[vpn].get(prefix) if prefix is not None else None
        least = prefix.length if prefix is not None else 0
        ours: list[bytes] = []
        others: list[bytes] = []
        if rib is not None:
            imports, table = rib.imports[query.family], rib.tables[query.family]
            for key in keys:
                destination = table.get(key)
                if destination is not None and key[-1] >= least:
                    targets = destination.paths[0].attributes.targets
                    (ours if vpn in imports.vpns_of(targets) else others).append(key)
        wanted = sorted(map(str, policy.imports))
        why: list[str] = []
        if prefix is None and not ours and not others:
            hint = f"`vrfwire-gateway-ctl route list --vpn {vpn}` has what there is"
            raise OperatorError(f"route {query.text}", f"not in VPN {vpn}", hint, ExitCode.NOT_FOUND)
        if prefix is None:
            why.append(f"VPN {vpn} has no route for {query.text}")
        elif query.address:
            why.append(f"{prefix} is the longest prefix of VPN {vpn} that has {query.text}")
        if others:
            why.append(
                f"{_times(len(others), 'route')} of BGP for it {'is' if len(others) == 1 else 'are'} not imported: "
                f"VPN {vpn} imports {', '.join(wanted) or 'nothing'}, and none of theirs"
            )
        ours.sort(key=lambda key: (-key[-1], key))
        others.sort(key=lambda key: (-key[-1], key))
        shown = [] if rib is None else [self._destination(rib, query.family, key) for key in ours[:MAX_DESTINATIONS]]
        return {
            "query": query.text,
            "vpn": vpn,
            "prefix": str(prefix) if prefix is not None else None,
            "next_hops": [] if path is None else describe_next_hops(path.next_hops),
            "candidates": [] if prefix is None else describe_candidates(vpn, tables[vpn].candidates(prefix)),
            "destinations": [one for one in shown if one is not None],
            "destinations_total": len(ours),
            "others": [] if rib is None else [_other(rib, query.family, key) for key in others[:MAX_OTHERS]],
            "others_total": len(others),
            "why": why,
        }

    def _destination(self, rib: Rib, family: Family, key: bytes) -> Document | None:
        """A destination with all its paths; None when it has gone meanwhile."""
        found = explain(rib, family, key)
        if found is None:
            return None
        distinguisher, prefix = split_vpn_key(family, key)
        best = found.paths[0].path
        vpns = self._service.rib.policy.vpns
        targets = _targets(best.attributes)
        return {
            "family": str(family),
            "rd": str(distinguisher),
            "prefix": str(prefix),
            "route_targets": [str(target) for target in targets],
            "paths": [
                {
                    **describe_path(one.path),
                    "best": one.best,
                    "multipath": one.multipath,
                    "stale": one.stale,
                    "long_lived_stale": one.path.attributes.is_long_lived_stale,
                    "reason": one.reason,
                }
                for one in found.paths
            ],
            "told": list(found.told),
            "not_told": [{"peer": name, "reason": reason} for name, reason in not_told(rib, family, key)],
            "imported_by": [
                {"vpn": name, "targets": [str(one) for one in targets if name in vpns and one in vpns[name].imports]}
                for name in found.imported_by
            ],
            "not_imported": "" if found.imported_by else _not_imported(rib, family, key, targets),
        }


# -- pages


def _position(after: object, families: int) -> tuple[int, int]:
    """Index of the family and revision that a page begins behind."""
    if after is None:
        return 0, 0
    position, dot, revision = after.partition(".") if isinstance(after, str) else ("", "", "")
    few = len(position) == 1 and len(revision) <= _DIGITS
    if not (dot and few and position.isdecimal() and revision.isdecimal() and int(position) < families):
        raise OperatorError("request", '"after" is not what a page ended with', code=ExitCode.USAGE)
    return int(position), int(revision)


def _read(table: Table, start: bytes, after: int, limit: int) -> tuple[list[Destination], int]:
    """At most `limit` destinations that begin so, behind a revision, and the revision read up to."""
    found: list[Destination] = []
    looked = 0
    while len(found) < limit and looked < _LOOK and after < table.log.revision:
        part, after = table.log.read(after, limit - len(found))
        found += [one for one in part if one.paths and one.key.startswith(start)]
        looked += len(part) or 1
    return found, after


def _row(
    rib: Rib, table: Table, destination: Destination, described: dict[tuple[AttributeSet, Source], Document]
) -> Document:
    best = destination.paths[0]
    known = described.get((best.attributes, best.source))
    if known is None:
        known = describe_path(best)
        known["route_targets"] = [str(target) for target in _targets(best.attributes)]
        described[best.attributes, best.source] = known
    row: Document = {"family": str(table.family)}
    if table.family == RTC:
        row["rd"], row["prefix"] = None, describe_key(RTC, destination.key).removeprefix("rtc ")
    else:
        distinguisher, prefix = split_vpn_key(table.family, destination.key)
        row["rd"], row["prefix"] = str(distinguisher), str(prefix)
    row.update(known)
    row["labels"] = list(unpack_labels(best.labels))
    row["stale"] = table.adj_rib_in(best.source).is_stale(best)
    row["paths"] = len(destination.paths)
    imports = rib.imports.get(table.family)
    row["imported_by"] = [] if imports is None else sorted(imports.imported_by(destination.key))
    return row


# -- explanations


def _query(params: Document) -> _Query:
    text = required_text(params, "prefix")
    try:
        if "/" in text:
            prefixes: tuple[Prefix, ...] = (Prefix.parse(text),)
        else:
            packed = parse_address(text)
            prefixes = tuple(_masked(packed, length) for length in range(8 * len(packed), -1, -1))
    except PrefixError as error:
        raise OperatorError(f"prefix {text}", str(error), "e.g. 10.1.1.1 or 10.1.0.0/16", ExitCode.USAGE) from None
    family = VPNV4 if prefixes[0].afi == 1 else VPNV6
    asked = read_family(params)
    if asked not in (None, family):
        raise OperatorError(f"prefix {text}", f"is one of {family}, not {asked}", "", ExitCode.USAGE)
    return _Query(text, family, prefixes, "/" not in text)


def _masked(packed: bytes, length: int) -> Prefix:
    bits = 8 * len(packed)
    number = int.from_bytes(packed, "big") >> (bits - length) << (bits - length)
    return Prefix(number.to_bytes(len(packed), "big"), length)


def _distinguisher(text: object) -> RouteDistinguisher:
    try:
        return RouteDistinguisher.parse(str(text))
    except CommunityError as error:
        raise OperatorError(f"route distinguisher {text}", str(error), 'or "all"', ExitCode.USAGE) from None


def _pack(distinguisher: RouteDistinguisher) -> bytes:
    return distinguisher.kind.to_bytes(2, "big") + distinguisher.value


def _search(table: Table, query: _Query) -> Generator[None, None, list[bytes]]:
    """Keys of all destinations of the prefixes, whatever their route distinguisher; yields between slices."""
    ends = {vpn_key(_ANY, prefix)[8:] for prefix in query.prefixes}
    keys = iter(list(table.destinations))
    found: list[bytes] = []
    while part := list(islice(keys, _SLICE)):
        found += [key for key in part if key[8:] in ends]
        yield
    return [key for key in found if table.get(key) is not None]


def _longest(query: _Query, keys: Collection[bytes]) -> list[bytes]:
    """Those of the longest prefix."""
    longest = max((key[-1] for key in keys), default=0)
    return [key for key in keys if key[-1] == longest]


def _targets(attributes: AttributeSet) -> list[RouteTarget]:
    return [target for one in attributes.targets if (target := route_target(one)) is not None]


def _not_imported(rib: Rib, family: Family, key: bytes, targets: Iterable[RouteTarget]) -> str:
    """Why no VPN has imported a destination from BGP."""
    destination = rib.tables[family].get(key)
    if destination is None:
        return "it has gone"
    best = destination.paths[0]
    names = ", ".join(map(str, targets))
    if not names:
        return "it has no route target"
    vpns = sorted(rib.imports[family].vpns_of(best.attributes.targets))
    if not vpns:
        return f"no VPN imports {names}"
    if best.source.kind is SourceKind.HOST:
        return f"the best path is of a host of this gateway, from which {', '.join(vpns)} has it without BGP"
    labels = unpack_labels(best.labels)
    if labels and labels[0] < LABEL_MIN:
        return f"label {labels[0]} is a reserved one and can't be used"
    return "it is about to be imported"


def _other(rib: Rib, family: Family, key: bytes) -> Document:
    """A destination that a VPN doesn't import, in short."""
    distinguisher, prefix = split_vpn_key(family, key)
    best = rib.tables[family].destinations[key].paths[0]
    return {
        "rd": str(distinguisher),
        "prefix": str(prefix),
        "from": best.source.name,
        "route_targets": [str(target) for target in _targets(best.attributes)],
        "imported_by": sorted(rib.imports[family].imported_by(key)),
    }
