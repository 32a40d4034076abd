"""What this host has accepted: attachments, VPN numbers, labels; and what would be in conflict with that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from agent.allocate import INSTANCE_IDS, LabelPool, Owner, Quarantined, lowest_free
from agent.attachment import Attached, Attachment, Phase, VpnRecord
from agent.names import TUNNEL_DEVICE, derived_device
from agent.store import State
from runtime.errors import ExitCode, OperatorError
from vpn.prefix import Prefix

_DEVICE_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Accepted:
    """An attachment with its numbers, to be made durable and then committed."""

    attached: Attached
    record: VpnRecord
    new_vpn: bool
    forget: str | None = None
    """A VPN without attachments whose numbers the new one takes."""
    rested: Quarantined | None = None
    """The rest that ended for it."""


class Inventory:
    """The attachments of one host."""

    def __init__(self, state: State, *, label_base: int, label_count: int, quarantine: float, table_base: int) -> None:
        """Raises OperatorError when the state contradicts itself."""
        self.listener: Callable[[str, Attached], None] = lambda event, attached: None
        """Is told what becomes of attachments: "attached", "changed", "detaching", "detached"."""
        self._attached: dict[str, Attached] = {}
        self._vpns = {record.name: record for record in state.vpns}
        self._members: dict[str, set[str]] = {}
        self._interfaces: dict[str, str] = {}
        self._prefixes: dict[tuple[str, Prefix], str] = {}
        self._tables = range(table_base, table_base + len(INSTANCE_IDS))
        for attached in state.attachments:
            self.check(attached.attachment)
            self._add(attached)
        self._labels = LabelPool(
            label_base, label_count, quarantine, (attached.label for attached in state.attachments), state.quarantine
        )

    # -- reading

    def get(self, name: str) -> Attached | None:
        """The attachment of a name."""
        return self._attached.get(name)

    def attachments(self) -> Iterable[Attached]:
        """All attachments, in the order they were accepted."""
        return self._attached.values()

    def owner(self, vpn: str, prefix: Prefix) -> str | None:
        """Name of the attachment that announces a prefix in a VPN."""
        return self._prefixes.get((vpn, prefix))

    def vpn(self, name: str) -> VpnRecord | None:
        """The numbers of a VPN, if it is known."""
        return self._vpns.get(name)

    def joined(self) -> list[VpnRecord]:
        """VPNs that have an attachment."""
        return [self._vpns[name] for name in self._members]

    def members(self, vpn: str) -> list[Attached]:
        """Attachments of a VPN, by name."""
        return [self._attached[name] for name in sorted(self._members.get(vpn, ()))]

    @property
    def labels(self) -> LabelPool:
        """The labels, for their figures."""
        return self._labels

    # -- attach

    def accept(self, attachment: Attachment, now: float, *, closed: bool = False) -> Accepted:
        """Give a new attachment its numbers. now: seconds of the clock that labels rest by; closed: nothing is to pass.

        Raises OperatorError (CONFLICT): name, interface, address or prefix is taken, or numbers are used up. After
        commit() it counts; abandon() gives back what it got.
        """
        self.check(attachment)
        record = self._vpns.get(attachment.vpn)
        forget = None
        new = record is None
        if record is None:
            record, forget = self._number(attachment.vpn)
        owner = Owner(attachment.name, attachment.vpn)
        rested = self._labels.resting_of(owner)
        label = self._labels.allocate(owner, now)
        return Accepted(Attached(attachment, label, closed=closed), record, new, forget, rested)

    def commit(self, accepted: Accepted) -> None:
        """The attachment is durable."""
        if accepted.forget is not None:
            del self._vpns[accepted.forget]
        self._vpns[accepted.record.name] = accepted.record
        self._add(accepted.attached)
        self.listener("attached", accepted.attached)

    def abandon(self, accepted: Accepted) -> None:
        """It could not be made durable: its label is as it was before, for nobody was told of it."""
        self._labels.give_back(accepted.attached.label, accepted.rested)

    def check(self, attachment: Attachment) -> None:
        """Raise OperatorError (CONFLICT) when a new attachment's name, interface, address or prefix is taken."""
        what = f"port {attachment.name}"
        if attachment.name in self._attached:
            raise _conflict(
                what, "exists with other parameters", f"see `vrfwire port show {attachment.name}`, or detach it first"
            )
        if (other := self._interfaces.get(attachment.interface)) is not None:
            raise _conflict(
                what,
                f"interface {attachment.interface} belongs to port {other}",
                f"detach {other} first, or use another",
            )
        for prefix in attachment.announced():
            if (other := self._prefixes.get((attachment.vpn, prefix))) is not None:
                shown = prefix.address if prefix.is_host else str(prefix)
                raise _conflict(
                    what,
                    f"{shown} in VPN {attachment.vpn} belongs to port {other}",
                    f"detach {other} first, or give another address",
                )

    def _number(self, name: str) -> tuple[VpnRecord, str | None]:
        """Numbers for a new VPN; when they are used up, those of one that has no attachment."""
        records = self._vpns.values()
        try:
            instance = lowest_free(INSTANCE_IDS, {record.instance_id for record in records}, "", "")
            table = lowest_free(self._tables, {record.table for record in records}, "", "")
        except OperatorError:
            idle = next((record for record in records if record.name not in self._members), None)
            if idle is None:
                raise _conflict(
                    f"VPN {name}", f"all {len(INSTANCE_IDS)} VPN numbers are in use", "detach ports of another VPN"
                ) from None
            return VpnRecord(name, idle.instance_id, idle.table, self._device(name, idle.name)), idle.name
        return VpnRecord(name, instance, table, self._device(name, None)), None

    def _device(self, name: str, forget: str | None) -> str:
        taken = {record.device for record in self._vpns.values() if record.name != forget}
        taken |= {TUNNEL_DEVICE, *self._interfaces}
        for attempt in range(_DEVICE_ATTEMPTS):
            device = derived_device("vrf", name, attempt)
            if device not in taken:
                return device
        raise _conflict(f"VPN {name}", "no device name is free", "rename the VPN")

    def _add(self, attached: Attached) -> None:
        attachment = attached.attachment
        self._attached[attachment.name] = attached
        self._members.setdefault(attachment.vpn, set()).add(attachment.name)
        self._interfaces[attachment.interface] = attachment.name
        for prefix in attachment.announced():
            self._prefixes[attachment.vpn, prefix] = attachment.name

    # -- detach

    def detaching(self, name: str) -> Attached:
        """Change the phase of an attachment; returns it."""
        attached = self._attached[name]
        attached = replace(attached, phase=Phase.DETACHING)
        self._attached[name] = attached
        self.listener("detaching", attached)
        return attached

    def change(self, attached: Attached) -> None:
        """An attachment has changed: what is blocked of it, or whether it is closed."""
        self._attached[attached.name] = attached
        self.listener("changed", attached)

    def resting(self, name: str, now: float) -> tuple[Quarantined, list[int]]:
        """What is to be made durable before remove(): an attachment's label at rest, and labels whose rest is over."""
        attached = self._attached[name]
        owner = Owner(name, attached.attachment.vpn)
        return Quarantined(attached.label, owner, now), self._labels.expired(now)

    def remove(self, quarantined: Quarantined) -> None:
        """Drop the attachment that a label rests for from now on."""
        name = quarantined.owner.attachment
        attached = self._attached.pop(name)
        attachment = attached.attachment
        del self._interfaces[attachment.interface]
        for prefix in attachment.announced():
            del self._prefixes[attachment.vpn, prefix]
        members = self._members[attachment.vpn]
        members.discard(name)
        if not members:
            del self._members[attachment.vpn]
        self._labels.release(quarantined)
        self.listener("detached", attached)


def _conflict(what: str, why: str, hint: str) -> OperatorError:
    return OperatorError(what, why, hint, ExitCode.CONFLICT)
