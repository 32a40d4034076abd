"""What a gateway does for hosts: routes from one to another, VPNs, the end of a table, restarts, operator's view."""

from __future__ import annotations

import signal

import pytest

from runtime.errors import ExitCode, OperatorError
from tests.scenario.conftest import Connect, MakeGateway
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import DOMAIN, MESH, GatewayProcess
from tests.scenario.raw_host import entry, stream_condition
from tests.stream_elements import CLIENT, STREAM
from tests.unit.gateway.harness import refusal
from xmpp import namespaces as ns
from xmpp.notices import Notice, NoticeKind


def test_a_route_goes_from_host_to_host(shared_gateway: GatewayProcess, connect: Connect) -> None:
    one, two = connect(shared_gateway, "hv1"), connect(shared_gateway, "hv2")
    two.subscribe("blue")
    two.ping()
    assert two.events.get("blue", {}) == {}
    one.announce("blue", "10.1.1.1/32", label=101)
    one.announce("blue", "2001:db8::1/128", label=102)
    two.read_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)], "2001:db8::1/128": [("127.0.0.1", 102)]})
    one.retract("blue", "127.0.0.1:1:10.1.1.1/32")
    two.read_routes("blue", {"2001:db8::1/128": [("127.0.0.1", 102)]})
    one.retract("blue", "127.0.0.1:1:2001:db8::1/128")
    two.read_routes("blue", {})


def test_the_pong_ends_the_table(shared_gateway: GatewayProcess, connect: Connect) -> None:
    one = connect(shared_gateway, "hv1")
    prefixes = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(2000)]
    for start in range(0, len(prefixes), 200):
        items = "".join(
            f"<item id='127.0.0.1:1:{prefix}'>{entry(prefix, 100, '127.0.0.1')}</item>"
            for prefix in prefixes[start : start + 200]
        )
        assert one.pubsub(f"<publish node='red'>{items}</publish>").get("type") == "result"
    two = connect(shared_gateway, "hv2")
    # Sent in one breath, as an agent does: the answer to the ping must still be the last thing.
    two.request("set", f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='red' jid='{two.jid}'/></pubsub>")
    two.ping()
    assert set(two.events["red"]) == set(prefixes)
    one.close()
    wait_for(lambda: not shared_gateway.routes("red"), "the stale timer")


def test_stale_routes_are_kept_and_then_withdrawn(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway("stale_time = 1.5")
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2")
    two.subscribe("blue")
    one.announce("blue", "10.1.1.1/32")
    one.announce("blue", "10.1.1.2/32")
    two.ping()
    one.close()
    gateway.wait_log("hv1", "disconnected", "2 of its routes are stale")
    two.ping()
    assert len(two.events["blue"]) == 2
    [hv1] = [host for host in gateway.ask("host.list")["items"] if host["name"] == "hv1"]
    assert (hv1["state"], hv1["routes"], hv1["stale_routes"]) == ("stale", 2, 2)
    again = connect(gateway, "hv1")
    again.announce("blue", "10.1.1.1/32")
    two.read_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 100)]})
    gateway.wait_log("hv1", "did not come back in time; 1 of its routes")
    again.close()
    two.read_routes("blue", {})
    wait_for(lambda: [h["name"] for h in gateway.ask("host.list")["items"]] == ["hv2"], "hv1 to be forgotten")


HUB_AND_EXTRANET = """
[[vpn]]
name = "hub"
import = ["64512:20"]
export = ["64512:10"]
[[vpn]]
name = "spoke"
import = ["64512:10"]
export = ["64512:20"]
[[vpn]]
name = "blue"
import = ["64512:1", "64512:9"]
export = ["64512:1"]
[[vpn]]
name = "shared"
import = ["64512:1", "64512:9"]
export = ["64512:9"]
[[host]]
name = "hv1"
addresses = ["192.0.2.11"]
[[host]]
name = "hv2"
addresses = ["192.0.2.12", "192.0.2.212"]
vpns = ["spoke", "shared"]
"""


