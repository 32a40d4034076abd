"""The vrfwire-map command against a MAP in memory: provisioning, state, publish, search, watch; errors, exit codes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import pytest

from ifmap import l3vpn, views
from ifmap.answers import ReceivedItem, ReceivedMetadata, ReceivedPart
from ifmap.cli import PROGRAM, cli
from ifmap.client import MapListener
from ifmap.client_errors import MapUnavailable, SessionLost
from ifmap.client_settings import ClientSettings
from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.l3vpn import Direction, State
from ifmap.map_options import MapOptions
from ifmap.metadata import STANDARD
from ifmap.plan import Planner
from ifmap.search import find
from ifmap.slices import finish
from ifmap.values import (
    Edge,
    Identifier,
    IdentifierKind,
    Lifetime,
    NewMetadata,
    PublishOperation,
    ResultKind,
    SearchSpec,
    Update,
    link,
    node,
)
from ifmap.vpns import Vpns
from lab.pki import Authority
from runtime.command import run
from runtime.errors import ExitCode
from vpn.community import RouteTarget
from vpn.prefix import Prefix

TIME = "2026-01-05T10:11:12+00:00"


@dataclass
class Map:
    """A MAP in memory, and a client of it."""

    graph: Graph = field(default_factory=lambda: Graph(STANDARD))
    key: int = 1
    publishes: list[tuple[PublishOperation, ...]] = field(default_factory=list)
    purged: list[str] = field(default_factory=list)
    settings: ClientSettings | None = None
    fails: Exception | None = None
    refuses: IfmapError | None = None
    listener: MapListener | None = None
    script: list[ReceivedPart | str] = field(default_factory=list)

    def connect(self, settings: ClientSettings, listener: MapListener | None) -> Any:
        self.settings, self.listener = settings, listener
        return self

    async def __aenter__(self) -> Self:
        if self.fails is not None:
            raise self.fails
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def publish(self, operations: Sequence[PublishOperation]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.put(*operations)
        self.publishes.append(tuple(operations))

    async def search(self, spec: SearchSpec) -> tuple[ReceivedItem, ...]:
        return tuple(
            ReceivedItem(
                edge,
                tuple(ReceivedMetadata(each.name, each.single, each.publisher, TIME, each.xml) for each in metadata),
            )
            for edge, metadata in filter(None, find(self.graph, spec))
        )

    async def purge(self, publisher_id: str = "") -> None:
        self.purged.append(publisher_id)

    def subscribe(self, name: str, spec: SearchSpec) -> None:
        assert self.listener is not None
        for part in self.script:
            if isinstance(part, str):
                self.listener.session_lost(part)
                self.listener.session_started("s", "p")
            else:
                self.listener.result(part)

    def put(self, *operations: PublishOperation, publisher: str = "operator-1") -> None:
        delta = finish(Planner(self.graph, self.key).publish(operations, publisher, "session", TIME, None))
        self.graph.apply(delta)
        self.key += 1000


@dataclass
class Shell:
    """Runs commands, and has what they printed."""

    map: Map
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err = io.StringIO(), io.StringIO()
        try:
            got = run(cli, MapOptions(PROGRAM, PROGRAM, "/nowhere", connect=self.map.connect), arguments)
        finally:
            sys.stdout, sys.stderr = before
        self.out, self.err = out.getvalue(), err.getvalue()
        assert got == code, f"{arguments}: exit code {got}\n{self.out}{self.err}"
        return self.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("secret\n")
    monkeypatch.setattr("runtime.config.DIRECTORY", tmp_path / "etc")
    monkeypatch.setenv("VRFWIRE_MAP_URL", "https://192.0.2.9:8443/")
    monkeypatch.setenv("VRFWIRE_MAP_USER", "operator")
    monkeypatch.setenv("VRFWIRE_MAP_PASSWORD_FILE", str(tmp_path / "password"))
    return Shell(Map())


# -- VPNs


def test_create_is_idempotent_and_one_publish(shell: Shell) -> None:
    create = ("vpn", "create", "blue", "--route-target", "64512:1", "--import", "64512:2", "--export", "64512:3")
    assert shell(*create) == "VPN blue: provisioned\n"
    assert shell(*create) == "VPN blue: unchanged\n"
    assert len(shell.map.publishes) == 1
    assert all(isinstance(one, Update) and one.lifetime is Lifetime.FOREVER for one in shell.map.publishes[0])
    found = shell.json("vpn", "show", "blue")
    assert (found["imports"], found["exports"]) == (["64512:1", "64512:2"], ["64512:1", "64512:3"])
    assert found["listed"] is True and found["attachments"] == []


def test_import_and_export_of_one_target_is_both(shell: Shell) -> None:
    shell("vpn", "create", "blue", "--import", "64512:1", "--export", "64512:1")
    assert shell("vpn", "create", "blue", "--route-target", "64512:1") == "VPN blue: unchanged\n"


def test_other_targets_are_a_conflict_unless_replaced(shell: Shell) -> None:
    shell("vpn", "create", "blue", "--route-target", "64512:1", "--export", "64512:2")
    shell("vpn", "create", "blue", "--import", "64512:1", "--route-target", "64512:3", code=ExitCode.CONFLICT)
    assert "64512:1, 64512:2 (export)" in shell.err and "hint: --replace" in shell.err
    assert len(shell.map.publishes) == 1
    shell("vpn", "create", "blue", "--import", "64512:1", "--route-target", "64512:3", "--replace")
    found = shell.json("vpn", "show", "blue")
    assert (found["imports"], found["exports"]) == (["64512:1", "64512:3"], ["64512:3"])
    assert shell("vpn", "create", "blue", "--import", "64512:1", "--route-target", "64512:3", "--replace").endswith(
        "unchanged\n"
    )


def test_create_wants_targets_that_are_some(shell: Shell) -> None:
    shell("vpn", "create", "blue", code=ExitCode.USAGE)
    shell("vpn", "create", "blue", "--route-target", "64512", code=ExitCode.USAGE)
    assert "'64512' is not a route target" in shell.err
    shell("vpn", "create", "a\0b", "--route-target", "1:1", code=ExitCode.USAGE)
    assert "U+0000" in shell.err
    assert shell.map.publishes == []


def test_any_text_is_a_name(shell: Shell) -> None:
    name = "R&D <lab> \"1\" 'ü'"
    shell("vpn", "create", name, "--route-target", "64512:1")
    shell("bind", 'vm & "x"', name)
    assert [row["name"] for row in shell.json("vpn", "list")["items"]] == [name]
    assert shell.json("state")["items"][0]["attachment"] == 'vm & "x"'


def test_list(shell: Shell) -> None:
    assert shell.json("vpn", "list") == {"items": []}
    shell("vpn", "create", "red", "--route-target", "64512:2")
    shell("vpn", "create", "blue", "--route-target", "64512:1")
    shell("vpn", "connect", "red", "blue")
    shell("bind", "web-1", "red")
    assert [line.split() for line in shell("vpn", "list").splitlines()] == [
        ["VPN", "IMPORT", "EXPORT", "CONNECTED", "WITH", "ATTACHMENTS"],
        ["blue", "64512:1", "64512:1", "red", "0"],
        ["red", "64512:2", "64512:2", "blue", "1"],
    ]
    assert len(shell("vpn", "list", "--no-legend").splitlines()) == 2


def test_delete(shell: Shell) -> None:
    for name, target in (("blue", "64512:1"), ("red", "64512:2")):
        shell("vpn", "create", name, "--route-target", target)
    shell("vpn", "connect", "red", "blue")
    shell("vpn", "delete", "blue")
    assert [row["name"] for row in shell.json("vpn", "list")["items"]] == ["red"]
    assert shell.json("vpn", "show", "red")["connected"] == []
    shell("vpn", "delete", "blue", code=ExitCode.NOT_FOUND)


def test_delete_refuses_with_attachments_bound(shell: Shell) -> None:
    shell("vpn", "create", "blue", "--route-target", "64512:1")
    shell("vpn", "create", "red", "--route-target", "64512:2")
    for number in range(7):
        shell("bind", f"web-{number}", "blue", "--address", f"10.1.1.{number}")
    shell("bind", "web-0", "red")
    shell("vpn", "delete", "blue", code=ExitCode.CONFLICT)
    assert "web-0, web-1, web-2, web-3, web-4 and 2 more are bound to it" in shell.err and "--force" in shell.err
    shell("vpn", "delete", "blue", "--force")
    (left,) = shell.json("state")["items"]
    assert (left["attachment"], left["vpns"], left["addresses"]) == ("web-0", ["red"], ["10.1.1.0/32"])
    shell("state", "web-1", code=ExitCode.NOT_FOUND)


def test_delete_takes_what_cannot_be_read_along(shell: Shell) -> None:
    shell("vpn", "create", "blue", "--route-target", "64512:1")
    wrong = Identifier(IdentifierKind.IDENTITY, "64512:x", "other", "32473:route-target")
    shell.map.put(Update(link(l3vpn.connectivity_group("blue"), wrong), (l3vpn.group_target(),), Lifetime.FOREVER))
    shell("state")
    assert "'64512:x' is not a route target" in shell.err
    shell("vpn", "delete", "blue")
    assert list(shell.map.graph.edges()) == [node(l3vpn.CATALOGUE)]


def test_a_map_says_from_its_first_change_on_that_it_is_provisioned(shell: Shell, tmp_path: Path) -> None:
    """Gateways tell by that an empty map that is meant from one that has lost what it held."""
    group = l3vpn.connectivity_group("blue")
    target = link(group, l3vpn.route_target(RouteTarget.parse("64512:1")))

    def marks() -> int:
        return sum(one.name == l3vpn.PROVISIONED for one in shell.map.graph.contents(node(l3vpn.CATALOGUE)).values())

    def published_by_another_program(name: str) -> None:
        shell.map.graph = Graph(STANDARD)
        shell.map.put(
            Update(link(l3vpn.CATALOGUE, group), (l3vpn.listed(),), Lifetime.FOREVER),
            Update(target, (l3vpn.group_target(),), Lifetime.FOREVER),
            Update(link(l3vpn.connectivity_group(name), target.second or group), (l3vpn.group_target(),)),
        )

    shell("vpn", "list")
    assert marks() == 0
    document = tmp_path / "document.xml"
    document.write_text(DOCUMENT)
    shell("publish", str(document))
    assert marks() == 1
    for command in (
        ("vpn", "create", "blue", "--route-target", "64512:1"),
        ("bind", "web-1", "blue"),
        ("vpn", "connect", "blue", "red"),
        ("vpn", "delete", "blue"),
    ):
        published_by_another_program("red")
        assert marks() == 0
        shell(*command)
        assert marks() == 1, command
        [added] = [one for one in shell.map.publishes[-1] if one.edge == node(l3vpn.CATALOGUE)]
        assert isinstance(added, Update) and added.lifetime is Lifetime.FOREVER
    for arguments in (("create", "blue", "--route-target", "64512:1"), ("delete", "blue"), ("delete", "red")):
        before = len(shell.map.publishes)
        shell("vpn", *arguments)
        assert marks() == 1 and len(shell.map.publishes) == before + 1
    assert shell.json("vpn", "list") == {"items": []}


def test_connections(shell: Shell) -> None:
    shell("vpn", "create", "hub", "--route-target", "64512:1")
    shell("vpn", "connect", "hub", "spoke", code=ExitCode.NOT_FOUND)
    assert "VPN spoke: no such VPN" in shell.err
    shell("vpn", "create", "spoke", "--export", "64512:2")
    assert shell("vpn", "connect", "hub", "spoke") == "VPNs hub and spoke: connected\n"
    assert shell("vpn", "connect", "spoke", "hub") == "VPNs spoke and hub: unchanged\n"
    assert shell.json("vpn", "show", "spoke")["effective_imports"] == ["64512:1"]
    assert shell.json("vpn", "show", "hub")["effective_imports"] == ["64512:1", "64512:2"]
    shell("vpn", "connect", "hub", "hub", code=ExitCode.USAGE)
    shell("vpn", "disconnect", "spoke", "hub")
    assert shell.json("vpn", "show", "hub")["connected"] == []
    shell("vpn", "disconnect", "spoke", "hub", code=ExitCode.NOT_FOUND)


def test_show_of_a_vpn_that_is_not_listed(shell: Shell) -> None:
    edge = link(l3vpn.connectivity_group("theirs"), l3vpn.route_target(RouteTarget.parse("64512:7")))
    shell.map.put(Update(edge, (l3vpn.group_target(),), Lifetime.FOREVER))
    assert shell.json("vpn", "list")["items"] == []
    assert shell.json("vpn", "show", "theirs")["listed"] is False
    assert shell("vpn", "create", "theirs", "--route-target", "64512:7") == "VPN theirs: provisioned\n"
    assert shell.json("vpn", "list")["items"][0]["name"] == "theirs"
    shell("vpn", "show", "nobodys", code=ExitCode.NOT_FOUND)


# -- attachments


@pytest.fixture
def blue(shell: Shell) -> Shell:
    shell("vpn", "create", "blue", "--route-target", "64512:1")
    return shell


def addresses(shell: Shell, attachment: str) -> list[str]:
    return cast(list[str], shell.json("state", attachment)["items"][0]["addresses"])


def test_bind_adds(blue: Shell) -> None:
    assert blue("bind", "web-1", "blue", "--address", "10.1.1.1") == "attachment web-1 in blue: bound\n"
    assert blue("bind", "web-1", "blue", "--address", "10.1.1.1").endswith("unchanged\n")
    assert blue("bind", "web-1", "blue").endswith("unchanged\n")
    blue("bind", "web-1", "blue", "--address", "2001:db8::1", "--address", "10.2.0.0/16")
    assert addresses(blue, "web-1") == ["10.1.1.1/32", "10.2.0.0/16", "2001:db8::1/128"]


def test_prefixes_that_begin_at_one_address(blue: Shell) -> None:
    blue("bind", "fw", "blue", "--address", "10.0.0.0/8", "--address", "10.0.0.0")
    assert blue("bind", "fw", "blue", "--address", "10.0.0.0/8").endswith("unchanged\n")
    blue("bind", "fw", "blue", "--address", "10.0.0.0/24")
    assert addresses(blue, "fw") == ["10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/32"]
    blue("unbind", "fw", "--address", "10.0.0.0/8")
    assert addresses(blue, "fw") == ["10.0.0.0/24", "10.0.0.0/32"]
    blue("unbind", "fw", "--address", "10.0.0.0/24", "--address", "10.0.0.0")
    assert addresses(blue, "fw") == []


def test_bind_replace(blue: Shell) -> None:
    blue("bind", "web-1", "blue", "--address", "10.1.1.1", "--address", "10.1.1.2")
    blue("bind", "web-1", "blue", "--address", "10.1.1.3", "--address", "10.1.1.2", "--replace")
    assert addresses(blue, "web-1") == ["10.1.1.2/32", "10.1.1.3/32"]
    blue("bind", "web-1", "blue", "--replace")
    assert addresses(blue, "web-1") == []


def test_bind_wants_a_vpn_and_addresses_that_are_some(blue: Shell) -> None:
    blue("bind", "web-1", "bleu", code=ExitCode.NOT_FOUND)
    assert "hint: `vrfwire-map vpn list`" in blue.err
    blue("bind", "web-1", "blue", "--address", "10.1.1.1/24", code=ExitCode.USAGE)
    assert "host bits" in blue.err
    blue("bind", "", "blue", code=ExitCode.USAGE)


def test_unbind(blue: Shell) -> None:
    blue("vpn", "create", "red", "--route-target", "64512:2")
    for name in ("blue", "red"):
        blue("bind", "web-1", name, "--address", "10.1.1.1")
    assert blue("unbind", "web-1", "blue") == "attachment web-1: unbound\n"
    assert addresses(blue, "web-1") == ["10.1.1.1/32"], "it is bound to red"
    blue("unbind", "web-1", "blue", code=ExitCode.NOT_FOUND)
    assert "it is bound to red" in blue.err
    blue("unbind", "web-1")
    blue("state", "web-1", code=ExitCode.NOT_FOUND)
    blue("unbind", "web-1", code=ExitCode.NOT_FOUND)


def test_unbind_address(blue: Shell) -> None:
    blue("bind", "web-1", "blue", "--address", "10.1.1.1")
    blue("unbind", "web-1", "--address", "10.1.1.2", code=ExitCode.NOT_FOUND)
    assert "it has 10.1.1.1/32" in blue.err
    blue("unbind", "web-1", "blue", "--address", "10.1.1.1", code=ExitCode.USAGE)
    blue("unbind", "web-1", "--address", "10.1.1.1")
    assert blue.json("state", "web-1")["items"][0]["vpns"] == ["blue"]


# -- state


def seen(shell: Shell, attachment: str, gateway: str, state: State, *routes: str) -> None:
    edge: Edge = link(l3vpn.customer_attachment(attachment), l3vpn.provider_attachment("192.0.2.11", "hv1", gateway))
    told: tuple[NewMetadata, ...] = (
        l3vpn.attachment_state(state),
        l3vpn.attachment_info([Prefix.parse(route) for route in routes]),
    )
    shell.map.put(Update(edge, told, Lifetime.SESSION), publisher=f"{gateway}-1")


@pytest.fixture
def running(blue: Shell) -> Shell:
    blue("vpn", "create", "red", "--route-target", "64512:2", "--import", "64512:3")
    blue("vpn", "connect", "blue", "red")
    blue("bind", "web-1", "blue", "--address", "10.1.1.1")
    blue("bind", "web-2", "blue", "--address", "10.1.1.2")
    blue("bind", "db-1", "red")
    seen(blue, "web-1", "gw1", State.UP, "10.1.1.1/32")
    seen(blue, "web-1", "gw2", State.DOWN)
    return blue


def test_state(running: Shell) -> None:
    assert [re.split(r"  +", line) for line in running("state").splitlines()] == [
        ["ATTACHMENT", "VPNS", "ADDRESSES", "STATE", "HOST", "GATEWAYS"],
        ["db-1", "red", "-", "-", "-", "-"],
        ["web-1", "blue", "10.1.1.1/32", "up", "hv1 (192.0.2.11)", "gw1 up,gw2 down"],
        ["web-2", "blue", "10.1.1.2/32", "-", "-", "-"],
    ]
    document = running.json("state", "web-1")
    (row,) = document["items"]
    assert document["problems"] == [] and row["state"] == "up"
    assert row["where"][0] == {
        "gateway": "gw1",
        "address": "192.0.2.11",
        "host": "hv1",
        "state": "up",
        "routes": ["10.1.1.1/32"],
        "publisher": "gw1-1",
    }


GRAPH = """\
VPN blue
|-- route target 64512:1
|-- connected with red, imports 64512:2 of it
|-- attachment web-1: up
|   |-- address 10.1.1.1/32
|   |-- up at hv1 (192.0.2.11) by gateway gw1, routes 10.1.1.1/32
|   `-- down at hv1 (192.0.2.11) by gateway gw2
`-- attachment web-2: not seen
    `-- address 10.1.1.2/32
VPN red
|-- route target 64512:2
|-- route target 64512:3 (import)
|-- connected with blue, imports 64512:1 of it
`-- attachment db-1: not seen
"""


def test_the_graph_as_a_tree(running: Shell) -> None:
    assert running("state", "--graph") == GRAPH
    alone = running("state", "web-1", "--graph")
    assert "VPN blue" in alone and "web-1: up" in alone and "connected with red, imports 64512:2" in alone
    assert "web-2" not in alone and "VPN red" not in alone
    document = running.json("state", "--graph")
    assert [vpn["name"] for vpn in document["vpns"]] == ["blue", "red"] and len(document["items"]) == 3


def test_the_graph_in_unicode(running: Shell) -> None:
    graph = running.map.graph
    drawn = views.graph(Vpns((edge, graph.contents(edge).values()) for edge in graph.edges()))
    assert drawn == GRAPH.replace("|-- ", "├── ").replace("`-- ", "└── ").replace("|   ", "│   ")


def test_the_graph_shows_what_is_loose_and_what_is_wrong(blue: Shell) -> None:
    wrong = Identifier(IdentifierKind.IDENTITY, "x", "other", "32473:route-target")
    blue.map.put(Update(link(l3vpn.connectivity_group("blue"), wrong), (l3vpn.group_target(),), Lifetime.FOREVER))
    seen(blue, "stray\t", "gw1", State.ADMIN_DOWN)
    assert "problems\n`-- connectivity-group blue - route-target x: 'x' is not a route target" in blue(
        "state", "--graph"
    )
    assert "bound to no VPN\n`-- attachment stray?: adminDown\n" in blue("state", "stray\t", "--graph")


# -- publish


DOCUMENT = """<ifmap:publish session-id="1" xmlns:ifmap="http://ietf.org/I-D.marques-l3vpn-schema"><update>
<customer-attachement id="vm:00:00:00:01:02:03"/><metadata><binding><table-name>SimpleVPN</table-name></binding>
<attachement-state><provider-edge>192.168.0.1</provider-edge><state>Up</state></attachement-state></metadata>
</update></ifmap:publish>"""


def test_publish_of_the_presentations_document(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "document.xml"
    path.write_text(DOCUMENT)
    assert shell("publish", str(path)) == f"document {path}: published (4 operations, turned into IF-MAP)\n"
    assert shell.err == ""
    assert shell("state", "--graph") == (
        "VPN SimpleVPN\n`-- attachment vm:00:00:00:01:02:03: up\n    `-- up at 192.168.0.1\n"
    )


def test_publish_tells_what_it_mended_and_what_will_not_stay(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "document.xml"
    path.write_text(DOCUMENT.replace('"', "\u201d"))
    document = shell.json("publish", str(path), "--lifetime", "session")
    assert document["shorthand"] is True and document["mended"] == ["typographic characters replaced"]
    assert "mended as from print: typographic characters replaced" in shell.err
    assert "metadata of lifetime session ends with this command; --hold keeps it" in shell.err


def test_publish_dry_run_prints_real_if_map(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "document.xml"
    path.write_text(DOCUMENT)
    request = shell("publish", str(path), "--dry-run")
    assert shell.map.publishes == [] and shell.map.settings is None
    path.write_text(request)
    shell("publish", str(path))
    assert shell.json("state")["items"][0]["vpns"] == ["SimpleVPN"]


def test_publish_refuses_what_means_nothing(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "document.xml"
    path.write_text("<publish><update/></publish>")
    shell("publish", str(path), code=ExitCode.FAILURE)
    assert shell.err.startswith(f"vrfwire-map: document {path}: update has no identifiers: it takes one or two\nhint: ")
    shell("publish", str(tmp_path / "missing.xml"), code=ExitCode.USAGE)


# -- search, watch, purge


def test_search(running: Shell) -> None:
    found = running.json(
        "search", "--vpn", "blue", "--depth", "2", "--match-links", "vpn:binding or vpn:attachment-address"
    )
    ends = [[end.get("schema", end).get("name") for end in item["identifiers"]] for item in found["items"]]
    assert ends[0] == ["blue"] and ["10.1.1.1"] in ends
    (edge,) = [item for item in found["items"] if item["metadata"] and len(item["identifiers"]) == 2][:1]
    assert edge["metadata"][0]["namespace"] == l3vpn.NAMESPACE
    table = running("search", "--attachment", "web-1", "--result-filter", "vpn:attachment-state")
    assert "vpn:attachment-state" in table and "<state>up</state>" in table and "gw1-1" in table
    assert "provider-attachment 192.0.2.11 at hv1 by gw1" in table


def test_search_as_xml(running: Shell) -> None:
    from ifmap.xml import parse

    element = parse(running("search", "--catalogue", "--xml").encode())
    assert element.name == "searchResult"
    assert sum(len(item.children) == 3 for item in element.children) == 2, "two links with metadata"


def test_search_by_namespace(shell: Shell) -> None:
    shell("search", "--device", "pe1", "--match-links", "x:seen", code=ExitCode.USAGE)
    shell("search", "--device", "pe1", "--match-links", "x:seen", "--namespace", "x=urn:example:x")
    shell("search", "--device", "pe1", "--namespace", "x", code=ExitCode.USAGE)


@pytest.mark.parametrize(
    ("arguments", "kind", "name"),
    [
        (("--ip-address", "2001:db8::1"), "ip-address", "2001:db8:0:0:0:0:0:1"),
        (("--mac-address", "02-00-5E-00-00-07"), "mac-address", "02:00:5e:00:00:07"),
        (("--device", "pe1"), "device", "pe1"),
        (("--access-request", "ar-1", "--domain", "d"), "access-request", "ar-1"),
        (("--identity", "bob"), "identity", "bob"),
        (("--identity", "x", "--identity-type", "other", "--definition", "32473:cfg"), "identity", "x"),
        (("--route-target", "1:0.0.0.1"), "identity", l3vpn.route_target(RouteTarget.parse("1:1")).name),
        (("--extended", "<site id='1' administrative-domain='' xmlns='urn:example:x'/>"), "identity", None),
    ],
)
def test_starts_of_a_search(shell: Shell, arguments: tuple[str, ...], kind: str, name: str | None) -> None:
    (item,) = shell.json("search", *arguments)["items"]
    (identifier,) = item["identifiers"]
    assert identifier["kind"] == kind and name in (None, identifier["name"])


def test_a_search_has_one_start(shell: Shell) -> None:
    shell("search", code=ExitCode.USAGE)
    shell("search", "--vpn", "a", "--device", "b", code=ExitCode.USAGE)
    shell("search", "--ip-address", "10.1.1", code=ExitCode.USAGE)
    shell("search", "--route-target", "x", code=ExitCode.USAGE)


def item(edge: Edge, *new: NewMetadata) -> ReceivedItem:
    found = (ReceivedMetadata(each.name, each.single, "p-1", TIME, each.head + each.tail) for each in new)
    return ReceivedItem(edge, tuple(found))


BOUND = link(l3vpn.customer_attachment("web-1"), l3vpn.connectivity_group("blue"))
TARGET = link(l3vpn.connectivity_group("blue"), l3vpn.route_target(RouteTarget.parse("64512:1")))


def part(kind: ResultKind, *items: ReceivedItem) -> ReceivedPart:
    return ReceivedPart(kind, "watch", items)


def watched(shell: Shell) -> Iterator[tuple[str, str]]:
    for line in shell.out.splitlines():
        document = json.loads(line)
        yield document["change"], document["metadata"][0]["name"]


def test_watch_prints_changes_as_they_come(shell: Shell) -> None:
    shell.map.script = [
        part(ResultKind.SEARCH, item(BOUND, l3vpn.binding())),
        part(ResultKind.UPDATE, item(TARGET, l3vpn.group_target())),
        part(ResultKind.NOTIFY, item(TARGET, l3vpn.group_target(Direction.IMPORT))),
        part(ResultKind.DELETE, item(BOUND, l3vpn.binding())),
        part(ResultKind.UPDATE, item(BOUND, l3vpn.binding())),
    ]
    shell("watch", "--vpn", "blue", "--json", "--count", "3")
    assert list(watched(shell)) == [
        ("present", "binding"),
        ("update", "group-target"),
        ("notify", "group-target"),
        ("delete", "binding"),
    ]
    shell("watch", "--vpn", "blue", "--count", "1")
    legend, present, update = shell.out.splitlines()
    assert legend.split()[:2] == ["CHANGE", "IDENTIFIER"] and present.startswith("present ")
    assert update.startswith("update ") and "vpn:group-target" in update


def test_watch_tells_the_difference_after_a_session_was_lost(shell: Shell) -> None:
    shell.map.script = [
        part(ResultKind.SEARCH, item(BOUND, l3vpn.binding()), item(TARGET, l3vpn.group_target())),
        "the server went away",
        part(ResultKind.SEARCH, item(TARGET, l3vpn.group_target(Direction.EXPORT))),
    ]
    shell("watch", "--vpn", "blue", "--json", "--count", "2")
    assert sorted(list(watched(shell))[2:]) == [("delete", "binding"), ("update", "group-target")]
    assert "the server went away" in shell.err and "connected again" in shell.err


def test_watch_ends_with_what_the_server_refuses(shell: Shell) -> None:
    shell.map.script = [
        ReceivedPart(ResultKind.ERROR, "watch", (), ErrorCode.SEARCH_RESULTS_TOO_BIG, "more than 100 bytes")
    ]
    shell("watch", "--vpn", "blue", code=ExitCode.FAILURE)
    assert "SearchResultsTooBig: more than 100 bytes" in shell.err


def test_purge(shell: Shell) -> None:
    shell("purge")
    shell("purge", "--publisher", "gw1-7")
    assert shell.map.purged == ["", "gw1-7"]


# -- reaching the server


def test_options_stand_over_environment_and_file(shell: Shell, tmp_path: Path) -> None:
    pki = Authority(tmp_path / "etc")
    own = pki.issue("ours", "ours")
    (tmp_path / "etc/map-client.toml").write_text('[map]\nurl = ["https://192.0.2.1/"]\nca = "ca.pem"\ntimeout = 5\n')
    shell("vpn", "list")
    settings = shell.map.settings
    assert settings is not None
    assert [str(one) for one in settings.endpoints] == ["https://192.0.2.9:8443/"]
    assert (settings.user, settings.ca, settings.answer_timeout) == ("operator", tmp_path / "etc/ca.pem", 5.0)
    shell(
        "vpn",
        "list",
        "--url",
        "https://a/",
        "--url",
        "https://b:1/",
        "--cert",
        str(own.certificate),
        "--key",
        str(own.key),
    )
    settings = shell.map.settings
    assert settings is not None
    assert [str(one) for one in settings.endpoints] == ["https://a:8443/", "https://b:1/"]
    assert settings.user == "" and settings.certificate == own.certificate and settings.password_file is None


@pytest.mark.parametrize("at", [0, 1, 2])
def test_options_may_stand_anywhere(shell: Shell, at: int) -> None:
    words = ["vpn", "list"]
    shell(*words[:at], "--url", "https://c/", "--json", *words[at:])
    assert shell.map.settings is not None
    assert [str(one) for one in shell.map.settings.endpoints] == ["https://c:8443/"]
    assert json.loads(shell.out) == {"items": []}


def test_what_is_missing_is_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("vpn", "list", "--url", "http://192.0.2.9/", code=ExitCode.USAGE)
    assert "https" in shell.err
    monkeypatch.delenv("VRFWIRE_MAP_PASSWORD_FILE")
    shell("vpn", "list", code=ExitCode.USAGE)
    assert "the password of user operator is not given" in shell.err
    monkeypatch.delenv("VRFWIRE_MAP_USER")
    shell("vpn", "list", code=ExitCode.USAGE)
    assert "no user is given" in shell.err
    monkeypatch.delenv("VRFWIRE_MAP_URL")
    shell("vpn", "list", code=ExitCode.USAGE)
    assert "no server is given" in shell.err and "hint: --url" in shell.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MapUnavailable("https://a:8443/: connection refused"), ExitCode.UNREACHABLE),
        (MapUnavailable("https://a:8443/: the server doesn't accept user 'x' (401)"), ExitCode.NOT_PERMITTED),
        (SessionLost("another program has logged in"), ExitCode.FAILURE),
    ],
)
def test_no_session(shell: Shell, error: Exception, code: ExitCode) -> None:
    shell.map.fails = error
    shell("vpn", "list", code=code)
    first, hint = shell.err.splitlines()
    assert first == f"vrfwire-map: map server: {error}" and hint.startswith("hint: ")


def test_a_refusal_is_told_with_its_code(shell: Shell) -> None:
    shell.map.refuses = IfmapError(ErrorCode.ACCESS_DENIED, "vpn:binding may not be written")
    shell("vpn", "create", "a", "--route-target", "1:1", code=ExitCode.NOT_PERMITTED)
    assert "AccessDenied: vpn:binding may not be written" in shell.err
    shell.map.refuses = IfmapError(ErrorCode.METADATA_TOO_LONG, "")
    shell("vpn", "create", "a", "--route-target", "1:1", code=ExitCode.FAILURE)
    assert "map server: MetadataTooLong" in shell.err


# -- the server's commands


def test_passwd_reads_standard_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from ifmap.server.passwords import PasswordHash

    monkeypatch.setattr(sys, "stdin", io.StringIO("s3cret\nmore\n"))
    assert PasswordHash.parse(shell("passwd").strip()).verify("s3cret")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    shell("passwd", code=ExitCode.USAGE)


def test_commands_of_the_daemon_need_it(shell: Shell) -> None:
    for command in (("status",), ("session", "list"), ("client", "list")):
        shell(*command, code=ExitCode.UNREACHABLE)


def test_serve_gets_its_arguments_as_they_are(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    got: list[Sequence[str]] = []

    def main(arguments: Sequence[str]) -> int:
        got.append(arguments)
        assert "VRFWIRE_MAP_URL" not in os.environ, "which the server doesn't know"
        return 7

    monkeypatch.setattr("ifmap.server.main.main", main)
    shell("serve", "--config", "x.toml", "--check", code=7)
    assert list(got[0]) == ["--config", "x.toml", "--check"]


def test_help_imports_little() -> None:
    """Completion and --help are to be quick: click, the standard library, and our own few."""
    code = (
        "import sys, ifmap.cli; heavy = {'asyncio', 'lxml', 'sqlalchemy', 'cryptography', 'httptools', 'pyexpat'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
