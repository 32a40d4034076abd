"""Who a certificate says that a host is."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.certificates import PROTOCOLS
from gateway.identity import Identity, identity_of
from lab.pki import Authority, Credentials
from runtime.errors import OperatorError
from runtime.tls import server_context
from vpn.prefix import parse_address
from xmpp.jid import Jid

DOMAIN = "vpn.example.net"


def der(credentials: Credentials) -> bytes:
    return x509.load_pem_x509_certificate(credentials.certificate.read_bytes()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def test_a_jid_and_the_addresses_of_a_host(authority: Authority) -> None:
    identity = identity_of(der(authority.host("hv1", DOMAIN, ["192.0.2.11", "2001:db8::11"])), DOMAIN)
    assert identity.jids == (Jid.parse(f"hv1@{DOMAIN}"),)
    assert identity.addresses == {parse_address("192.0.2.11"), parse_address("2001:db8::11")}


def test_jids_of_other_domains_and_of_none_are_left_out(authority: Authority) -> None:
    jids = ["hv1@other.example.net", DOMAIN, f"HV2@{DOMAIN}/resource", "@", f"hv3@{DOMAIN}"]
    credentials = authority.issue("odd", "hv9", dns=["hv8"], jids=jids)
    assert identity_of(der(credentials), DOMAIN).jids == (Jid.parse(f"hv2@{DOMAIN}"), Jid.parse(f"hv3@{DOMAIN}"))


def test_a_certificate_with_jids_speaks_by_those_alone(authority: Authority) -> None:
    credentials = authority.issue("foreign", "hv1", dns=["hv1"], jids=["hv1@other.example.net"])
    assert identity_of(der(credentials), DOMAIN).jids == ()


def test_without_jids_dns_names_and_then_the_common_name_count(authority: Authority) -> None:
    by_dns = authority.issue("dns", "ignored", dns=["hv1.example.net", "*.example.net"])
    assert Jid.parse(f"hv1.example.net@{DOMAIN}") in identity_of(der(by_dns), DOMAIN).jids
    assert Jid.parse(f"ignored@{DOMAIN}") not in identity_of(der(by_dns), DOMAIN).jids
    by_name = authority.issue("cn", "HV4")
    assert identity_of(der(by_name), DOMAIN) == Identity((Jid.parse(f"hv4@{DOMAIN}"),))


def test_the_certificate_of_a_gateway_is_no_host(authority: Authority) -> None:
    assert identity_of(der(authority.gateway(DOMAIN, ["192.0.2.1"])), DOMAIN).jids == ()


def test_no_certificate_and_garbage_prove_nothing() -> None:
    assert identity_of(None, DOMAIN) == identity_of(b"garbage", DOMAIN) == Identity()


def test_bad_files_are_named(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.gateway(DOMAIN, []), authority.host("hv7", DOMAIN, [])
    context = server_context(one.certificate, one.key, one.ca, PROTOCOLS)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    for certificate, key, ca, what in (
        (tmp_path / "absent", one.key, one.ca, "tls.certificate"),
        (one.certificate, tmp_path / "absent", one.ca, "tls.key"),
        (one.certificate, one.key, tmp_path / "absent", "tls.ca"),
        (garbage, one.key, one.ca, "tls.certificate"),
        (one.certificate, other.key, one.ca, "tls.certificate"),
        (one.certificate, one.key, garbage, "tls.ca"),
    ):
        with pytest.raises(OperatorError) as caught:
            server_context(certificate, key, ca, PROTOCOLS)
        assert caught.value.what.startswith(what) and caught.value.why and caught.value.hint
