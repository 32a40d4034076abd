"""The ports of this host: attach and detach, from what is asked for to what is announced, and back.

    asked --accept--> durable --plan--> kernel --all programmed--> announced at every gateway
    asked --durable "detaching"--> withdrawn at every connected gateway --> out of the kernel --> label at rest

A port is announced only after everything that delivers to it is programmed. Nothing waits for a gateway to be there:
one that is away is told when it comes. While the host is drained (agent.drain), nothing is announced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace

from agent.announcer import Announcer
from agent.attachment import Attached, Attachment, Phase, VpnRecord
from agent.boot import since_boot
from agent.conditions import Conditions
from agent.faults import check_netns, converging, drained, refusal_hint, worst
from agent.feed import RouteFeed
from agent.inventory import Inventory
from agent.peer import Peer
from agent.plan import attachment_values, vpn_values
from agent.readiness import Readiness
from agent.requests import Refusal
from agent.store import Store
from datapath.plane import Datapath, Object
from datapath.status import State
from datapath.values import Kind
from runtime.errors import ExitCode, OperatorError
from runtime.log import fields
from vpn.prefix import Prefix

log = logging.getLogger("vrfwire.agent.ports")

_PASSAGE = (Kind.PORT, Kind.ANTI_SPOOFING, Kind.MPLS_ROUTE)
"""Kinds by which traffic passes from and to a port; the port itself is the first of them."""
_FOREVER = 1 << 30
_REMIND = 60.0
"""Seconds between two complaints about a detach that doesn't end."""
_WRITE_AGAIN = 5.0
"""Seconds between two tries to make a detach durable."""

Progress = Callable[[Mapping[str, object]], None]


