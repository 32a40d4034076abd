"""The ports of this host: attach and detach, from what is asked for to what is announced, and back.

    asked --accept--> durable --plan--> kernel --all programmed--> announced at every gateway
    asked --durable "detaching"--> withdrawn at every connected gateway --> out of the kernel --> label at rest

A port is announced only after everything that delivers to it is programmed. Nothing waits for a gateway to be there:
one that is away is told when it comes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace

from agent.attachment import Attached, Attachment, Phase, VpnRecord
from agent.conditions import Conditions
from agent.faults import check_netns, converging, refusal_hint, worst
from agent.feed import RouteFeed
from agent.inventory import Inventory
from agent.peer import Peer
from agent.plan import Host, attachment_values, vpn_values
from agent.requests import Announced, Refusal
from agent.store import Store
from datapath.plane import Datapath, Object
from datapath.status import Change
from datapath.values import Kind
from runtime.errors import ExitCode, OperatorError
from runtime.log import fields
from vpn.path import NextHop, Path
from vpn.prefix import Prefix

log = logging.getLogger("vrfwire.agent.ports")

PORT_KINDS = (Kind.VRF, Kind.PORT, Kind.NEIGHBOUR, Kind.ANTI_SPOOFING, Kind.MPLS_ROUTE)
"""Kinds that a port is made of."""
_FOREVER = 1 << 30
_REMIND = 60.0
"""Seconds between two complaints about a detach that doesn't end."""

Progress = Callable[[Mapping[str, object]], None]


