"""The component's side of XEP-0114: handshake, stanzas, silence, every way in which it ends."""

from __future__ import annotations

import hashlib

import pytest

from tests.unit.xmpp.driver import Told
from xmpp import namespaces as ns
from xmpp.component import Attached, ComponentConfig, ComponentStream
from xmpp.errors import StreamCondition
from xmpp.events import StreamClosed
from xmpp.jid import Jid
from xmpp.stanza import Kind

DOMAIN = "vpn.gw.example.org"
SECRET = "s3cr<t & ü"
HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAMS}' from='{DOMAIN}'"
    " id='a&amp;7'>"
).encode()
HANDSHAKE = b"<handshake/>"
END = b"</stream:stream>"
HOST = Jid("hv1", "gw.example.org", "vrfwire")


class Leg(Told):
    """A stream under test with the server's end of it, and a clock that only the test moves."""

    def __init__(self, **config: object) -> None:
        self.now = 1000.0
        self.stream = ComponentStream(ComponentConfig(DOMAIN, SECRET, **config), self.now)  # type: ignore[arg-type]
        self.events = []
        self.header = self.stream.data_to_send()

    def send(self, *pieces: bytes) -> bytes:
        for piece in pieces:
            self.stream.receive_data(piece, self.now)
        return self.output()

    def output(self) -> bytes:
        while (event := self.stream.next_event()) is not None:
            self.events.append(event)
        return self.stream.data_to_send()

    def advance(self, seconds: float) -> bytes:
        self.now += seconds
        self.stream.handle_timer(self.now)
        return self.output()

    def attach(self) -> Leg:
        self.send(HEADER, HANDSHAKE)
        assert self.events.pop() == Attached()
        return self


def test_the_handshake_proves_the_secret() -> None:
    leg = Leg()
    assert f"to='{DOMAIN}'".encode() in leg.header and f"xmlns='{ns.COMPONENT}'".encode() in leg.header
    proof = hashlib.sha1(f"a&7{SECRET}".encode()).hexdigest()
    assert leg.send(HEADER) == f"<handshake>{proof}</handshake>".encode()
    assert leg.events == []
    leg.send(HANDSHAKE)
    assert leg.events == [Attached()]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_stanzas_come_with_their_addresses_however_bytes_are_cut(size: int) -> None:
    leg = Leg()
    data = (
        HEADER
        + HANDSHAKE
        + (
            f"<presence from='{HOST}' to='{DOMAIN}' id='p1'/> \n"
            f"<iq from='{HOST}' to='{DOMAIN}' type='get' id='q1'><ping xmlns='{ns.PING}'/></iq>"
            f"<message from='{HOST}' to='x@{DOMAIN}/y'><body>hi</body></message>"
        ).encode()
    )
    leg.send(*(data[start : start + size] for start in range(0, len(data), size)))
    presence, iq, message = leg.stanzas
    assert (presence.kind, presence.type, presence.id, presence.sender) == (Kind.PRESENCE, "", "p1", HOST)
    assert (iq.kind, iq.type, iq.to) == (Kind.IQ, "get", Jid("", DOMAIN))
    assert iq.payload is not None and iq.payload.tag == f"{{{ns.PING}}}ping"
    assert (message.kind, message.to) == (Kind.MESSAGE, Jid("x", DOMAIN, "y"))


@pytest.mark.parametrize(
    "stanza",
    [
        f"<iq to='{DOMAIN}' type='get' id='1'><a xmlns='b'/></iq>",
        f"<iq from='a@@b' to='{DOMAIN}' type='get' id='1'><a xmlns='b'/></iq>",
        f"<iq from='{HOST}' type='get' id='1'><a xmlns='b'/></iq>",
        f"<iq from='{HOST}' to='elsewhere.example.org' type='get' id='1'><a xmlns='b'/></iq>",
        f"<log from='{HOST}' to='{DOMAIN}'/>",
    ],
)
def test_what_no_server_should_pass_on_is_dropped_and_counted(stanza: str) -> None:
    leg = Leg().attach()
    assert leg.send(stanza.encode()) == b""
    assert (leg.events, leg.stream.unread) == ([], 1)


def test_broken_requests_are_answered_at_once() -> None:
    leg = Leg().attach()
    answer = leg.send(f"<iq from='{HOST}' to='{DOMAIN}' type='set' id='1'/>".encode())
    assert b"bad-request" in answer and f"to='{HOST}'".encode() in answer and f"from='{DOMAIN}'".encode() in answer
    assert leg.send(f"<iq from='{HOST}' to='{DOMAIN}' type='result' id='1'/>".encode()) == b""
    assert [stanza.type for stanza in leg.stanzas] == ["result"]


def test_nothing_is_sent_before_the_server_has_agreed() -> None:
    leg = Leg()
    leg.stream.send_stanza(b"<presence/>")
    leg.send(HEADER)
    leg.stream.send_stanza(b"<presence/>")
    assert leg.output() == b""
    leg.send(HANDSHAKE)
    leg.stream.send_stanza(b"<presence/>")
    assert leg.output() == b"<presence/>"


