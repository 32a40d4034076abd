"""Changes of the provisioning: from what a MAP holds and what an operator wants to the operations of one publish.

Each function returns what has to be published, nothing when it is so already. What stands against it is an
OperatorError: CONFLICT with what is there, or NOT_FOUND.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ifmap import filters
from ifmap.l3vpn import (
    ATTACHMENT_ADDRESS,
    BINDING,
    CATALOGUE,
    CONNECTION,
    GROUP_CE_PROTOCOL,
    GROUP_TARGET,
    LISTED,
    NAMESPACES,
    Direction,
    IdentifierType,
    SchemaError,
    attachment_address,
    binding,
    connection,
    connectivity_group,
    customer_attachment,
    group_target,
    ip_address,
    listed,
    provisioned,
    read_identifier,
    route_target,
)
from ifmap.values import (
    Delete,
    Edge,
    Identifier,
    Lifetime,
    MetadataName,
    NewMetadata,
    PublishOperation,
    Update,
    link,
    node,
)
from ifmap.vpn_facts import Addresses, Binding, Connection, Fact, GroupProtocol, Listing, Problem, Target
from ifmap.vpns import Group, Vpns
from runtime.errors import ExitCode, OperatorError
from vpn.community import RouteTarget
from vpn.prefix import Prefix

Operations = tuple[PublishOperation, ...]
Targets = Mapping[RouteTarget, Direction]

SHOWN = 5
"""Names listed in an error before it only counts them."""


def targets(both: Iterable[RouteTarget], imports: Iterable[RouteTarget], exports: Iterable[RouteTarget]) -> Targets:
    """What a group does with each of the route targets."""
    directions: dict[RouteTarget, Direction] = dict.fromkeys(imports, Direction.IMPORT)
    for target in exports:
        directions[target] = Direction.BOTH if target in directions else Direction.EXPORT
    return directions | dict.fromkeys(both, Direction.BOTH)


def current_targets(group: Group) -> Targets:
    """What a group does with its route targets now."""
    return targets((), group.imports, group.exports)


def update(edge: Edge, metadata: NewMetadata) -> Update:
    """Provision a metadatum: it stays until it is deleted."""
    return Update(edge, (metadata,), Lifetime.FOREVER)


def delete(edge: Edge, name: MetadataName) -> Delete:
    """Delete the metadatum of that type, whoever published it."""
    prefix = next(prefix for prefix, namespace in NAMESPACES.items() if namespace == name.namespace)
    return Delete(edge, filters.compile(f"{prefix}:{name.local}", NAMESPACES))


def listing(vpns: Vpns, name: str) -> Operations:
    """Have a group in the catalogue."""
    if vpns.group(name).listed:
        return ()
    return (update(link(CATALOGUE, _group(name)), listed()),)


def marking(vpns: Vpns) -> Operations:
    """Have the map say that it is provisioned: gateways then believe it also when it has no group."""
    return () if vpns.provisioned else (update(node(CATALOGUE), provisioned()),)


# -- groups


def create(vpns: Vpns, name: str, wanted: Targets, replace: bool = False) -> Operations:
    """Have a VPN with exactly these route targets. CONFLICT: it has others, and replace isn't wanted."""
    here = current_targets(vpns.group(name))
    if here and here != wanted and not replace:
        shown = ", ".join(in_words(here))
        raise OperatorError(
            f"VPN {name}", f"is there with other route targets: {shown}", "--replace changes them", ExitCode.CONFLICT
        )
    operations = [*marking(vpns), *listing(vpns, name)]
    missing = dict(wanted)
    if here == wanted:
        missing.clear()
    for edge, fact in _facts(vpns, Target, Problem) if here != wanted else ():
        match fact:
            case Target(group, target, direction) if group == name:
                if target not in wanted or edge != link(_group(name), route_target(target)):
                    operations.append(delete(edge, GROUP_TARGET))
                elif direction is wanted[target]:
                    del missing[target]
            case Problem() if _is_of(edge, IdentifierType.CONNECTIVITY_GROUP, name):
                operations.append(delete(edge, GROUP_TARGET))
    for target, direction in missing.items():
        operations.append(update(link(_group(name), route_target(target)), group_target(direction)))
    return tuple(operations)


