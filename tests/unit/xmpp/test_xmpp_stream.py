"""The life of a stream: negotiation, stanzas, time, and both ways to close."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.xmpp.driver import BIND, DOMAIN, END, FULL, HOST, STARTTLS, Peer, auth, header
from xmpp.errors import StreamCondition
from xmpp.events import Authenticated, BindRequested, SessionStarted, StanzaReceived, StreamClosed, TlsRequested
from xmpp.jid import Jid
from xmpp.stanza import Condition, Kind, StanzaError, iq_result
from xmpp.stream import ServerStream

PING = b"<iq type='get' id='p1' to='vpn.example.net'><ping xmlns='urn:xmpp:ping'/></iq>"


def ids(sent: bytes) -> list[bytes]:
    return [part.split(b"'")[0] for part in sent.split(b" id='")[1:]]


def test_starttls_external_bind() -> None:
    peer = Peer(secure=False)
    first = peer.send(header())
    assert b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" in first
    assert b"mechanism" not in first
    assert peer.send(STARTTLS) == b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    second = peer.send(header())
    assert b"<mechanism>EXTERNAL</mechanism><mechanism>SCRAM-SHA-256</mechanism>" in second
    assert b"starttls" not in second
    assert peer.send(auth("EXTERNAL")) == b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
    third = peer.send(header())
    assert b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>" in third
    assert b"<optional/></session>" in third
    assert peer.send(BIND) == (
        b"<iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        b"<jid>hv1@vpn.example.net/vrfwire</jid></bind></iq>"
    )
    assert peer.events == [TlsRequested(), Authenticated(HOST, "EXTERNAL"), BindRequested(FULL), SessionStarted(FULL)]
    assert len({ids(reply)[0] for reply in (first, second, third)}) == 3
    assert peer.stream.jid == FULL


def test_the_response_header() -> None:
    reply = Peer().send(header(extra=" from='hv1@vpn.example.net' xml:lang='de-CH'"))
    assert reply.startswith(
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    )
    assert b" from='vpn.example.net' to='hv1@vpn.example.net' version='1.0' xml:lang='de-CH'>" in reply
    reply = Peer().send(header(extra=" from='&lt;@x' xml:lang='\"/>'", version="1.7"))
    assert b" from='vpn.example.net' version='1.0' xml:lang='en'>" in reply


def test_external_is_offered_only_with_a_certificate_of_this_domain() -> None:
    assert b"EXTERNAL" not in Peer(identities=()).send(header())
    assert b"EXTERNAL" not in Peer(identities=(Jid("hv1", "elsewhere.example"), Jid("", DOMAIN))).send(header())
    reply = Peer(identities=(), scram_keys=None).send(header())
    assert b"<stream:error><not-authorized " in reply
    assert b"no client certificate" in reply


def test_domain_is_compared_in_prepared_form() -> None:
    assert b"<stream:features>" in Peer().send(header(to="VPN.Example.NET."))


def test_a_whole_login_in_one_piece_of_data() -> None:
    peer = Peer()
    peer.send(header() + auth("EXTERNAL") + header() + BIND + PING)
    assert [type(event) for event in peer.events] == [Authenticated, BindRequested, SessionStarted, StanzaReceived]
    assert peer.stanzas[0].to == Jid("", DOMAIN)
    assert peer.stanzas[0].sender == FULL


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2000), max_size=10))
def test_any_cut_of_a_login_gives_the_same(places: list[int]) -> None:
    data = header() + auth("EXTERNAL") + b" " + header() + BIND + PING * 2 + b"<message/>" + END
    whole = Peer()
    whole.send(data)
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    peer = Peer()
    peer.send(*[data[a:b] for a, b in pairwise(edges)])
    assert peer.sent == whole.sent
    assert [type(event) for event in peer.events] == [type(event) for event in whole.events]
    assert [s.id for s in peer.stanzas] == [s.id for s in whole.stanzas]


def test_the_shell_may_refuse_authentication() -> None:
    peer = Peer()
    stream = peer.stream
    stream.receive_data(header() + auth("EXTERNAL"), 0)
    assert stream.next_event() == Authenticated(HOST, "EXTERNAL")
    stream.data_to_send()
    stream.reject_auth(0, "account-disabled", "no such host")
    assert stream.data_to_send() == (
        b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><account-disabled/>"
        b"<text xml:lang='en'>no such host</text></failure>"
    )
    assert stream.jid is None
    stream.receive_data(auth("EXTERNAL"), 0)
    assert stream.next_event() == Authenticated(HOST, "EXTERNAL")
    stream.accept_auth(0)
    assert stream.jid == HOST


def test_the_shell_may_refuse_a_resource() -> None:
    stream = Peer().stream
    stream.receive_data(header() + auth("EXTERNAL"), 0)
    stream.accept_auth(0)
    stream.receive_data(header() + BIND, 0)
    stream.data_to_send()
    stream.reject_bind(0, StanzaError(Condition.CONFLICT, "in use"))
    assert b"<iq type='error' id='b1'" in (reply := stream.data_to_send())
    assert b"<error type='cancel'><conflict " in reply
    stream.receive_data(BIND, 0)
    stream.accept_bind(0)
    assert stream.jid == FULL


def test_a_resource_is_made_when_none_is_named() -> None:
    peer = Peer()
    peer.send(header(), auth("EXTERNAL"), header())
    reply = peer.send(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
    assert peer.stream.jid is not None
    assert len(peer.stream.jid.resource) == 12
    assert f"<jid>{peer.stream.jid}</jid>".encode() in reply


@pytest.mark.parametrize(
    "request_xml",
    [
        b"<iq type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        BIND.replace(b"vrfwire", b"x" * 1024),
        BIND.replace(b"vrfwire", "\u2028".encode()),
    ],
)
def test_a_bad_resource_is_refused_and_another_may_follow(request_xml: bytes) -> None:
    peer = Peer()
    peer.send(header(), auth("EXTERNAL"), header())
    assert b"<error type='modify'><bad-request " in peer.send(request_xml)
    peer.send(BIND)
    assert peer.stream.jid == FULL


def test_legacy_session_and_a_second_bind() -> None:
    peer = Peer().login()
    session = b"<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>"
    assert peer.send(session) == b"<iq type='result' id='s' to='hv1@vpn.example.net/vrfwire'/>"
    assert b"<not-allowed " in peer.send(BIND)
    assert not peer.stanzas


def test_stanzas_are_stamped_with_the_full_jid() -> None:
    peer = Peer().login()
    for sender in ("", " from='hv1@vpn.example.net'", " from='hv1@vpn.example.net/vrfwire'"):
        peer.send(f"<message{sender} to='hv2@vpn.example.net/vrfwire'><body/></message>".encode())
    assert [s.sender for s in peer.stanzas] == [FULL] * 3
    assert peer.stanzas[0].kind is Kind.MESSAGE
    assert peer.stanzas[0].to == Jid("hv2", DOMAIN, "vrfwire")


@pytest.mark.parametrize(
    ("iq", "reply"),
    [
        (b"<iq type='get'><a xmlns='u'/></iq>", b"<iq type='error' to="),
        (b"<iq type='get' id='1'/>", b"<iq type='error' id='1' to="),
        (b"<iq type='set' id='1'><a xmlns='u'/><b xmlns='u'/></iq>", b"<iq type='error' id='1' to="),
        (b"<iq type='subscribe' id='1'><a xmlns='u'/></iq>", b"<iq type='error' id='1' to="),
        (b"<iq id='1' to='vpn.example.net'><a xmlns='u'/></iq>", b"<iq type='error' id='1' from='vpn.example.net' to="),
    ],
)
def test_broken_iqs_are_answered_with_bad_request(iq: bytes, reply: bytes) -> None:
    peer = Peer().login()
    answer = peer.send(iq)
    assert answer.startswith(reply + b"'hv1@vpn.example.net/vrfwire'>")
    assert b"<error type='modify'><bad-request " in answer
    assert not peer.stanzas
    assert peer.end is None


def test_a_malformed_to_is_answered_but_never_an_error() -> None:
    peer = Peer().login()
    assert b"<jid-malformed " in peer.send(b"<iq type='get' id='1' to='@'><a xmlns='u'/></iq>")
    assert b"<jid-malformed " in peer.send(b"<message to='a@b@c'/>")
    assert peer.send(b"<message type='error' to='@'/><presence to='@'/><iq type='result' id='1' to='@'/>") == b""
    assert not peer.stanzas


def test_results_pass_and_pongs_are_kept_here() -> None:
    peer = Peer(hold_time=90.0).login()
    peer.send(b"<iq type='result' id='mine'/><iq type='error' id='x'><a xmlns='u'/></iq>")
    assert [s.id for s in peer.stanzas] == ["mine", "x"]
    assert b"id='vw-ping-1'" in peer.advance(30)
    peer.send(b"<iq type='result' id='vw-ping-1' from='hv1@vpn.example.net/vrfwire' to='vpn.example.net'/>")
    assert len(peer.stanzas) == 2


def test_output_of_the_shell_goes_out_in_order() -> None:
    peer = Peer().login()
    peer.send(PING)
    peer.stream.send_stanza(b"<message/>")
    peer.stream.send_stanza(iq_result(peer.stanzas[0]))
    assert peer.output() == (
        b"<message/><iq type='result' id='p1' from='vpn.example.net' to='hv1@vpn.example.net/vrfwire'/>"
    )


def test_answers_nobody_asked_for_are_programming_errors() -> None:
    stream = Peer().stream
    for command in (stream.accept_auth, stream.accept_bind, stream.tls_started):
        with pytest.raises(RuntimeError):
            command(0.0)
    with pytest.raises(RuntimeError):
        stream.send_stanza(b"<message/>")


# STARTTLS injection.


def test_plaintext_behind_starttls_ends_the_stream() -> None:
    peer = Peer(secure=False)
    reply = peer.send(header(), STARTTLS + header())
    assert b"<proceed" not in reply
    assert b"<policy-violation " in reply
    assert TlsRequested() not in peer.events
    stream = Peer(secure=False).stream
    stream.receive_data(header() + STARTTLS, 0)
    assert stream.next_event() == TlsRequested()
    stream.data_to_send()
    stream.receive_data(b"<stream:stream>", 0)
    assert stream.data_to_send() == b""
    assert isinstance(stream.next_event(), StreamClosed)
    stream.tls_started(0)
    assert stream.closed


def test_nothing_of_the_plaintext_stream_is_kept() -> None:
    peer = Peer(secure=False)
    peer.send(header(), STARTTLS + b" \n")
    assert TlsRequested() in peer.events
    assert b"<mechanisms" in peer.send(header())


def test_tls_not_available() -> None:
    peer = Peer(secure=False, tls_available=False)
    assert peer.send(header() + STARTTLS).endswith(
        b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
    )
    assert peer.end is not None


# Time.


def test_login_deadline() -> None:
    peer = Peer(login_timeout=10.0)
    assert peer.stream.get_timer() == 1010.0
    peer.send(header())
    assert peer.advance(9.9) == b""
    reply = peer.advance(0.1)
    assert b"<connection-timeout " in reply
    assert peer.end == StreamClosed(StreamCondition.CONNECTION_TIMEOUT, "the login took too long", False)
    assert peer.stream.get_timer() is None


def test_login_deadline_before_any_byte_sends_a_header_first() -> None:
    reply = Peer(login_timeout=10.0).advance(10)
    assert reply.startswith(b"<?xml version='1.0'?><stream:stream ")
    assert reply.endswith(b"</stream:error></stream:stream>")


def test_a_silent_peer_is_pinged_twice_then_dropped() -> None:
    peer = Peer(hold_time=90.0).login()
    assert peer.stream.get_timer() == peer.now + 30
    assert peer.advance(29) == b""
    assert peer.advance(1) == (
        b"<iq type='get' id='vw-ping-1' from='vpn.example.net' to='hv1@vpn.example.net/vrfwire'>"
        b"<ping xmlns='urn:xmpp:ping'/></iq>"
    )
    assert peer.advance(1) == b""
    assert b"vw-ping-2" in peer.advance(29)
    assert b"<connection-timeout " in peer.advance(30)
    assert peer.end is not None
    assert peer.end.condition is StreamCondition.CONNECTION_TIMEOUT


def test_any_byte_is_a_sign_of_life() -> None:
    peer = Peer(hold_time=90.0, keepalive=0.0).login()
    for _ in range(20):
        peer.advance(29)
        peer.send(b" ")
    assert b"ping" not in peer.sent
    assert peer.stream.get_timer() == peer.now + 30
    assert Peer(hold_time=0.0, keepalive=0.0).login().stream.get_timer() is None


def test_a_peer_that_needs_no_answer_hears_of_us() -> None:
    peer = Peer(hold_time=0.0, keepalive=30.0).login()
    assert peer.advance(30) == b"", "the login was not so long ago"
    assert peer.advance(29) == b""
    assert peer.advance(1) == b" "
    assert [peer.advance(30) for _ in range(4)] == [b"", b" ", b"", b" "]
    peer.advance(29)
    peer.stream.send_stanza(b"<message/>")
    peer.output()
    assert [peer.advance(seconds) for seconds in (1, 30)] == [b"", b" "]


def test_a_peer_that_is_pinged_needs_no_keepalive() -> None:
    peer = Peer(hold_time=90.0, keepalive=30.0).login()
    for _ in range(2):
        assert peer.advance(30).startswith(b"<iq type='get'")


# Closing.


def test_the_peer_closes() -> None:
    peer = Peer().login()
    assert peer.send(END) == END
    assert peer.end == StreamClosed(None, "", True)
    assert peer.send(b"more") == b""


def test_we_close_and_wait_for_the_peer() -> None:
    peer = Peer(close_timeout=2.0).login()
    peer.stream.close(peer.now)
    assert peer.output() == END
    assert peer.end is None
    peer.send(PING)
    peer.stream.send_stanza(b"<message/>")
    assert peer.output() == b""
    assert not peer.stanzas
    assert peer.send(END) == b""
    assert peer.end == StreamClosed(None, "", False)


def test_a_peer_that_never_closes_is_left() -> None:
    peer = Peer(close_timeout=2.0).login()
    peer.stream.close(peer.now)
    assert peer.stream.get_timer() == peer.now + 2
    peer.output()
    assert peer.advance(2) == b""
    assert peer.end is not None


def test_close_with_a_condition() -> None:
    peer = Peer().login()
    peer.stream.close(peer.now, StreamCondition.CONFLICT, "a newer session")
    peer._answer()
    assert peer.output() == (
        b"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>a newer session</text>"
        b"</stream:error></stream:stream>"
    )
    assert peer.end == StreamClosed(StreamCondition.CONFLICT, "a newer session", False)


def test_close_before_the_header() -> None:
    peer = Peer()
    peer.stream.close(0.0)
    peer._answer()
    assert peer.output() == b""
    assert peer.end is not None
    peer = Peer()
    peer.stream.close(0.0, StreamCondition.SYSTEM_SHUTDOWN)
    assert peer.output().startswith(b"<?xml version='1.0'?><stream:stream ")


def test_close_while_the_shell_decides() -> None:
    stream = Peer().stream
    stream.receive_data(header() + auth("EXTERNAL"), 0)
    stream.close(0.0)
    stream.accept_auth(0.0)
    assert stream.data_to_send().endswith(END)
    assert stream.jid is None
    stream.receive_data(END, 0)
    assert stream.closed


def test_the_connection_is_lost() -> None:
    peer = Peer().login()
    peer.stream.receive_eof(peer.now)
    peer.stream.receive_eof(peer.now)
    peer._answer()
    assert [e for e in peer.events if isinstance(e, StreamClosed)] == [
        StreamClosed(None, "the connection was lost", True, lost=True)
    ]


def test_the_peer_reports_an_error() -> None:
    peer = Peer().login()
    error = (
        b"<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>bye</text></stream:error>"
    )
    assert peer.send(error + END) == END
    assert peer.end == StreamClosed(StreamCondition.SYSTEM_SHUTDOWN, "bye", True)


@pytest.mark.parametrize("last", [END, b"<a></b>", b""])
def test_a_closed_stream_is_freed_without_the_garbage_collector(last: bytes) -> None:
    peer = Peer().login()
    peer.send(last)
    peer.stream.receive_eof(peer.now)
    parser = weakref.ref(peer.stream._parser)
    gc.disable()
    try:
        del peer
        assert parser() is None
    finally:
        gc.enable()


def test_a_weak_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="scram_secret"):
        Peer(scram_secret=b"short")


def test_too_much_sent_ahead_of_the_shells_answer() -> None:
    stream: ServerStream = Peer(stanza_max_unauthenticated=1000).stream
    stream.receive_data(header() + auth("EXTERNAL"), 0)
    stream.receive_data(b" " * 600, 0)
    assert not stream.closed
    stream.receive_data(b" " * 600, 0)
    assert stream.closed
    assert b"<policy-violation " in stream.data_to_send()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from(
            [header(), auth("EXTERNAL"), auth("SCRAM-SHA-256"), BIND, PING, END, b"<iq", b"</iq>", STARTTLS]
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_garbage_never_raises(pieces: list[bytes], secure: bool) -> None:
    peer = Peer(secure=secure)
    peer.send(*pieces)
    if peer.end is not None:
        assert peer.sent == b"" or peer.sent.startswith(b"<?xml version='1.0'?><stream:stream ")
