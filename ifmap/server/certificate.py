"""Who a client's certificate says it is."""

from __future__ import annotations

import ssl


def common_name(tls: ssl.SSLObject) -> str | None:
    """The common name in the subject of the peer's certificate, which TLS has verified; None: there is none, or not
    just one."""
    certificate = tls.getpeercert() or {}
    subject = certificate.get("subject", ())
    names = [pair[1] for part in subject if isinstance(part, tuple) for pair in part if pair[0] == "commonName"]
    return str(names[0]) if len(names) == 1 else None