def in_words(wanted: Targets) -> list[str]:
    """Route targets for people: "64512:1", "64512:2 (import)"."""
    return [f"{to}" if how is Direction.BOTH else f"{to} ({how})" for to, how in sorted(wanted.items())]


def remove(vpns: Vpns, name: str, force: bool = False) -> Operations:
    """Delete a VPN with its connections. CONFLICT: attachments are bound to it, and force isn't wanted."""
    require(vpns, name)
    bound = vpns.attachments_of(name)
    if bound and not force:
        raise OperatorError(
            f"VPN {name}",
            f"{few(bound)} {'is' if len(bound) == 1 else 'are'} bound to it",
            "unbind first, or delete with --force",
            ExitCode.CONFLICT,
        )
    operations = list(marking(vpns))
    leaving: set[str] = set()
    for edge, fact in _facts(vpns, Target, Connection, Binding, GroupProtocol, Listing, Problem):
        match fact:
            case Target(group=group) if group == name:
                operations.append(delete(edge, GROUP_TARGET))
            case Connection(one, other) if name in (one, other):
                operations.append(delete(edge, CONNECTION))
            case Binding(attachment, group) if group == name:
                operations.append(delete(edge, BINDING))
                if vpns.groups_of(attachment) == {name}:
                    leaving.add(attachment)
            case GroupProtocol(group=group) if group == name:
                operations.append(delete(edge, GROUP_CE_PROTOCOL))
            case Listing(group) if group == name:
                operations.append(delete(edge, LISTED))
            case Problem() if _is_of(edge, IdentifierType.CONNECTIVITY_GROUP, name):
                operations += [delete(edge, GROUP_TARGET), delete(edge, GROUP_CE_PROTOCOL)]
    return (*operations, *_without_addresses(vpns, leaving))


def connect(vpns: Vpns, one: str, other: str) -> Operations:
    """Have each of two VPNs import what the other exports."""
    if one == other:
        raise OperatorError(f"VPN {one}", "can't be connected with itself", code=ExitCode.USAGE)
    for name in (one, other):
        require(vpns, name)
    operations = [*marking(vpns), *listing(vpns, one), *listing(vpns, other)]
    if other not in vpns.group(one).connected:
        operations.append(update(link(_group(one), _group(other)), connection()))
    return tuple(operations)


def disconnect(vpns: Vpns, one: str, other: str) -> Operations:
    """Take the connection of two VPNs away."""
    for name in (one, other):
        require(vpns, name)
    operations = tuple(
        delete(edge, CONNECTION)
        for edge, fact in _facts(vpns, Connection)
        if isinstance(fact, Connection) and {fact.one, fact.other} == {one, other}
    )
    if not operations:
        connected = ", ".join(sorted(vpns.group(one).connected))
        raise OperatorError(
            f"VPN {one}",
            f"is not connected with {other}",
            f"connected with {connected}" if connected else "",
            ExitCode.NOT_FOUND,
        )
    return operations


# -- attachments


def bind(vpns: Vpns, attachment: str, group: str, addresses: Iterable[Prefix], replace: bool = False) -> Operations:
    """Have an attachment in a VPN, with these addresses beside those it has; with replace, with these only."""
    require(vpns, group)
    operations = [*marking(vpns), *listing(vpns, group)]
    if not vpns.is_bound(attachment, group):
        operations.append(update(link(_attachment(attachment), _group(group)), binding()))
    here = vpns.addresses(attachment)
    wanted = frozenset(addresses)
    return (*operations, *_addresses(vpns, attachment, wanted if replace else wanted | here))


