"""A gateway that a MAP server provisions: VPNs and permissions live, restarts of the server and the gateway, states."""

from __future__ import annotations

import signal

from tests.scenario.conftest import Connect, MakeGateway
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import GatewayProcess
from tests.scenario.orchestration import (
    Orchestration,
    bind,
    connect_groups,
    disconnect_groups,
    group,
    no_address,
    no_group,
    no_target,
    unbind,
)
from tests.scenario.raw_host import RawHost
from tests.unit.gateway.harness import refusal
from xmpp.notices import Notice, NoticeKind

WEB, DB = "10.1.1.1/32", "10.1.1.2/32"
ROUTER_ID = 'router_id = "192.0.2.1"\nstale_time = 1'


def item(prefix: str) -> str:
    return f"127.0.0.1:1:{prefix}"


def withheld(prefix: str, reason: str, node: str = "blue") -> Notice:
    return Notice(NoticeKind.WITHHELD, node, (item(prefix),), reason)


def admitted(prefix: str, node: str = "blue") -> Notice:
    return Notice(NoticeKind.ADMITTED, node, (item(prefix),))


def ready(gateway: GatewayProcess) -> bool:
    return bool(gateway.ask("map.show")["synchronised"])


def announce(host: RawHost, prefix: str, attachment: str, label: int, node: str = "blue") -> None:
    answer = host.announce(node, prefix, label, attachment=attachment)
    assert answer.get("type") == "result", refusal(answer)


def test_vpns_bindings_and_connections_take_effect_live(
    orchestration: Orchestration, make_gateway: MakeGateway, connect: Connect
) -> None:
    gateway = make_gateway(ROUTER_ID, orchestration.section())
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2")
    wait_for(lambda: ready(gateway), "the first results")
    assert refusal(one.subscribe("blue"))[0] == "item-not-found"
    assert refusal(two.subscribe("blue"))[0] == "item-not-found"

    orchestration.publish(*group("blue", "64512:1"), *group("red", "64512:2"))
    for host in (one, two):
        host.read_notice(Notice(NoticeKind.AVAILABLE, "blue"))
        assert host.subscribe("blue").get("type") == "result"
    two.subscribe("red")
    assert {vpn["name"]: vpn["source"] for vpn in gateway.ask("vpn.list")["items"]} == {"blue": "map", "red": "map"}

    # Refused, remembered, and taken in without being asked for again.
    condition, _, text = refusal(one.announce("blue", WEB, 101, attachment="web-1"))
    assert condition == "forbidden" and "attachment web-1 is not bound to VPN blue" in text
    [row] = gateway.ask("attachment.list", {"withheld": True})["items"]
    assert (row["attachment"], row["vpn"], row["host"], row["prefix"]) == ("web-1", "blue", "hv1", WEB)
    orchestration.publish(*bind("web-1", "blue", "10.1.1.1"))
    one.read_notice(admitted(WEB))
    orchestration.publish(*bind("db-1", "blue", "10.1.1.0/30"))
    wait_for(lambda: gateway.ask("map.show")["bindings"] == 2, "the second binding")
    announce(one, DB, "db-1", 102)
    both = {WEB: [("127.0.0.1", 101)], DB: [("127.0.0.1", 102)]}
    two.read_routes("blue", both)

    # One binding is revoked: that attachment goes, the other stays.
    orchestration.publish(unbind("web-1", "blue"))
    one.read_notice(withheld(WEB, "attachment web-1 is not bound to VPN blue"))
    two.read_routes("blue", {DB: both[DB]})
    gateway.wait_log("withdrawn", "hv1", "web-1", "VPN blue", "not bound")
    orchestration.publish(*bind("web-1", "blue"))
    one.read_notice(admitted(WEB))
    two.read_routes("blue", both)
    orchestration.publish(no_address("web-1", "10.1.1.1"))
    one.read_notice(withheld(WEB, f"{WEB} is no address of attachment web-1"))
    two.read_routes("blue", {DB: both[DB]})

    # Connections and targets move routes in place.
    orchestration.publish(connect_groups("blue", "red"))
    two.read_routes("red", {DB: both[DB]})
    orchestration.publish(disconnect_groups("blue", "red"))
    two.read_routes("red", {})
    orchestration.publish(*group("red", "64512:1"), no_target("red", "64512:2"))
    two.read_routes("red", {DB: both[DB]})
    orchestration.publish(*no_group("red", "64512:1"))
    two.read_notice(Notice(NoticeKind.DELETED, "red"))
    two.ping()
    assert two.events["blue"] == {DB: both[DB]}, "its other VPN is untouched"
    assert gateway.ask("status")["state"] == "ok", gateway.ask("status")["problems"]


