"""Requests and what surrounds them (RFC 6120, sections 8 and 10; XEP-0030; XEP-0199): each IQ is answered once."""

from __future__ import annotations

import pytest

from tests.stream_elements import CLIENT
from tests.xmpp.conftest import Sessions
from tests.xmpp.differences import judge, judge_stanza
from tests.xmpp.raw import RawClient
from tests.xmpp.subjects import DOMAIN, Subject
from xmpp import namespaces as ns

PING = f"<ping xmlns='{ns.PING}'/>"
UNKNOWN = "<query xmlns='urn:example:unknown'/>"
INFO, ITEMS = f"<query xmlns='{ns.DISCO_INFO}'/>", f"<query xmlns='{ns.DISCO_ITEMS}'/>"
UNAVAILABLE = "error cancel service-unavailable"
BAD = "error modify bad-request"

REQUESTS = {
    "ping of the server": (f"<iq type='get' id='c1' to='{DOMAIN}'>{PING}</iq>", "result"),
    "ping of nobody named": (f"<iq type='get' id='c1'>{PING}</iq>", "result"),
    "ping of oneself": (f"<iq type='get' id='c1' to='host1@{DOMAIN}'>{PING}</iq>", "result"),
    "unknown get": (f"<iq type='get' id='c1' to='{DOMAIN}'>{UNKNOWN}</iq>", UNAVAILABLE),
    "unknown set": (f"<iq type='set' id='c1' to='{DOMAIN}'>{UNKNOWN}</iq>", UNAVAILABLE),
    "unknown of oneself": (f"<iq type='get' id='c1'>{UNKNOWN}</iq>", UNAVAILABLE),
    "empty": (f"<iq type='get' id='c1' to='{DOMAIN}'/>", BAD),
    "two children": (f"<iq type='get' id='c1' to='{DOMAIN}'>{PING}{PING}</iq>", BAD),
    "no type": (f"<iq id='c1' to='{DOMAIN}'>{PING}</iq>", BAD),
    "unknown type": (f"<iq type='put' id='c1' to='{DOMAIN}'>{PING}</iq>", BAD),
    "result of nothing": (f"<iq type='result' id='c1' to='{DOMAIN}'/>", "nothing"),
    "error of nothing": (
        f"<iq type='error' id='c1' to='{DOMAIN}'><error type='cancel'><gone xmlns='{ns.STANZA_ERRORS}'/></error></iq>",
        "nothing",
    ),
    "an absent session": (f"<iq type='get' id='c1' to='host2@{DOMAIN}/gone'>{PING}</iq>", UNAVAILABLE),
    "an absent host": (f"<iq type='get' id='c1' to='nobody@{DOMAIN}'>{PING}</iq>", UNAVAILABLE),
    "malformed address": (f"<iq type='get' id='c1' to='@@{DOMAIN}'>{PING}</iq>", "error modify jid-malformed"),
    "roster": (f"<iq type='get' id='c1'><query xmlns='{ns.ROSTER}'/></iq>", "result"),
    "session": (f"<iq type='set' id='c1'><session xmlns='{ns.SESSION}'/></iq>", "result"),
    "disco by set": (f"<iq type='set' id='c1' to='{DOMAIN}'>{INFO}</iq>", BAD),
    "disco of no node": (
        f"<iq type='get' id='c1' to='{DOMAIN}'><query xmlns='{ns.DISCO_INFO}' node='none'/></iq>",
        "error cancel item-not-found",
    ),
    "items of no node": (
        f"<iq type='get' id='c1' to='{DOMAIN}'><query xmlns='{ns.DISCO_ITEMS}' node='none'/></iq>",
        "error cancel item-not-found",
    ),
    "disco of oneself": (f"<iq type='get' id='c1' to='host1@{DOMAIN}'>{INFO}</iq>", "result"),
    "message to an absent session": (
        f"<message id='c1' type='chat' to='host2@{DOMAIN}/gone'><body>x</body></message>",
        UNAVAILABLE,
    ),
    "an error's error": (
        f"<message id='c1' type='error' to='host2@{DOMAIN}/gone'><body>x</body></message>",
        "nothing",
    ),
    "headline": (f"<message id='c1' type='headline' to='{DOMAIN}'><body>x</body></message>", UNAVAILABLE),
    "presence": ("<presence id='c1'><priority>-1</priority></presence>", "nothing"),
    "directed presence": (f"<presence id='c1' to='{DOMAIN}'/>", "nothing"),
    "unavailable": ("<presence id='c1' type='unavailable'/>", "nothing"),
    "presence probe": (f"<presence id='c1' type='probe' to='{DOMAIN}'/>", "nothing"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_requests(case: str, subject: Subject, sessions: Sessions) -> None:
    """Section 8.2.3 and 10.3 to 10.5."""
    data, wanted = REQUESTS[case]
    client = sessions()
    judge_stanza(subject, case, client, data, wanted)
    # The session goes on, and nothing was answered twice.
    assert client.outcome("", silent=True) == "nothing"
    assert not [element for element in client.elements if element.get("id") == "c1"]


def test_a_request_without_an_id(subject: Subject, sessions: Sessions) -> None:
    """Section 8.1.3 wants one; an answer would have none to be known by."""
    client = sessions()
    client.send(f"<iq type='get' to='{DOMAIN}'>{PING}</iq>")
    found = client.next(lambda element: element.tag == f"{CLIENT}iq")
    outcome = "closed" if found is None else f"{found.get('type')} {'id' in found.attrib}"
    judge(subject, "no id", outcome, "error False")


def test_answers_swap_addresses_and_keep_the_id(subject: Subject, sessions: Sessions) -> None:
    """Section 8.2.3 and 10.3.3: who asks nobody in particular is answered by his own account."""
    client = sessions()
    identity = "a&amp;b'\"&lt;&gt;é&#x1F600;".replace("'", "&apos;")
    client.send(f"<iq type='get' id='{identity}' to='{DOMAIN}'>{PING}</iq>")
    answer = client.expect("iq")
    assert answer.get("id") == "a&b'\"<>é\U0001f600"
    assert (answer.get("from"), answer.get("to")) == (DOMAIN, client.jid)
    answer = client.ask("get", PING)
    assert answer.get("from") in (None, client.jid.partition("/")[0]) and answer.get("to") in (None, client.jid)
    answer = client.ask("get", UNKNOWN, to=DOMAIN)
    error = answer.find(f"{CLIENT}error")
    assert error is not None and answer.get("from") == DOMAIN and answer.get("to") == client.jid


def test_answers_come_in_the_order_of_the_requests(subject: Subject, sessions: Sessions) -> None:
    """RFC 6120, section 10.1: stanzas between two are kept in order; many may be under way."""
    client = sessions()
    client.send("".join(f"<iq type='get' id='n{number}' to='{DOMAIN}'>{PING}</iq>" for number in range(200)))
    assert [client.expect("iq").get("id") for _ in range(200)] == [f"n{number}" for number in range(200)]


def features(client: RawClient, to: str, node: str = "") -> tuple[set[str], set[tuple[str, str]]]:
    """Features and identities by XEP-0030."""
    named = f" node='{node}'" if node else ""
    answer = client.ask("get", f"<query xmlns='{ns.DISCO_INFO}'{named}/>", to)
    query = answer.find(f"{{{ns.DISCO_INFO}}}query")
    assert query is not None, client.describe(answer)
    assert query.get("node", "") == node
    names = {element.get("var", "") for element in query.iter(f"{{{ns.DISCO_INFO}}}feature")}
    kinds = {(e.get("category", ""), e.get("type", "")) for e in query.iter(f"{{{ns.DISCO_INFO}}}identity")}
    return names, kinds


def test_discovery_of_the_service(subject: Subject, sessions: Sessions) -> None:
    """XEP-0030, section 3.1, and XEP-0060, sections 5.1 and 10: what is there is said, and no feature twice."""
    client = sessions()
    names, kinds = features(client, subject.service)
    assert ("pubsub", "service") in kinds
    wanted = {ns.DISCO_INFO, ns.PUBSUB, f"{ns.PUBSUB}#subscribe", f"{ns.PUBSUB}#publish"}
    assert wanted <= names
    if subject.ours:
        assert {ns.PING, ns.RSM, f"{ns.PUBSUB}#subscription-options", f"{ns.PUBSUB}#item-ids"} <= names
        assert not {f"{ns.PUBSUB}#{name}" for name in ("create-nodes", "delete-nodes", "config-node")} & names


def test_discovery_of_nodes(subject: Subject, sessions: Sessions) -> None:
    """XEP-0060, sections 5.2 to 5.5: nodes are listed, each is a leaf."""
    client = sessions()
    client.ask("set", f"<pubsub xmlns='{ns.PUBSUB}'><create node='blue'/></pubsub>", subject.service)
    answer = client.ask("get", ITEMS, subject.service)
    assert {element.get("node") for element in answer.iter(f"{{{ns.DISCO_ITEMS}}}item")} >= {"blue"}
    names, kinds = features(client, subject.service, "blue")
    assert ("pubsub", "leaf") in kinds
    if subject.ours:
        assert ns.PUBSUB in names


def test_an_account_is_no_service(ours: Subject) -> None:
    """Section 10.3.3: what is asked of nobody in particular is about the account."""
    with ours.log_in() as client:
        names, kinds = features(client, "")
        assert kinds == {("account", "registered")} and ns.PUBSUB not in names
