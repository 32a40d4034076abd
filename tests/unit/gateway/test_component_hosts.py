"""Sessions behind an XMPP server: what begins and ends them, who is let in, what hosts are told."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from gateway import component_hosts
from gateway.component_guest import WINDOW
from gateway.hosts import Host, Hosts
from gateway.policy import Policy
from tests.unit.gateway.component_site import DOMAIN, USERS, Client, Site, condition, fault, kind, listed
from tests.unit.gateway.harness import vpn
from vpn.prefix import parse_address
from xmpp import namespaces as ns
from xmpp.jid import Jid
from xmpp.stanza import Kind, Stanza


def presences(stanzas: list[ElementTree.Element]) -> list[str | None]:
    """Types of the presence among stanzas; None: available."""
    return [stanza.get("type") for stanza in stanzas if kind(stanza) == "presence"]


def test_presence_begins_a_session_and_is_answered_with_its_id() -> None:
    site = Site()
    host = Client(site)
    [answer] = host.presence(identity="a<b")
    assert (answer.get("from"), answer.get("to"), answer.get("id"), answer.get("type")) == (
        DOMAIN,
        str(host.jid),
        "a<b",
        None,
    )
    assert site.events() == [f"began {host.jid}"]
    session = site.service.session_of(host.jid)
    assert session is not None and session.permit.addresses == {parse_address("192.0.2.11")}


def test_routes_go_from_host_to_host() -> None:
    site = Site()
    one, two = Client(site, "hv1").login(), Client(site, "hv2").login()
    assert [stanza.get("type") for stanza in two.subscribe()] == ["result"]
    assert [stanza.get("type") for stanza in one.announce("10.1.1.1/32", "10.1.1.2/32")] == ["result"]
    assert two.routes == {"10.1.1.1/32", "10.1.1.2/32"} and one.routes == set()


def test_events_are_headlines_and_several_in_a_message() -> None:
    """A message of another type would be kept for a host that has gone, by servers with offline storage."""
    site = Site()
    one, two = Client(site, "hv1").login(), Client(site, "hv2").login()
    two.subscribe()
    one.announce(*(f"10.1.{number}.1/32" for number in range(50)))
    messages = [stanza for stanza in site.sent if kind(stanza) == "message"]
    assert [message.get("type") for message in messages] == ["headline"]
    assert len(two.routes) == 50


def test_the_pong_comes_behind_the_whole_table() -> None:
    site = Site()
    one, two = Client(site, "hv1").login(), Client(site, "hv2").login()
    one.announce(*(f"10.{high}.{low}.1/32" for high in range(3) for low in range(100)))
    site.sent.clear()
    two.subscribe()
    two.ping()
    order = [(kind(stanza), stanza.get("id")) for stanza in site.sent]
    assert order[-1] == ("iq", "q3") and len(two.routes) == 300


@pytest.mark.parametrize(
    ("name", "domain", "resource", "why"),
    [
        ("hv9", USERS, "vrfwire", "addresses of its [[host]]"),
        ("hv1", "evil.example.org", "vrfwire", f"those are of {USERS}"),
        ("", USERS, "x", "is no host"),
        ("hv1", USERS, "", "is no host"),
    ],
)
def test_who_is_no_host_is_refused_with_the_reason(name: str, domain: str, resource: str, why: str) -> None:
    site = Site()
    stranger = Client(site, name, resource, domain)
    for answers in (stranger.presence(), stranger.subscribe()):
        [answer] = answers
        assert (answer.get("type"), condition(answer)) == ("error", "forbidden")
        assert why in "".join(answer.itertext())
    assert not stranger.has_session and site.events() == []
    assert [refusal.request for refusal in site.hosts.take_refusals()] == ["presence", "request"]
    assert site.service.counters["refused/forbidden"] == 2
    assert set(site.hosts.unlisted) == ({"hv9"} if name == "hv9" else set())


def test_an_entry_without_addresses_is_no_permit_and_a_reload_forgives() -> None:
    site = Site([Host("hv1", vpns=frozenset({"blue"}))])
    host = Client(site)
    assert condition(host.presence()[0]) == "forbidden"
    assert set(site.hosts.unlisted) == {"hv1"}
    site.hosts.replace_hosts(Hosts.of(listed("hv1")))
    assert not site.hosts.unlisted
    host.login()


def test_next_hops_are_those_of_the_entry_alone() -> None:
    site = Site()
    host = Client(site).login()
    [answer] = host.announce("10.1.1.1/32", address="192.0.2.99")
    assert condition(answer) in ("forbidden", "not-acceptable")


def test_vpns_are_those_of_the_entry() -> None:
    address = frozenset({parse_address("192.0.2.11")})
    host = Client(Site([Host("hv1", address, frozenset({"red"}))])).login()
    assert condition(host.subscribe("blue")[0]) == "forbidden"
    assert host.subscribe("red")[0].get("type") == "result"


def test_too_many_sessions_wait() -> None:
    site = Site(max_sessions=2, sessions_per_host=1)
    Client(site, "hv1").login()
    assert condition(Client(site, "hv1", "second").presence()[0]) == "resource-constraint"
    Client(site, "hv2").login()
    site.hosts.replace_hosts(Hosts.of(listed("hv1", "hv2", "hv3")))
    assert condition(Client(site, "hv3").presence()[0]) == "resource-constraint"


def test_unavailable_ends_a_session_and_its_items_are_stale() -> None:
    site = Site()
    host = Client(site).login()
    host.announce("10.1.1.1/32")
    site.events()
    assert presences(host.presence("unavailable")) == ["unavailable"]
    assert site.events() == [f"ended {host.jid}: closed by the host"]
    assert site.service.rib.stale("hv1") == 1
    # Twice does nothing, or two who answer each other would go on for ever.
    assert host.presence("unavailable") == [] and site.events() == []


def test_presence_again_is_a_new_session_without_the_subscriptions_of_the_old() -> None:
    site = Site()
    one, two = Client(site, "hv1").login(), Client(site, "hv2").login()
    two.subscribe()
    one.announce("10.1.1.1/32")
    site.events()
    assert presences(two.presence(identity="again")) == [None]
    assert site.events() == [f"ended {two.jid}: replaced by a newer session", f"began {two.jid}"]
    site.sent.clear()
    one.announce("10.1.1.2/32")
    assert two.routes == set()
    # The whole table again, not what is new.
    two.subscribe()
    assert two.routes == {"10.1.1.1/32", "10.1.1.2/32"}


def test_a_goodbye_of_an_older_login_that_comes_late_makes_the_newer_begin_again() -> None:
    """Two logins of one JID are two processes in ejabberd, which may overtake each other."""
    site = Site()
    host = Client(site).login()
    host.login()
    assert presences(host.presence("unavailable")) == ["unavailable"]


@pytest.mark.parametrize("request_", ["ping", "publish"])
def test_a_host_without_session_is_told_so(request_: str) -> None:
    """As after a restart of the gateway: hosts think that they have one."""
    site = Site()
    host = Client(site)
    answers = host.ping() if request_ == "ping" else host.announce("10.1.1.1/32")
    assert presences(answers) == ["unavailable"]
    assert [condition(answer) for answer in answers] == ["", "unexpected-request"]
    assert not host.has_session and site.hosts.take_refusals() == []


def test_a_first_subscription_begins_a_session_for_who_sends_no_presence() -> None:
    site = Site()
    host = Client(site)
    answers = host.subscribe()
    # One that had a session with a gateway before this one begins again by that.
    assert presences(answers) == ["unavailable"] and answers[-1].get("type") == "result"
    assert host.has_session
    Client(site, "hv2").login().announce("10.1.1.1/32", address="192.0.2.12")
    assert host.routes == {"10.1.1.1/32"}
    host.login()
    assert site.service.sessions.keys() == {2, 3}


@pytest.mark.parametrize("payload", [f"<query xmlns='{ns.DISCO_INFO}'/>", f"<ping xmlns='{ns.PING}'/>"])
def test_anybody_may_look_who_we_are(payload: str) -> None:
    site = Site()
    for stranger in (Client(site, "", "", USERS), Client(site, "admin", "phone", "elsewhere.example.org")):
        [answer] = stranger.ask("get", payload)
        assert answer.get("type") == "result"
    assert site.events() == []


def test_what_is_for_another_address_is_not_served() -> None:
    host = Client(Site()).login()
    [answer] = host.ask("get", f"<ping xmlns='{ns.PING}'/>", to=f"blue@{DOMAIN}")
    assert condition(answer) == "service-unavailable" and answer.get("from") == f"blue@{DOMAIN}"


def test_an_answer_that_would_end_the_stream_of_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prosody takes 512 KiB of a component, and ends its stream for more."""
    assert component_hosts.ANSWER_MAX < 512 * 1024
    monkeypatch.setattr(component_hosts, "ANSWER_MAX", 5_000)
    names = [f"{number:03d}" for number in range(200)]
    site = Site(policy=Policy([vpn(name, "64512:1", "64512:1") for name in names]))
    host = Client(site).login()
    [answer] = host.ask("get", f"<query xmlns='{ns.DISCO_ITEMS}'/>")
    assert (answer.get("type"), condition(answer), answer.get("id")) == ("error", "resource-constraint", "q1")
    assert host.subscribe(names[0])[0].get("type") == "result"


