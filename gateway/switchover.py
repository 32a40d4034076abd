"""Has changes of the provisioning take effect in turns, without cutting off on the way who is permitted; no I/O.

    grants that came --> VPNs and route targets --> grants that went --> items judged, in every turn

An address that moves from one attachment to another is held by both for a moment; a VPN is there when all that belongs
to it may be announced. So however many turns a change takes, an item that is permitted before and after it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from gateway.grants import NO_GRANTS
from gateway.policy import Policy
from gateway.provisioning import Difference, Provisioning
from gateway.service import Service


class Switchover:
    """From a provisioning to a service. policy: makes the policy as the provisioning stands."""

    def __init__(self, service: Service, provisioning: Provisioning, policy: Callable[[], Policy]) -> None:
        self._service = service
        self._provisioning = provisioning
        self._policy = policy
        self._coming: dict[str, None] = {}
        """Attachments whose grants the authorization doesn't have yet."""
        self._policy_due = False
        self._going: dict[str, None] = {}
        """Attachments that may hold places that they have lost."""

    @property
    def pending(self) -> bool:
        """Whether step() has something to do."""
        return bool(self._coming or self._policy_due or self._going or self._service.admission.due)

    def differs(self, difference: Difference) -> None:
        """The provisioning has changed."""
        self._coming.update(dict.fromkeys(difference.attachments))
        self._policy_due = self._policy_due or bool(difference.vpns)

    def policy_differs(self) -> None:
        """What the policy is made of has changed."""
        self._policy_due = True

    def step(self, limit: int) -> None:
        """Do a part: at most so many attachments and items."""
        admission = self._service.admission
        attachments = self._provisioning.attachments
        names = _take(self._coming, limit)
        admission.regrant((name, attachments.get(name, NO_GRANTS)) for name in names)
        self._going.update(dict.fromkeys(names))
        if not self._coming:
            if self._policy_due:
                self._policy_due = False
                self._service.reload(self._policy())
            if self._provisioning.known:
                admission.learnt()
            admission.release(_take(self._going, limit))
        admission.step(limit)


def _take(names: dict[str, None], limit: int) -> list[str]:
    taken = list(islice(names, limit))
    for name in taken:
        del names[name]
    return taken