def test_hub_and_spoke_and_extranet(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway(tables=HUB_AND_EXTRANET)
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2")
    for host, node in ((one, "hub"), (one, "spoke"), (two, "spoke"), (one, "blue"), (two, "shared")):
        assert host.subscribe(node).get("type") == "result"
    assert refusal(two.subscribe("hub"))[0] == "forbidden"

    def announce(host: str, address: str, node: str, prefix: str) -> None:
        sender = one if host == "hv1" else two
        answer = sender.announce(node, prefix, next_hop=address, item_id=f"{address}:1:{prefix}")
        assert answer.get("type") == "result"

    announce("hv1", "192.0.2.11", "hub", "0.0.0.0/0")
    announce("hv1", "192.0.2.11", "spoke", "10.1.0.1/32")
    announce("hv2", "192.0.2.212", "spoke", "10.1.0.2/32")
    announce("hv1", "192.0.2.11", "blue", "10.5.5.5/32")
    announce("hv2", "192.0.2.12", "shared", "10.5.5.5/32")
    one.ping()
    two.ping()
    default = {"0.0.0.0/0": [("192.0.2.11", 100)]}
    assert one.events["hub"] == {"10.1.0.1/32": [("192.0.2.11", 100)], "10.1.0.2/32": [("192.0.2.212", 100)]}
    assert one.events["spoke"] == two.events["spoke"] == default
    both = {"10.5.5.5/32": [("192.0.2.11", 100), ("192.0.2.12", 100)]}
    assert one.events["blue"] == two.events["shared"] == both
    [route] = gateway.ask("route.list", {"vpn": "shared"})["items"]
    assert route["source"] == ["hv1 (blue)", "hv2"]


def test_starttls_logs_in_every_time(make_gateway: MakeGateway, connect: Connect) -> None:
    """With TLS 1.3 a client's stream header may reach the server along with the end of its handshake."""
    gateway = make_gateway()
    for _ in range(200):
        host = connect(gateway, "hv1", starttls=True)
        host.close()
    connect(gateway, "hv1").ping()


def test_the_end_of_the_gateway_is_announced(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway()
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2", starttls=True)
    assert gateway.stop() == 0
    assert stream_condition(one.read_to_end())[0] == stream_condition(two.read_to_end())[0] == "system-shutdown"
    assert not gateway.socket.exists()
    assert "stopped" in gateway.text()


def test_a_reload_moves_routes_in_place(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway()
    one, two = connect(gateway, "hv1"), connect(gateway, "hv2")
    one.announce("blue", "10.1.1.1/32")
    two.subscribe("red")
    two.ping()
    assert two.events.get("red", {}) == {}
    gateway.write_config(MESH.replace('import = ["64512:2"]', 'import = ["64512:1", "64512:2"]'))
    gateway.signal(signal.SIGHUP)
    two.read_routes("red", {"10.1.1.1/32": [("127.0.0.1", 100)]})
    gateway.write_config(MESH)
    gateway.signal(signal.SIGHUP)
    two.read_routes("red", {})
    gateway.config.write_text("[gateway]\ndomain = 7\n")
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: gateway.ask("status")["state"] == "degraded", "the problem to be shown")
    assert "domain" in str(gateway.ask("status")["problems"])
    gateway.write_config(MESH.partition('[[vpn]]\nname = "red"')[0])
    gateway.signal(signal.SIGHUP)
    two.read_notice(Notice(NoticeKind.DELETED, "red"))
    one.ping()
    assert gateway.ask("status")["state"] == "ok"
    assert refusal(two.subscribe("red"))[0] == "item-not-found"
    gateway.write_config(MESH.replace('import = ["64512:2"]', 'import = ["64512:1"]'))
    gateway.signal(signal.SIGHUP)
    two.read_notice(Notice(NoticeKind.AVAILABLE, "red"))
    two.subscribe("red")
    two.read_routes("red", {"10.1.1.1/32": [("127.0.0.1", 100)]})


def test_what_the_operator_sees(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway()
    one = connect(gateway, "hv1")
    one.subscribe("blue")
    one.announce("blue", "10.1.1.1/32", label=101)
    one.announce("red", "2001:db8::1/128", label=102)
    [host] = gateway.ask("host.list")["items"]
    assert host == {
        "name": "hv1",
        "jid": f"hv1@{DOMAIN}/vrfwire",
        "address": "127.0.0.1",
        "addresses": ["127.0.0.1"],
        "state": "connected",
        "since": host["since"],
        "vpns": ["blue", "red"],
        "routes": 2,
        "stale_routes": 0,
        "slowed": "",
    }
    blue: dict[str, object] = {"name": "blue", "source": "static", "import": ["64512:1"], "export": ["64512:1"]}
    blue |= {"hosts": ["hv1"], "routes": 1}
    assert gateway.ask("vpn.show", {"name": "blue"}) == gateway.ask("vpn.list")["items"][0] == blue
    assert [route["prefix"] for route in gateway.ask("route.list")["items"]] == ["10.1.1.1/32", "2001:db8::1/128"]
    assert gateway.ask("route.list", {"vpn": "blue"})["items"] == [
        {
            "vpn": "blue",
            "prefix": "10.1.1.1/32",
            "next_hops": [{"address": "127.0.0.1", "label": 101, "encapsulations": ["gre"]}],
            "local_preference": 100,
            "sequence_number": 0,
            "source": ["hv1"],
            "stale": False,
        }
    ]
    status = gateway.ask("status")
    assert (status["state"], status["sessions"], status["vpns"], status["routes"]) == ("ok", 1, 2, 2)
    assert any(item["key"] == "vpn[0].name" for item in gateway.ask("config.show")["items"])
    assert gateway.ask("version")["program"] == "vrfwire-gateway"
    for method in ("vpn.show", "route.list"):
        with pytest.raises(OperatorError) as caught:
            gateway.ask(method, {"name": "green", "vpn": "green"})
        assert caught.value.code == ExitCode.NOT_FOUND


def test_discovery_and_other_requests(shared_gateway: GatewayProcess, connect: Connect) -> None:
    host = connect(shared_gateway, "hv1")
    items = host.ask("get", f"<query xmlns='{ns.DISCO_ITEMS}'/>")
    assert [item.get("node") for item in items.iter(f"{{{ns.DISCO_ITEMS}}}item")] == ["blue", "red"]
    info = host.ask("get", f"<query xmlns='{ns.DISCO_INFO}'/>")
    assert ns.PUBSUB in {feature.get("var") for feature in info.iter(f"{{{ns.DISCO_INFO}}}feature")}
    assert host.ask("get", f"<query xmlns='{ns.ROSTER}'/>", to="").get("type") == "result"
    assert refusal(host.ask("get", "<query xmlns='urn:example:x'/>"))[0] == "service-unavailable"
    host.send("<presence/>   <message to='x@y'/>")
    host.ping()


def test_the_stream_ends_in_good_manners(shared_gateway: GatewayProcess, connect: Connect) -> None:
    host = connect(shared_gateway, "hv1")
    host.send("</stream:stream>")
    assert host.read_to_end() is None
    assert bytes(host.received).endswith(b"</stream:stream>")
    assert not any(element.tag == f"{STREAM}error" or element.tag == f"{CLIENT}iq" for element in host.stanzas)
