"""A MAP server whose store was lost: the gateway keeps what it knows until somebody says that this is meant."""

from __future__ import annotations

from ifmap import provision
from ifmap.l3vpn import CATALOGUE, provisioned
from ifmap.values import node
from tests.scenario.conftest import Connect, MakeGateway
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import GatewayProcess
from tests.scenario.orchestration import Orchestration, bind, group
from tests.scenario.raw_host import RawHost
from tests.unit.gateway.harness import refusal
from xmpp.notices import Notice, NoticeKind

WEB, DB = "10.1.1.1/32", "10.1.1.2/32"
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