class Ports:
    """All ports of a host. clock, wall: monotonic seconds, and seconds since the epoch."""

    def __init__(
        self,
        host: Host,
        inventory: Inventory,
        store: Store,
        datapath: Datapath,
        feed: RouteFeed,
        peers: Iterable[Peer],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.inventory = inventory
        self._host = host
        self._store = store
        self._datapath = datapath
        self._feed = feed
        self._peers = tuple(peers)
        self._clock = clock
        self._wall = wall
        self._conditions = Conditions()
        self._missing: dict[str, set[Object]] = {}
        """By port that isn't announced yet: objects that were not programmed when last heard of."""
        self._waiting: dict[Object, set[str]] = {}
        """The same by object."""
        self._withdrawing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unlisten: Callable[[], None] | None = None

    # -- life

    def start(self) -> None:
        """Plan what was kept by an earlier run, and go on with its detaches."""
        self._unlisten = self._datapath.listen(PORT_KINDS, self._datapath_changed)
        kept = list(self.inventory.attachments())
        for attached in kept:
            if attached.phase is Phase.ATTACHED:
                self._plan(attached, initial=True)
        self._feed.push()
        for attached in kept:
            if attached.phase is Phase.ATTACHED:
                self._watch(attached)
            else:
                self._resume_detach(attached)

    async def stop(self) -> None:
        """Stop following the ports; they stay as they are."""
        if self._unlisten is not None:
            self._unlisten()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- attach

    async def attach(self, attachment: Attachment, wait: str, timeout: float, progress: Progress) -> bool:
        """Accept an attachment, and wait as told ("programmed", "announced", "no") for timeout seconds at the most.

        Returns whether it was there before, unchanged. Raises OperatorError: CONFLICT, NOT_FOUND (not accepted);
        TIMEOUT (accepted, still converging); FAILURE (accepted, but the kernel or a gateway refuses; tried again).
        """
        deadline = self._clock() + timeout
        name = attachment.name
        await self._wait_detached(name, timeout)
        known = self.inventory.get(name)
        unchanged = known is not None and known.attachment == attachment
        if not unchanged:
            self._accept(attachment)
        if wait != "no":
            await self._wait_programmed(name, deadline - self._clock())
        if wait == "announced":
            progress({"state": "programmed"})
            await self._wait_announced(name, deadline - self._clock())
        return unchanged

    async def _wait_detached(self, name: str, timeout: float) -> None:
        """A detach of the name under way is to end first."""
        known = self.inventory.get(name)
        if known is None or known.phase is not Phase.DETACHING:
            return
        if not await self._conditions.wait(lambda: self.inventory.get(name) is not known, timeout):
            raise OperatorError(f"port {name}", "is still being detached", "try again later", ExitCode.CONFLICT)

    def _accept(self, attachment: Attachment) -> None:
        name = attachment.name
        self.inventory.check(attachment)
        check_netns(attachment)
        accepted = self.inventory.accept(attachment, self._wall())
        try:
            self._store.attach(accepted.attached, accepted.record if accepted.new_vpn else None, accepted.forget)
        except OperatorError:
            self.inventory.abandon(accepted)
            raise
        self.inventory.commit(accepted)
        self._plan(accepted.attached)
        self._feed.push()
        self._watch(accepted.attached)
        label = accepted.attached.label
        log.info("port %s attached, label %d", name, label, extra=fields(port=name, vpn=attachment.vpn))

    async def _wait_programmed(self, name: str, timeout: float) -> None:
        attached = self.inventory.get(name)
        if attached is None:
            raise OperatorError(f"port {name}", "was detached meanwhile", "", ExitCode.CONFLICT)
        objects = self.objects(attached)
        statuses = await self._datapath.wait(objects, max(0.0, timeout))
        if all(status.settled for status in statuses):
            return
        failure = worst(objects, statuses)
        if failure:
            raise OperatorError(
                f"port {name}",
                failure,
                f"kept and tried again; `vrfwire doctor` looks for causes, `vrfwire port detach {name}` gives up",
            )
        raise converging(name, "not all of it is in the kernel yet")

    async def _wait_announced(self, name: str, timeout: float) -> None:
        if not self._peers:
            raise OperatorError(f"port {name}", "no gateway is configured", "add a [[gateway]]", ExitCode.CONFLICT)
        await self._conditions.wait(
            lambda: self.announced(name)[0] in ("yes", "refused") or self._refused(name), timeout
        )
        state, refusals = self.announced(name)
        if refusals:
            peer, refusal = refusals[0]
            attached = self.inventory.get(name)
            hint = refusal_hint(refusal, None if attached is None else attached.attachment)
            raise OperatorError(f"port {name}", f"gateway {peer.name} refused: {refusal}", hint)
        if state != "yes":
            down = [peer.name for peer in self._peers if not peer.connected]
            raise converging(name, f"gateway {', '.join(down)} is down" if down else "no answer of the gateway yet")

    def _refused(self, name: str) -> bool:
        return bool(self.announced(name)[1])

    def _record(self, attachment: Attachment) -> VpnRecord:
        record = self.inventory.vpn(attachment.vpn)
        assert record is not None, "an attachment that was accepted is in a VPN with numbers"
        return record

    def _plan(self, attached: Attached, *, initial: bool = False) -> None:
        if self._feed.planner.attach(attached, self._record(attached.attachment)):
            self._feed.join(attached.attachment.vpn, initial=initial)

    # -- programmed?

    def objects(self, attached: Attached) -> list[Object]:
        """Everything that has to be in the kernel for a port, its VPN's device first."""
        record = self._record(attached.attachment)
        return [(value.kind, value.key) for value in (*vpn_values(record), *attachment_values(attached, record))]

    def _watch(self, attached: Attached) -> None:
        """Announce the port as soon as all of it is programmed."""
        missing = {entry for entry in self.objects(attached) if not self._datapath.status(*entry).settled}
        if not missing:
            self._announce(attached)
            return
        self._missing[attached.name] = missing
        for entry in missing:
            self._waiting.setdefault(entry, set()).add(attached.name)

    def _unwatch(self, name: str) -> None:
        for entry in self._missing.pop(name, ()):
            self._heard(entry, name)

    def _heard(self, entry: Object, name: str) -> None:
        names = self._waiting[entry]
        names.discard(name)
        if not names:
            del self._waiting[entry]

    def _datapath_changed(self, change: Change) -> None:
        entry = (change.kind, change.key)
        names = self._waiting.get(entry)
        if not names or not change.status.settled:
            return
        for name in list(names):
            self._heard(entry, name)
            missing = self._missing[name]
            missing.discard(entry)
            if not missing:
                del self._missing[name]
                # One after the other was reported programmed: are all of them at once?
                attached = self.inventory.get(name)
                if attached is not None and attached.phase is Phase.ATTACHED:
                    self._watch(attached)

    # -- announced?

    def _announce(self, attached: Attached) -> None:
        record = self._record(attached.attachment)
        path = Path((NextHop(self._host.address, attached.label, self._host.encapsulations),))
        for peer in self._peers:
            peer.signaling.join(record.name, record.instance_id)
            for prefix in attached.attachment.announced():
                peer.signaling.announce(record.name, prefix, path, attached.attachment.known_as)
            peer.flush_soon()

    def announced(self, name: str) -> tuple[str, list[tuple[Peer, Refusal]]]:
        """Whether the gateways have a port: "yes" (each of them), "partly", "refused" or "no"; who refused, and why."""
        attached = self.inventory.get(name)
        if attached is None:
            return "no", []
        states, refusals = set(), []
        for peer in self._peers:
            for prefix in attached.attachment.announced():
                state, refusal = peer.signaling.announced(attached.attachment.vpn, prefix)
                states.add(state)
                if refusal is not None:
                    refusals.append((peer, refusal))
        if states == {Announced.YES}:
            return "yes", refusals
        if Announced.YES in states:
            return "partly", refusals
        return ("refused" if refusals else "no"), refusals

    # -- detach

    async def detach(self, name: str, timeout: float) -> None:
        """Withdraw a port, take it out of the kernel and let its label rest; wait for that timeout seconds at the most.

        Raises OperatorError: NOT_FOUND; TIMEOUT (it goes on).
        """
        attached = self.inventory.get(name)
        if attached is None:
            raise OperatorError(f"port {name}", "no such port", "see `vrfwire port list`", ExitCode.NOT_FOUND)
        if attached.phase is Phase.ATTACHED:
            self._store.set_phase(name, Phase.DETACHING)
            self._unwatch(name)
            attached = self.inventory.detaching(name)
            for peer in self._peers:
                for prefix in attached.attachment.announced():
                    peer.signaling.withdraw(attached.attachment.vpn, prefix)
                peer.flush_soon()
            self._withdrawing.add(name)
            self._continue_detach()
        if not await self._conditions.wait(lambda: self.inventory.get(name) is not attached, timeout):
            raise converging(name, "not all of it is withdrawn and out of the kernel yet")

    def _continue_detach(self) -> None:
        """Go on with the ports that every connected gateway has confirmed to be withdrawn."""
        for name in list(self._withdrawing):
            attached = self.inventory.get(name)
            assert attached is not None, "only _finish_detach removes a port, and it comes later"
            if self._withdrawn(attached.attachment):
                self._withdrawing.discard(name)
                self._spawn(self._finish_detach(attached))

    def _withdrawn(self, attachment: Attachment) -> bool:
        return all(
            peer.signaling.withdrawn(attachment.vpn, prefix)
            for peer in self._peers
            if peer.connected
            for prefix in attachment.announced()
        )

    def _resume_detach(self, attached: Attached) -> None:
        """A detach that an earlier run began: what that may have left at the gateways is recalled when they come."""
        record = self._record(attached.attachment)
        for peer in self._peers:
            for prefix in attached.attachment.announced():
                peer.signaling.recall(record.name, record.instance_id, prefix)
        self._spawn(self._finish_detach(attached))

    async def _finish_detach(self, attached: Attached) -> None:
        name, vpn = attached.name, attached.attachment.vpn
        extra = fields(port=name, vpn=vpn)
        record = self._record(attached.attachment)
        # Before the first dump the kernel looks empty.
        while not await self._datapath.wait_in_sync(_REMIND):
            log.warning("port %s: the detach waits for the state of the kernel", name, extra=extra)
        if self._feed.planner.detach(name):
            self._feed.leave(vpn)
            for peer in self._peers:
                peer.signaling.leave(vpn)
                peer.flush_soon()
        self._feed.push()
        objects: list[Object] = [(value.kind, value.key) for value in attachment_values(attached, record)]
        while not all(s.settled for s in await self._datapath.wait(objects, _REMIND, attempts=_FOREVER)):
            log.warning("port %s: still in the kernel", name, extra=extra)
        quarantined, expired, _ = self.inventory.remove(name, self._wall())
        try:
            self._store.detach(name, quarantined, expired)
        except OperatorError as error:
            # The state file still says "detaching": the next start does this again.
            log.error("port %s: %s", name, error, extra=extra)
        log.info("port %s detached", name, extra=extra)
        self._conditions.check()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a detach failed", exc_info=error)

    # -- what the gateways do

    def settled(self, items: Iterable[tuple[str, Prefix]]) -> None:
        """What a gateway thinks of items, by VPN and prefix, has been settled."""
        for name in dict.fromkeys(self.inventory.owner(vpn, prefix) for vpn, prefix in items):
            attached = self.inventory.get(name) if name is not None else None
            if attached is not None and attached.phase is Phase.ATTACHED:
                self._block(attached, self._forbidden(attached))
        self.peers_changed()

    def _forbidden(self, attached: Attached) -> frozenset[Prefix]:
        """What is to be blocked: what every connected gateway forbids, until one of them has it. Otherwise it stays as
        it was, so that a gateway which comes or goes opens and closes nothing."""
        blocked = set(attached.blocked)
        for prefix in attached.attachment.announced():
            answers = [
                peer.signaling.announced(attached.attachment.vpn, prefix) for peer in self._peers if peer.connected
            ]
            if any(state is Announced.YES for state, _ in answers):
                blocked.discard(prefix)
            elif answers and all(refusal is not None and refusal.forbidden for _, refusal in answers):
                blocked.add(prefix)
        return frozenset(blocked)

    def _block(self, attached: Attached, blocked: frozenset[Prefix]) -> None:
        if blocked == attached.blocked:
            return
        name = attached.name
        try:
            self._store.set_blocked(name, blocked)
        except OperatorError as error:
            # It counts all the same; after a restart the gateways say it again.
            log.error("port %s: %s", name, error, extra=fields(port=name))
        attached = replace(attached, blocked=blocked)
        self.inventory.block(attached)
        self._feed.planner.block(attached)
        self._feed.push()
        extra = fields(port=name, vpn=attached.attachment.vpn)
        if blocked:
            log.warning("port %s: blocked, as the gateways forbid: %s", name, _listed(blocked), extra=extra)
        else:
            log.info("port %s: not blocked any more", name, extra=extra)

    def peers_changed(self) -> None:
        """A gateway answered, came or went."""
        self._continue_detach()
        self._conditions.check()

    # -- for those who ask

    def state(self, attached: Attached) -> tuple[str, str]:
        """State of a port for an operator: "programmed", "pending", "error" or "detaching"; and the error, or ""."""
        if attached.phase is Phase.DETACHING:
            record = self._record(attached.attachment)
            objects: list[Object] = [(value.kind, value.key) for value in attachment_values(attached, record)]
            return "detaching", worst(objects, [self._datapath.status(*entry) for entry in objects])
        objects = self.objects(attached)
        statuses = [self._datapath.status(*entry) for entry in objects]
        if all(status.settled for status in statuses):
            return "programmed", ""
        failure = worst(objects, statuses)
        return ("error", failure) if failure else ("pending", "")


def _listed(prefixes: Iterable[Prefix]) -> str:
    return ", ".join(map(str, sorted(prefixes)))