def test_the_state_of_attachments_is_published_and_withdrawn(
    orchestration: Orchestration, make_gateway: MakeGateway, connect: Connect
) -> None:
    orchestration.publish(
        *group("blue", "64512:1"), *bind("web-1", "blue", "10.1.1.1"), *bind("db-1", "blue", "10.1.1.2")
    )
    gateway = make_gateway(ROUTER_ID, orchestration.section())
    wait_for(lambda: ready(gateway), "the first results")
    host = connect(gateway, "hv1")
    announce(host, WEB, "web-1", 101)
    announce(host, DB, "", 102)
    web, db = (("web-1", "hv1", "192.0.2.1"), ("db-1", "hv1", "192.0.2.1"))

    def shows(**states: tuple[str, tuple[str, ...]] | None) -> None:
        wanted = {{"web": web, "db": db}[name]: state for name, state in states.items() if state is not None}
        wait_for(lambda: orchestration.states("web-1", "db-1") == wanted, f"the states {wanted}")

    shows(web=("up", (WEB,)), db=("up", (DB,)))
    rows = gateway.ask("attachment.list")["items"]
    assert [(row["attachment"], row["state"], row["address"]) for row in rows] == [
        ("db-1", "up", "127.0.0.1"),
        ("web-1", "up", "127.0.0.1"),
    ]
    orchestration.publish(unbind("web-1", "blue"))
    shows(web=("adminDown", (WEB,)), db=("up", (DB,)))
    orchestration.publish(*bind("web-1", "blue"))
    shows(web=("up", (WEB,)), db=("up", (DB,)))
    host.retract("blue", item(WEB))
    shows(web=None, db=("up", (DB,)))
    host.close()
    shows(db=None)
    # What is published goes with the session of the gateway, however it ends.
    announce(connect(gateway, "hv1"), WEB, "web-1", 101)
    shows(web=("up", (WEB,)))
    assert gateway.stop() == 0
    shows()


def test_the_map_server_goes_and_comes_back(
    orchestration: Orchestration, make_gateway: MakeGateway, connect: Connect
) -> None:
    orchestration.publish(
        *group("blue", "64512:1"), *bind("web-1", "blue", "10.1.1.1"), *bind("old-1", "blue", "10.1.1.9")
    )
    gateway = make_gateway(ROUTER_ID, orchestration.section())
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2")
    wait_for(lambda: ready(gateway), "the first results")
    orchestration.publish(unbind("old-1", "blue"))
    wait_for(lambda: gateway.ask("map.show")["bindings"] == 1, "the end of a binding")
    two.subscribe("blue")
    announce(one, WEB, "web-1", 101)
    two.read_routes("blue", {WEB: [("127.0.0.1", 101)]})

    orchestration.server.kill()
    wait_for(lambda: gateway.ask("map.show")["state"] != "connected", "the loss to be noticed")
    wait_for(lambda: gateway.ask("status")["state"] == "degraded", "the status to say so")
    announce(one, WEB, "web-1", 201)
    two.read_routes("blue", {WEB: [("127.0.0.1", 201)]})
    assert refusal(one.announce("blue", DB, 102, attachment="web-1"))[0] == "forbidden"

    # The gateway starts while the server is away, and works by what it has kept.
    assert gateway.stop() == 0
    gateway.start()
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2")
    two.subscribe("blue")
    announce(one, WEB, "web-1", 301)
    two.read_routes("blue", {WEB: [("127.0.0.1", 301)]})
    assert refusal(one.announce("blue", DB, 102, attachment="web-1"))[0] == "forbidden"
    assert gateway.ask("map.show")["source"] == "last run"

    orchestration.start()
    wait_for(lambda: ready(gateway), "the session with the server that is back")
    orchestration.publish(*bind("db-1", "blue", "10.1.1.2"), *bind("web-1", "blue", "10.1.1.2"))
    one.read_notice(admitted(DB))
    two.ping()
    assert two.events["blue"] == {WEB: [("127.0.0.1", 301)], DB: [("127.0.0.1", 102)]}
    state = {("web-1", "hv1", "192.0.2.1"): ("up", (WEB, DB))}
    wait_for(lambda: orchestration.states("web-1") == state, "what is up to be published anew")
    # Its binding was revoked in an earlier life of the gateway.
    assert refusal(one.announce("blue", "10.1.1.9/32", 109, attachment="old-1"))[0] == "forbidden"
    revoked = {("old-1", "hv1", "192.0.2.1"): ("adminDown", ("10.1.1.9/32",))}
    wait_for(lambda: orchestration.states("old-1") == revoked, "what may be up no longer to be published")
    wait_for(lambda: gateway.ask("status")["state"] == "ok", "the problem to be gone")


