"""The load generator for XMPP servers without a server: what its hosts send, how they count, and the arithmetic."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from agent.reconnect import Loss, loss_of
from benchmarks import gateway, gateway_handshake, xmpp_load_stanzas
from benchmarks.gateway_crowd import HOSTS_OF_VPN, ROUTES, VPNS_OF_HOST, vpn_names
from benchmarks.gateway_fanout import Figures
from benchmarks.gateway_load import Certificates
from benchmarks.xmpp_load import Load, Settings
from benchmarks.xmpp_load_host import Host, StreamEnded
from benchmarks.xmpp_load_publish import Latencies
from benchmarks.xmpp_load_stanzas import Template, host_name, host_number, prefix_text, source_address
from vpn.prefix import Prefix, parse_address
from xmpp import namespaces as ns
from xmpp.entry import decode, encode
from xmpp.jid import Jid
from xmpp.notification import EventBuilder, recipient

DOMAIN = "gw.example.org"


def events(numbers: list[int], version: int = 1) -> bytes:
    """An event message with these routes, as a gateway sends it."""
    publish = ElementTree.fromstring(Template.of(DOMAIN, source_address(1)).publish("blue", numbers, version, "p"))
    items = publish.iter(f"{{{ns.PUBSUB}}}item")
    changes = [(str(entry.prefix), encode(entry)) for entry in (decode(item[0]) for item in items)]
    (batch,) = EventBuilder(Jid.of("", DOMAIN), "blue").batches(changes)
    return batch.to(recipient(Jid.parse(f"h00001@{DOMAIN}/vrfwire")))


class Replies(list[dict[str, Any]]):
    """What the load generator has answered."""


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def load(replies: Replies) -> Load:
    return Load(Settings("127.0.0.1", 5222, DOMAIN, DOMAIN, tls=False, keepalive=0.0), replies.append)


class Line:
    """A host that is logged in, and the server's end of its connection."""

    def __init__(self, load: Load) -> None:
        ours, self.server = socket.socketpair()
        ours.setblocking(False)
        self.server.settimeout(10.0)
        self.host = load.host(1)
        self.host._socket = ours
        self.host.up = True
        load.watch(self.host, ours.fileno(), select.EPOLLIN)

    def receive(self, data: bytes) -> None:
        """The server sends this."""
        self.server.sendall(data)
        self.host.handle(select.EPOLLIN)

    def sent(self) -> bytes:
        """What the host has sent."""
        return self.server.recv(65536)


@pytest.fixture
def line(load: Load) -> Iterator[Line]:
    made = Line(load)
    yield made
    made.host.close()
    made.server.close()


def test_hosts_have_addresses_of_their_own() -> None:
    numbers = [0, 1, 255, 256, 9_999, 65_536, 70_000]
    addresses = [source_address(number) for number in numbers]
    assert [host_number(address) for address in addresses] == numbers
    assert all(address.startswith("127.") for address in addresses)
    assert len({len(host_name(number)) for number in numbers}) == 1


def test_what_is_published_is_what_an_agent_publishes() -> None:
    template = Template.of(DOMAIN, source_address(7))
    publish = ElementTree.fromstring(template.publish("blue", [5, 70_000], 3, "p"))
    assert publish.get("to") == DOMAIN
    items = list(publish.iter(f"{{{ns.PUBSUB}}}item"))
    entries = [decode(item[0]) for item in items]
    assert [entry.prefix for entry in entries] == [Prefix.parse("10.0.0.5/32"), Prefix.parse("10.1.17.112/32")]
    assert [item.get("id") for item in items] == ["127.16.0.7:1:10.0.0.5/32", "127.16.0.7:1:10.1.17.112/32"]
    assert {hop.address for entry in entries for hop in entry.path.next_hops} == {parse_address("127.16.0.7")}
    assert [entry.path.sequence_number for entry in entries] == [3, 3]


def test_another_version_is_a_change() -> None:
    template = Template.of(DOMAIN, source_address(7))
    labels = set()
    for version in (1, 2):
        publish = ElementTree.fromstring(template.publish("blue", [5], version, "p"))
        (item,) = publish.iter(f"{{{ns.PUBSUB}}}item")
        labels.add(decode(item[0]).path.next_hops[0].label)
    assert len(labels) == 2


def test_items_are_counted_however_the_stream_is_cut(load: Load, line: Line) -> None:
    text = events([1, 2])
    for cut in range(1, len(text)):
        before = load.counts.items
        line.receive(text[:cut])
        line.receive(text[cut:])
        assert load.counts.items - before == 2, f"cut at {cut}"


def test_answers_to_a_publish_are_no_items(load: Load, line: Line) -> None:
    line.host.ask(b"<iq/>")
    assert line.sent() == b"<iq/>"
    line.receive(
        b"<iq type='result' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        b"<publish node='blue'><item id='127.16.0.1:1:10.0.0.1/32'/></publish></pubsub></iq>"
    )
    assert (load.counts.items, line.host.answers, line.host.owed) == (0, 1, 0)


