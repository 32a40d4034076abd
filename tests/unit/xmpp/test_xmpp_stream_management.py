"""Acknowledgement and resumption on the wire (XEP-0198), the server's half, byte for byte."""

from __future__ import annotations

import pytest

from tests.unit.xmpp.driver import BIND, DOMAIN, END, FULL, HOST, STARTTLS, Peer, auth, header
from xmpp import namespaces as ns
from xmpp import stream_management
from xmpp.events import Acknowledged, EnableRequested, ResumeRequested, StanzaReceived, StreamClosed
from xmpp.outbox import ASK_STANZAS, COUNT_MODULUS, Outbox
from xmpp.stream_management import EnableWish, Management

ENABLE = b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
R = b"<r xmlns='urn:xmpp:sm:3'/>"
MESSAGE = b"<message/>"


def a(count: int | str) -> bytes:
    return f"<a xmlns='urn:xmpp:sm:3' h='{count}'/>".encode()


def resume(identifier: str, count: int) -> bytes:
    return f"<resume xmlns='urn:xmpp:sm:3' previd='{identifier}' h='{count}'/>".encode()


def failed(condition: str, handled: str = "") -> bytes:
    return (
        f"<failed xmlns='urn:xmpp:sm:3'{handled}><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
    ).encode()


def enabled(peer: Peer | None = None, management: Management | None = None) -> tuple[Peer, Management]:
    """A session whose stanzas are counted."""
    peer = peer or Peer().login()
    management = management or Management("secret", 60.0)
    peer.send(ENABLE)
    peer.stream.accept_enable(peer.now, management)
    peer.output()
    return peer, management


def test_it_is_offered_after_authentication_only() -> None:
    peer = Peer()
    assert b"urn:xmpp:sm:3" not in peer.send(header())
    assert b"<sm xmlns='urn:xmpp:sm:3'/>" in peer.send(auth("EXTERNAL"), header())


@pytest.mark.parametrize("element", [ENABLE, resume("secret", 0), R, a(0)])
def test_before_authentication_it_fails_and_the_stream_goes_on(element: bytes) -> None:
    peer = Peer()
    peer.send(header())
    assert peer.send(element) == failed("unexpected-request")
    peer.login_from(auth("EXTERNAL"), header(), BIND)


@pytest.mark.parametrize("element", [ENABLE, R, a(0)])
def test_before_binding_all_but_resuming_fails(element: bytes) -> None:
    peer = Peer()
    peer.send(header(), auth("EXTERNAL"), header())
    assert peer.send(element) == failed("unexpected-request")
    peer.login_from(BIND)


def test_before_tls_it_fails_too() -> None:
    peer = Peer(secure=False)
    peer.send(header())
    assert peer.send(ENABLE) == failed("unexpected-request")
    assert b"<proceed" in peer.send(STARTTLS)


@pytest.mark.parametrize(
    ("attributes", "wish"),
    [
        ("", EnableWish(False, None)),
        ("resume='true'", EnableWish(True, None)),
        ("resume='1' max='60'", EnableWish(True, 60)),
        ("resume='false' max='-1'", EnableWish(False, None)),
        ("resume='yes' max='1e9'", EnableWish(False, None)),
        ("resume='true' max='99999999999'", EnableWish(True, None)),
    ],
)
def test_what_is_asked_for(attributes: str, wish: EnableWish) -> None:
    peer = Peer().login()
    peer.send(f"<enable xmlns='urn:xmpp:sm:3' {attributes}/>".encode())
    assert peer.events[-1] == EnableRequested(wish)


def test_no_time_is_promised_that_is_no_whole_second() -> None:
    """The schema of section 15 has a positive integer."""
    assert b" max='3'" in stream_management.enabled(Management("id", 3.9))
    assert (
        stream_management.enabled(Management("id", 0.5)) == f"<enabled xmlns='{ns.SM}' id='id' resume='true'/>".encode()
    )


