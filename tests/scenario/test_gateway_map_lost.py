"""A MAP server whose store was lost: the gateway keeps what it knows until somebody says that this is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.grants import Grants
from gateway.map_file import FILE_NAME
from gateway.map_snapshot import Snapshot, encode
from ifmap import provision
from ifmap.l3vpn import CATALOGUE, provisioned
from ifmap.values import node
from tests.scenario.conftest import Connect, MakeGateway
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import GatewayProcess
from tests.scenario.orchestration import Orchestration, bind, group
from tests.scenario.raw_host import RawHost
from tests.unit.gateway.harness import refusal
from vpn.prefix import Prefix
from xmpp.notices import Notice, NoticeKind

WEB, DB = "10.1.1.1/32", "10.1.1.2/32"
UNREACHABLE = '[map]\nurl = "https://127.0.0.1:9/"\nuser = "gw1"\npassword_file = "{}"\n'
MARK = provision.update(node(CATALOGUE), provisioned())


def lose_contents(orchestration: Orchestration) -> None:
    """Its server starts again, at the same place, without its database."""
    orchestration.server.kill()
    for file in orchestration.server.database.parent.glob("map.db*"):
        file.unlink()
    orchestration.start()


def announce(host: RawHost, prefix: str, attachment: str, label: int) -> None:
    answer = host.announce("blue", prefix, label, attachment=attachment)
    assert answer.get("type") == "result", refusal(answer)


def disbelieves(gateway: GatewayProcess) -> bool:
    return bool(gateway.ask("map.show")["disbelieved"])


def test_lost_contents_cut_nobody_off(
    orchestration: Orchestration, make_gateway: MakeGateway, connect: Connect
) -> None:
    blue = [MARK, *group("blue", "64512:1"), *bind("web-1", "blue", "10.1.1.1")]
    orchestration.publish(*blue)
    gateway = make_gateway('router_id = "192.0.2.1"', orchestration.section())
    wait_for(lambda: gateway.ask("map.show")["synchronised"], "the first results")
    host = connect(gateway, "hv1")
    host.subscribe("blue")
    announce(host, WEB, "web-1", 101)
    host.read_routes("blue", {WEB: [("127.0.0.1", 101)]})

    lose_contents(orchestration)
    wait_for(lambda: disbelieves(gateway), "the gateway to see an empty map")
    [problem] = gateway.ask("status")["problems"]
    assert "empty" in problem["why"] and "map accept" in problem["hint"]
    shown = gateway.ask("map.show")
    assert (shown["state"], shown["synchronised"], shown["vpns"], shown["bindings"]) == ("connected", False, 1, 1)
    gateway.wait_log("is empty", "what was known stays")
    announce(host, WEB, "web-1", 102)
    host.read_routes("blue", {WEB: [("127.0.0.1", 102)]})

    # So it does over a restart, by what it has kept.
    assert gateway.stop() == 0
    gateway.start()
    wait_for(lambda: disbelieves(gateway), "the gateway to see an empty map again")
    host = connect(gateway, "hv1")
    host.subscribe("blue")
    announce(host, WEB, "web-1", 103)
    host.read_routes("blue", {WEB: [("127.0.0.1", 103)]})

    # Everything is provisioned again, in one step.
    orchestration.publish(*blue, *bind("db-1", "blue", "10.1.1.2"))
    wait_for(lambda: gateway.ask("map.show")["synchronised"] and not disbelieves(gateway), "the map to be believed")
    announce(host, DB, "db-1", 104)
    host.read_routes("blue", {WEB: [("127.0.0.1", 103)], DB: [("127.0.0.1", 104)]})
    assert gateway.ask("status")["state"] == "ok", gateway.ask("status")["problems"]
    assert gateway.ask("map.accept") == {"configured": True, "accepted": False}

    # Nothing is to be there any more: an operator says so.
    lose_contents(orchestration)
    wait_for(lambda: disbelieves(gateway), "the gateway to see an empty map for the third time")
    assert gateway.ask("map.accept") == {"configured": True, "accepted": True}
    host.read_notice(Notice(NoticeKind.DELETED, "blue"))
    shown = gateway.ask("map.show")
    assert (shown["disbelieved"], shown["vpns"], shown["bindings"]) == (False, 0, 0)
    assert gateway.ask("status")["state"] == "ok", gateway.ask("status")["problems"]


@pytest.mark.parametrize(
    ("server", "source", "bindings"), [("https://127.0.0.1:9/", "last run", 1), ("https://192.0.2.9:8443/", "none", 0)]
)
def test_what_was_kept_counts_only_for_the_servers_that_it_is_of(
    tmp_path: Path, make_gateway: MakeGateway, server: str, source: str, bindings: int
) -> None:
    """A [map] that was taken out and comes back, with the same server or another."""
    state = tmp_path / "gateway0" / "state"
    state.mkdir(parents=True, mode=0o700)
    web = Grants(frozenset({"blue"}), frozenset({Prefix.parse(WEB)}))
    (state / FILE_NAME).write_bytes(encode(Snapshot({}, {"web-1": web}, {}, (server,), 1_769_860_800.0)))
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("secret")
    gateway = make_gateway("", UNREACHABLE.format(password))
    shown = gateway.ask("map.show")
    assert (shown["source"], shown["bindings"]) == (source, bindings)
    assert shown["as_of"] == ("2026-01-31T12:00:00Z" if bindings else None)
    assert bindings or gateway.wait_log("192.0.2.9", "ignored")
