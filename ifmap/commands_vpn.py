"""vpn, bind, unbind, state: provisioning of VPNs and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import click

from ifmap.map_arguments import ADDRESS, NEW_ADDRESS, RT, attachment_identifier, group_identifier, warn_of_name
from ifmap.map_options import MapOptions, map_client, pass_map
from runtime.command import Group, watching
from runtime.errors import ExitCode, OperatorError
from runtime.output import warn

if TYPE_CHECKING:
    from ifmap.client import MapClient
    from ifmap.provision import Operations
    from ifmap.values import Identifier, MetadataName
    from ifmap.vpns import Vpns
    from vpn.community import RouteTarget
    from vpn.prefix import Prefix

MAX_RESULT = 1 << 30
"""Bytes of a search's result that we ask for; servers cut that to what they allow."""


class Look(NamedTuple):
    """A search: where it starts, how many links it goes, and which."""

    start: Identifier
    depth: int
    links: tuple[MetadataName, ...]


async def look(client: MapClient, searches: Iterable[Look]) -> Vpns:
    """What is there."""
    from ifmap import filters
    from ifmap.values import SearchSpec
    from ifmap.vpns import Vpns

    vpns = Vpns()
    for start, depth, links in searches:
        found = filters.of_names(*links)
        for edge, metadata in await client.search(SearchSpec(start, depth, found, max_size=MAX_RESULT)):
            vpns.put(edge, metadata)
    return vpns


def change(
    options: MapOptions,
    what: str,
    done: str,
    searches: list[Look],
    plan: Callable[[Vpns], Operations],
) -> None:
    """Look at what is there, publish what has to change in one step, and say so."""

    async def work(client: MapClient) -> int:
        operations = plan(await look(client, searches))
        if operations:
            await client.publish(operations)
        return len(operations)

    count = options.work(work)
    reply = {"what": what, "state": done if count else "unchanged", "operations": count}
    options.show(reply, lambda colour: f"{what}: {reply['state']}\n")


# -- vpn


@click.group(cls=Group)
@map_client
def vpn() -> None:
    """VPNs: connectivity groups with their route targets."""


@vpn.command("create")
@click.argument("name")
@click.option("--route-target", "both", type=RT, multiple=True, metavar="RT", help="To import and export.")
@click.option("--import", "imports", type=RT, multiple=True, metavar="RT", help="To import only.")
@click.option("--export", "exports", type=RT, multiple=True, metavar="RT", help="To export only.")
@click.option("--replace", is_flag=True, help="Change the route targets of a VPN that is there.")
@map_client
@pass_map
def create(
    options: MapOptions,
    name: str,
    both: tuple[RouteTarget, ...],
    imports: tuple[RouteTarget, ...],
    exports: tuple[RouteTarget, ...],
    replace: bool,
) -> None:
    """Create a VPN; the same again changes nothing.

    \b
    Examples:
      vrfwire-map vpn create blue --route-target 64512:1
      vrfwire-map vpn create spoke --import 64512:10 --export 64512:11
      vrfwire-map vpn create blue --route-target 64512:2 --replace
    """
    if not (both or imports or exports):
        raise click.UsageError("give at least one of --route-target, --import and --export")
    from ifmap import l3vpn, provision

    wanted = provision.targets(both, imports, exports)
    group = group_identifier(name)
    warn_of_name(options, name)
    searches = [Look(group, 1, (l3vpn.LISTED, l3vpn.GROUP_TARGET))]
    change(options, f"VPN {name}", "provisioned", searches, lambda vpns: provision.create(vpns, name, wanted, replace))


@vpn.command("delete")
@click.argument("name")
@click.option("--force", is_flag=True, help="With the bindings of its attachments.")
@map_client
@pass_map
def delete(options: MapOptions, name: str, force: bool) -> None:
    """Delete a VPN, its connections and its place in the catalogue."""
    from ifmap import l3vpn, provision

    group = group_identifier(name)
    everything = (*l3vpn.PROVISIONING, l3vpn.GROUP_CE_PROTOCOL)
    searches = [Look(group, 1, everything)]
    if force:
        searches.append(Look(group, 2, (l3vpn.BINDING, l3vpn.ATTACHMENT_ADDRESS)))
    change(options, f"VPN {name}", "deleted", searches, lambda vpns: provision.remove(vpns, name, force))


