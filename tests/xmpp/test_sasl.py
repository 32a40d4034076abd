"""Logging in (RFC 6120, section 6; RFC 5802; XEP-0178): what is offered, what fails and how, and how often."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab.pki import Authority
from tests.scenario.raw_host import client_context
from tests.xmpp.differences import expected, judge
from tests.xmpp.raw import RawClient
from tests.xmpp.subjects import DOMAIN, PASSWORD, SASL_ATTEMPTS, Subject
from xmpp import namespaces as ns

Connect = Callable[..., RawClient]

ATTEMPTS: dict[str, tuple[str, str]] = {
    "unknown mechanism": ("<auth xmlns='{}' mechanism='X-NONE'>=</auth>", "invalid-mechanism"),
    "no mechanism": ("<auth xmlns='{}'>=</auth>", "invalid-mechanism"),
    "no base64": ("<auth xmlns='{}' mechanism='SCRAM-SHA-256'>!!!</auth>", "incorrect-encoding"),
    "base64 with spaces": ("<auth xmlns='{}' mechanism='SCRAM-SHA-256'>bixu PXgs</auth>", "incorrect-encoding"),
    "abort of nothing": ("<abort xmlns='{}'/>", "aborted"),
    "response to nothing": ("<response xmlns='{}'>=</response>", "malformed-request"),
    "no scram": ("<auth xmlns='{}' mechanism='SCRAM-SHA-256'>aGVsbG8=</auth>", "malformed-request"),
    "empty scram": ("<auth xmlns='{}' mechanism='SCRAM-SHA-256'>=</auth>", "malformed-request"),
    "no name": ("<auth xmlns='{}' mechanism='SCRAM-SHA-256'>biwsbj0scj1hYmNk</auth>", "malformed-request"),
    "mandatory extension": ("<auth xmlns='{}' mechanism='SCRAM-SHA-256'>biwsbT14LG49aG9zdDEscj1hYmNk</auth>",
                            "malformed-request"),
}  # fmt: skip


@pytest.mark.parametrize("case", ATTEMPTS)
def test_attempts_that_can_not_succeed(case: str, subject: Subject, connect: Connect) -> None:
    """Each fails with its condition of section 6.5, and another may follow on the same stream."""
    data, wanted = ATTEMPTS[case]
    client = connect().open()
    client.send(data.format(ns.SASL))
    outcome = client.sasl_outcome()
    judge(subject, case, outcome, wanted)
    if not outcome.startswith("stream"):
        assert client.scram("host1", PASSWORD) == "success"


def test_no_password_goes_over_plain_tcp(subject: Subject, connect: Connect) -> None:
    """Ours wants TLS before it hears of mechanisms, and hears no password before."""
    client = connect(plain=True).open()
    assert client.offers(f"{{{ns.TLS}}}starttls")
    judge(subject, "mechanisms in clear", " ".join(sorted(client.mechanisms())), "")
    if subject.ours:
        required = f"{{{ns.TLS}}}starttls/{{{ns.TLS}}}required"
        assert client.offers(required)
        client.auth("PLAIN", b"\0host1\0guess")
        assert client.sasl_outcome() == "encryption-required"


WRONG: dict[str, tuple[dict[str, str | bool], str]] = {
    "wrong password": ({"password": "guess"}, "not-authorized"),
    "unknown user": ({"user": "nobody"}, "not-authorized"),
    "changed nonce": ({"wrong_nonce": True}, "not-authorized"),
    "changed binding": ({"binding": "y,,"}, "not-authorized"),
    "downgrade": ({"gs2": "y,,"}, "success"),
    "own authzid": ({"gs2": f"n,a=host1@{DOMAIN},"}, "success"),
    "another's authzid": ({"gs2": f"n,a=host2@{DOMAIN},"}, "invalid-authzid"),
    "channel binding": ({"gs2": "p=tls-unique,,"}, "not-authorized"),
}


@pytest.mark.parametrize("case", WRONG)
def test_scram(case: str, subject: Subject, connect: Connect) -> None:
    """RFC 5802: proofs, the nonce, the channel binding that was said to be used, and for whom one acts."""
    changes, wanted = WRONG[case]
    client = connect().open()
    how = {"user": "host1", "password": PASSWORD, **changes}
    judge(subject, case, client.scram(**how), wanted)  # type: ignore[arg-type]


def test_who_is_unknown_learns_nothing(ours: Subject) -> None:
    """An unknown name is challenged like a known one, and always with the same salt (RFC 5802, section 9)."""
    salts = []
    for user in ("nobody", "nobody", "host1", "host1"):
        with ours.connect() as client:
            client.open()
            client.auth("SCRAM-SHA-256", f"n,,n={user},r=abcdef".encode())
            challenge = client.expect_sasl().text or ""
            salts.append(_values(challenge)["s"])
            assert _values(challenge)["i"] == "4096"
    assert salts[0] == salts[1] and salts[2] == salts[3] and salts[0] != salts[2] and len(salts[0]) == len(salts[2])


def _values(challenge: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in base64.b64decode(challenge).decode().split(","))


def test_an_attempt_is_aborted(subject: Subject, connect: Connect) -> None:
    """Section 6.4.4, and the next one succeeds."""
    client = connect().open()
    client.auth("SCRAM-SHA-256", b"n,,n=host1,r=abcdef")
    assert client.sasl_outcome() == "challenge"
    client.send(f"<abort xmlns='{ns.SASL}'/>")
    assert client.sasl_outcome() == "aborted"
    assert client.scram("host1", PASSWORD) == "success"


def test_a_new_attempt_replaces_the_one_under_way(subject: Subject, connect: Connect) -> None:
    """A client that changes its mind says so by <auth/>; nothing of the first attempt counts for the second."""
    client = connect().open()
    client.auth("SCRAM-SHA-256", b"n,,n=host2,r=abcdef")
    assert client.sasl_outcome() == "challenge"
    judge(subject, "attempt in an attempt", client.scram("host1", PASSWORD), "success")


def test_attempts_are_limited(subject: Subject, connect: Connect) -> None:
    """Section 6.4.5: two to five retries, then the stream ends."""
    client = connect().open()
    outcomes = []
    for _ in range(8):
        outcomes.append(client.scram("host1", "guess"))
        if outcomes[-1] != "not-authorized":
            break
        if subject.ours and len(outcomes) == SASL_ATTEMPTS:
            outcomes.append(client.sasl_outcome())
            break
    end = outcomes.pop() if outcomes[-1] != "not-authorized" else "never"
    judge(subject, "too many attempts", f"{len(outcomes)} {end}", f"{SASL_ATTEMPTS} stream policy-violation")


def test_success_begins_a_new_stream(subject: Subject, connect: Connect) -> None:
    """Section 6.3.2: a header with another id, and features without mechanisms."""
    client = connect().open()
    first = client.parser.header
    assert client.scram("host1", PASSWORD) == "success"
    client.open()
    second = client.parser.header
    assert first is not None and second is not None and first["id"] != second["id"]
    assert not client.mechanisms()


def test_an_empty_response_is_an_equals_sign(subject: Subject, connect: Connect) -> None:
    """Section 6.4.2: without an initial response the server asks for it by an empty challenge."""
    client = connect().open()
    client.auth("SCRAM-SHA-256")
    answer = client.expect_sasl()
    judge(subject, "no initial response", client.sasl_outcome(answer), "challenge")
    if expected(subject, "no initial response", "challenge") == "challenge":
        assert (answer.text or "") in ("", "=")
        client.respond(b"n,,n=host1,r=abcdef")
        assert client.sasl_outcome() == "challenge"


@pytest.fixture
def certified(ours: Subject, authority: Authority) -> Iterator[Callable[..., RawClient]]:
    """Connects to ours with a certificate, and reads features. The others offer EXTERNAL to no clients."""
    with ExitStack() as stack:

        def connect(name: str, *jids: str) -> RawClient:
            names = [name] if not jids else []
            credentials = authority.issue(f"external-{name}", name, dns=names, jids=jids)
            context = client_context(credentials, str(authority.certificate))
            return stack.enter_context(ours.connect(context=context)).open()

        yield connect


AUTHZIDS: dict[str, tuple[bytes | str, str]] = {
    "none": ("=", "success"),
    "own": (f"hv7@{DOMAIN}".encode(), "success"),
    "own in capitals": (f"HV7@{DOMAIN.upper()}".encode(), "success"),
    "own with a resource": (f"hv7@{DOMAIN}/x".encode(), "invalid-authzid"),
    "another's": (f"hv8@{DOMAIN}".encode(), "invalid-authzid"),
    "another domain's": (b"hv7@example.org", "invalid-authzid"),
    "the domain's": (DOMAIN.encode(), "invalid-authzid"),
    "nobody's": (b"@@", "invalid-authzid"),
    "no utf-8": (b"\xff\xfe", "invalid-authzid"),
}


@pytest.mark.parametrize("case", AUTHZIDS)
def test_external(case: str, certified: Callable[..., RawClient]) -> None:
    """XEP-0178, section 3: for whom the certificate speaks, and for nobody else."""
    authzid, wanted = AUTHZIDS[case]
    client = certified("hv7", f"hv7@{DOMAIN}")
    assert client.mechanisms() == {"EXTERNAL", "SCRAM-SHA-256"}
    client.auth("EXTERNAL", authzid)
    assert client.sasl_outcome() == wanted
    if wanted == "success":
        client.open()
        client.bind()
        assert client.jid.startswith(f"hv7@{DOMAIN}/")


def test_external_of_several_names(certified: Callable[..., RawClient]) -> None:
    """A certificate of several hosts: which one must be said."""
    client = certified("pair", f"hv8@{DOMAIN}", f"hv9@{DOMAIN}")
    client.auth("EXTERNAL", "=")
    assert client.sasl_outcome() == "invalid-authzid"
    client.auth("EXTERNAL", f"hv9@{DOMAIN}".encode())
    assert client.sasl_outcome() == "success"


def test_external_asks_for_what_was_not_said(certified: Callable[..., RawClient]) -> None:
    """Without initial response: an empty challenge, then an empty response."""
    client = certified("hv10", f"hv10@{DOMAIN}")
    client.auth("EXTERNAL")
    assert client.sasl_outcome() == "challenge"
    client.respond("=")
    assert client.sasl_outcome() == "success"


def test_external_is_for_those_with_a_certificate(ours: Subject, certified: Callable[..., RawClient]) -> None:
    """Nobody else is offered it, and nobody else gets in by it."""
    with ours.connect() as client:
        client.open()
        assert client.mechanisms() == {"SCRAM-SHA-256"}
        client.auth("EXTERNAL", "=")
        assert client.sasl_outcome() == "invalid-mechanism"
    stranger = certified("hv11", "hv11@example.org")
    assert stranger.mechanisms() == {"SCRAM-SHA-256"}
