"""Where servers of others answer otherwise than the conformance tests ask, and why.

The tests prove themselves by running against Prosody and ejabberd as well: where those differ, the outcome here must be
exactly theirs, so that neither a test that passes whatever it is sent nor an entry that is no longer true stays
unnoticed.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.xmpp.raw import DEADLINE, RawClient
from tests.xmpp.subjects import Subject


class Difference(NamedTuple):
    """outcome: what the server does; why: the reason, or the rule that leaves it open."""

    outcome: str
    why: str


DIFFERENCES: dict[tuple[str, str], Difference] = {
    **{
        ("prosody", case): Difference(outcome, why)
        for case, outcome, why in (
            # Streams.
            ("no domain", "stream improper-addressing", "tells a missing address from a wrong one"),
            ("a server's namespace", "features", "doesn't look at the content namespace of a header"),
            ("another root", "stream invalid-namespace", "its name for every header that is none"),
            ("no version", "features", "serves clients from before RFC 3920"),
            ("version 0.9", "features", "serves clients from before RFC 3920"),
            ("latin-1", "stream not-well-formed", "RFC 6120, 4.9.3.22, has a condition of its own for it"),
            ("utf-16", "features", "takes what its parser takes"),
            ("dtd", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("comment", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("early ping", "error cancel service-unavailable", "refuses the stanza and keeps the stream"),
            ("early message", "error cancel service-unavailable", "refuses the stanza and keeps the stream"),
            ("early bind", "error auth not-authorized", "refuses the stanza and keeps the stream"),
            ("comment in a stanza", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("processing instruction", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("entity", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("late dtd", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("another's from", "result", "overwrites a wrong address, which RFC 6120, 8.1.2.1, lets it"),
            ("another resource", "result", "overwrites a wrong address, which RFC 6120, 8.1.2.1, lets it"),
            ("text between stanzas", "nothing", "skips it"),
            ("deep", "nothing", "sets no limit to depth"),
            ("resource that can't be", "result", "makes a resource of its own instead"),
            ("resource too long", "result", "makes a resource of its own instead"),
            ("bind again", "error cancel service-unavailable", "knows nothing of it by then"),
            ("unbound", "error cancel service-unavailable", "refuses the stanza and keeps the stream"),
            # SASL and TLS.
            ("base64 with spaces", "malformed-request", "decodes what it can"),
            ("response to nothing", "not-authorized", "has one condition for an exchange out of order"),
            ("mandatory extension", "challenge", "RFC 5802, 5.1, wants it refused; it reads over it"),
            ("mechanisms in clear", "PLAIN SCRAM-SHA-1 SCRAM-SHA-256", "told here to do without encryption"),
            ("changed nonce", "malformed-request", "takes it for a broken message"),
            ("changed binding", "malformed-request", "takes it for a broken message"),
            ("another's authzid", "success", "ignores it, and logs in who was authenticated"),
            ("channel binding", "success", "RFC 5802, 6, wants it refused where the mechanism has none"),
            ("too many attempts", "8 never", "limits connections instead (mod_limits)"),
            ("no initial response", "malformed-request", "RFC 6120, 6.3.10, lets clients leave it out"),
            ("injection of a stanza", "answered in clear", "reads on until TLS begins"),
            ("injection of a header", "answered in clear", "reads on until TLS begins"),
            ("injection of a login", "answered in clear", "reads on until TLS begins"),
            ("injection of an open tag", "discarded", "forgets what was unfinished when TLS begins"),
            ("starttls within tls", "closed", "answers with <failure/> (RFC 6120, 5.4.2.2)"),
        )
    },
    **{
        ("ejabberd", case): Difference(outcome, why)
        for case, outcome, why in (
            # Streams.
            ("no domain", "stream improper-addressing", "tells a missing address from a wrong one"),
            ("another root", "stream invalid-xml", "its name for every header that is none"),
            ("no version", "waits", "waits for a login of before RFC 3920"),
            ("version 0.9", "waits", "waits for a login of before RFC 3920"),
            ("latin-1", "features", "takes what its parser takes"),
            ("utf-16", "features", "takes what its parser takes"),
            ("dtd", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("comment", "features", "skips comments"),
            ("unknown element", "waits", "skips unknown elements"),
            ("an endless first element", "waits", "has one limit, of a mebibyte here, before and after a login"),
            ("comment in a stanza", "error modify bad-request", "skips comments"),
            ("processing instruction", "nothing", "skips it"),
            ("entity", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("late dtd", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
            ("no stanza", "nothing", "skips unknown elements"),
            ("stanza of a server", "result", "doesn't look at the namespace of stanzas"),
            ("text between stanzas", "nothing", "skips it"),
            ("deep", "nothing", "sets no limit to depth"),
            ("login again", "nothing", "fails it and keeps the stream"),
            ("bind again", "error cancel service-unavailable", "knows nothing of it by then"),
            # SASL and TLS.
            ("no mechanism", "malformed-request", "wants the attribute"),
            ("no base64", "not-authorized", "has one condition for what fails in an exchange"),
            ("base64 with spaces", "not-authorized", "has one condition for what fails in an exchange"),
            ("response to nothing", "not-authorized", "has one condition for an exchange out of order"),
            ("no scram", "not-authorized", "has one condition for what fails in an exchange"),
            ("empty scram", "not-authorized", "has one condition for what fails in an exchange"),
            ("no name", "not-authorized", "has one condition for what fails in an exchange"),
            ("mandatory extension", "not-authorized", "has one condition for what fails in an exchange"),
            (
                "mechanisms in clear",
                "DIGEST-MD5 PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512 X-OAUTH2",
                "doesn't require encryption here",
            ),
            ("changed binding", "success", "doesn't compare it with what was said first (RFC 5802, 7)"),
            ("another's authzid", "success", "ignores it, and logs in who was authenticated"),
            ("too many attempts", "8 never", "blocks addresses instead (mod_fail2ban)"),
            ("no initial response", "not-authorized", "RFC 6120, 6.3.10, lets clients leave it out"),
            ("injection of an open tag", "discarded", "forgets what was unfinished when TLS begins"),
            ("starttls within tls", "closed", "answers with <failure/> (RFC 6120, 5.4.2.2)"),
            ("starttls first", "stream invalid-xml", "its name for every header that is none"),
            ("unbound", "waits", "drops it without a word"),
        )
    },
}

WAIT = 0.3
"""Seconds after which a server that is known to do nothing is believed to."""


def expected(subject: Subject, case: str, wanted: str) -> str:
    """What is wanted of this server. wanted: of one that does as it should."""
    different = DIFFERENCES.get((subject.name, case))
    return wanted if different is None else different.outcome


def judge(subject: Subject, case: str, outcome: str, wanted: str) -> None:
    """Fails unless the outcome is what is wanted of this server."""
    assert outcome == expected(subject, case, wanted), (subject.name, case, outcome)


def judge_ending(subject: Subject, case: str, client: RawClient, wanted: str) -> None:
    """Fails unless the server ends the stream as is wanted of it; ours closes the connection as well."""
    known = expected(subject, case, wanted)
    judge(subject, case, client.ending(WAIT if known == "waits" else DEADLINE), wanted)
    if subject.ours:
        client.read_to_close()
        assert client.parser.ended or known == "closed", "the stream has no end tag"


def judge_stanza(subject: Subject, case: str, client: RawClient, data: str | bytes, wanted: str) -> None:
    """Fails unless sending this has the outcome that is wanted of this server."""
    judge(subject, case, client.outcome(data, silent=expected(subject, case, wanted) == "nothing"), wanted)