STATIC = """
[[vpn]]
name = "blue"
import = ["64512:1"]
export = ["64512:1"]
"""


def test_a_reload_takes_another_map_section(
    orchestration: Orchestration, make_gateway: MakeGateway, connect: Connect
) -> None:
    orchestration.publish(*group("blue", "64512:9"), *group("green", "64512:3"), *bind("web-1", "blue", "10.1.1.1"))
    gateway = make_gateway("", STATIC)
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2")
    assert gateway.ask("map.show") == {"configured": False}
    announce(one, WEB, "web-1", 101)
    announce(one, DB, "web-1", 102)
    two.subscribe("blue")
    both = {WEB: [("127.0.0.1", 101)], DB: [("127.0.0.1", 102)]}
    two.read_routes("blue", both)

    gateway.write_config(STATIC + orchestration.section())
    gateway.signal(signal.SIGHUP)
    one.read_notice(withheld(DB, ""))
    two.read_routes("blue", {WEB: both[WEB]})
    [clash] = gateway.ask("status")["problems"]
    assert clash["what"] == "VPN blue" and "[[vpn]]" in clash["why"]
    assert {vpn["name"]: vpn["source"] for vpn in gateway.ask("vpn.list")["items"]} == {
        "blue": "static",
        "green": "map",
    }
    gateway.write_config(STATIC + orchestration.section(authorization='"binding"'))
    gateway.signal(signal.SIGHUP)
    one.read_notice(admitted(DB))
    two.read_routes("blue", both)
    gateway.write_config(STATIC + orchestration.section("gw2"))
    gateway.signal(signal.SIGHUP)
    one.read_notice(withheld(DB, "10.1.1.2/32 is no address of attachment web-1"))
    wait_for(lambda: gateway.ask("map.show")["publisher_id"].startswith("gw2"), "a session as another user")

    one.subscribe("green")
    gateway.write_config(STATIC + "[map]\n")
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: "one of url and urls" in str(gateway.ask("status")["problems"]), "the mistake to be shown")
    gateway.write_config(STATIC)
    gateway.signal(signal.SIGHUP)
    one.read_notice(admitted(DB))
    one.read_notice(Notice(NoticeKind.DELETED, "green"))
    two.read_routes("blue", both)


def test_nothing_is_permitted_before_a_server_was_reached(
    orchestration: Orchestration, make_gateway: MakeGateway, connect: Connect
) -> None:
    orchestration.publish(*group("blue"), *bind("web-1", "blue", "10.1.1.1"))
    section = orchestration.section()
    orchestration.server.kill()
    gateway = make_gateway("", STATIC + section)
    host = connect(gateway, "hv1")
    condition, _, text = refusal(host.announce("blue", WEB, 101, attachment="web-1"))
    assert condition == "forbidden" and "no MAP server has been reached" in text
    assert gateway.ask("map.show")["source"] == "none"
    orchestration.start()
    host.read_notice(admitted(WEB))
    assert gateway.routes("blue") == {WEB: [("127.0.0.1", 101)]}