def test_a_stanza_before_the_handshake_ends_the_stream() -> None:
    leg = Leg()
    sent = leg.send(HEADER, f"<presence from='{HOST}' to='{DOMAIN}'/>".encode())
    assert b"<not-authorized " in sent and sent.endswith(END)
    assert leg.end is not None and leg.end.condition is StreamCondition.NOT_AUTHORIZED and leg.stanzas == []


@pytest.mark.parametrize("opened", [True, False])
def test_a_wrong_secret_or_name_is_told_with_the_servers_words(opened: bool) -> None:
    """Prosody says host-unknown behind a header without an id, ejabberd not-authorized behind a whole one."""
    leg = Leg()
    header = HEADER if opened else HEADER.replace(b" id='a&amp;7'", b"")
    error = (
        f"<stream:error><not-authorized xmlns='{ns.STREAM_ERRORS}'/>"
        f"<text xmlns='{ns.STREAM_ERRORS}'>Given token does not match calculated token</text></stream:error>"
    ).encode()
    leg.send(header, error + END)
    assert leg.end == StreamClosed(
        StreamCondition.NOT_AUTHORIZED, "Given token does not match calculated token", by_peer=True
    )
    assert Attached() not in leg.events


def test_a_stream_of_another_kind_is_refused() -> None:
    leg = Leg()
    sent = leg.send(HEADER.replace(ns.COMPONENT.encode(), ns.CLIENT.encode()))
    assert b"invalid-namespace" in sent
    assert leg.end is not None and leg.end.condition is StreamCondition.INVALID_NAMESPACE


def test_a_server_that_says_nothing_is_given_up() -> None:
    leg = Leg(login_timeout=10)
    assert leg.stream.get_timer() == 1010
    leg.send(HEADER)
    leg.advance(9.9)
    assert leg.end is None
    leg.advance(0.2)
    assert leg.end is not None and leg.end.condition is StreamCondition.CONNECTION_TIMEOUT
    assert leg.stream.closed and leg.stream.get_timer() is None


def test_silence_is_asked_about_and_then_the_end() -> None:
    leg = Leg(hold_time=90).attach()
    ping = leg.advance(30)
    assert f"from='{DOMAIN}' to='{DOMAIN}'".encode() in ping and b"urn:xmpp:ping" in ping
    # It comes back as a request of our own, which is nobody else's business.
    leg.send(ping)
    assert leg.events == [] and leg.stream.unread == 0
    assert leg.stream.get_timer() == leg.now + 30
    assert leg.advance(30) and leg.advance(30)
    leg.advance(30)
    assert leg.end is not None and leg.end.condition is StreamCondition.CONNECTION_TIMEOUT


def test_a_whitespace_is_a_sign_of_life() -> None:
    leg = Leg(hold_time=90).attach()
    leg.now += 29
    leg.send(b" ")
    assert leg.stream.get_timer() == leg.now + 30


def test_no_hold_time_means_no_questions() -> None:
    assert Leg(hold_time=0).attach().stream.get_timer() is None


def test_closing_waits_for_the_server_but_not_for_ever() -> None:
    leg = Leg(close_timeout=2).attach()
    leg.stream.close(leg.now)
    assert leg.output() == END
    leg.stream.send_stanza(b"<presence/>")
    assert leg.send(f"<presence from='{HOST}' to='{DOMAIN}'/>".encode()) == b"" and leg.stanzas == []
    leg.send(END)
    assert leg.end == StreamClosed(None, "", by_peer=False)

    mute = Leg(close_timeout=2).attach()
    mute.stream.close(mute.now)
    mute.stream.close(mute.now)
    assert mute.output() == END
    mute.advance(2)
    assert mute.end is not None and "didn't close" in mute.end.text


def test_a_stream_that_never_opened_closes_at_once() -> None:
    leg = Leg()
    leg.stream.close(leg.now)
    assert leg.output() == b"" and leg.end == StreamClosed(None, "", by_peer=False)


def test_the_server_may_close_or_vanish() -> None:
    closed = Leg().attach()
    assert closed.send(END) == END
    assert closed.end == StreamClosed(None, "", by_peer=True)
    lost = Leg().attach()
    lost.stream.receive_eof()
    lost.stream.receive_eof()
    lost.output()
    assert lost.end == StreamClosed(None, "the connection was lost", by_peer=True)
    lost.send(HEADER)
    assert len(lost.events) == 1


def test_bad_xml_ends_the_stream_after_what_was_whole() -> None:
    leg = Leg().attach()
    sent = leg.send(f"<presence from='{HOST}' to='{DOMAIN}'/></wrong>".encode())
    assert len(leg.stanzas) == 1 and b"not-well-formed" in sent
    assert leg.end is not None and leg.end.condition is StreamCondition.NOT_WELL_FORMED
