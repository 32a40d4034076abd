"""What the gateway measures, and that docs/metrics.md tells all of it."""

from __future__ import annotations

import re
from pathlib import Path

from bgp.errors import CeaseSubcode
from bgp.family import RTC, VPNV4
from bgp.rib.peer import PrefixLimit
from gateway.component_metrics import COMPONENT_METRICS
from gateway.exchange import Exchange
from gateway.limit_status import LIMIT_METRICS
from gateway.metrics import GATEWAY_METRICS, GatewayMetrics
from runtime.certificate_metrics import CERTIFICATE_METRICS
from runtime.metrics import RUNTIME_METRICS, Buckets
from tests.unit.bgp.net import Network, Node
from tests.unit.bgp.routes import route
from tests.unit.gateway.bgp_site import Site
from vpn.path import NextHop
from vpn.path import Path as VpnPath
from vpn.prefix import Prefix, parse_address

DOCUMENT = Path(__file__).parents[3] / "docs/metrics.md"

OTHERS = (*CERTIFICATE_METRICS, *COMPONENT_METRICS, *LIMIT_METRICS)


def site() -> tuple[Network, Node, Site]:
    network = Network()
    gateway, reflector = Node("gw", 1), Node("rr", 2)
    network.link(gateway, reflector, families=(VPNV4, RTC), limit=PrefixLimit(100))
    reflector.want("64512:1")
    gateway.want("64512:1")
    gateway.originate(route("10.1.1.1/32", 100, "192.0.2.11:1"))
    reflector.originate(route("10.2.0.0/16", 200), route("10.3.0.0/16", 300))
    network.settle()
    return network, reflector, Site(network, gateway)


def measured(of: Site) -> dict[str, dict[tuple[str, ...], float]]:
    """Numbers by name without prefix and by labels; histograms are left out."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for (name, _, labels, _), samples in GatewayMetrics(of.speaker, of.service).snapshot():
        for values, value in samples:
            assert len(values) == len(labels), name
            if not isinstance(value, Buckets):
                assert values not in found.setdefault(name.removeprefix("vrfwire_"), {}), name
                found[name.removeprefix("vrfwire_")][values] = value
    return found


def test_peer_and_tables() -> None:
    _, _, of = site()
    found = measured(of)
    assert found["bgp_peer_info"] == {("rr", "192.0.2.2", "64512", "ibgp"): 1}
    assert found["bgp_peer_up"] == {("rr",): 1}
    assert {labels[1] for labels, value in found["bgp_peer_state"].items() if value} == {"established"}
    assert len(found["bgp_peer_state"]) == 6
    assert found["bgp_peer_flaps_total"] == {("rr",): 0}
    assert found["bgp_peer_accepted_routes"] == {("rr", "vpnv4"): 2, ("rr", "rtc"): 1}
    assert found["bgp_peer_session_announced_routes_total"][("rr", "vpnv4")] == 1
    assert found["bgp_peer_max_prefixes"] == {("rr", "vpnv4"): 100, ("rr", "rtc"): 100}
    assert found["bgp_peer_memberships"] == {("rr",): 1}
    assert found["bgp_peer_end_of_rib"][("rr", "vpnv4")] == 1
    assert found["bgp_peer_messages_received_total"][("rr", "open")] == 1
    assert found["bgp_table_destinations"][("vpnv4",)] == 3
    assert found["bgp_table_paths"][("vpnv4",)] == 3
    assert found["bgp_table_imported_destinations"][("vpnv4",)] == 2
    assert found["bgp_update_groups"][("vpnv4",)] == 1


def test_a_session_that_ended() -> None:
    network, reflector, of = site()
    reflector.sessions["gw"].session.reset(network.now, "moin")
    network.settle()
    found = measured(of)
    assert found["bgp_peer_up"] == {("rr",): 0}
    assert found["bgp_peer_flaps_total"] == {("rr",): 1}
    codes = found["bgp_peer_last_error_code"]
    subcodes = found["bgp_peer_last_error_subcode"]
    assert (codes[("rr", "received")], subcodes[("rr", "received")]) == (6, CeaseSubcode.ADMINISTRATIVE_RESET)
    assert (codes[("rr", "sent")], subcodes[("rr", "sent")]) == (0, 0)
    assert "bgp_peer_session_announced_routes_total" not in found or not any(
        found["bgp_peer_session_announced_routes_total"].values()
    )


def test_speaker() -> None:
    _, _, of = site()
    of.speaker.exchange = Exchange(of.service, of.node.rib, linger=60.0)
    of.speaker.counters.update({"refused/unknown peer": 2, "errors": 1})
    path = VpnPath((NextHop(parse_address("2001:db8::1"), 1001),))
    of.service.rib.publish("blue", "hv1", "[2001:db8::1]:1:10.0.0.0/24", Prefix.parse("10.0.0.0/24"), path)
    of.speaker.exchange.export(0.0)
    found = measured(of)
    assert found["bgp_refused_connections_total"] == {("unknown peer",): 2}
    assert found["bgp_errors_total"] == {(): 1}
    assert {labels[0]: value for labels, value in found["bgp_unannounced_items"].items() if value} == {
        "ipv6_next_hop": 1
    }


def test_hosts() -> None:
    _, _, of = site()
    path = VpnPath((NextHop(parse_address("192.0.2.11"), 1001),))
    of.service.rib.publish("blue", "hv1", "192.0.2.11:1:10.0.0.0/24", Prefix.parse("10.0.0.0/24"), path)
    of.service.rib.session_ended("hv1", 0, 0.0)
    of.service.counters.update({"publish": 2, "refused/forbidden": 3})
    found = measured(of)
    assert found["vpn_routes"] == {("blue",): 1, ("red",): 0}
    assert (found["xmpp_items"], found["xmpp_stale_items"]) == ({(): 1}, {(): 1})
    assert found["xmpp_hosts"] == {("connected",): 0, ("stale",): 1}
    assert found["xmpp_requests_total"] == {("publish",): 2}
    assert found["xmpp_refusals_total"] == {("forbidden",): 3}


def test_without_bgp_there_are_no_metrics_of_it() -> None:
    _, _, of = site()
    of.speaker.peers.clear()
    assert not [name for name in measured(of) if name.startswith("bgp")]
    alone = GatewayMetrics(None, of.service).snapshot()
    assert "vrfwire_xmpp_sessions" in {metric.description.name for metric in alone}


def test_every_metric_is_documented_and_no_other() -> None:
    part, heading, _ = DOCUMENT.read_text().partition("\n## The MAP server\n")
    assert heading
    rows = re.findall(r"^\| `(vrfwire_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", part, re.MULTILINE)
    expected = [
        (name, kind, ", ".join(f"`{label}`" for label in labels) or "-", text)
        for name, kind, labels, text in (*GATEWAY_METRICS, *RUNTIME_METRICS, *OTHERS)
    ]
    assert rows == expected


def test_names_follow_the_rules() -> None:
    for name, kind, labels, text in (*GATEWAY_METRICS, *RUNTIME_METRICS, *OTHERS):
        assert name.startswith("vrfwire_"), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert text, name
        assert not {"prefix", "rd", "host"} & set(labels), name
    assert len({metric.name for metric in GATEWAY_METRICS}) == len(GATEWAY_METRICS)