def test_messages_are_refused_and_errors_never_answered() -> None:
    site = Site()
    host = Client(site).login()
    [answer] = host.send(Kind.MESSAGE, "chat", "<body>hi</body>")
    assert (answer.get("type"), condition(answer)) == ("error", "service-unavailable")
    assert host.send(Kind.MESSAGE, "error", fault("not-acceptable")) == [] and host.has_session
    assert host.send(Kind.IQ, "error", fault("service-unavailable"), "unknown") == [] and host.has_session


@pytest.mark.parametrize("name", ["recipient-unavailable", "service-unavailable", "remote-server-not-found"])
@pytest.mark.parametrize("sent_back", [Kind.MESSAGE, Kind.PRESENCE])
def test_what_comes_back_ends_the_session(name: str, sent_back: Kind) -> None:
    site = Site()
    host = Client(site).login()
    site.events()
    assert host.send(sent_back, "error", fault(name)) == []
    [event] = site.events()
    assert event.startswith(f"ended {host.jid}") and "sent back" in event


def test_a_silent_host_is_asked_and_then_given_up() -> None:
    site = Site(hold_time=90)
    host = Client(site).login()
    site.events()
    site.advance(38)
    [question] = site.pull()
    assert kind(question) == "iq" and question.get("to") == str(host.jid)
    assert next(iter(question)).tag == f"{{{ns.PING}}}ping"
    site.advance(40)
    assert site.pull() == [] and host.has_session
    site.advance(20)
    assert presences(site.pull()) == ["unavailable"]
    assert site.events() == [f"ended {host.jid}: nothing was heard or read for too long"]


