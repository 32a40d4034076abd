"""Connections that are lost and sessions that go on, on the wire (XEP-0198)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import pytest

from lab.pki import Authority
from tests.scenario.conftest import Connect
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import GatewayProcess
from tests.scenario.raw_host import RawHost, stream_condition
from tests.stream_elements import CLIENT
from xmpp import namespaces as ns

Authenticate = Callable[..., RawHost]

SM = f"{{{ns.SM}}}"
OWN = {"10.1.1.1/32": [("127.0.0.1", 100)]}


def read(host: RawHost, name: str) -> Element:
    """The next element of stream management of this name."""
    return host.read_until(lambda element: element.tag == f"{SM}{name}")


def enable(host: RawHost) -> str:
    """Have stanzas counted; the id to resume by."""
    host.send(f"<enable xmlns='{ns.SM}' resume='true'/>")
    return read(host, "enabled").get("id", "")


def count(host: RawHost) -> int:
    """Stanzas that the gateway has got."""
    host.send(f"<r xmlns='{ns.SM}'/>")
    return int(read(host, "a").get("h", ""))


class Working:
    """A host with a route and a subscription, whose stanzas are counted. got: those that it has handled."""

    def __init__(self, host: RawHost, vpn: str) -> None:
        self.host = host
        self.id = enable(host)
        assert host.subscribe(vpn).get("type") == "result"
        assert host.announce(vpn, "10.1.1.1/32").get("type") == "result"
        host.ping()
        assert host.events[vpn] == OWN
        self.got = 4
        """Three answers and an event."""


class Site(NamedTuple):
    """What belongs to one test: a VPN, another one, and hosts."""

    gateway: GatewayProcess
    vpn: str
    other: str
    host: str
    peer: str

    def row(self, name: str) -> dict[str, Any]:
        """Of `host list`; empty when the host isn't there."""
        return next((item for item in self.gateway.ask("host.list")["items"] if item["name"] == name), {})

    def gone(self) -> None:
        """Wait until the gateway knows that the host is away."""
        wait_for(lambda: self.row(self.host).get("state") == "stale", f"{self.host} is away")


SITES = 8
TABLES = "".join(
    f'[[vpn]]\nname = "vpn{number}"\nimport = ["64512:{number}"]\nexport = ["64512:{number}"]\n'
    for number in range(2 * SITES)
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[GatewayProcess]:
    settings = "stale_time = 60\nresume_time = 30"
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), authority, settings, TABLES)
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.text(), process.text()


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return iter(range(SITES))


@pytest.fixture
def site(gateway: GatewayProcess, numbers: Iterator[int]) -> Site:
    number = next(numbers)
    return Site(gateway, f"vpn{number}", f"vpn{number + SITES}", f"hv{number}", f"peer{number}")


@pytest.fixture
def authenticate(site: Site, connect: Connect) -> Authenticate:
    """A host that has proved who it is, and no more."""

    def make(name: str = "") -> RawHost:
        host = connect(site.gateway, name or site.host, login=False)
        host.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
        host.read_until(lambda element: element.tag == f"{{{ns.SASL}}}success")
        host.restart()
        assert host.features.find(f"{SM}sm") is not None
        return host

    return make


def resume(host: RawHost, identifier: str, got: int) -> Element:
    """Ask to go on with a session; the answer."""
    host.send(f"<resume xmlns='{ns.SM}' previd='{identifier}' h='{got}'/>")
    return host.read_until(lambda element: element.tag in (f"{SM}resumed", f"{SM}failed"))


def test_a_lost_connection_costs_nothing_but_what_has_changed(
    site: Site, connect: Connect, authenticate: Authenticate
) -> None:
    working, source = Working(connect(site.gateway, site.host), site.vpn), connect(site.gateway, site.peer)
    source.announce(site.vpn, "10.1.1.2/32", label=200)
    working.host.close()
    site.gone()
    source.announce(site.vpn, "10.1.1.2/32", label=201)
    source.announce(site.vpn, "10.1.1.3/32", label=300)
    assert site.row(site.host)["stale_routes"] == 1
    again = authenticate()
    resumed = resume(again, working.id, working.got)
    assert (resumed.tag, resumed.get("previd"), resumed.get("h")) == (f"{SM}resumed", working.id, "3")
    again.jid = working.host.jid
    again.ping()
    assert again.events[site.vpn] == {"10.1.1.2/32": [("127.0.0.1", 201)], "10.1.1.3/32": [("127.0.0.1", 300)]}
    assert (site.row(site.host)["state"], site.row(site.host)["stale_routes"]) == ("connected", 0)
    assert site.gateway.routes(site.vpn)["10.1.1.1/32"] == OWN["10.1.1.1/32"]
    assert count(again) == 4
    assert again.subscribe(site.other).get("type") == "result"
    source.retract(site.vpn, "127.0.0.1:1:10.1.1.2/32")
    again.read_routes(site.vpn, {"10.1.1.3/32": [("127.0.0.1", 300)]})


