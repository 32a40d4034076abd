"""Metrics of certificates and of revocation lists, of every daemon. docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.metrics import Description, Metric

CERTIFICATE_EXPIRY = Description(
    "vrfwire_certificate_expiry_timestamp_seconds",
    "gauge",
    ("file",),
    "when the certificate in a file expires, Unix time; of several authorities the last one",
)
REVOCATION_DUE = Description(
    "vrfwire_revocation_list_due_timestamp_seconds",
    "gauge",
    ("file",),
    "when a newer revocation list is due, Unix time; of several lists the first one",
)
REVOKED_CONNECTIONS = Description(
    "vrfwire_revoked_connections_total",
    "counter",
    ("action",),
    "connections with a revoked certificate: `refused`, or `ended` when it was revoked meanwhile",
)
CERTIFICATE_METRICS = (CERTIFICATE_EXPIRY, REVOCATION_DUE, REVOKED_CONNECTIONS)
"""In the order of docs/metrics.md."""


def measure_certificates(
    expiries: Mapping[Path, float], due: Mapping[Path, float], revoked: Mapping[str, int] | None
) -> list[Metric]:
    """What there is of them. expiries, due: Unix time by file; revoked: connections by action, None without a list."""
    found = []
    if expiries:
        found.append(Metric(CERTIFICATE_EXPIRY, [((str(path),), when) for path, when in expiries.items()]))
    if due:
        found.append(Metric(REVOCATION_DUE, [((str(path),), when) for path, when in due.items()]))
    if revoked is not None:
        counts = [((action,), revoked.get(action, 0)) for action in ("refused", "ended")]
        found.append(Metric(REVOKED_CONNECTIONS, counts))
    return found