class Ports:
    """All ports of a host. closed: it is drained, and nothing passes from or to them. clock: monotonic seconds; uptime:
    those that labels rest by."""

    def __init__(
        self,
        inventory: Inventory,
        store: Store,
        datapath: Datapath,
        feed: RouteFeed,
        announcer: Announcer,
        *,
        closed: bool = False,
        clock: Callable[[], float] = time.monotonic,
        uptime: Callable[[], float] = since_boot,
    ) -> None:
        self.inventory = inventory
        self.announcer = announcer
        self.conditions = Conditions()
        """Whatever somebody waits for that is about ports or gateways."""
        self._store = store
        self._datapath = datapath
        self._feed = feed
        self._closed = closed
        self._clock = clock
        self._uptime = uptime
        self._readiness = Readiness(datapath, self._ready)
        self._withdrawing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    # -- life

    def start(self) -> None:
        """Plan what was kept by an earlier run, and go on with its detaches."""
        self._readiness.start()
        kept = list(self.inventory.attachments())
        for attached in kept:
            self.announcer.keep(attached)
            self.announcer.expect(attached)
            # Those too that are being detached: they deliver until that is confirmed.
            self._plan(attached, initial=True)
        self._feed.push()
        for attached in kept:
            if attached.phase is Phase.ATTACHED:
                self._watch(attached)
            else:
                self._withdraw(attached)
        # By then a gateway that is still away isn't waited for any more.
        self._timer = asyncio.get_running_loop().call_later(self.announcer.grace, self.peers_changed)
        self._continue_detach()

    async def stop(self) -> None:
        """Stop following the ports; they stay as they are."""
        self._readiness.stop()
        if self._timer is not None:
            self._timer.cancel()
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
        if not await self.conditions.wait(lambda: self.inventory.get(name) is not known, timeout):
            raise OperatorError(f"port {name}", "is still being detached", "try again later", ExitCode.CONFLICT)

    def _accept(self, attachment: Attachment) -> None:
        name = attachment.name
        self.inventory.check(attachment)
        check_netns(attachment)
        accepted = self.inventory.accept(attachment, self._uptime(), closed=self._closed)
        attached = accepted.attached
        try:
            self._store.attach(attached, accepted.record if accepted.new_vpn else None, accepted.forget)
        except OperatorError:
            self.inventory.abandon(accepted)
            raise
        self.inventory.commit(accepted)
        self.announcer.expect(attached)
        self._plan(attached)
        self._feed.push()
        self._watch(attached)
        label = attached.label
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
        peers = self.announcer.peers
        if not peers:
            raise OperatorError(f"port {name}", "no gateway is configured", "add a [[gateway]]", ExitCode.CONFLICT)
        await self.conditions.wait(
            lambda: (
                self.announcer.silent or self.announced(name)[0] in ("yes", "refused") or bool(self.announced(name)[1])
            ),
            timeout,
        )
        if self.announcer.silent:
            raise drained(name)
        state, refusals = self.announced(name)
        if refusals:
            peer, refusal = refusals[0]
            attached = self.inventory.get(name)
            hint = refusal_hint(refusal, None if attached is None else attached.attachment)
            raise OperatorError(f"port {name}", f"gateway {peer.name} refused: {refusal}", hint)
        if state != "yes":
            down = [peer.name for peer in peers if not peer.connected]
            raise converging(name, f"gateway {', '.join(down)} is down" if down else "no answer of the gateway yet")

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
        if self._readiness.watch(attached.name, self.objects(attached)):
            self.announcer.announce(attached, self._record(attached.attachment))
            self.conditions.check()

    def _ready(self, name: str) -> None:
        attached = self.inventory.get(name)
        if attached is not None and attached.phase is Phase.ATTACHED:
            self._watch(attached)

    # -- announced?

    def announced(self, name: str) -> tuple[str, list[tuple[Peer, Refusal]]]:
        """Whether the gateways have a port; see Announcer.announced()."""
        attached = self.inventory.get(name)
        return ("no", []) if attached is None else self.announcer.announced(attached)

    # -- drain

    def silence(self) -> None:
        """Withdraw every port, and announce none until resume(). They deliver what still comes."""
        self.announcer.silent = True
        for attached in self._all_attached():
            self.announcer.withdraw(attached, self._record(attached.attachment))
        self.conditions.check()

    def close(self) -> None:
        """Let nothing pass from or to the ports; their devices stay with the VMs."""
        self._shut(True)

    def resume(self) -> None:
        """Let everything pass again, and announce each port as soon as that is in the kernel."""
        self.announcer.silent = False
        self._shut(False)
        for attached in self._all_attached():
            self._watch(attached)

    def _shut(self, closed: bool) -> None:
        self._closed = closed
        for attached in self._all_attached():
            if attached.closed != closed:
                changed = replace(attached, closed=closed)
                self.inventory.change(changed)
                self._feed.planner.change(changed)
        self._feed.push()

    def _all_attached(self) -> list[Attached]:
        return [attached for attached in self.inventory.attachments() if attached.phase is Phase.ATTACHED]

    async def wait_closed(self, timeout: float) -> tuple[str, bool]:
        """Wait until nothing passes from or to the ports, for timeout seconds at the most; returns what is against it,
        or "", and whether that is the kernel's refusal."""
        deadline = self._clock() + timeout
        for attached in self._all_attached():
            # The label route is to be gone. Filters of a port that isn't there can't be made, and aren't missed.
            there = replace(attached, closed=False, blocked=frozenset())
            port, *objects = [entry for entry in self.objects(there) if entry[0] in _PASSAGE]
            if self._datapath.status(*port).state is State.FAILED:
                objects = [entry for entry in objects if entry[0] is Kind.MPLS_ROUTE]
            statuses = await self._datapath.wait(objects, max(0.0, deadline - self._clock()))
            if not all(status.settled for status in statuses):
                refusal = worst(objects, statuses)
                return f"port {attached.name}: {refusal or 'not closed yet'}", bool(refusal)
        return "", False

    @property
    def resumed(self) -> bool:
        """Whether every port is in the kernel, and what there is of gateways has answered for it."""
        return not self._readiness and all(map(self.announcer.answered, self._all_attached()))

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
            self._readiness.forget(name)
            attached = self.inventory.detaching(name)
            self._withdraw(attached)
            self._continue_detach()
        if not await self.conditions.wait(lambda: self.inventory.get(name) is not attached, timeout):
            raise converging(name, "not all of it is withdrawn and out of the kernel yet")

    def _withdraw(self, attached: Attached) -> None:
        self._withdrawing.add(attached.name)
        self.announcer.withdraw(attached, self._record(attached.attachment))

    def _continue_detach(self) -> None:
        """Go on with the ports that the gateways have confirmed to be withdrawn."""
        for name in list(self._withdrawing):
            attached = self.inventory.get(name)
            assert attached is not None, "only _finish_detach removes a port, and it comes later"
            if self.announcer.withdrawn(attached):
                self._withdrawing.discard(name)
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
            self.announcer.leave(vpn)
        self._feed.push()
        objects: list[Object] = [(value.kind, value.key) for value in attachment_values(attached, record)]
        while not all(s.settled for s in await self._datapath.wait(objects, _REMIND, attempts=_FOREVER)):
            log.warning("port %s: still in the kernel", name, extra=extra)
        await self._store_detach(name)
        self.announcer.forget(name)
        log.info("port %s detached", name, extra=extra)
        self.conditions.check()

    async def _store_detach(self, name: str) -> None:
        """Let the label rest as soon as that is durable: a restart would do the detach again, and free it once more."""
        while True:
            quarantined, expired = self.inventory.resting(name, self._uptime())
            try:
                self._store.detach(name, quarantined, expired)
            except OperatorError as error:
                log.error("port %s: %s", name, error, extra=fields(port=name))
                await asyncio.sleep(_WRITE_AGAIN)
            else:
                self.inventory.remove(quarantined)
                return

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
                self._block(attached, self.announcer.forbidden(attached))
        self.peers_changed()

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
        self.inventory.change(attached)
        self._feed.planner.change(attached)
        self._feed.push()
        extra = fields(port=name, vpn=attached.attachment.vpn)
        if blocked:
            extra |= fields(prefix=min(blocked))
            log.warning("port %s: blocked, as the gateways forbid: %s", name, _listed(blocked), extra=extra)
        else:
            log.info("port %s: not blocked any more", name, extra=extra)

    def peers_changed(self) -> None:
        """A gateway answered, came or went."""
        self._continue_detach()
        self.conditions.check()

    # -- for those who ask

    def state(self, attached: Attached) -> tuple[str, str]:
        """State of a port for an operator: "programmed", "pending", "error", "detaching", or "drained" when it is
        closed; and the error, or ""."""
        if attached.phase is Phase.DETACHING:
            record = self._record(attached.attachment)
            objects: list[Object] = [(value.kind, value.key) for value in attachment_values(attached, record)]
            return "detaching", worst(objects, [self._datapath.status(*entry) for entry in objects])
        objects = self.objects(attached)
        statuses = [self._datapath.status(*entry) for entry in objects]
        if all(status.settled for status in statuses):
            return "drained" if attached.closed else "programmed", ""
        failure = worst(objects, statuses)
        return ("error", failure) if failure else ("pending", "")


def _listed(prefixes: Iterable[Prefix]) -> str:
    return ", ".join(map(str, sorted(prefixes)))