def test_enabled_with_and_without_resumption() -> None:
    for management, answer in (
        (Management("a<b", 60.5), b"<enabled xmlns='urn:xmpp:sm:3' id='a&lt;b' resume='true' max='60'/>"),
        (Management(outbox=Outbox(recoverable=False)), b"<enabled xmlns='urn:xmpp:sm:3'/>"),
    ):
        peer = Peer().login()
        assert peer.send(ENABLE) == b""
        peer.stream.accept_enable(peer.now, management)
        assert peer.output() == answer


def test_enabling_again_and_resuming_in_a_session_fail() -> None:
    peer, _ = enabled()
    assert peer.send(ENABLE) == failed("unexpected-request")
    assert peer.send(resume("secret", 0)) == failed("unexpected-request")


def test_without_enabling_there_are_no_counts() -> None:
    peer = Peer().login()
    assert peer.send(R) == failed("unexpected-request")
    assert peer.send(a(0)) == failed("unexpected-request")
    assert peer.end is None


def test_stanzas_that_come_along_with_enable_are_counted_after_it() -> None:
    peer = Peer()
    peer.send(header(), auth("EXTERNAL"), header())
    peer.send(BIND + MESSAGE + ENABLE + MESSAGE + R + MESSAGE)
    assert len(peer.stanzas) == 1, "the stream stands still until it is answered"
    peer.stream.accept_enable(peer.now, Management("secret", 60.0))
    peer._answer()
    assert peer.output().endswith(b"max='60'/>" + a(1))
    assert len(peer.stanzas) == 3
    assert peer.send(R) == a(2)