@vpn.command("list")
@watching
@map_client
@pass_map
def vpn_list(options: MapOptions) -> None:
    """List the VPNs of the catalogue."""
    from ifmap import l3vpn, views

    links = (l3vpn.LISTED, l3vpn.GROUP_TARGET, l3vpn.CONNECTION, l3vpn.BINDING)

    def once() -> None:
        vpns = options.work(lambda client: look(client, [Look(l3vpn.CATALOGUE, 2, links)]))
        rows = [views.vpn_document(vpns, name) for name in sorted(vpns.groups())]
        options.show({"items": rows}, lambda colour: options.table(rows, views.VPN_LIST, colour))

    options.repeat(once)


@vpn.command("show")
@click.argument("name")
@watching
@map_client
@pass_map
def show(options: MapOptions, name: str) -> None:
    """Show one VPN, listed or not."""
    from ifmap import l3vpn, provision, views
    from runtime.output import details

    group = group_identifier(name)
    searches = [
        Look(group, 1, (*l3vpn.PROVISIONING, l3vpn.GROUP_CE_PROTOCOL)),
        Look(group, 2, (l3vpn.CONNECTION, l3vpn.GROUP_TARGET)),
    ]

    def once() -> None:
        vpns = options.work(lambda client: look(client, searches))
        provision.require(vpns, name)
        reply = views.vpn_document(vpns, name)
        options.show(reply, lambda colour: details(reply, views.VPN, colour=colour))

    options.repeat(once)


@vpn.command("connect", short_help="Connect two VPNs: each imports what the other exports.")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@map_client
@pass_map
def connect(options: MapOptions, one: str, other: str) -> None:
    """Connect two VPNs: each imports what the other exports, but not what that is connected with."""
    from ifmap import provision

    searches = _both(one, other)
    change(options, f"VPNs {one} and {other}", "connected", searches, lambda vpns: provision.connect(vpns, one, other))


@vpn.command("disconnect")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@map_client
@pass_map
def disconnect(options: MapOptions, one: str, other: str) -> None:
    """Take the connection of two VPNs away."""
    from ifmap import provision

    searches = _both(one, other)
    change(
        options,
        f"VPNs {one} and {other}",
        "disconnected",
        searches,
        lambda vpns: provision.disconnect(vpns, one, other),
    )


def _both(one: str, other: str) -> list[Look]:
    from ifmap import l3vpn

    links = (l3vpn.LISTED, l3vpn.GROUP_TARGET, l3vpn.CONNECTION)
    return [Look(group_identifier(name), 1, links) for name in (one, other)]


# -- attachments


@click.command("bind")
@click.argument("attachment")
@click.argument("group", metavar="VPN")
@click.option(
    "--address",
    "addresses",
    type=NEW_ADDRESS,
    multiple=True,
    metavar="ADDRESS|PREFIX",
    help="That it may have; repeated.",
)
@click.option("--replace", is_flag=True, help="It has these addresses and no others.")
@map_client
@pass_map
def bind(options: MapOptions, attachment: str, group: str, addresses: tuple[Prefix, ...], replace: bool) -> None:
    """Bind an attachment to a VPN; the same again changes nothing.

    Addresses come to those that the attachment has. They are the attachment's own, in every VPN that it is bound to.

    \b
    Examples:
      vrfwire-map bind web-1 blue --address 10.1.1.1
      vrfwire-map bind fw-1 blue --address 10.1.1.254 --address 10.9.0.0/16
    """
    from ifmap import l3vpn, provision

    searches = [
        Look(group_identifier(group), 1, (l3vpn.LISTED, l3vpn.GROUP_TARGET, l3vpn.CONNECTION)),
        Look(attachment_identifier(attachment), 1, (l3vpn.BINDING, l3vpn.ATTACHMENT_ADDRESS)),
    ]
    change(
        options,
        f"attachment {attachment} in {group}",
        "bound",
        searches,
        lambda vpns: provision.bind(vpns, attachment, group, addresses, replace),
    )


