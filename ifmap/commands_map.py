"""publish, search, watch, purge: plain IF-MAP, with any MAP server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from ifmap.map_options import MapOptions, map_client, pass_map
from runtime.errors import ExitCode, OperatorError
from runtime.output import Column, Row, Stream, warn

if TYPE_CHECKING:
    from asyncio import Future

    from ifmap.answers import ReceivedItem, ReceivedPart
    from ifmap.client import MapClient
    from ifmap.errors import IfmapError
    from ifmap.publish_file import Document
    from ifmap.values import Identifier, SearchSpec
    from ifmap.watcher import Change

F = TypeVar("F", bound=Callable[..., Any])

MAX_DOCUMENT = 64 << 20
"""Bytes of a document to publish."""
MAX_NUMBER = (1 << 32) - 1
"""Largest number of IF-MAP's attributes."""
EXAMPLE_SESSION = "SESSION-ID"
"""Stands in a document that isn't sent."""


# -- publish


@click.command("publish")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--lifetime",
    type=click.Choice(["forever", "session"]),
    default="forever",
    show_default=True,
    help="Of updates that don't say theirs.",
)
@click.option("--hold", is_flag=True, help="Keep the session, and with it metadata of its lifetime, until Ctrl-C.")
@click.option("--dry-run", is_flag=True, help="Print the IF-MAP request that would be sent.")
@map_client
@pass_map
def publish(options: MapOptions, file: BinaryIO, lifetime: str, hold: bool, dry_run: bool) -> None:
    """Publish a document, in one step.

    FILE is an IF-MAP publish (the element, or a SOAP envelope with it), or a shorthand document as
    draft-marques-l3vpn-schema-00 and its presentation print them, which is turned into IF-MAP. A session id in it means
    nothing. - is standard input.

    \b
    Examples:
      vrfwire-map publish vpns.xml
      vrfwire-map publish presentation-example.xml --dry-run
    """
    from ifmap.publish_file import DocumentError, read_document
    from ifmap.values import Lifetime

    what = f"document {file.name}"
    body = file.read(MAX_DOCUMENT + 1)
    if len(body) > MAX_DOCUMENT:
        raise OperatorError(what, f"is longer than {MAX_DOCUMENT} bytes", "publish it in pieces")
    try:
        document = read_document(body, Lifetime(lifetime))
    except DocumentError as error:
        raise OperatorError(what, str(error), "`vrfwire-map publish --help` says which documents it takes") from None
    if document.mended:
        warn(f"{what}: mended as from print: {', '.join(document.mended)}", options.program)
    if dry_run:
        options.print(_request(document))
        return
    holder = Holder() if hold else None
    options.work(lambda client: _publish(options, client, document, what, holder), holder)


def _request(document: Document) -> str:
    from ifmap.requests_writer import write_request
    from ifmap.values import Publish

    text = write_request(Publish(EXAMPLE_SESSION, document.operations)).decode()
    # Between elements of the request a line end means nothing; metadata stays as it is.
    for tag in ("<update", "<notify", "<delete"):
        text = text.replace(f">{tag}", f">\n{tag}")
    return text.rstrip("\n") + "\n"


class Holder:
    """Listener of the client of --hold: what was published in a session is gone with it, whatever follows."""

    def __init__(self) -> None:
        self._lost: Future[str] | None = None

    async def hold(self) -> str:
        """Wait for the end of the session; returns the reason."""
        import asyncio

        self._lost = asyncio.get_running_loop().create_future()
        return await self._lost

    def session_started(self, session_id: str, publisher_id: str) -> None:
        pass

    def result(self, part: ReceivedPart) -> None:
        pass

    def subscription_refused(self, name: str, error: IfmapError) -> None:
        pass

    def session_lost(self, reason: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)


async def _publish(
    options: MapOptions, client: MapClient, document: Document, what: str, holder: Holder | None
) -> None:
    from ifmap.values import Lifetime, Update

    operations = document.operations
    await client.publish(operations)
    reply = {
        "what": what,
        "state": "published",
        "operations": len(operations),
        "shorthand": document.shorthand,
        "mended": list(document.mended),
    }
    form = ", turned into IF-MAP" if document.shorthand else ""
    options.show(reply, lambda colour: f"{what}: published ({_counted(len(operations), 'operation')}{form})\n")
    passing = any(isinstance(one, Update) and one.lifetime is Lifetime.SESSION for one in operations)
    if passing and holder is None:
        warn("metadata of lifetime session ends with this command; --hold keeps it", options.program)
    if holder is not None:
        sys.stdout.flush()
        warn("holding the session until Ctrl-C", options.program)
        why = await holder.hold()
        raise OperatorError(what, f"the session is lost, and what was published in it: {why}", "publish it again")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# -- where a search starts


