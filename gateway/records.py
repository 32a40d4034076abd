"""What is remembered of hosts beside their sessions, for as long as they have a session or items."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from gateway.limits import Flow
from gateway.service import Service
from gateway.session import Session
from gateway.status import HostRecord
from runtime.certificates import Certificate
from runtime.log import fields
from vpn.prefix import format_address

log = logging.getLogger("vrfwire.gateway.session")


class HostRecords:
    """Of one service. waiting: number of a host's sessions that have lost their connection and may be resumed."""

    def __init__(self, service: Service, waiting: Callable[[str], int] | None = None) -> None:
        self.by_host: dict[str, HostRecord] = {}
        """By name."""
        self._service = service
        self._waiting = waiting

    def began(
        self,
        session: Session,
        address: str = "",
        flow: Flow | None = None,
        certificates: Mapping[int, Certificate] | None = None,
    ) -> None:
        """A session has begun, or goes on. address: where the host comes from, as far as that is seen; flow,
        certificates: see HostRecord."""
        addresses = sorted(map(format_address, session.permit.addresses))
        self.by_host[session.host] = HostRecord(
            address, str(session.jid), time.time(), addresses, dict(certificates or {}), flow
        )

    def left(self, host: str) -> None:
        """A host has one session less, if only for now."""
        record = self.by_host.get(host)
        if record is not None and not self._service.connected[host]:
            record.since = time.time()

    def tidy(self, host: str) -> None:
        """A session of a host is over for good, or items of it are gone: forget it when nothing of it is left."""
        waits = self._waiting is not None and self._waiting(host)
        if not (self._service.connected[host] or waits or self._service.rib.count(host)):
            self.by_host.pop(host, None)

    def expire(self, now: float) -> None:
        """Withdraw what has been stale for too long."""
        for host, count in self._service.expire(now):
            self.tidy(host)
            if count:
                text = "host %s did not come back in time; %d of its routes are withdrawn"
                log.warning(text, host, count, extra=fields(host=host))