@click.command("unbind", short_help="Take an attachment out of a VPN, or out of all of them.")
@click.argument("attachment")
@click.argument("group", metavar="[VPN]", required=False)
@click.option(
    "--address",
    "addresses",
    type=ADDRESS,
    multiple=True,
    metavar="ADDRESS|PREFIX",
    help="Take this address away, and leave the attachment bound.",
)
@map_client
@pass_map
def unbind(options: MapOptions, attachment: str, group: str | None, addresses: tuple[Prefix, ...]) -> None:
    """Take an attachment out of a VPN, or out of all of them; with the last binding go its addresses.

    Gateways withdraw at once what the attachment has announced.
    """
    if addresses and group is not None:
        raise click.UsageError("addresses are of the attachment: give a VPN or --address")
    from ifmap import l3vpn, provision

    searches = [Look(attachment_identifier(attachment), 1, (l3vpn.BINDING, l3vpn.ATTACHMENT_ADDRESS))]
    if addresses:
        change(
            options,
            f"attachment {attachment}",
            "addresses removed",
            searches,
            lambda vpns: provision.remove_addresses(vpns, attachment, addresses),
        )
        return
    change(
        options,
        f"attachment {attachment}",
        "unbound",
        searches,
        lambda vpns: provision.unbind(vpns, attachment, group),
    )


@click.command("state", short_help="Show attachments: bindings, addresses, where they are.")
@click.argument("attachment", required=False)
@click.option("--graph", is_flag=True, help="Draw the graph: VPNs, route targets, attachments, where they are.")
@watching
@map_client
@pass_map
def state(options: MapOptions, attachment: str | None, graph: bool) -> None:
    """Show attachments: what they are bound to, their addresses, and where gateways have seen them.

    \b
    Examples:
      vrfwire-map state
      vrfwire-map state web-1 --json
      vrfwire-map state --graph --watch
    """
    options.repeat(lambda: _state(options, attachment, graph))


def _state(options: MapOptions, attachment: str | None, graph: bool) -> None:
    from ifmap import l3vpn, views

    links = (*l3vpn.PROVISIONING, *l3vpn.OPERATIONAL)
    if attachment is None:
        searches = [Look(l3vpn.CATALOGUE, l3vpn.CATALOGUE_DEPTH, links)]
    else:
        me = attachment_identifier(attachment)
        searches = [Look(me, 1, links)]
        if graph:
            searches.append(Look(me, 3, (l3vpn.BINDING, l3vpn.GROUP_TARGET, l3vpn.CONNECTION)))
    vpns = options.work(lambda client: look(client, searches))
    if attachment is not None and attachment not in vpns.attachments():
        raise OperatorError(
            f"attachment {attachment}",
            "the MAP knows nothing of it",
            "`vrfwire-map state` shows those that are bound to a VPN",
            ExitCode.NOT_FOUND,
        )
    names = sorted(vpns.attachments()) if attachment is None else [attachment]
    rows = [views.attachment_document(vpns, name) for name in names]
    reply: dict[str, object] = {"items": rows, "problems": views.problem_documents(vpns.problems())}
    if not graph:
        options.show(reply, lambda colour: options.table(rows, views.STATE_LIST, colour))
        if not options.json:
            for problem in vpns.problems():
                warn(f"{problem.what}: {problem.why}", options.program)
        return
    of = sorted(vpns.groups() if attachment is None else vpns.groups_of(attachment))
    reply["vpns"] = [views.vpn_document(vpns, name) for name in of]
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    options.show(reply, lambda colour: views.graph(vpns, attachment, plain))
    if attachment is None and not of and not options.json:
        warn("there is no VPN in the map: `vrfwire-map vpn create` makes one", options.program)