_STARTS = (
    click.option("--vpn", metavar="NAME", help="Start at a VPN (connectivity group)."),
    click.option("--attachment", metavar="ATTACHMENT", help="Start at an attachment (customer attachment)."),
    click.option("--route-target", metavar="RT", help="Start at a route target."),
    click.option("--catalogue", is_flag=True, help="Start at the catalogue of VPNs."),
    click.option("--ip-address", metavar="ADDRESS", help="Start at an address."),
    click.option("--mac-address", metavar="MAC", help="Start at a MAC address."),
    click.option("--device", metavar="NAME", help="Start at a device."),
    click.option("--access-request", metavar="NAME", help="Start at an access request."),
    click.option("--identity", metavar="NAME", help="Start at an identity, of the type of --identity-type."),
    click.option("--extended", metavar="XML", help="Start at an extended identifier, by its XML."),
)
_MORE = (
    click.option("--identity-type", metavar="TYPE", default="username", show_default=True, help="Of --identity."),
    click.option(
        "--definition", metavar="NAME", default="", help="other-type-definition of an --identity of type other."
    ),
    click.option("--domain", metavar="DOMAIN", default="", help="administrative-domain of where it starts."),
    click.option("--match-links", metavar="FILTER", help="Follow links with such metadata only."),
    click.option("--result-filter", metavar="FILTER", help="Show such metadata only."),
    click.option(
        "--namespace",
        "namespaces",
        metavar="PREFIX=URI",
        multiple=True,
        help="Prefix in filters; vpn, vrfwire and meta are known.",
    ),
    click.option("--depth", type=click.IntRange(0, MAX_NUMBER), default=1, show_default=True, help="Links to follow."),
    click.option(
        "--max-size", type=click.IntRange(1, MAX_NUMBER), metavar="BYTES", help="Of the result  [default: the server's]"
    ),
    click.option(
        "--terminal", metavar="TYPES", default="", help="Identifier types to list without going on, by commas."
    ),
)


def _searching(function: F) -> F:
    for option in reversed((*_STARTS, *_MORE)):
        function = option(function)
    return function


def _spec(given: Mapping[str, Any]) -> SearchSpec:
    """What is searched for. Raises OperatorError, click.UsageError."""
    from ifmap.describe import PREFIXES
    from ifmap.errors import IfmapError
    from ifmap.filters import compile
    from ifmap.identifiers import terminal_types
    from ifmap.values import SearchSpec

    prefixes = dict(PREFIXES)
    for text in given["namespaces"]:
        prefix, equals, uri = text.partition("=")
        if not (prefix and equals and uri):
            raise click.UsageError(f"--namespace {text}: PREFIX=URI is expected")
        prefixes[prefix] = uri
    texts = {name: given[name] for name in ("match_links", "result_filter")}
    try:
        compiled = {name: None if text is None else compile(text, prefixes) for name, text in texts.items()}
        return SearchSpec(
            _start(given),
            given["depth"],
            compiled["match_links"],
            compiled["result_filter"],
            given["max_size"],
            terminal_types(given["terminal"]) if given["terminal"] else frozenset(),
        )
    except IfmapError as error:
        raise OperatorError("search", str(error), "--help has the forms", ExitCode.USAGE) from None


_ONLY_WITH = {
    "domain": ("ip_address", "mac_address", "access_request", "identity"),
    "identity_type": ("identity",),
    "definition": ("identity",),
}
"""Options that say more of a start, by the starts that have it."""


def _start(given: Mapping[str, Any]) -> Identifier:
    from ifmap import identifiers, l3vpn

    makers: dict[str, Callable[[str], Identifier]] = {
        "vpn": l3vpn.connectivity_group,
        "attachment": l3vpn.customer_attachment,
        "route_target": lambda text: l3vpn.route_target(l3vpn.read_target(text)),
        "catalogue": lambda _: l3vpn.CATALOGUE,
        "ip_address": lambda text: identifiers.ip_address(text, given["domain"]),
        "mac_address": lambda text: identifiers.mac_address(text, given["domain"]),
        "device": identifiers.device,
        "access_request": lambda text: identifiers.access_request(text, given["domain"]),
        "identity": lambda text: identifiers.identity(
            text, given["identity_type"], given["definition"], given["domain"]
        ),
        "extended": identifiers.extended_xml,
    }
    chosen = [name for name in makers if given[name]]
    if len(chosen) != 1:
        starts = ", ".join(f"--{name.replace('_', '-')}" for name in makers)
        raise click.UsageError(f"give one start: {starts}")
    for option, values in _ONLY_WITH.items():
        default = "username" if option == "identity_type" else ""
        if given[option] != default and chosen[0] not in values:
            of = " and ".join(f"--{name.replace('_', '-')}" for name in values)
            raise click.UsageError(f"--{option.replace('_', '-')} goes with {of} alone")
    try:
        return makers[chosen[0]](given[chosen[0]])
    except l3vpn.SchemaError as error:
        raise click.UsageError(str(error)) from None


