"""Who a client's certificate says it is."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from runtime.certificates import Certificate
from runtime.credentials import read_peer


class Shown(NamedTuple):
    """What a client has shown. common_name: None when there is no certificate that says who it is."""

    common_name: str | None = None
    certificate: Certificate | None = None


def shown(tls: ssl.SSLObject) -> Shown:
    """The peer's certificate, which TLS has verified."""
    return Shown(common_name(tls), read_peer(tls.getpeercert(binary_form=True)))


def common_name(tls: ssl.SSLObject) -> str | None:
    """The common name in the subject of the peer's certificate, which TLS has verified; None: there is none, or not
    just one."""
    certificate = tls.getpeercert() or {}
    subject = certificate.get("subject", ())
    names = [pair[1] for part in subject if isinstance(part, tuple) for pair in part if pair[0] == "commonName"]
    return str(names[0]) if len(names) == 1 else None
