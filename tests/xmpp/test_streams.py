"""Streams (RFC 6120, sections 4 and 11): their headers, what ends them and how, size and depth."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.xmpp.conftest import Sessions
from tests.xmpp.differences import expected, judge, judge_ending, judge_stanza
from tests.xmpp.raw import DEADLINE, RawClient, header
from tests.xmpp.subjects import DOMAIN, PASSWORD, SASL_ATTEMPTS, Subject
from xmpp import namespaces as ns

Connect = Callable[..., RawClient]
ROOT = header(DOMAIN)
DECLARATION = "<?xml version='1.0'?>"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

HEADERS: dict[str, tuple[str | bytes, str]] = {
    "another domain": (header("other.example.net"), "stream host-unknown"),
    "no domain": (ROOT.replace(f"to='{DOMAIN}' ", ""), "stream host-unknown"),
    "a server's namespace": (header(DOMAIN, namespace="jabber:server"), "stream invalid-namespace"),
    "another namespace of streams": (ROOT.replace(ns.STREAMS, "urn:example:streams"), "stream invalid-namespace"),
    "another root": (ROOT.replace("stream:stream", "stream:flow"), "stream bad-format"),
    "no version": (ROOT.replace(" version='1.0'>", ">"), "stream unsupported-version"),
    "version 0.9": (ROOT.replace(" version='1.0'>", " version='0.9'>"), "stream unsupported-version"),
    "version 1.7": (ROOT.replace(" version='1.0'>", " version='1.7'>"), "features"),
    "http": ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "stream not-well-formed"),
    "latin-1": (
        ROOT.replace("<?xml version='1.0'?>", "<?xml version='1.0' encoding='ISO-8859-1'?>"),
        "stream unsupported-encoding",
    ),
    "utf-16": (ROOT.encode("utf-16"), "stream not-well-formed"),
    "dtd": (f"{DECLARATION}<!DOCTYPE x [<!ENTITY a 'b'>]>{ROOT.removeprefix(DECLARATION)}", "stream restricted-xml"),
    "comment": (f"{DECLARATION}<!-- hello -->{ROOT.removeprefix(DECLARATION)}", "stream restricted-xml"),
    "no declaration": (ROOT.removeprefix(DECLARATION), "features"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers(case: str, subject: Subject, connect: Connect) -> None:
    """A stream that can't begin ends with its condition (section 4.9.3), inside a stream of the server's (4.9.1.2)."""
    data, wanted = HEADERS[case]
    client = connect()
    client.send(data)
    if expected(subject, case, wanted) == "features":
        assert client.expect("features") is not None
        return
    judge_ending(subject, case, client, wanted)
    if subject.ours:
        assert client.parser.header is not None and client.parser.header["from"] == DOMAIN
        assert client.parser.header["id"] and client.parser.ended


EARLY: dict[str, tuple[str | bytes, str]] = {
    "early ping": (f"<iq type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>", "stream not-authorized"),
    "early message": (f"<message to='{DOMAIN}' id='c1'><body>x</body></message>", "stream not-authorized"),
    "early bind": (f"<iq type='set' id='c1'><bind xmlns='{ns.BIND}'/></iq>", "stream not-authorized"),
    "unknown element": ("<x xmlns='urn:example:x'/>", "stream unsupported-stanza-type"),
    "bytes that are no utf-8": (b"<a>\xff\xfe</a>", "stream not-well-formed"),
    "an endless first element": (f"<auth xmlns='{ns.SASL}'>{'x' * 300_000}", "stream policy-violation"),
}


@pytest.mark.parametrize("case", EARLY)
def test_what_comes_before_a_login(case: str, subject: Subject, connect: Connect) -> None:
    """Nobody is served whom the server doesn't know (section 6.1), and little is read of them."""
    data, wanted = EARLY[case]
    client = connect().open()
    client.send(data)
    known = expected(subject, case, wanted)
    if known.startswith("error"):
        judge(subject, case, client.outcome(""), wanted)
    else:
        judge_ending(subject, case, client, wanted)


