"""Methods of the control socket that explain: route.explain, object.list and object.show, and the stream of monitor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from agent.documents import Document, Documents
from agent.events import KINDS, Wanted, moment
from agent.explain import Explainer
from agent.hostagent import HostAgent
from agent.objects import Objects, kind_of
from agent.parameters import count, optional, text
from runtime.control import Call, Handler
from runtime.errors import ExitCode, OperatorError
from vpn.prefix import PrefixError, parse_address

FRAME = 64
"""Events in one message to a watcher."""
_MOST_EVENTS = 1 << 31


class ExplainMethods:
    """Handlers of one agent."""

    def __init__(self, agent: HostAgent, documents: Documents) -> None:
        self._agent = agent
        self._explainer = Explainer(agent, documents)
        self._objects = Objects(agent)

    def handlers(self) -> Mapping[str, Handler]:
        """By method name."""
        return {
            "route.explain": self.route_explain,
            "object.list": self.object_list,
            "object.show": self.object_show,
            "monitor": self.monitor,
        }

    async def route_explain(self, params: Document, call: Call) -> Document:
        """Where packets to an address go, and why."""
        address = text(params, "address")
        try:
            packed = parse_address(address)
        except PrefixError as error:
            raise OperatorError(f"address {address[:64]}", str(error), "give an address", ExitCode.USAGE) from None
        return self._explainer.explain(text(params, "vpn"), packed)

    async def object_list(self, params: Document, call: Call) -> Document:
        """A page of the objects of the datapath."""
        kind = optional(params, "kind")
        after = optional(params, "after") or "0"
        if not after.isdecimal() or len(after) > 12:
            raise OperatorError("request", '"after" is not what a page ended with', code=ExitCode.USAGE)
        page = self._objects.page(
            None if kind is None else kind_of(kind), optional(params, "vpn"), optional(params, "state"), int(after)
        )
        return page | {"after": None if page["after"] is None else str(page["after"])}

    async def object_show(self, params: Document, call: Call) -> Document:
        """One object."""
        return self._objects.show(kind_of(text(params, "kind")), text(params, "name"))

    async def monitor(self, params: Document, call: Call) -> Document:
        """Events as they happen, in progress reports, until the client leaves, `count` of them were sent, or the daemon
        stops."""
        hub = self._agent.hub
        wake = asyncio.Event()
        most = count(params, "count", _MOST_EVENTS)
        watcher = hub.subscribe(_wanted(params), wake.set)
        call.on_change(wake.set)
        sent = 0
        try:
            call.progress({"events": [{"at": moment(time.time()), "kind": "monitor", "event": "began"}]})
            while not call.leaving and not hub.closed:
                wake.clear()
                while call.ready and (events := watcher.take(FRAME if most is None else min(FRAME, most - sent))):
                    call.progress({"events": events})
                    sent += len(events)
                    if most is not None and sent >= most:
                        return {"ended": "count", "events": sent}
                    # A flood of events isn't to keep the others waiting.
                    await asyncio.sleep(0)
                await wake.wait()
        finally:
            hub.leave(watcher)
        return {"ended": "stopping" if hub.closed else "left", "events": sent}


def _wanted(params: Document) -> Wanted:
    kinds = params.get("kinds")
    if kinds is not None and not (isinstance(kinds, list) and all(kind in KINDS for kind in kinds)):
        raise OperatorError("request", f'"kinds" is not a list of {", ".join(KINDS)}', code=ExitCode.USAGE)
    return Wanted(None if kinds is None else frozenset(kinds), optional(params, "vpn"), optional(params, "port"))
