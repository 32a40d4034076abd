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


_BOTH = (
    # Streams.
    ("no domain", "stream improper-addressing", "tells a missing address from a wrong one"),
    ("utf-16", "features", "takes what its parser takes"),
    ("dtd", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
    ("entity", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
    ("late dtd", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
    ("text between stanzas", "nothing", "skips it"),
    ("deep", "nothing", "sets no limit to depth"),
    ("bind again", "error cancel service-unavailable", "knows nothing of it by then"),
    # SASL and TLS.
    ("response to nothing", "not-authorized", "has one condition for an exchange out of order"),
    ("another's authzid", "success", "ignores it, and logs in who was authenticated"),
    ("injection of an open tag", "discarded", "forgets what was unfinished when TLS begins"),
    ("starttls within tls", "closed", "answers with <failure/> (RFC 6120, 5.4.2.2)"),
    # Requests.
    ("replay", "", "was told to send nothing of what was there before"),
    ("an absent host", "result", "answers pings for accounts, whether there or not (RFC 6121, 8.5.2)"),
    ("presence", "presence", "sends it back to its sender's sessions (RFC 6121, 4.2.2)"),
    ("subscribe with a wrong instance", "result", "knows nothing of instances"),
    ("no newest items", "result", "gives what it can"),
    ("publish a wrong payload", "result", "takes any payload"),
    ("publish without id", "result", "makes ids"),
    ("publish with options", "result", "knows publishing options"),
    ("create", "result", "lets clients make nodes"),
    ("configuration", "result", "lets owners configure"),
    ("default configuration", "result", "lets owners configure"),
    ("delete", "error cancel item-not-found", "lets owners delete; there is none"),
    ("purge", "error cancel item-not-found", "lets owners purge; there is none"),
    ("subscriptions of all", "error cancel item-not-found", "tells owners; there is no such node"),
    ("affiliations of all", "error cancel item-not-found", "tells owners; there is no such node"),
    # Stream management.
    ("count beyond 32 bits", "stream undefined-condition", "looks at the value alone"),
)
"""Case, outcome and reason of both servers."""
_PROSODY = (
    # Streams.
    ("a server's namespace", "features", "doesn't look at the content namespace of a header"),
    ("another root", "stream invalid-namespace", "its name for every header that is none"),
    ("no version", "features", "serves clients from before RFC 3920"),
    ("version 0.9", "features", "serves clients from before RFC 3920"),
    ("latin-1", "stream not-well-formed", "RFC 6120, 4.9.3.22, has a condition of its own for it"),
    ("comment", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
    ("early ping", "error cancel service-unavailable", "refuses the stanza and keeps the stream"),
    ("early message", "error cancel service-unavailable", "refuses the stanza and keeps the stream"),
    ("early bind", "error auth not-authorized", "refuses the stanza and keeps the stream"),
    ("comment in a stanza", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
    ("processing instruction", "stream not-well-formed", "RFC 6120, 11.1, has restricted-xml for it"),
    ("another's from", "result", "overwrites a wrong address, which RFC 6120, 8.1.2.1, lets it"),
    ("another resource", "result", "overwrites a wrong address, which RFC 6120, 8.1.2.1, lets it"),
    ("resource that can't be", "result", "makes a resource of its own instead"),
    ("resource too long", "result", "makes a resource of its own instead"),
    ("unbound", "error cancel service-unavailable", "refuses the stanza and keeps the stream"),
    # SASL and TLS.
    ("base64 with spaces", "malformed-request", "decodes what it can"),
    ("mandatory extension", "challenge", "RFC 5802, 5.1, wants it refused; it reads over it"),
    ("mechanisms in clear", "PLAIN SCRAM-SHA-1 SCRAM-SHA-256", "told here to do without encryption"),
    ("changed nonce", "malformed-request", "takes it for a broken message"),
    ("changed binding", "malformed-request", "takes it for a broken message"),
    ("channel binding", "success", "RFC 5802, 6, wants it refused where the mechanism has none"),
    ("too many attempts", "8 never", "limits connections instead (mod_limits)"),
    ("no initial response", "malformed-request", "RFC 6120, 6.3.10, lets clients leave it out"),
    ("injection of a stanza", "answered in clear", "reads on until TLS begins"),
    ("injection of a header", "answered in clear", "reads on until TLS begins"),
    ("injection of a login", "answered in clear", "reads on until TLS begins"),
    # Requests.
    ("pages", "False", "has no pages of items"),
    ("affiliation", "error cancel service-unavailable", "doesn't tell affiliations"),
    ("disco by set", "error cancel service-unavailable", "serves by name and type together"),
    ("unavailable", "unavailable", "sends it back to its sender's sessions (RFC 6121, 4.5.2)"),
    ("subscribe without jid", "error modify bad-request invalid-jid", "doesn't tell no address from a wrong one"),
    ("subscribe another", "result", "host1 is an administrator there"),
    ("subscribe another session", "result", "subscribes any session of the account, and by its bare address"),
    ("subscribe nothing", "result", "makes nodes by subscribing, as it was told to"),
    ("subscribe by get", "error cancel service-unavailable", "serves by name and type together"),
    ("subscribe with a wrong form", "result", "skips fields that it doesn't know"),
    ("unsubscribe without jid", "error modify bad-request invalid-jid", "doesn't tell no address from a wrong one"),
    (
        "unsubscribe unsubscribed",
        "error modify unexpected-request not-subscribed",
        "XEP-0060, 6.2.3.2, has the type cancel",
    ),
    ("unsubscribe another", "error modify unexpected-request not-subscribed", "host1 is an administrator there"),
    ("options unsubscribed", "result", "answers with defaults"),
    ("options without jid", "error modify bad-request invalid-jid", "doesn't tell no address from a wrong one"),
    ("options of another", "result", "host1 is an administrator there"),
    ("options of nothing", "error modify unexpected-request not-subscribed", "looks for the subscription first"),
    ("default options", "error cancel service-unavailable", "serves by name and type together"),
    ("items by set", "error cancel service-unavailable", "serves by name and type together"),
    ("newest items uncountable", "result", "takes it for no limit"),
    ("publish to nothing", "result", "makes nodes by publishing, as it was told to"),
    ("publish nothing", "error modify bad-request", "leaves out the second condition of XEP-0060, 7.1.3.6"),
    ("publish no payload", "error modify bad-request", "leaves out the second condition of XEP-0060, 7.1.3.6"),
    ("publish two payloads", "error modify bad-request", "leaves out the second condition of XEP-0060, 7.1.3.6"),
    ("publish by get", "error cancel service-unavailable", "serves by name and type together"),
    ("retract nothing", "error cancel item-not-found", "leaves out the check of XEP-0060, 7.2.3.2"),
    ("retract without id", "error cancel item-not-found", "leaves out the check of XEP-0060, 7.2.3.2"),
    ("subscriptions by set", "error cancel service-unavailable", "serves by name and type together"),
    ("affiliations by set", "error cancel service-unavailable", "serves by name and type together"),
    ("create and configure", "error modify bad-request", "wants a form"),
    ("no request", "error cancel bad-request", "has a type of its own"),
    ("two requests", "result", "does the first"),
    ("unknown request", "error cancel service-unavailable", "serves by name and type together"),
    # Stream management.
    ("length of id", "False", "makes shorter ones"),
    ("count no number", "stream invalid-xml", "its name for what it can't read"),
    ("count no count", "stream invalid-xml", "its name for what it can't read"),
    ("count negative count", "stream undefined-condition", "looks at the value alone"),
    ("resumed elsewhere", "closed", "XEP-0198, 5, has conflict for it"),
    ("resume with no id", "failed item-not-found", "doesn't tell no id from an unknown one"),
    ("resume with no count", "failed item-not-found", "looks for the id first"),
)
"""Of Prosody alone."""
_EJABBERD = (
    # Streams.
    ("another root", "stream invalid-xml", "its name for every header that is none"),
    ("no version", "waits", "waits for a login of before RFC 3920"),
    ("version 0.9", "waits", "waits for a login of before RFC 3920"),
    ("latin-1", "features", "takes what its parser takes"),
    ("comment", "features", "skips comments"),
    ("unknown element", "waits", "skips unknown elements"),
    ("an endless first element", "waits", "has one limit, of a mebibyte here, before and after a login"),
    ("comment in a stanza", "error modify bad-request", "skips comments"),
    ("processing instruction", "nothing", "skips it"),
    ("no stanza", "nothing", "skips unknown elements"),
    ("stanza of a server", "result", "doesn't look at the namespace of stanzas"),
    ("login again", "nothing", "fails it and keeps the stream"),
    # SASL and TLS.
    ("no mechanism", "malformed-request", "wants the attribute"),
    ("no base64", "not-authorized", "has one condition for what fails in an exchange"),
    ("base64 with spaces", "not-authorized", "has one condition for what fails in an exchange"),
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
    ("too many attempts", "8 never", "blocks addresses instead (mod_fail2ban)"),
    ("no initial response", "not-authorized", "RFC 6120, 6.3.10, lets clients leave it out"),
    ("starttls first", "stream invalid-xml", "its name for every header that is none"),
    ("unbound", "waits", "drops it without a word"),
    # Requests.
    ("affiliation", "owner", "who makes a node owns it"),
    ("malformed address", "error modify bad-request", "calls it by another condition than RFC 6120, 8.3.3.8"),
    ("roster", "error cancel service-unavailable", "has no rosters here (mod_roster)"),
    ("disco by set", "error cancel not-allowed", "has a condition of its own for it"),
    ("headline", "nothing", "drops what nobody need answer (RFC 6121, 8.5.3.2.1)"),
    ("subscribe without node", "error cancel item-not-found", "looks for a node of no name"),
    ("subscribe without jid", "error modify bad-request", "leaves out the second condition"),
    ("subscribe another session", "result", "subscribes any session of the account"),
    ("subscribe no jid", "error modify bad-request", "leaves out the second condition"),
    ("subscribe by get", "error cancel feature-not-implemented", "has one condition for what it doesn't know"),
    ("subscribe with a wrong form", "error wait resource-constraint", "fails with an exception of its own"),
    ("unsubscribe without node", "error cancel item-not-found", "looks for a node of no name"),
    ("unsubscribe without jid", "error modify bad-request", "leaves out the second condition"),
    (
        "unsubscribe unsubscribed",
        "error wait unexpected-request not-subscribed",
        "XEP-0060, 6.2.3.2, has the type cancel",
    ),
    ("options unsubscribed", "error cancel feature-not-implemented unsupported subscription-options", "has none here"),
    ("options of another", "error cancel feature-not-implemented unsupported subscription-options", "has none here"),
    ("default options", "error cancel feature-not-implemented", "leaves out what"),
    ("items without node", "error modify bad-request", "leaves out the second condition"),
    ("publish without node", "error modify bad-request", "leaves out the second condition"),
    ("publish to nothing", "result", "makes nodes by publishing"),
    ("publish no payload", "error modify bad-request item-required", "takes it for no item"),
    ("publish by get", "error cancel feature-not-implemented", "has one condition for what it doesn't know"),
    ("retract without node", "error modify bad-request", "leaves out the second condition"),
    ("subscriptions of nothing", "result", "lists none"),
    ("create and configure", "result", "lets clients make nodes"),
    ("unknown request", "error modify bad-request", "takes it for no request"),
    # Stream management.
    ("enable unbound", "failed not-authorized", "XEP-0198, 3, has unexpected-request for it"),
    ("count no number", "waits", "skips what it can't read"),
    ("count no count", "waits", "skips what it can't read"),
    ("count negative count", "waits", "skips what it can't read"),
)
"""Of ejabberd alone."""
DIFFERENCES = {
    (server, case): Difference(outcome, why)
    for server, cases in (("prosody", _BOTH + _PROSODY), ("ejabberd", _BOTH + _EJABBERD))
    for case, outcome, why in cases
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
