"""What an authority's published lists say, which may be more than its database knows: after a back-up was restored.

Numbers of lists only grow, and daemons hold on to the greatest that they have seen. Lists that were signed after the
restoring would be older ones to them, and whoever is revoked in these would get in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509

from gateway.pki_database import REASONS, Database
from runtime.revocation import read_lists


def catch_up(database: Database, published: Iterable[bytes], authorities: Sequence[x509.Certificate]) -> None:
    """Take over the greatest number, and what is revoked, of lists that these authorities have signed."""
    for data in published:
        for one in read_lists(data, authorities).lists:
            database.list_number = max(database.list_number, one.number or 0)
            for serial, revoked in one.revoked.items():
                record = database.records.get(serial)
                if record is not None and record.revoked is None:
                    reason = revoked.reason if revoked.reason in REASONS else REASONS[0]
                    database.revoke(record, reason, revoked.since)