def test_an_answer_of_any_kind_is_a_sign_of_life() -> None:
    """A client without XEP-0199 says service-unavailable itself."""
    site = Site(hold_time=90)
    host = Client(site).login()
    for type, content in (("result", ""), ("error", fault("service-unavailable"))) * 3:
        site.advance(40)
        [question] = site.pull()
        host.answer(type, content, to=question.get("id", ""))
    assert host.has_session


def test_who_never_sent_presence_is_gone_when_a_ping_comes_back() -> None:
    site = Site(hold_time=90)
    host = Client(site)
    host.subscribe()
    site.advance(40)
    [question] = site.pull()
    host.answer("error", fault("service-unavailable"), to=question.get("id", ""))
    assert not host.has_session


def test_no_hold_time_asks_nobody() -> None:
    site = Site(hold_time=0)
    Client(site).login()
    assert site.hosts.timer() is None


def test_losing_the_server_ends_all_sessions_and_its_return_makes_hosts_begin_again() -> None:
    site = Site()
    one, two = Client(site, "hv1").login(), Client(site, "hv2").login()
    one.announce("10.1.1.1/32")
    two.presence("unavailable")
    site.events()
    site.hosts.detached(site.now)
    assert site.events() == [f"ended {one.jid}: the XMPP server is lost"]
    assert site.service.rib.stale("hv1") == 1 and site.hosts.timer() is None
    assert site.pull() == [] and not site.hosts.pending
    site.hosts.attached(site.now)
    [told] = site.pull()
    assert (kind(told), told.get("type"), told.get("to")) == ("presence", "unavailable", str(one.jid))
    # Told once, and not again when it comes and goes.
    site.hosts.detached(site.now)
    site.hosts.attached(site.now)
    assert site.pull() == []
    one.login()
    assert site.service.rib.stale("hv1") == 1
    one.announce("10.1.1.1/32")
    assert site.service.rib.stale("hv1") == 0


def test_a_server_that_is_lost_again_before_hosts_were_told() -> None:
    site = Site()
    one, two = Client(site).login(), Client(site, "hv2").login()
    site.hosts.detached(site.now)
    site.hosts.attached(site.now)
    site.pull(1)
    site.hosts.detached(site.now)
    site.hosts.attached(site.now)
    told = [stanza.get("to") for stanza in site.pull()]
    assert str(two.jid) in told, "whoever wasn't told is told now; to be told twice does no harm"
    site.hosts.detached(site.now)
    site.hosts.attached(site.now)
    assert site.pull() == [], "and then no more"
    assert not one.has_session and not two.has_session


def test_stopping_tells_every_host() -> None:
    site = Site()
    hosts = [Client(site, name).login() for name in ("hv1", "hv2")]
    site.hosts.dismiss(site.now)
    assert [stanza.get("to") for stanza in site.pull()] == [str(host.jid) for host in hosts]
    assert not site.service.sessions


