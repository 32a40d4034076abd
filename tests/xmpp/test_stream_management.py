"""Acknowledgement and resumption (XEP-0198 1.6.3): when it is had, what is counted, what a resumed session is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element

import pytest

from tests.scenario.raw_host import entry
from tests.stream_elements import CLIENT, STREAM
from tests.xmpp.conftest import Sessions
from tests.xmpp.differences import judge, judge_ending
from tests.xmpp.raw import RawClient
from tests.xmpp.subjects import PASSWORD, USERS, Subject
from xmpp import namespaces as ns

Connect = Callable[..., RawClient]
SM = f"{{{ns.SM}}}"
PING = f"<ping xmlns='{ns.PING}'/>"
ENABLE = f"<enable xmlns='{ns.SM}' resume='true'/>"
PREFIX = "10.6.6.6/32"
REQUEST = f"<r xmlns='{ns.SM}'/>"


def acknowledge(count: int | str) -> str:
    """An <a/>."""
    return f"<a xmlns='{ns.SM}' h='{count}'/>"


def resume(previous: str, count: int | str) -> str:
    """A <resume/>."""
    return f"<resume xmlns='{ns.SM}' previd='{previous}' h='{count}'/>"


def answer(client: RawClient) -> Element:
    """The next element of stream management that is no request."""
    found = client.next(lambda e: (e.tag.startswith(SM) and e.tag != f"{SM}r") or e.tag == f"{STREAM}error")
    assert found is not None, "the stream ended without a word"
    return found


def verdict(element: Element) -> str:
    """In words: "enabled", "failed unexpected-request", "stream undefined-condition"."""
    name = element.tag.rpartition("}")[2]
    conditions = [child.tag.rpartition("}")[2] for child in element if not child.tag.endswith("}text")]
    return " ".join(["stream" if name == "error" else name, *conditions])


def enable(client: RawClient, wish: str = ENABLE) -> Element:
    """Ask for it; <enabled/>."""
    client.send(wish)
    found = answer(client)
    assert found.tag == f"{SM}enabled", client.describe(found)
    return found


def handled(client: RawClient) -> int:
    """Stanzas that the server says it has had."""
    client.send(REQUEST)
    found = answer(client)
    assert found.tag == f"{SM}a", client.describe(found)
    return int(found.get("h", ""))


def authenticated(connect: Connect, user: str = USERS[0]) -> RawClient:
    """Logged in, nothing bound."""
    client = connect().open()
    assert client.scram(user, PASSWORD) == "success"
    return client.open()


def test_it_is_offered_where_it_can_be_had(subject: Subject, connect: Connect) -> None:
    """Section 2: after the login, not before."""
    client = connect().open()
    assert not client.offers(f"{SM}sm")
    assert client.scram(USERS[0], PASSWORD) == "success"
    assert client.open().offers(f"{SM}sm")


def test_enabling_before_a_resource_is_bound_fails(subject: Subject, connect: Connect) -> None:
    """Section 3: <failed/> with unexpected-request, and the stream goes on."""
    client = authenticated(connect)
    client.send(ENABLE)
    judge(subject, "enable unbound", verdict(answer(client)), "failed unexpected-request")
    client.bind("after")
    assert enable(client).get("id")


def test_enabling_twice_fails(subject: Subject, sessions: Sessions) -> None:
    """Section 3: once a stream."""
    client = sessions()
    enable(client)
    client.send(ENABLE)
    judge(subject, "enable twice", verdict(answer(client)), "failed unexpected-request")


def test_what_enabled_says(subject: Subject, sessions: Sessions) -> None:
    """Section 3 and 5: an id that can't be guessed where resumption was asked for, else none."""
    found = enable(sessions())
    assert found.get("resume") in ("true", "1") and int(found.get("max", "0")) > 0
    judge(subject, "length of id", str(len(found.get("id", "")) >= 24), "True")
    plain = enable(sessions(resource="plain"), f"<enable xmlns='{ns.SM}'/>")
    assert plain.get("resume") is None
    judge(subject, "id without resumption", str(plain.get("id")), "None")


