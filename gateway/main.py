"""The `vrfwire-gateway` daemon."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from bgp.rib.policy import Identity
from gateway.certificates import Certificates
from gateway.config import GatewayConfig
from gateway.doctor import subject
from gateway.front import Front
from gateway.peer_config import BgpSettings, resolve
from gateway.peer_status import PeerStatus
from gateway.request import read_number, required_text
from gateway.rib import Rib
from gateway.roster_file import RosterFile
from gateway.route_status import MAX_PAGE, PAGE
from gateway.server import Server
from gateway.server_front import ServerFront, check_files
from gateway.service import Limits, Service
from gateway.speaker import Speaker
from gateway.status import Document, Problem, Status
from runtime.config import Loaded, load
from runtime.control import Call, ControlServer
from runtime.daemon import Program, Source, raise_file_limit
from runtime.doctor_daemon import examine_daemon, told
from runtime.errors import OperatorError
from runtime.service import Notifier, stop_event
from runtime.version import VERSION
from runtime.watchdog import Pulse, Vitals, live

if TYPE_CHECKING:
    from gateway.map_link import MapLink, Plan
    from gateway.map_status import MapView
    from runtime.metrics import MetricsEndpoint

log = logging.getLogger("vrfwire.gateway")


class Daemon:
    """The gateway: configuration, server and control socket. Use it within one event loop."""

    def __init__(self, loaded: Loaded[GatewayConfig], source: Source) -> None:
        self._loaded = loaded
        self._source = source
        self._reload_problem: Problem | None = None
        self._metrics: MetricsEndpoint | None = None
        self._map: MapLink | None = None
        self._former_maps: set[asyncio.Task[None]] = set()
        config = loaded.value
        self._map_plan = _map_plan(config)
        self.service = Service(
            config.gateway.domain,
            Rib(config.policy(), stale_time=config.gateway.stale_time),
            Limits(items=config.gateway.max_items),
        )
        self.front = _front(config, self.service)
        self.speaker = Speaker(
            _bgp_settings(config),
            self.service,
            self.front.gate.changed,
            linger=config.gateway.stale_time,
            hosts=RosterFile(config.state.directory),
        )
        self.front.gate.on_change = self._hosts_changed
        self._peers = PeerStatus(self.speaker, self.service, asyncio.get_running_loop().time, time.time)
        self._status = Status(self.service, self.front.gate.records.by_host)
        self._control = ControlServer(
            config.control.socket,
            {
                "host.list": self._host_list,
                "vpn.list": self._vpn_list,
                "vpn.show": self._vpn_show,
                "route.list": self._route_list,
                "route.explain": self._route_explain,
                "peer.list": self._peer_list,
                "peer.show": self._peer_show,
                "peer.refresh": self._peer_refresh,
                "peer.reset": self._peer_reset,
                "bgp.routes": self._bgp_routes,
                "map.show": self._map_show,
                "map.accept": self._map_accept,
                "attachment.list": self._attachment_list,
                "tls.reload": self._tls_reload,
                "doctor": self._doctor,
                "status": self._show_status,
                "config.show": self._config_show,
                "version": self._version,
            },
            group=config.control.group,
        )

    @property
    def server(self) -> Server:
        """What hosts connect to; raises TypeError for a gateway that they reach otherwise."""
        return self._server_front.gate

    @property
    def certificates(self) -> Certificates:
        """Of that server."""
        return self._server_front.certificates

    @property
    def _server_front(self) -> ServerFront:
        if not isinstance(self.front, ServerFront):
            raise TypeError("no host connects to this gateway")
        return self.front

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again. Raises OperatorError."""
        config = self._loaded.value
        stop = stop_event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        notifier = Notifier()
        try:
            if self._map_plan is not None:
                self._start_map(self._map_plan, config)
            where = self.front.start()
            await self.speaker.start()
            await self._control.start()
            self._start_metrics()
            log.info(
                "vrfwire-gateway %s serves %s with %d VPNs %s",
                *(VERSION, config.gateway.domain, len(self.service.rib.tables), where),
            )
            notifier.ready()
            await self._watch(stop, notifier)
            notifier.stopping()
        finally:
            await self.speaker.stop()
            await self.front.stop()
            if self._map is not None:
                await self._map.stop()
            if self._former_maps:
                await asyncio.wait(self._former_maps)
            loop.remove_signal_handler(signal.SIGHUP)
            await self._control.stop()
            if self._metrics is not None:
                await self._metrics.stop()
            notifier.close()
        log.info("stopped")

    def _start_map(self, plan: Plan, config: GatewayConfig) -> None:
        # Imported here: a gateway without a map starts without.
        from gateway.map_link import MapLink

        self._map = MapLink(self.service, self.front.gate.changed, config.state.directory)
        self._map.start(plan, config.vpns())

    def _reload_vpns(self, plan: Plan | None, config: GatewayConfig) -> None:
        """Take the VPNs of a new configuration, and its [map], in place."""
        former, self._map_plan = self._map, plan
        if plan is not None and former is not None:
            former.reload(plan, config.vpns())
            return
        if former is not None:
            self._map = None
            task = asyncio.get_running_loop().create_task(former.stop())
            self._former_maps.add(task)
            task.add_done_callback(self._former_maps.discard)
        if plan is not None:
            self._start_map(plan, config)
        else:
            self.service.reload(config.policy())

    def _hosts_changed(self) -> None:
        self.speaker.changed()
        if self._map is not None:
            self._map.items_changed()

    def _start_metrics(self) -> None:
        listen = self._loaded.value.metrics.listen
        if listen is None:
            return
        # Imported here: a gateway without metrics starts without.
        from gateway.metrics import GatewayMetrics
        from runtime.metrics import MetricsEndpoint

        metrics = GatewayMetrics(self.speaker, self.service, self._map_view, self.front.metrics)
        self._metrics = MetricsEndpoint(listen, metrics.snapshot)
        self._metrics.start()

    async def _watch(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """Tell the service manager how it goes, and look at the certificates, until the end."""
        pulses: list[tuple[str, Pulse]] = [("delivery to hosts", self.front.gate), ("BGP", self.speaker)]
        vitals = Vitals(notifier, self._summary, pulses, asyncio.get_running_loop().time())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await live(vitals, [stopped], self.front.poll)
        finally:
            stopped.cancel()

    def _summary(self) -> str:
        """One line for `systemctl status`."""
        rib, view = self.service.rib, self._map_view()
        routes = sum(len(table) for table in rib.tables.values())
        line = f"{len(self.service.sessions)} sessions, {len(rib.tables)} VPNs, {routes} routes"
        if shown := self.front.summary():
            line += f", {shown}"
        if self.speaker.peers:
            up = sum(peer.session.up_since is not None for peer in self.speaker.peers.values())
            line += f", {up} of {len(self.speaker.peers)} BGP peers"
        if view is not None:
            line += ", map connected" if view.connected else ", map away"
        return f"{'degraded' if self._problems() else 'ok'}: {line}"

    def reload(self) -> None:
        """Read the configuration again; the old one stays when it is bad.

        VPNs change in place; hosts, certificates and times count for the sessions that begin from now on.
        """
        try:
            loaded = load(GatewayConfig, program="gateway", path=self._source.path, overrides=self._source.overrides)
            renew_front = self.front.prepare(loaded.value)
            bgp = _bgp_settings(loaded.value, self.speaker.rib.identity if self.speaker.peers else None)
            plan = _map_plan(loaded.value)
            self.speaker.reload(bgp)
        except OperatorError as error:
            log.error("configuration not reloaded: %s", error)
            self._reload_problem = Problem(error.what, f"{error.why}; the former configuration is in use", error.hint)
            return
        self._reload_problem = None
        old, new = self._loaded.value, loaded.value
        for section in ("gateway", "xmpp", "control", "state", "metrics", "log"):
            if getattr(old, section) != getattr(new, section):
                log.warning("[%s] has changed; that takes effect at the next start at the latest", section)
        self._loaded = loaded
        renew_front()
        self._reload_vpns(plan, new)
        self.front.gate.changed()
        log.info("configuration reloaded: %d VPNs, %d hosts, %d BGP peers", len(new.vpn), len(new.host), len(bgp.peers))

    # -- control methods

    async def _host_list(self, params: Document, call: Call) -> Document:
        return self._status.hosts()

    async def _vpn_list(self, params: Document, call: Call) -> Document:
        return self._status.vpns()

    async def _vpn_show(self, params: Document, call: Call) -> Document:
        return self._status.vpn(required_text(params, "name"))

    async def _route_list(self, params: Document, call: Call) -> Document:
        vpn = required_text(params, "vpn") if params.get("vpn") is not None else None
        if "limit" not in params:
            return self._status.routes(vpn)
        return self._status.page(vpn, params.get("after"), read_number(params, "limit", PAGE, MAX_PAGE))

    async def _show_status(self, params: Document, call: Call) -> Document:
        view = self._map_view()
        shown: Document = {**self.front.document(), "bgp": self.speaker.summary(), "map": {"configured": False}}
        if view is not None:
            shown["map"] = view.summary()
        return {**self._status.summary(self._problems()), **shown}

    def _problems(self) -> list[Problem]:
        problems = [] if self._reload_problem is None else [self._reload_problem]
        problems += self.front.problems() + self.speaker.problems()
        view = self._map_view()
        return problems + (view.problems() if view is not None else [])

    async def _doctor(self, params: Document, call: Call) -> Document:
        found = await asyncio.to_thread(examine_daemon, subject(self._loaded.value, check), True)
        return {"items": found + told((one.what, one.why, one.hint) for one in self._problems())}

    def _map_view(self) -> MapView | None:
        return self._map.view() if self._map is not None else None

    async def _map_show(self, params: Document, call: Call) -> Document:
        view = self._map_view()
        return view.document() if view is not None else {"configured": False}

    async def _map_accept(self, params: Document, call: Call) -> Document:
        if self._map is None:
            return {"configured": False, "accepted": False}
        return {"configured": True, "accepted": self._map.accept()}

    async def _attachment_list(self, params: Document, call: Call) -> Document:
        if self._map is None:
            return {"configured": False, "items": []}
        return self._map.withheld() if params.get("withheld") else self._map.attachments()

    async def _route_explain(self, params: Document, call: Call) -> Document:
        work = self._peers.explaining(params)
        while True:
            try:
                next(work)
            except StopIteration as done:
                explanation: Document = done.value
                return explanation
            # The search goes through the whole table: others have their turn between its slices.
            await asyncio.sleep(0)

    async def _bgp_routes(self, params: Document, call: Call) -> Document:
        return self._peers.routes(params)

    async def _peer_list(self, params: Document, call: Call) -> Document:
        return self._peers.peers()

    async def _peer_show(self, params: Document, call: Call) -> Document:
        return self._peers.peer(required_text(params, "name"))

    async def _peer_refresh(self, params: Document, call: Call) -> Document:
        return self._peers.refresh(params)

    async def _peer_reset(self, params: Document, call: Call) -> Document:
        return self._peers.reset(params)

    async def _tls_reload(self, params: Document, call: Call) -> Document:
        return self.front.reload_certificates()

    async def _config_show(self, params: Document, call: Call) -> Document:
        return self._loaded.document()

    async def _version(self, params: Document, call: Call) -> Document:
        return {"program": "vrfwire-gateway", "version": VERSION, "pid": os.getpid()}


def _front(config: GatewayConfig, service: Service) -> Front:
    """Where hosts come in. Raises OperatorError."""
    if not config.is_component:
        return ServerFront(config, service)
    from gateway.component_front import ComponentFront

    return ComponentFront(config, service)


def _map_plan(config: GatewayConfig) -> Plan | None:
    """What [map] asks for, None without one. Raises OperatorError."""
    if config.map is None:
        return None
    from gateway.map_link import Plan

    return Plan(config.map, config.map_name)


def _bgp_settings(config: GatewayConfig, running: Identity | None = None) -> BgpSettings:
    """Settings of the speaker. running: what one that has peers keeps until the next start, since all routes have been
    told with it. Raises OperatorError."""
    bgp, router_id, asn = config.bgp, config.gateway.router_id, config.gateway.autonomous_system
    if running is not None:
        cluster_id = IPv4Address(running.cluster_id)
        if bgp.cluster_id is not None and bgp.cluster_id != cluster_id:
            log.warning("bgp.cluster_id has changed; that takes effect at the next start")
        router_id, asn = IPv4Address(running.router_id), running.asn
        bgp = replace(bgp, cluster_id=cluster_id)
    return resolve(bgp, router_id, asn)


def check(config: GatewayConfig) -> None:
    """Everything that can be found wrong without serving; raises OperatorError."""
    if config.is_component:
        # Imported here: a gateway that is its own server starts without.
        from gateway.component_front import read_component_secret

        read_component_secret(config)
    else:
        check_files(config)
    _bgp_settings(config)
    _map_plan(config)


async def _serve(loaded: Loaded[GatewayConfig], source: Source) -> None:
    config = loaded.value
    # Behind an XMPP server all hosts come by one connection.
    raise_file_limit(0 if config.is_component else config.gateway.max_sessions, "gateway.max_sessions")
    await Daemon(loaded, source).run()


PROGRAM = Program(
    "vrfwire-gateway", "vrfwire-gateway", "Signaling gateway of vrfwire.", "gateway", GatewayConfig, check, _serve
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return PROGRAM.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
