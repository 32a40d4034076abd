"""Which gateways an agent believes, while files change under it."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.certificates import Certificates
from agent.config import TlsSection
from tests.scenario.pki_authority import PkiAuthority

DOMAIN = "vpn.example.net"


def der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def test_a_gateway_of_an_authority_that_was_taken_out_is_believed_no_more(tmp_path: Path) -> None:
    pki = PkiAuthority(tmp_path / "etc")
    host, gateway = pki.host("hv1", DOMAIN, ["192.0.2.11"]), pki.gateway(DOMAIN, ["192.0.2.1"])
    certificates = Certificates(TlsSection(host.ca, host.certificate, host.key), tmp_path / "state")
    former = der(gateway.certificate)
    pki.pki.replace(None)
    for name in ("gateway", "hv1"):
        pki.renew(name)
    assert certificates.refusal(former, live=True) == ""
    pki.pki.retire()
    assert "no longer in tls.ca" in certificates.refusal(former, live=True)
    assert certificates.refusal(der(gateway.certificate), live=True) == ""
    assert certificates.counters == {"ended": 1}
    assert certificates.refusal(None) == "", "without a list, as it was"