def test_every_stanza_counts_and_nothing_else_does() -> None:
    peer, management = enabled()
    peer.send(b"<message/><presence/> <iq type='result' id='x'/>", b" ", R, a(0))
    assert management.handled == 3
    answer = peer.send(b"<iq type='get' id='bad'/>")
    assert b"bad-request" in answer, "one that is refused has been handled"
    assert peer.send(R) == a(4)
    answer = peer.send(b"<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
    assert b"type='result'" in answer
    assert management.handled == 5
    assert management.outbox.sent == 2
    management.outbox.acknowledge(0)
    assert [stanza[:10] for stanza in management.outbox.take_back()] == [b"<iq type='"] * 2


def test_the_count_of_the_peers_stanzas_begins_again() -> None:
    peer, management = enabled()
    management.handled = COUNT_MODULUS - 1
    assert peer.send(MESSAGE + R) == a(0)


def test_acknowledgements_are_told_as_marks() -> None:
    peer, management = enabled()
    management.outbox.mark(2, "first")
    management.outbox.mark(1, "second")
    peer.send(a(1))
    assert not any(isinstance(event, Acknowledged) for event in peer.events)
    peer.send(a(3))
    assert peer.events[-1] == Acknowledged(("first", "second"))


def test_more_acknowledged_than_was_sent_ends_the_stream() -> None:
    peer, management = enabled()
    management.outbox.skip()
    assert peer.send(a(2)) == (
        b"<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>2 stanzas are acknowledged, but 1 were sent"
        b"</text><handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/></stream:error></stream:stream>"
    )
    assert peer.end is not None and not peer.end.lost


@pytest.mark.parametrize("count", ["", "x", "-1", "+1", "1.0", str(COUNT_MODULUS), "9" * 5000, "\u0661"])
def test_an_acknowledgement_without_a_count_ends_the_stream(count: str) -> None:
    peer, _ = enabled()
    assert peer.send(a(count)).startswith(b"<stream:error><bad-format ")


def test_the_peer_is_asked_after_a_number_of_stanzas() -> None:
    peer, management = enabled()
    for number in range(ASK_STANZAS):
        management.outbox.mark(1, number)
        peer.stream.send_stanza(MESSAGE)
    assert peer.output() == MESSAGE * ASK_STANZAS + R


def test_a_ping_of_ours_counts_and_an_idle_peer_is_asked() -> None:
    peer, management = enabled(Peer(hold_time=90.0, keepalive=0.0).login())
    assert b"<ping" in peer.advance(30)
    assert management.outbox.sent == 1
    management.outbox.mark(1, "events")
    assert peer.advance(30).endswith(R)
    peer, management = enabled(Peer(hold_time=0.0, keepalive=30.0).login())
    management.outbox.mark(1, "events")
    assert [peer.advance(30) for _ in range(3)] == [R, b"", b" "], "a question is a sign of life, too"


# Resumption.


def returning(identities: tuple = (HOST,)) -> Peer:  # type: ignore[type-arg]
    """A peer that has authenticated itself again."""
    peer = Peer(identities=identities)
    peer.send(header(), auth("EXTERNAL"), header())
    return peer


def test_a_session_is_resumed_and_its_counts_go_on() -> None:
    peer, management = enabled()
    peer.send(MESSAGE * 3)
    peer.stream.receive_eof(peer.now)
    peer._answer()
    assert peer.end == StreamClosed(None, "the connection was lost", True, lost=True)
    again = returning()
    assert again.send(resume("secret", 7) + MESSAGE) == b""
    assert again.events[-1] == ResumeRequested(HOST, "secret", 7)
    again.stream.accept_resume(again.now, FULL, management)
    assert again.output() == b"<resumed xmlns='urn:xmpp:sm:3' previd='secret' h='3'/>"
    again._answer()
    assert again.stream.jid == FULL
    assert [stanza.sender for stanza in again.stanzas] == [FULL], "what came along with <resume/>"
    assert again.send(R) == a(4)
    again.stream.send_stanza(MESSAGE)
    assert again.output() == MESSAGE
    assert b"not-allowed" in again.send(BIND)
    assert again.stream.get_timer() == again.now + 30


@pytest.mark.parametrize(("handled", "attribute"), [(None, ""), (5, " h='5'")])
def test_a_session_that_is_gone_and_binding_after_it(handled: int | None, attribute: str) -> None:
    peer = returning()
    peer.send(resume("secret", 0))
    peer.stream.reject_resume(peer.now, handled)
    assert peer.output() == failed("item-not-found", attribute)
    peer.login_from(BIND)


@pytest.mark.parametrize("attributes", ["", "previd='x'", "h='1'", "previd='' h='1'", "previd='x' h='y'"])
def test_a_broken_request_to_resume_can_be_made_again(attributes: str) -> None:
    peer = returning()
    assert peer.send(f"<resume xmlns='urn:xmpp:sm:3' {attributes}/>".encode()) == failed("bad-request")
    peer.send(resume("x", 1))
    assert peer.events[-1] == ResumeRequested(HOST, "x", 1)


def test_an_impossible_count_in_a_request_to_resume_ends_the_stream() -> None:
    peer, management = returning(), Management("secret", 60.0)
    peer.send(resume("secret", 1))
    try:
        management.outbox.acknowledge(1)
    except Exception as error:
        peer.stream.fail(error)  # type: ignore[arg-type]
    assert b"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='1' send-count='0'/></stream:error>" in peer.output()
    peer._answer()
    assert peer.end is not None and not peer.end.lost


def test_which_ends_may_be_followed_by_a_resumption() -> None:
    closed, _ = enabled()
    closed.send(END)
    assert closed.end == StreamClosed(None, "", True)
    silent, _ = enabled(Peer(hold_time=90.0).login())
    for _ in range(4):
        silent.advance(30)
    assert silent.end is not None and silent.end.condition == "connection-timeout" and silent.end.lost
    early = Peer(login_timeout=10.0)
    early.send(header(DOMAIN))
    early.advance(10)
    assert early.end is not None and early.end.condition == "connection-timeout" and not early.end.lost
    broken, _ = enabled()
    broken.send(b"<message></iq>")
    assert broken.end is not None and not broken.end.lost
    assert not any(isinstance(event, StanzaReceived) for event in broken.events)


def test_answers_that_come_too_late_are_dropped() -> None:
    peer = returning()
    peer.send(resume("secret", 0))
    peer.stream.receive_eof(peer.now)
    peer.stream.accept_resume(peer.now, FULL, Management("secret"))
    peer.stream.reject_resume(peer.now)
    peer.stream.accept_enable(peer.now, Management("secret"))
    assert peer.output() == b""