def test_an_error_of_ours_ends_the_session_that_met_it() -> None:
    site = Site()
    host = Client(site).login()
    site.hosts.fault(host.jid, site.now)
    assert presences(site.pull()) == ["unavailable"] and not host.has_session
    site.hosts.fault(host.jid, site.now)
    assert site.pull() == []


# -- output


def fill(site: Site, publisher: Client, rounds: int, offset: int = 0) -> None:
    """Announce 100 prefixes so many times."""
    for number in range(offset, offset + rounds):
        prefixes = (f"10.{number // 250}.{number % 250}.{low}/32" for low in range(100))
        publisher.announce(*prefixes, address="192.0.2.12")


def test_sessions_have_their_turns() -> None:
    site = Site(listed("hv1", "hv2", "hv3", "hv4"))
    publisher = Client(site, "hv2").login()
    fill(site, publisher, 5)
    readers = [Client(site, name).login() for name in ("hv1", "hv3", "hv4")]
    for reader in readers:
        element = f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='blue' jid='{reader.jid}'/></pubsub>"
        from_server = ElementTree.fromstring(f"<iq xmlns='{ns.COMPONENT}'>{element}</iq>")
        site.hosts.handle(_iq(reader, from_server), site.now)
    order = [stanza.get("to") for stanza in site.pull() if kind(stanza) == "message"]
    assert len(order) == 15 and len(set(order[:3])) == len(set(order[3:6])) == 3


def _iq(client: Client, element: ElementTree.Element) -> Stanza:
    return Stanza(Kind.IQ, "set", "s", client.jid, Jid.parse(DOMAIN), element)


def test_a_host_that_does_not_confirm_is_sent_a_window_and_no_more() -> None:
    site = Site()
    reader, publisher = Client(site, "hv1").login(), Client(site, "hv2").login()
    reader.subscribe()
    fill(site, publisher, 20)
    outstanding = sum(len(piece) for piece in site.pieces if b"<message" in piece)
    assert WINDOW <= outstanding < WINDOW + 64 * 1024 + 1024
    assert site.hosts.held == 1
    known = len(reader.routes)
    # What flaps meanwhile costs nothing and comes once.
    for _ in range(2):
        fill(site, publisher, 20)
    assert len(reader.routes) == known
    questions = [stanza for stanza in site.sent if kind(stanza) == "iq" and stanza.get("type") == "get"]
    assert len(questions) == 1 and questions[0].get("to") == str(reader.jid)
    confirm(site, reader)
    assert len(reader.routes) == 2000
    assert site.hosts.held == 0


def confirm(site: Site, reader: Client) -> None:
    """The host reads, and answers what it is asked."""
    answered = {""}
    while True:
        asked = [s for s in site.sent if kind(s) == "iq" and s.get("type") == "get" and s.get("id") not in answered]
        if not asked:
            return
        answered.add(asked[0].get("id", ""))
        reader.answer("result", to=asked[0].get("id", ""))


def test_others_are_not_held_up_by_who_does_not_read() -> None:
    site = Site(listed("hv1", "hv2", "hv3"))
    stopped, publisher, reader = (Client(site, name).login() for name in ("hv1", "hv2", "hv3"))
    stopped.subscribe()
    fill(site, publisher, 10)
    reader.subscribe()
    confirm(site, reader)
    fill(site, publisher, 10, offset=10)
    confirm(site, reader)
    assert len(reader.routes) == 2000 and len(stopped.routes) < 2000


def test_who_talks_but_never_confirms_is_given_up() -> None:
    site = Site(hold_time=90)
    reader, publisher = Client(site, "hv1").login(), Client(site, "hv2").login()
    reader.subscribe()
    fill(site, publisher, 20)
    for _ in range(10):
        site.advance(10)
        reader.send(Kind.MESSAGE, "error", fault("not-acceptable"))
        publisher.ping()
    assert not reader.has_session and publisher.has_session


def test_answers_of_a_wrong_id_confirm_nothing() -> None:
    site = Site()
    reader, publisher = Client(site, "hv1").login(), Client(site, "hv2").login()
    reader.subscribe()
    fill(site, publisher, 20)
    for identity in ("vw-ask-1-99", "vw-ask-", "q1", ""):
        reader.answer("result", to=identity)
        publisher.answer("result", to=identity)
    assert site.hosts.held == 1


def test_answers_waiting_are_counted() -> None:
    site = Site()
    host = Client(site).login()
    element = ElementTree.fromstring(f"<iq xmlns='{ns.COMPONENT}'><ping xmlns='{ns.PING}'/></iq>")
    site.hosts.handle(_iq(host, element)._replace(type="get"), site.now)
    waiting = site.hosts.waiting
    [answer] = site.pull()
    assert waiting == len(site.pieces[-1]) and answer.get("type") == "result"
    assert site.hosts.waiting == 0