# -- search


RESULT = (
    Column("IDENTIFIER", "identifier"),
    Column("LINKED WITH", "linked"),
    Column("METADATA", "metadata"),
    Column("CONTENT", "content"),
    Column("PUBLISHER", "publisher"),
    Column("SINCE", "timestamp"),
)
CHANGES = (Column("CHANGE", "change"), *RESULT[:-1])


@click.command("search")
@_searching
@click.option("--xml", is_flag=True, help="Print the result as IF-MAP has it.")
@map_client
@pass_map
def search(options: MapOptions, /, xml: bool, **given: Any) -> None:
    """Search the graph from one identifier on.

    \b
    Examples:
      vrfwire-map search --vpn blue --depth 2 --match-links "vpn:binding or vpn:group-target"
      vrfwire-map search --ip-address 2001:db8::1 --xml
      vrfwire-map search --identity bob --identity-type username --json
    """
    from ifmap.describe import edge_document, metadata_document

    spec = _spec(given)
    items = options.work(lambda client: client.search(spec))
    if xml:
        options.print(_xml(items))
        return
    document = {
        "items": [
            {"identifiers": edge_document(edge), "metadata": [metadata_document(each) for each in metadata]}
            for edge, metadata in items
        ]
    }
    options.show(document, lambda colour: options.table(list(_rows(items)), RESULT, colour))


def _rows(items: Iterable[ReceivedItem]) -> Iterable[Row]:
    from ifmap.describe import content_words, edge_words, name_words

    for edge, metadata in items:
        first, second = edge_words(edge)
        for each in metadata:
            yield {
                "identifier": first,
                "linked": second,
                "metadata": name_words(each.name),
                "content": content_words(each.xml),
                "publisher": each.publisher,
                "timestamp": each.timestamp,
            }
        if not metadata:
            yield {"identifier": first, "linked": second}


def _xml(items: Iterable[ReceivedItem]) -> str:
    from ifmap.items import identifier_xml

    lines = ["<searchResult>"]
    for edge, metadata in items:
        ends = b"".join(identifier_xml(end) for end in edge if end is not None)
        inner = b"".join(each.xml for each in metadata)
        wrapped = b"<metadata>" + inner + b"</metadata>" if inner else b""
        lines.append((b"<resultItem>" + ends + wrapped + b"</resultItem>").decode(errors="replace"))
    return "\n".join([*lines, "</searchResult>", ""])


# -- watch


@click.command("watch", short_help="Print what is there, and what changes, until Ctrl-C.")
@_searching
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many changes.")
@map_client
@pass_map
def watch(options: MapOptions, /, count: int | None, **given: Any) -> None:
    """Print what changes, as it comes, until Ctrl-C; first what is there.

    With --json a line is one JSON document. The server being away is told, and outlasted: what changed meanwhile
    follows.

    \b
    Examples:
      vrfwire-map watch --catalogue --depth 3
      vrfwire-map watch --attachment web-1 --match-links vpn:attachment-state --json
    """
    from ifmap.watcher import Watcher

    table = Stream(CHANGES, legend=options.legend)

    def tell(change: Change) -> None:
        if options.json:
            options.print(json.dumps(_change_document(change), ensure_ascii=False) + "\n")
        else:
            rows = [{**row, "change": change.kind} for row in _rows([change.item])]
            options.print(table.rows(rows))
        sys.stdout.flush()

    watcher = Watcher(_spec(given), tell, lambda text: warn(text, options.program), count)
    options.work(watcher.run, watcher)


def _change_document(change: Change) -> dict[str, object]:
    from ifmap.describe import edge_document, metadata_document

    edge, metadata = change.item
    return {
        "change": change.kind,
        "identifiers": edge_document(edge),
        "metadata": [metadata_document(each) for each in metadata],
    }


# -- purge


@click.command("purge", short_help="Delete everything that a publisher has published.")
@click.option("--publisher", metavar="ID", default="", help="Of this ifmap-publisher-id; else our own.")
@map_client
@pass_map
def purge(options: MapOptions, publisher: str) -> None:
    """Delete everything that a publisher has published, of lifetime forever, too."""
    options.work(lambda client: client.purge(publisher))
    what = f"publisher {publisher}" if publisher else "our own metadata"
    options.show({"what": what, "state": "purged"}, lambda colour: f"{what}: purged\n")