def unbind(vpns: Vpns, attachment: str, group: str | None = None) -> Operations:
    """Take an attachment out of a VPN, or out of all; with the last binding go its addresses."""
    bound = vpns.groups_of(attachment)
    gone = bound if group is None else bound & {group}
    if not gone:
        elsewhere = f"it is bound to {', '.join(sorted(bound))}" if bound else "see `vrfwire-map state`"
        where = "to any VPN" if group is None else f"to {group}"
        raise OperatorError(f"attachment {attachment}", f"is not bound {where}", elsewhere, ExitCode.NOT_FOUND)
    operations: list[PublishOperation] = [
        delete(edge, BINDING)
        for edge, fact in _facts(vpns, Binding)
        if isinstance(fact, Binding) and fact.attachment == attachment and fact.group in gone
    ]
    if gone == bound:
        operations += _without_addresses(vpns, {attachment})
    return tuple(operations)


def remove_addresses(vpns: Vpns, attachment: str, addresses: Iterable[Prefix]) -> Operations:
    """Take addresses from an attachment, which stays bound."""
    here = vpns.addresses(attachment)
    gone = frozenset(addresses)
    if missing := gone - here:
        names = ", ".join(sorted(map(str, missing)))
        has = ", ".join(sorted(map(str, here))) or "none"
        raise OperatorError(f"attachment {attachment}", f"has no address {names}", f"it has {has}", ExitCode.NOT_FOUND)
    return tuple(_addresses(vpns, attachment, here - gone))


def _addresses(vpns: Vpns, attachment: str, wanted: frozenset[Prefix]) -> Iterable[PublishOperation]:
    """Have exactly these; one metadatum for all prefixes that begin at one address."""
    me = _attachment(attachment)
    places: dict[Edge, set[Prefix]] = {}
    for prefix in sorted(wanted):
        places.setdefault(link(me, ip_address(prefix.packed)), set()).add(prefix)
    for edge, fact in _facts(vpns, Addresses):
        if not isinstance(fact, Addresses) or fact.attachment != attachment:
            continue
        if set(fact.prefixes) == places.get(edge):
            del places[edge]
        elif edge not in places and not wanted.issuperset(fact.prefixes):
            yield delete(edge, ATTACHMENT_ADDRESS)
    for edge, prefixes in places.items():
        yield update(edge, _lengths(prefixes))


def _lengths(prefixes: Iterable[Prefix]) -> NewMetadata:
    ordered = sorted(prefixes)
    if len(ordered) == 1 and ordered[0].is_host:
        return attachment_address()
    return attachment_address(*(prefix.length for prefix in ordered))


def _without_addresses(vpns: Vpns, attachments: Iterable[str]) -> Iterable[PublishOperation]:
    leaving = frozenset(attachments)
    for edge, fact in _facts(vpns, Addresses, Problem):
        match fact:
            case Addresses(attachment=attachment) if attachment in leaving:
                yield delete(edge, ATTACHMENT_ADDRESS)
            case Problem() if any(
                _is_of(edge, IdentifierType.CUSTOMER_ATTACHMENT, attachment) for attachment in leaving
            ):
                yield delete(edge, ATTACHMENT_ADDRESS)


def _is_of(edge: Edge, kind: IdentifierType, name: str) -> bool:
    """Whether an edge of which something can't be read is of that identifier."""
    ends = (read_identifier(end) for end in edge if end is not None)
    return any(end is not None and (end.type, end.name, end.domain) == (kind, name, "") for end in ends)


# -- common


def require(vpns: Vpns, name: str) -> None:
    """Raises OperatorError (NOT_FOUND) when a VPN isn't there."""
    if name not in vpns.groups():
        raise OperatorError(
            f"VPN {name}", "no such VPN", "`vrfwire-map vpn list` shows those that are there", ExitCode.NOT_FOUND
        )


def few(names: Iterable[str]) -> str:
    """Some of the names, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - SHOWN
    return ", ".join(ordered[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _facts(vpns: Vpns, *kinds: type[Fact]) -> list[tuple[Edge, Fact]]:
    return [(edge, fact) for edge, facts in vpns.facts().items() for fact in facts if isinstance(fact, kinds)]


def _group(name: str) -> Identifier:
    try:
        return connectivity_group(name)
    except SchemaError as error:
        raise OperatorError("VPN", str(error), code=ExitCode.USAGE) from None


def _attachment(name: str) -> Identifier:
    try:
        return customer_attachment(name)
    except SchemaError as error:
        raise OperatorError("attachment", str(error), code=ExitCode.USAGE) from None
