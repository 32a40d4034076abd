"""The method `drops` of the control socket: the kernel is asked, its numbers joined with their causes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from agent.attachment import Attached, Phase
from agent.documents import Document, timestamp
from agent.drops import Drops, Place, Report, advice
from agent.hostagent import HostAgent
from agent.parameters import flag, optional, text
from datapath.driver import DumpInterrupted
from datapath.filters import Hits
from datapath.observe import Observer
from runtime.control import Call, Handler
from runtime.errors import ExitCode, OperatorError

_SLICE = 0.01
"""Seconds after which others go on."""


class _Turns:
    """Slices of a long work."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    async def pause(self) -> None:
        """Let others go on, when they have waited for a slice."""
        if time.monotonic() - self._began > _SLICE:
            await asyncio.sleep(0)
            self._began = time.monotonic()


def observer_of(agent: HostAgent) -> Observer:
    """The kernel, to be looked at. Raises OperatorError when this agent has none."""
    if agent.observer is None:
        raise OperatorError("kernel", "this daemon has none to look at", "", ExitCode.FAILURE)
    return agent.observer


class DropMethods:
    """Handlers of one agent."""

    def __init__(self, agent: HostAgent) -> None:
        self._agent = agent

    def handlers(self) -> Mapping[str, Handler]:
        """By method name."""
        return {"drops": self.drops}

    async def drops(self, params: Document, call: Call) -> Document:
        """Every counter of this host, or those of one port; zeros are among them unless "nonzero" is asked for."""
        nonzero = flag(params, "nonzero")
        attached = None
        if optional(params, "port") is not None:
            name = text(params, "port")
            attached = self._agent.inventory.get(name)
            if attached is None:
                raise OperatorError(f"port {name}", "no such port", "see `vrfwire port list`", ExitCode.NOT_FOUND)
        try:
            found, now = await self._look(observer_of(self._agent), attached)
        except (DumpInterrupted, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise OperatorError("kernel", f"its counters can't be read: {why}", "see `vrfwire doctor`") from error
        turns = _Turns()
        items = []
        for one in found:
            if one.value or not nonzero:
                items.append(_document(one))
                await turns.pause()
        return {"items": items, "at": round(now, 3)}

    async def _look(self, observer: Observer, only: Attached | None) -> tuple[list[Drops], float]:
        places = self._ports() if only is None else [_port(only)]
        if only is None:
            places += self._host_places(observer.underlay_device())
        # Of all devices even for one port: what they have counted is taken from the host's numbers.
        counters = observer.counters([place.device for place in places])
        report = Report(counters, time.time())
        turns = _Turns()
        for place in places:
            hits: list[Hits] = []
            device = counters.devices.get(place.device)
            if place.kind == "port" and device is not None and device.filtered:
                hits = observer.hits(device.ifindex)
            report.device(place, hits)
            await turns.pause()
        if only is None:
            report.host()
        return report.found, report.now

    def _ports(self) -> list[Place]:
        return [_port(attached) for attached in self._agent.inventory.attachments()]

    def _host_places(self, underlay: str | None) -> list[Place]:
        places = [
            Place("vrf", record.device, record.name, record.name)
            for record in sorted(self._agent.inventory.joined(), key=lambda record: record.name)
        ]
        places.append(Place("tunnel", self._agent.host.tunnel))
        if underlay is not None:
            places.append(Place("underlay", underlay))
        return places


def _port(attached: Attached) -> Place:
    attachment = attached.attachment
    blocked = attached.phase is Phase.ATTACHED and not attached.allowed
    return Place("port", attachment.interface, attached.name, attachment.vpn, blocked)


def _document(drops: Drops) -> Document:
    place = drops.place
    return {
        "name": drops.cause.name,
        "where": "host" if place is None else place.text,
        "port": place.name if place is not None and place.kind == "port" else None,
        "vpn": None if place is None else place.vpn,
        "device": None if place is None else place.device,
        "value": drops.value,
        "since": None if drops.since is None else timestamp(drops.since),
        "last": None if drops.last is None else timestamp(drops.last),
        "usual": drops.cause.usual,
        "cause": drops.cause.cause,
        "hint": advice(drops),
    }