def test_stanzas_are_counted_and_nothing_else(subject: Subject, sessions: Sessions) -> None:
    """Section 4: from <enable/> on, requests and acknowledgements don't count, nor does whitespace."""
    client = sessions()
    client.ask("get", PING)
    enable(client)
    assert handled(client) == 0
    client.send("<presence/>")
    client.ask("get", PING)
    client.send(" \n" + acknowledge(0) + " ")
    client.send(f"<iq type='result' id='x'/><message to='{USERS[2]}@{subject.domain}' type='headline'/>")
    assert handled(client) == 4
    assert handled(client) == 4


def test_stanzas_may_follow_before_the_answer(subject: Subject, sessions: Sessions) -> None:
    """Clients pipeline: what comes behind <enable/> counts."""
    client = sessions()
    client.send(f"{ENABLE}<iq type='get' id='c1'>{PING}</iq>{REQUEST}")
    assert answer(client).tag == f"{SM}enabled"
    found = answer(client)
    assert found.tag == f"{SM}a" and found.get("h") == "1"
    assert client.next(lambda e: e.get("id") == "c1") is not None


WRONG_COUNTS = {
    "too high": (acknowledge(5), "stream undefined-condition handled-count-too-high"),
    "no number": (acknowledge("x"), "stream bad-format"),
    "no count": (f"<a xmlns='{ns.SM}'/>", "stream bad-format"),
    "negative count": (acknowledge(-1), "stream bad-format"),
    "beyond 32 bits": (acknowledge(2**32), "stream bad-format"),
}


@pytest.mark.parametrize("case", WRONG_COUNTS)
def test_counts_that_can_not_be(case: str, subject: Subject, sessions: Sessions) -> None:
    """Section 4: more acknowledged than was sent ends the stream."""
    data, wanted = WRONG_COUNTS[case]
    client = sessions()
    enable(client)
    client.send(data)
    found = client.next(lambda e: e.tag == f"{STREAM}error") if subject.ours else None
    if found is not None:
        assert verdict(found) == wanted
    else:
        judge_ending(subject, f"count {case}", client, wanted.rpartition(" handled")[0] or wanted)


def cut(client: RawClient) -> None:
    """Lose the connection: without an end tag, and without close_notify."""
    client.socket.close()


def test_a_session_is_resumed(subject: Subject, sessions: Sessions, connect: Connect) -> None:
    """Section 5: <resumed/> with the id and the count; the address is the same, and both counts go on."""
    client = sessions()
    identity = enable(client).get("id", "")
    client.ask("get", PING)
    jid = client.jid
    cut(client)
    again = authenticated(connect)
    again.send(resume(identity, 1))
    found = answer(again)
    assert verdict(found) == "resumed" and found.get("previd") == identity and found.get("h") == "1"
    assert again.ask("get", PING).get("to") in (jid, None)
    assert handled(again) == 2


def test_what_was_not_acknowledged_is_sent_again(subject: Subject, sessions: Sessions, connect: Connect) -> None:
    """An answer that the client says it has not had comes behind <resumed/>, one that it has had doesn't."""
    client = sessions()
    identity = enable(client).get("id", "")
    for number in (1, 2, 3):
        client.send(f"<iq type='get' id='q{number}'>{PING}</iq>")
        assert client.next(lambda e, number=number: e.get("id") == f"q{number}") is not None  # type: ignore[misc]
    cut(client)
    again = authenticated(connect)
    again.send(resume(identity, 1))
    assert verdict(answer(again)) == "resumed"
    again.send(f"<iq type='get' id='last'>{PING}</iq>")
    told = []
    while (found := again.next(lambda e: e.tag == f"{CLIENT}iq")) is not None and found.get("id") != "last":
        told.append(found.get("id"))
    assert told == ["q2", "q3"]


def test_the_connection_that_was_there_ends(subject: Subject, sessions: Sessions, connect: Connect) -> None:
    """Section 5: the old stream gets `conflict`, the new one goes on."""
    client = sessions()
    identity = enable(client).get("id", "")
    again = authenticated(connect)
    again.send(resume(identity, 0))
    assert verdict(answer(again)) == "resumed"
    judge_ending(subject, "resumed elsewhere", client, "stream conflict")
    assert again.ask("get", PING).get("type") == "result"