def test_answers_that_were_lost_with_the_connection_come_with_the_next(
    site: Site, connect: Connect, authenticate: Authenticate
) -> None:
    working = Working(connect(site.gateway, site.host), site.vpn)
    identifier = working.host.request("get", f"<query xmlns='{ns.DISCO_INFO}'/>")
    assert count(working.host) == 4
    again = authenticate()
    assert resume(again, working.id, working.got).get("h") == "4"
    answer = again.read_until(lambda element: element.tag == f"{CLIENT}iq")
    assert (answer.get("id"), answer.get("type")) == (identifier, "result")


def test_a_session_is_taken_over_from_a_connection_that_is_still_there(
    site: Site, connect: Connect, authenticate: Authenticate
) -> None:
    working = Working(connect(site.gateway, site.host), site.vpn)
    again = authenticate()
    assert resume(again, working.id, working.got).tag == f"{SM}resumed"
    condition, text = stream_condition(working.host.read_to_end())
    assert condition == "conflict" and "another connection" in text
    again.ping()
    assert site.row(site.host)["state"] == "connected"
    assert site.row(site.host)["stale_routes"] == 0


def test_another_host_cannot_have_the_session(site: Site, connect: Connect, authenticate: Authenticate) -> None:
    working = Working(connect(site.gateway, site.host), site.vpn)
    thief = authenticate(site.peer)
    failed = resume(thief, working.id, working.got)
    assert failed.tag == f"{SM}failed" and failed.get("h") is None
    assert failed.find(f"{{{ns.STANZA_ERRORS}}}item-not-found") is not None
    bound = thief.ask("set", f"<bind xmlns='{ns.BIND}'/>", to="")
    assert bound.get("type") == "result"
    working.host.ping()


def test_a_session_that_was_not_resumed_in_time(site: Site, connect: Connect, authenticate: Authenticate) -> None:
    short = connect(site.gateway, site.host)
    short.send(f"<enable xmlns='{ns.SM}' resume='true' max='1'/>")
    enabled = read(short, "enabled")
    assert enabled.get("max") == "1"
    short.announce(site.vpn, "10.1.1.1/32")
    short.close()
    site.gone()
    wait_for(lambda: f"host {site.host} did not come back to its session" in site.gateway.text(), "the session is over")
    failed = resume(authenticate(), enabled.get("id", ""), 1)
    assert (failed.tag, failed.get("h")) == (f"{SM}failed", "1")
    assert site.row(site.host)["stale_routes"] == 1, "the items have a time of their own"


def test_a_new_session_and_a_proper_end_leave_nothing_to_resume(
    site: Site, connect: Connect, authenticate: Authenticate
) -> None:
    replaced = Working(connect(site.gateway, site.host), site.vpn)
    replaced.host.close()
    site.gone()
    newer = connect(site.gateway, site.host)
    assert resume(authenticate(), replaced.id, replaced.got).tag == f"{SM}failed"
    identifier = enable(newer)
    newer.send("</stream:stream>")
    assert newer.read_to_end() is None
    assert resume(authenticate(), identifier, 0).tag == f"{SM}failed"


def test_an_impossible_count_ends_the_stream(site: Site, connect: Connect) -> None:
    host = connect(site.gateway, site.host)
    enable(host)
    host.send(f"<a xmlns='{ns.SM}' h='5'/>")
    error = host.read_to_end()
    assert stream_condition(error)[0] == "undefined-condition"
    assert error is not None
    detail = error.find(f"{SM}handled-count-too-high")
    assert detail is not None and (detail.get("h"), detail.get("send-count")) == ("5", "0")


def test_a_host_that_never_acknowledges_is_asked_and_loses_nothing(
    site: Site, connect: Connect, authenticate: Authenticate
) -> None:
    working = Working(connect(site.gateway, site.host), site.vpn)
    for number in range(150):
        working.host.announce(site.vpn, f"10.2.0.{number}/32", label=1000 + number)
    working.host.ping()
    assert any(element.tag == f"{SM}r" for element in working.host.stanzas)
    routes = working.host.events[site.vpn]
    working.host.close()
    site.gone()
    again = authenticate()
    assert resume(again, working.id, working.got).tag == f"{SM}resumed"
    again.ping()
    assert again.events[site.vpn] == {prefix: hops for prefix, hops in routes.items() if prefix not in OWN}
