"""The methods of the agent's control socket (docs/design/agent.md lists them)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

from agent.attachment import parse_attach
from agent.config import AgentConfig
from agent.diagnostics import Diagnostics
from agent.documents import Document, Documents
from agent.drain_methods import DrainMethods
from agent.drop_methods import DropMethods
from agent.explain_methods import ExplainMethods
from agent.hostagent import HostAgent
from agent.parameters import count, optional, seconds, text
from runtime.config import Loaded
from runtime.control import Call, Handler
from runtime.errors import ExitCode, OperatorError
from runtime.version import VERSION
from vpn.prefix import Prefix

DEFAULT_TIMEOUT = 10.0
"""Seconds that a changing command waits."""
MAX_PAGE = 2000
"""Most routes in one answer to who reads page by page."""
PAGE = 500
"""Routes that are looked at before others have their turn."""
MOST_ROUTES = 10_000
"""Most routes in one answer to who doesn't."""
_WAITS = ("programmed", "announced", "no")
_FLOW = ("wait", "timeout")


class Methods:
    """Handlers of one agent. loaded: the configuration that it runs with."""

    def __init__(self, agent: HostAgent, loaded: Loaded[AgentConfig]) -> None:
        self._agent = agent
        self._loaded = loaded
        self._documents = Documents(agent)

    def handlers(self) -> Mapping[str, Handler]:
        """By method name."""
        return {
            "port.attach": self.port_attach,
            "port.detach": self.port_detach,
            "port.list": self.port_list,
            "port.show": self.port_show,
            "vpn.list": self.vpn_list,
            "vpn.show": self.vpn_show,
            "route.list": self.route_list,
            "gateway.list": self.gateway_list,
            "status": self.status,
            "config.show": self.config_show,
            "version": self.version,
            **DropMethods(self._agent).handlers(),
            **ExplainMethods(self._agent, self._documents).handlers(),
            **DrainMethods(self._agent).handlers(),
            **Diagnostics(self._agent).handlers(),
        }

    async def port_attach(self, params: Document, call: Call) -> Document:
        """The attachment asked for, with its numbers, and how long it took."""
        began = time.perf_counter()
        wait = params.get("wait", "programmed")
        if wait not in _WAITS:
            raise OperatorError("port attach", f"wait is not one of {', '.join(_WAITS)}", "", ExitCode.USAGE)
        timeout = seconds(params, "timeout", DEFAULT_TIMEOUT)
        asked = {key: value for key, value in params.items() if key not in _FLOW}
        attachment = parse_attach(asked, self._agent.config.host.name)
        unchanged = await self._agent.ports.attach(attachment, str(wait), timeout, call.progress)
        elapsed = round((time.perf_counter() - began) * 1000, 3)
        return self._documents.named_port(attachment.name) | {"unchanged": unchanged, "elapsed_ms": elapsed}

    async def port_detach(self, params: Document, call: Call) -> Document:
        """Ends when the port is withdrawn, out of the kernel and its label at rest."""
        began = time.perf_counter()
        name = text(params, "name")
        await self._agent.ports.detach(name, seconds(params, "timeout", DEFAULT_TIMEOUT))
        return {"name": name, "state": "detached", "elapsed_ms": round((time.perf_counter() - began) * 1000, 3)}

    async def port_list(self, params: Document, call: Call) -> Document:
        """All ports."""
        return self._documents.ports(optional(params, "vpn"))

    async def port_show(self, params: Document, call: Call) -> Document:
        """One port."""
        return self._documents.named_port(text(params, "name"))

    async def vpn_list(self, params: Document, call: Call) -> Document:
        """All VPNs with ports here."""
        return self._documents.vpns()

    async def vpn_show(self, params: Document, call: Call) -> Document:
        """One VPN."""
        return self._documents.vpn(self._documents.joined(text(params, "name")))

    async def route_list(self, params: Document, call: Call) -> Document:
        """Routes as announced, and whether the kernel has them; with "limit" a page of them."""
        vpn, limit = optional(params, "vpn"), count(params, "limit", MAX_PAGE)
        if limit is None:
            return {"items": await self._all_routes(vpn)}
        return self._documents.route_page(vpn, optional(params, "after"), limit)

    async def _all_routes(self, vpn: str | None) -> list[Document]:
        """By VPN and prefix. Others wait for one page of them at a time."""
        found: dict[tuple[str, Prefix], Document] = {}
        after: object = None
        while True:
            page = self._documents.route_page(vpn, None if after is None else str(after), PAGE)
            rows, after = page["items"], page["after"]
            assert isinstance(rows, list)
            found |= {(row["vpn"], Prefix.parse(row["prefix"])): row for row in rows}
            if after is None:
                return [found[key] for key in sorted(found, key=lambda key: (key[0], len(key[1].packed), key[1]))]
            if len(found) > MOST_ROUTES:
                hint = 'ask page by page, with "limit" and "after"'
                raise OperatorError("route list", f"there are more than {MOST_ROUTES}", hint, ExitCode.USAGE)
            await asyncio.sleep(0)

    async def gateway_list(self, params: Document, call: Call) -> Document:
        """The gateways and their sessions."""
        return self._documents.gateways()

    async def status(self, params: Document, call: Call) -> Document:
        """The agent as a whole."""
        return self._documents.status()

    async def config_show(self, params: Document, call: Call) -> Document:
        """Every value of the configuration and where it was set."""
        return self._loaded.document()

    async def version(self, params: Document, call: Call) -> Document:
        """Of the daemon."""
        return {"program": "vrfwire-agent", "version": VERSION, "pid": os.getpid()}
