"""What an operator is told to do about a gateway's refusal."""

from __future__ import annotations

import pytest

from agent.attachment import Attachment, parse_attach
from agent.faults import refusal_hint, session_hint
from agent.requests import Refusal
from gateway.authorization import Authorization, Mode
from gateway.grants import Grants
from vpn.prefix import Prefix

PREFIX = Prefix.parse("10.1.1.1")


def attachment(known_as: str) -> Attachment:
    params = {"name": "web-1", "vpn": "blue", "addresses": ["10.1.1.1"], "prefixes": ["10.9.0.0/16"], "tap": "tap0"}
    return parse_attach({**params, "attachment": known_as}, "hv1")


def said(authorization: Authorization, name: str) -> Refusal:
    """What the gateway says, as an agent hears it."""
    reason = authorization.judge("blue", PREFIX, name).reason
    assert reason
    return Refusal("forbidden", f"item 192.0.2.11:1:{PREFIX}: {reason}")


@pytest.mark.parametrize("bound", [frozenset(), frozenset({"blue"})])
def test_what_the_map_does_not_permit_is_bound_there(bound: frozenset[str]) -> None:
    """By the words of the gateway itself: not bound to the VPN; bound, with another address."""
    authorization = Authorization(Mode.STRICT, known=True)
    authorization.grant("urn:x y", Grants(bound, frozenset({Prefix.parse("10.1.1.2")})))
    hint = refusal_hint(said(authorization, "urn:x y"), attachment("urn:x y"))
    assert "`vrfwire-map bind 'urn:x y' blue --address 10.1.1.1 --address 10.9.0.0/16`" in hint


def test_a_gateway_that_has_not_reached_its_map() -> None:
    hint = refusal_hint(said(Authorization(Mode.STRICT), "web-1"), attachment("web-1"))
    assert "vrfwire-gateway-ctl map show" in hint


def test_what_the_gateways_configuration_forbids() -> None:
    refusal = Refusal("forbidden", "host hv1 may not join VPN blue")
    assert "[[host]]" in refusal_hint(refusal, attachment("web-1"))
    assert "vrfwire-map vpn create" in refusal_hint(Refusal("item-not-found", "there is no VPN 'blue'"))


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("TLS: Hostname mismatch, certificate is not valid for 'vpn.example.com'.", "`domain` of the [[gateway]]"),
        ("TLS: unable to get local issuer certificate", "tls.ca must hold"),
        ("TLS: certificate has expired", "`date` here and there"),
        ("TLS: certificate is not yet valid", "`date` here and there"),
        ("the gateway's certificate, serial number 7, was revoked on 2026-11-23", "take it out of the [[gateway]]s"),
        ("stream error not-authorized: the certificate with serial number 7 was revoked", "enrol the host anew"),
        ("login refused: not-authorized", "`journalctl -u vrfwire-gateway`"),
        ("key /etc/vrfwire/hv7.key: Permission denied", "when the file is right"),
        ("can't connect: Connection refused", "does vrfwire-gateway run there"),
        ("connection lost", "`journalctl -u vrfwire-gateway`"),
        ("service vpn.example.net: host hv9 has no next hops: set addresses of its [[host]] in ...", "SIGHUP there"),
        ("service vpn.example.net doesn't answer", "connected to the XMPP server as this component"),
        ("heard nothing for 10 s", "does vrfwire-gateway run there"),
        ("", "does vrfwire-gateway run there"),
    ],
)
def test_a_session_that_is_not_there(reason: str, hint: str) -> None:
    assert hint in session_hint(reason)
