"""What the commands show of VPNs: documents, tables, and the operational state graph as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ifmap.l3vpn import State
from ifmap.provision import current_targets, in_words
from ifmap.vpn_facts import Presence, Problem
from ifmap.vpns import Group, Vpns
from runtime.output import Column, Row, count, printable
from vpn.community import RouteTarget
from vpn.prefix import Prefix

VPN_LIST = (
    Column("VPN", "name"),
    Column("IMPORT", "imports"),
    Column("EXPORT", "exports"),
    Column("CONNECTED WITH", "connected"),
    Column("ATTACHMENTS", lambda row: count(row.get("attachments")), right=True),
)
VPN = (
    Column("name", "name"),
    Column("import", "imports"),
    Column("export", "exports"),
    Column("connected with", "connected"),
    Column("imports in effect", "effective_imports"),
    Column("CE protocol", "ce_protocol"),
    Column("listed", "listed"),
    Column("attachments", "attachments"),
)
STATE_LIST = (
    Column("ATTACHMENT", "attachment"),
    Column("VPNS", "vpns"),
    Column("ADDRESSES", "addresses"),
    Column("STATE", "state"),
    Column("HOST", lambda row: sorted({_host(where) for where in _places(row)})),
    Column("GATEWAYS", lambda row: [_told(where) for where in _places(row)]),
)


def _texts(values: Iterable[RouteTarget | Prefix]) -> list[str]:
    return [str(value) for value in sorted(values)]


# -- documents


def vpn_document(vpns: Vpns, name: str) -> dict[str, object]:
    """A VPN."""
    group = vpns.group(name)
    return {
        "name": name,
        "imports": _texts(group.imports),
        "exports": _texts(group.exports),
        "connected": sorted(group.connected),
        "effective_imports": _texts(group.effective_imports),
        "ce_protocol": group.protocol or None,
        "listed": group.listed,
        "attachments": sorted(vpns.attachments_of(name)),
    }


def attachment_document(vpns: Vpns, attachment: str) -> dict[str, object]:
    """An attachment: what it should be, and where gateways have seen it."""
    places = vpns.presence(attachment)
    return {
        "attachment": attachment,
        "vpns": sorted(vpns.groups_of(attachment)),
        "addresses": _texts(vpns.addresses(attachment)),
        "state": state(places),
        "where": [
            {
                "gateway": place.gateway,
                "address": place.address,
                "host": place.host,
                "state": str(place.state) if place.state else None,
                "routes": _texts(place.routes),
                "publisher": place.publisher,
            }
            for place in places
        ],
    }


def state(places: Iterable[Presence]) -> str | None:
    """The state of an attachment by all that gateways say: up when any says so."""
    states = {place.state for place in places}
    for known in (State.UP, State.ADMIN_DOWN, State.DOWN):
        if known in states:
            return str(known)
    return None


def problem_documents(problems: Iterable[Problem]) -> list[dict[str, str]]:
    """Problems."""
    return [{"what": problem.what, "why": problem.why} for problem in problems]


def _places(row: Row) -> list[dict[str, object]]:
    where = row.get("where")
    return where if isinstance(where, list) else []


def _told(place: Row) -> str:
    """A gateway and what it says; an attachment-state that some other program published names no gateway."""
    return f"{place['gateway'] or '?'} {place['state'] or 'unknown'}"


def _host(place: Row) -> str:
    return f"{place['host']} ({place['address']})" if place["host"] else str(place["address"])


# -- the tree


def graph(vpns: Vpns, only: str | None = None, plain: bool = False) -> str:
    """The operational state graph. only: VPNs of one attachment, and in them nothing but it. plain: in ASCII."""
    names = sorted(vpns.groups() if only is None else vpns.groups_of(only))
    text = "".join(_draw(_vpn_tree(vpns, name, only), plain) for name in names)
    loose = sorted(name for name in vpns.attachments() if not vpns.groups_of(name) and only in (None, name))
    if loose:
        text += _draw(("bound to no VPN", [_attachment_tree(vpns, name) for name in loose]), plain)
    problems = vpns.problems()
    if problems:
        text += _draw(("problems", [(f"{problem.what}: {problem.why}", []) for problem in problems]), plain)
    return text


Tree = tuple[str, list["Tree"]]


def _vpn_tree(vpns: Vpns, name: str, only: str | None) -> Tree:
    group = vpns.group(name)
    branches: list[Tree] = [(f"route target {text}", []) for text in in_words(current_targets(group))]
    branches += [(_connection(vpns, group, other), []) for other in sorted(group.connected)]
    members = sorted(vpns.attachments_of(name)) if only is None else [only]
    branches += [_attachment_tree(vpns, member) for member in members]
    return f"VPN {name}", branches


def _connection(vpns: Vpns, group: Group, other: str) -> str:
    gained = vpns.group(other).exports - group.imports
    return f"connected with {other}" + (f", imports {', '.join(_texts(gained))} of it" if gained else "")


def _attachment_tree(vpns: Vpns, name: str) -> Tree:
    places = vpns.presence(name)
    branches: list[Tree] = [(f"address {text}", []) for text in _texts(vpns.addresses(name))]
    branches += [(_place(place), []) for place in places]
    known = state(places)
    return f"attachment {name}: {known}" if known else f"attachment {name}: not seen", branches


def _place(place: Presence) -> str:
    where = f"{place.host} ({place.address})" if place.host else place.address
    told = f" by gateway {place.gateway}" if place.gateway else ""
    routes = f", routes {', '.join(_texts(place.routes))}" if place.routes else ""
    return f"{place.state or 'state unknown'} at {where}{told}{routes}"


def _draw(tree: Tree, plain: bool) -> str:
    title, branches = tree
    return "".join(f"{line}\n" for line in (printable(title), *_lines(branches, plain)))


def _lines(branches: list[Tree], plain: bool) -> Iterator[str]:
    fork, end, bar = ("|-- ", "`-- ", "|   ") if plain else ("├── ", "└── ", "│   ")
    for index, (title, inner) in enumerate(branches):
        last = index == len(branches) - 1
        yield (end if last else fork) + printable(title)
        for line in _lines(inner, plain):
            yield ("    " if last else bar) + line