REFUSED = {
    "an unknown id": (resume("no-such-id", 0), "failed item-not-found"),
    "no id": (f"<resume xmlns='{ns.SM}' h='0'/>", "failed bad-request"),
    "no count": (f"<resume xmlns='{ns.SM}' previd='x'/>", "failed bad-request"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_resumption_that_is_refused(case: str, subject: Subject, connect: Connect) -> None:
    """Section 5: <failed/>, and a resource may be bound instead."""
    data, wanted = REFUSED[case]
    client = authenticated(connect)
    client.send(data)
    judge(subject, f"resume with {case}", verdict(answer(client)), wanted)
    client.bind("instead")
    assert client.ask("get", PING).get("type") == "result"


def test_nobody_resumes_the_session_of_another(subject: Subject, sessions: Sessions, connect: Connect) -> None:
    """The id alone is not enough: the account is another one. The session isn't hurt."""
    client = sessions()
    identity = enable(client).get("id", "")
    other = authenticated(connect, USERS[1])
    other.send(resume(identity, 0))
    assert verdict(answer(other)) == "failed item-not-found"
    assert client.ask("get", PING).get("type") == "result"


def test_a_bound_stream_resumes_nothing(subject: Subject, sessions: Sessions) -> None:
    """Section 5: before a resource is bound, or not at all."""
    one, two = sessions(resource="one"), sessions(resource="two")
    identity = enable(one).get("id", "")
    two.send(resume(identity, 0))
    judge(subject, "resume when bound", verdict(answer(two)), "failed unexpected-request")
    assert one.ask("get", PING).get("type") == "result"


def test_a_stream_that_was_closed_is_over(subject: Subject, sessions: Sessions, connect: Connect) -> None:
    """Section 5: an end tag ends the session, too."""
    client = sessions()
    identity = enable(client).get("id", "")
    client.send("</stream:stream>")
    assert client.ending() == "closed"
    again = authenticated(connect)
    again.send(resume(identity, 0))
    assert verdict(answer(again)) == "failed item-not-found"


def test_events_are_resumed(ours: Subject) -> None:
    """What changed meanwhile is told, and of several changes the newest alone."""
    with ours.log_in(USERS[1]) as publisher, ours.log_in() as client, ours.connect() as again:
        identity = enable(client).get("id", "")
        request = f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='blue' jid='{client.jid}'/></pubsub>"
        assert client.ask("set", request, ours.service).get("type") == "result"
        cut(client)
        for label in (100, 101, 102):
            publish(publisher, ours, label)
        again.open()
        assert again.scram(USERS[0], PASSWORD) == "success"
        again.open().send(resume(identity, 1))
        assert verdict(answer(again)) == "resumed"
        again.ask("get", PING, ours.service)
        messages = [element for element in again.elements if element.tag == f"{CLIENT}message"]
        assert [label.text for message in messages for label in message.iter(f"{{{ns.ENTRY}}}label")] == ["102"]
        retract = f"<retract node='blue'><item id='{ours.item(PREFIX)}'/></retract>"
        publisher.ask("set", f"<pubsub xmlns='{ns.PUBSUB}'>{retract}</pubsub>", ours.service)


def publish(client: RawClient, subject: Subject, label: int) -> None:
    """Publish one route with a label."""
    item = f"<item id='{subject.item(PREFIX)}'>{entry(PREFIX, label, '127.0.0.1')}</item>"
    payload = f"<pubsub xmlns='{ns.PUBSUB}'><publish node='blue'>{item}</publish></pubsub>"
    assert client.ask("set", payload, subject.service).get("type") == "result"


def test_ids_differ(ours: Subject) -> None:
    """And nothing in one tells of another."""
    found = set()
    for number in range(4):
        with ours.log_in(resource=f"r{number}") as client:
            found.add(enable(client).get("id", ""))
    assert len(found) == 4 and all(re.fullmatch(r"[A-Za-z0-9_-]{24,}", identity) for identity in found)