STANZAS: dict[str, tuple[str | bytes, str]] = {
    "mismatched tags": ("<iq type='get' id='c1'><ping></iq>", "stream not-well-formed"),
    "undeclared prefix": ("<iq type='get' id='c1'><a:ping/></iq>", "stream not-well-formed"),
    "repeated attribute": ("<iq type='get' type='set' id='c1'/>", "stream not-well-formed"),
    "control character": ("<message>\x01</message>", "stream not-well-formed"),
    "broken utf-8": (b"<message><body>\xc3\x28</body></message>", "stream not-well-formed"),
    "comment in a stanza": ("<iq type='get' id='c1'><!-- hello --></iq>", "stream restricted-xml"),
    "processing instruction": ("<?target data?>", "stream restricted-xml"),
    "entity": ("<message><body>&xxe;</body></message>", "stream restricted-xml"),
    "late dtd": ("<!DOCTYPE x>", "stream restricted-xml"),
    "no stanza": ("<x xmlns='urn:example:x'/>", "stream unsupported-stanza-type"),
    "stanza of a server": (f"<iq xmlns='jabber:server' type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>",
                           "stream unsupported-stanza-type"),
    "another's from": (f"<iq from='host2@{DOMAIN}/x' type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>",
                       "stream invalid-from"),
    "another resource": (f"<iq from='host1@{DOMAIN}/other' type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>",
                         "stream invalid-from"),
    "text between stanzas": ("hello", "stream bad-format"),
    "a large stanza": (f"<message><body>{'x' * 1_200_000}</body></message>", "stream policy-violation"),
    "deep": (f"<message>{'<a>' * 1000}{'</a>' * 1000}</message><presence type='x'/>", "stream policy-violation"),
    "login again": (f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>AGEAYg==</auth>", "stream unsupported-stanza-type"),
    "end": ("</stream:stream>", "closed"),
    "an error": (f"<stream:error><reset xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>", "closed"),
}  # fmt: skip


@pytest.mark.parametrize("case", STANZAS)
def test_what_ends_a_session(case: str, subject: Subject, sessions: Sessions) -> None:
    """The stream ends with its reason, and its end tag is answered."""
    data, wanted = STANZAS[case]
    client = sessions()
    if expected(subject, case, wanted).startswith(("stream", "closed")):
        client.send(data)
        judge_ending(subject, case, client, wanted)
    else:
        judge_stanza(subject, case, client, data, wanted)


def test_the_header_answers_the_clients(subject: Subject, connect: Connect) -> None:
    """Section 4.7: from, version and an id of its own for every stream; the language asked for."""
    ids = set()
    for _ in range(3):
        client = connect().open(header(DOMAIN, "version='1.0' xml:lang='de'"))
        answer = client.parser.header
        assert answer is not None and answer["from"] == DOMAIN and answer["version"] == "1.0"
        assert LANG in answer
        if subject.ours:
            assert answer[LANG] == "de"
        ids.add(answer["id"])
    assert len(ids) == 3 and min(map(len, ids)) >= 8


def test_a_clients_address_is_echoed(ours: Subject) -> None:
    """Section 4.7.2: "to" of the answer is what the client gave as its own address."""
    with ours.connect() as client:
        client.open(header(DOMAIN, f"version='1.0' from='host1@{DOMAIN}'"))
        assert client.parser.header is not None and client.parser.header["to"] == f"host1@{DOMAIN}"


def test_bytes_one_by_one(subject: Subject, connect: Connect) -> None:
    """How bytes are cut means nothing."""
    client = connect()
    for byte in header(DOMAIN).encode():
        client.send(bytes((byte,)))
    client.features = client.expect("features")
    assert client.mechanisms()


def test_the_newest_session_wins(subject: Subject, sessions: Sessions) -> None:
    """Section 7.7.2.2: the same full JID is bound again; the older stream ends with conflict."""
    old, new = sessions(), sessions()
    assert new.jid == old.jid
    judge_ending(subject, "newest session", old, "stream conflict")
    assert new.outcome(f"<iq type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>") == "result"


def test_two_resources_are_two_sessions(subject: Subject, sessions: Sessions) -> None:
    """And a resource is made when none is asked for."""
    one, two = sessions(resource="one"), sessions(resource="")
    assert one.jid.endswith("/one") and len(two.jid.partition("/")[2]) >= 8
    for client in (one, two):
        assert client.outcome(f"<iq type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>") == "result"


BINDS = {
    "empty resource": ("<bind xmlns='{}'><resource/></bind>", "result"),
    "resource that can't be": ("<bind xmlns='{}'><resource>&#x202e;</resource></bind>", "error modify bad-request"),
    "resource too long": (f"<bind xmlns='{{}}'><resource>{'x' * 1024}</resource></bind>", "error modify bad-request"),
}


@pytest.mark.parametrize("case", BINDS)
def test_resources(case: str, subject: Subject, connect: Connect) -> None:
    """Section 7: what can't be a resource is refused, and may be asked for again."""
    payload, wanted = BINDS[case]
    client = connect().open()
    assert client.scram("host1", PASSWORD) == "success"
    client.open()
    outcome = client.outcome(f"<iq type='set' id='c1'>{payload.format(ns.BIND)}</iq>")
    judge(subject, case, outcome, wanted)
    if outcome.startswith("error"):
        client.bind("another")


def test_a_bound_session_is_asked_for_no_other(subject: Subject, sessions: Sessions) -> None:
    """Section 7.6.2.3 leaves several resources of one stream open; nobody has them."""
    outcome = sessions().outcome(f"<iq type='set' id='c1'><bind xmlns='{ns.BIND}'/></iq>")
    judge(subject, "bind again", outcome, "error cancel not-allowed")


def test_a_stanza_between_login_and_bind(subject: Subject, connect: Connect) -> None:
    """Section 7.1: nothing but a bind is taken before one."""
    client = connect().open()
    assert client.scram("host1", PASSWORD) == "success"
    client.open()
    assert client.offers(f"{{{ns.BIND}}}bind") and not client.mechanisms()
    client.send(f"<message to='{DOMAIN}' id='c1'><body>x</body></message>")
    if expected(subject, "unbound", "") == "waits":
        judge_ending(subject, "unbound", client, "")
    else:
        judge(subject, "unbound", client.outcome(""), "stream not-authorized")


def test_whitespace_keeps_a_stream_alive(subject: Subject, sessions: Sessions) -> None:
    """Section 4.6.1: whitespace between stanzas is nothing."""
    client = sessions()
    client.send(" \t\r\n" * 1000)
    assert client.outcome(" ", silent=True) == "nothing"


def test_stanzas_in_prefixed_namespaces(subject: Subject, sessions: Sessions) -> None:
    """Section 4.8.5: what a prefix stands for counts, not how it is written."""
    client = sessions()
    ping = f"<c:iq xmlns:c='{ns.CLIENT}' xmlns:p='{ns.PING}' type='get' id='c1'><p:ping/></c:iq>"
    judge(subject, "prefixed stanza", client.outcome(ping), "result")


def test_features_of_a_bound_stream_name_no_login(subject: Subject, sessions: Sessions) -> None:
    """What is over is not offered again."""
    client = sessions()
    assert not client.mechanisms() and not client.offers(f"{{{ns.TLS}}}starttls")


def test_the_stream_is_one_document(ours: Subject) -> None:
    """Nothing follows the end tag, and TLS is closed in order, so that the peer knows it was the end."""
    with ours.log_in() as client:
        client.send("</stream:stream>")
        assert client.ending() == "closed" and client.parser.ended
        client.socket.settimeout(DEADLINE)
        assert client.socket.recv(1) == b""


def test_attempts_are_limited() -> None:
    """Section 6.4.5 wants two to five."""
    assert 2 <= SASL_ATTEMPTS <= 5
