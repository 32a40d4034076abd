"""Discovery, ping and roster."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.unit.xmpp.driver import DOMAIN, FULL
from xmpp.disco import Disco, is_ping
from xmpp.jid import Jid
from xmpp.stanza import Kind, Stanza

GATEWAY = Jid("", DOMAIN)
INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"


def iq(payload: str, to: Jid | None = GATEWAY, type: str = "get", kind: Kind = Kind.IQ) -> Stanza:
    element = ElementTree.fromstring(f"<{kind.value}>{payload}</{kind.value}>")
    return Stanza(kind, type, "1", FULL, to, element)


def answer(stanza: Stanza) -> bytes | None:
    disco = Disco(GATEWAY, lambda host: ["blue", "red"], lambda host, name: name in ("blue", "red"))
    return disco.answer(stanza)


def test_the_service() -> None:
    reply = answer(iq(f"<query xmlns='{INFO}'/>")) or b""
    assert reply.startswith(b"<iq type='result' id='1' from='vpn.example.net' to='hv1@vpn.example.net/vrfwire'>")
    assert b"<identity category='pubsub' type='service'/>" in reply
    for feature in (INFO, ITEMS, "urn:xmpp:ping", "http://jabber.org/protocol/pubsub#publish"):
        assert f"<feature var='{feature}'/>".encode() in reply
    reply = answer(iq(f"<query xmlns='{ITEMS}'/>")) or b""
    assert b"<item jid='vpn.example.net' node='blue'/><item jid='vpn.example.net' node='red'/>" in reply


def test_a_node() -> None:
    reply = answer(iq(f"<query xmlns='{INFO}' node='blue'/>")) or b""
    assert b"node='blue'><identity category='pubsub' type='leaf'/>" in reply
    assert b"node='blue'></query>" in (answer(iq(f"<query xmlns='{ITEMS}' node='blue'/>")) or b"")
    assert b"<item-not-found " in (answer(iq(f"<query xmlns='{INFO}' node='green'/>")) or b"")


@pytest.mark.parametrize("to", [None, FULL.bare])
def test_the_own_account(to: Jid | None) -> None:
    reply = answer(iq(f"<query xmlns='{INFO}'/>", to)) or b""
    assert b"<identity category='account' type='registered'/>" in reply
    assert (b"from=" in reply) == (to is not None)
    assert b"<query xmlns='http://jabber.org/protocol/disco#items'></query>" in (
        answer(iq(f"<query xmlns='{ITEMS}'/>", to)) or b""
    )
    assert b"<item-not-found " in (answer(iq(f"<query xmlns='{INFO}' node='blue'/>", to)) or b"")


def test_ping_and_roster() -> None:
    ping = iq("<ping xmlns='urn:xmpp:ping'/>")
    assert is_ping(ping)
    assert answer(ping) == b"<iq type='result' id='1' from='vpn.example.net' to='hv1@vpn.example.net/vrfwire'/>"
    assert not is_ping(iq("<ping xmlns='urn:xmpp:ping'/>", type="set"))
    assert b"<bad-request " in (answer(iq("<ping xmlns='urn:xmpp:ping'/>", type="set")) or b"")
    roster = "<query xmlns='jabber:iq:roster'/>"
    assert b"><query xmlns='jabber:iq:roster'/></iq>" in (answer(iq(roster, None)) or b"")
    assert b"<feature-not-implemented " in (answer(iq(roster, None, "set")) or b"")


@pytest.mark.parametrize(
    "stanza",
    [
        iq("<a xmlns='u'/>"),
        iq(f"<query xmlns='{INFO}'/>", Jid("hv2", DOMAIN)),
        iq(f"<query xmlns='{INFO}'/>", type="result"),
        iq("", type="", kind=Kind.PRESENCE),
        iq("<ping xmlns='urn:xmpp:ping'/>", type="", kind=Kind.MESSAGE),
    ],
)
def test_what_is_not_for_these_handlers(stanza: Stanza) -> None:
    assert answer(stanza) is None
    assert not is_ping(stanza)