def test_a_refusal_is_told(load: Load, line: Line, replies: Replies) -> None:
    line.host.ask(b"<iq/>")
    line.receive(b"<iq type='error' id='p'><error type='cancel'><item-not-found/></error></iq>")
    load.do_count()
    assert load.counts.errors == 1
    assert "item-not-found" in replies[-1]["error"]


def test_a_ping_is_answered(line: Line) -> None:
    line.receive(f"<iq id='7' type='get' from='{DOMAIN}'><ping xmlns='{ns.PING}'/></iq>".encode())
    assert line.sent() == f"<iq type='result' to='{DOMAIN}' id='7'/>".encode()


def test_the_end_of_a_stream_says_why(line: Line) -> None:
    error = f"<stream:error><system-shutdown xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>"
    with pytest.raises(StreamEnded) as caught:
        line.receive(error.encode())
    assert loss_of(caught.value.condition) is Loss.SHUTDOWN


def test_a_host_that_is_lost_begins_anew(load: Load, line: Line, replies: Replies) -> None:
    load.do_plan(first=1, count=1, nodes=["blue"], routes=2)
    line.receive(events([1, 2]))
    assert line.host.whole_since
    load.do_recover()
    load._end(line.host, ConnectionResetError("gone"))
    assert (line.host.up, line.host.items, line.host.whole_since, load.counts.lost) == (False, 0, 0.0, 1)
    load.do_wait(whole=1, deadline=0.0)
    load._look()
    assert "error" in replies[-1]


def test_who_has_a_session_is_not_late_with_its_plan(load: Load, line: Line) -> None:
    late = load.host(2)
    for host in (line.host, late):
        load._logging_in[host] = 0.0
    load.logged_in(line.host)
    load._expire_logins(load.settings.login_time + 1.0)
    assert (line.host.up, list(load._logging_in)) == (True, [line.host])


def test_latency_is_of_items_that_were_published(load: Load, line: Line) -> None:
    load.latencies = Latencies()
    load.latencies.sent[prefix_text(2)] = 0.0
    line.receive(events([1, 2, 3]))
    assert len(load.latencies.seconds) == 1


def test_handshakes_are_between_both_ends(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path, DOMAIN)
    certificates.issue([0])
    found = gateway_handshake.measure(tmp_path, rounds=4)
    assert all(float(value) > 0 for value in found.values()) and len(found) == 3


def test_a_plan_spreads_hosts_over_vpns(load: Load, replies: Replies) -> None:
    hosts, names = 200, vpn_names(200)
    load.do_plan(first=0, count=hosts, nodes=names, per_host=VPNS_OF_HOST, routes=ROUTES)
    assert replies == [{"expected": hosts * ROUTES * HOSTS_OF_VPN}]
    assert {len(set(load.host(number).nodes)) for number in range(hosts)} == {VPNS_OF_HOST}
    members = [sum(name in load.host(number).nodes for number in range(hosts)) for name in names]
    assert set(members) == {HOSTS_OF_VPN}
    routes = [route for number in range(hosts) for each in load.host(number).routes for route in each]
    assert len(set(routes)) == len(routes) == hosts * ROUTES


def test_an_unknown_command_is_refused(load: Load, replies: Replies) -> None:
    load.command({"do": "dance"})
    assert replies == [{"error": "there is no command 'dance'"}]


def test_ratios_take_the_worst_size_and_leave_out_who_is_missing() -> None:
    figures: Figures = {
        "vrfwire_tls_events_per_s_pipelined_500": 1000.0,
        "vrfwire_tls_events_per_s_pipelined_1000": 800.0,
        "ejabberd_tls_events_per_s_pipelined_500": 100.0,
        "ejabberd_tls_events_per_s_pipelined_1000": 160.0,
        "vrfwire_tls_us_per_event_lockstep_500": 10.0,
        "ejabberd_tls_us_per_event_lockstep_500": 40.0,
    }
    found = gateway.ratios(figures, (500, 1000))
    assert found == {"tls_events_vs_ejabberd": 5.0, "tls_cpu_lockstep_vs_ejabberd": 4.0}


def test_every_request_is_xml() -> None:
    for request in (
        xmpp_load_stanzas.authentication("PLAIN", "h00001", "x"),
        xmpp_load_stanzas.bind("r"),
        xmpp_load_stanzas.ping(DOMAIN, "k"),
        xmpp_load_stanzas.presence(DOMAIN),
        xmpp_load_stanzas.subscribe(DOMAIN, "blue", f"h00001@{DOMAIN}/r"),
        xmpp_load_stanzas.header(DOMAIN) + b"</stream:stream>",
    ):
        ElementTree.fromstring(request)


def test_a_host_is_a_host(load: Load) -> None:
    assert isinstance(load.host(3), Host)
    assert load.host(3) is load.host(3)
