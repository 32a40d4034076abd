"""The map server from start to stop: store, service, connections, control socket, and what SIGHUP changes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING

from ifmap.server import health, status
from ifmap.server.auth import Authenticator, Clients
from ifmap.server.config import MapConfig
from ifmap.server.engine import Engine
from ifmap.server.health import Conditions, Finding
from ifmap.server.http import Response
from ifmap.server.listener import HttpLimits, Listener
from ifmap.server.status import Document, Problem
from ifmap.server.storage import StoredMap
from ifmap.server.store import StoreError
from ifmap.server.trust import PROTOCOLS, Certificates, tls_files
from ifmap.service import MapService
from runtime.config import Loaded, load
from runtime.control import Call, ControlServer
from runtime.credentials import ServerCredentials
from runtime.daemon import Source
from runtime.errors import OperatorError
from runtime.service import Notifier, stop_event
from runtime.version import VERSION
from runtime.watchdog import Vitals, live

if TYPE_CHECKING:
    from runtime.metrics import MetricsEndpoint

log = logging.getLogger("vrfwire.map")


def check_tls(config: MapConfig) -> None:
    """Raises OperatorError when the files of [tls] can't be used as they are."""
    tls_files(config).check(PROTOCOLS)


def server_name(config: MapConfig) -> str:
    """What the server is called."""
    return config.map.name or socket.gethostname()


class Daemon:
    """The server, with its map loaded. Make and use it within one event loop.

    source: of the configuration, for when it is read again.
    """

    def __init__(self, loaded: Loaded[MapConfig], source: Source, stored: StoredMap) -> None:
        config = loaded.value
        self._loaded = loaded
        self._source = source
        self._reload_problem: Problem | None = None
        self._conditions = Conditions.of(config.health)
        self._store_name = stored.store.what
        self._metrics: MetricsEndpoint | None = None
        self._loop = asyncio.get_running_loop()
        self.service = MapService(
            config.service(server_name(config), stored.store.shared),
            config.access(),
            stored.graph,
            random=lambda: secrets.token_hex(16),
            publishers=stored.loaded.publishers,
            next_key=stored.loaded.next_key,
            elsewhere=stored.loaded.sessions,
        )
        self.authenticator = Authenticator(Clients.of(config.client))
        self.engine = Engine(self.service, self.health)
        credentials = ServerCredentials(tls_files(config), PROTOCOLS)
        self.listener = Listener(self.engine, self.authenticator, credentials.context, _limits(config))
        self.certificates = Certificates(credentials, self.listener, self.engine)
        self.writer = stored.writer(self.service, self.engine.turn, self._loop.time)
        self.engine.listener, self.engine.writer = self.listener, self.writer
        self._control = ControlServer(
            config.control.socket,
            {
                "status": self._show_status,
                "session.list": self._session_list,
                "client.list": self._client_list,
                "tls.reload": self._tls_reload,
                "config.show": self._config_show,
                "version": self._version,
                "doctor": self._doctor,
            },
            group=config.control.group,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again. Raises OperatorError."""
        config = self._loaded.value
        stop = stop_event()
        notifier = Notifier()
        # What was loaded stays: the collector of cycles needn't ever look at it.
        gc.freeze()
        writing: asyncio.Task[None] | None = None
        try:
            try:
                writing = await self.writer.start()
            except StoreError as error:
                raise OperatorError(self._store_name, str(error)) from None
            self.listener.listen(config.map.listen)
            self.certificates.start()
            await self._control.start()
            self._start_metrics()
            self._loop.add_signal_handler(signal.SIGHUP, self.reload)
            listen = ", ".join(map(str, self.listener.bound))
            metadata = self.service.figures().metadata
            log.info("vrfwire-map %s serves at %s; %d metadata in %s", VERSION, listen, metadata, self._store_name)
            _warn_of_nobody(config)
            notifier.ready()
            await self._watch(stop, writing, notifier)
            notifier.stopping()
        finally:
            self._loop.remove_signal_handler(signal.SIGHUP)
            await self._stop()
            notifier.close()
        if (failure := writing.exception()) is not None:
            log.critical("the writer of the store has failed", exc_info=failure)
            raise OperatorError(self._store_name, "internal error of this server", "the log says more")
        log.info("stopped")

    async def _stop(self) -> None:
        """Nobody new; sessions end, their ends are committed and told; then everything is closed.

        A session can't outlive the server: what it published for its own time goes with it, here or at the next start.
        """
        self.certificates.stop()
        self.listener.stop_listening()
        self.service.end_sessions("the server stops")
        self.engine.turn()
        try:
            await self.writer.stop()
            self.engine.turn()
        finally:
            await self.listener.stop()
            self.engine.stop()
            self.authenticator.close()
            await self._control.stop()
            if self._metrics is not None:
                await self._metrics.stop()

    def _start_metrics(self) -> None:
        listen = self._loaded.value.metrics.listen
        if listen is None:
            return
        # Imported here: a server without metrics starts without.
        from ifmap.server.metrics import MapMetrics
        from runtime.metrics import MetricsEndpoint

        metrics = MapMetrics(
            *(self.service, self.writer, self.listener, self.authenticator, self.findings),
            self.certificates.credentials.metrics,
        )
        self._metrics = MetricsEndpoint(listen, metrics.snapshot)
        self._metrics.start()

    async def _watch(self, stop: asyncio.Event, writing: asyncio.Task[None], notifier: Notifier) -> None:
        """Tell the service manager how it goes, until the end: asked for, or because the writer has ended."""
        writing.add_done_callback(lambda _: stop.set())
        vitals = Vitals(notifier, self._summary, [("the writer of the store", self.writer)], self._loop.time())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await live(vitals, [stopped])
        finally:
            stopped.cancel()

    def _summary(self) -> str:
        """One line for `systemctl status`."""
        figures = self.service.figures()
        state = "degraded" if self._problems() else "ok"
        return f"{state}: {figures.sessions} sessions, {figures.metadata} metadata"

    # -- health

    def findings(self) -> list[Finding]:
        """What the health check finds wrong."""
        found = self._conditions.look(self.service.graph.lasting)
        problem = self.writer.problem
        if problem is not None:
            found.insert(0, Finding("store", f"{problem.what}: {problem.why}", problem.hint))
        return found

    def health(self) -> Response:
        """The answer to GET /health."""
        graph = self.service.graph
        return health.response(self.findings(), graph.metadata_count, sum(graph.lasting.values()))

    # -- configuration

    def reload(self) -> None:
        """Read the configuration again; the old one stays when it is bad."""
        try:
            loaded = load(MapConfig, program="map", path=self._source.path, overrides=self._source.overrides)
            config = loaded.value
            tls, clients, access = self.certificates.prepare(config), Clients.of(config.client), config.access()
        except OperatorError as error:
            log.error("configuration not reloaded: %s", error)
            self._reload_problem = Problem(error.what, f"{error.why}; the former configuration is in use", error.hint)
            return
        self._reload_problem = None
        old = self._loaded.value
        for section in ("store", "control", "metrics"):
            if getattr(old, section) != getattr(config, section):
                log.warning("[%s] has changed; that takes effect at the next start", section)
        if _lasting(old) != _lasting(config):
            log.warning("[map] has changed; only limits of HTTP take effect before the next start")
        self._loaded = loaded
        self._conditions = Conditions.of(config.health)
        logging.getLogger("vrfwire").setLevel(config.log.level.upper())
        self.certificates.replace(config, tls)
        self.listener.limits = _limits(config)
        self.authenticator.replace(clients)
        self.service.set_access(access)
        self.engine.turn()
        log.info("configuration reloaded: %d clients", len(clients.names))
        _warn_of_nobody(config)

    # -- control methods

    def _problems(self) -> list[Problem]:
        problems = [Problem.of(finding) for finding in self.findings()] + self.certificates.problems()
        if self._reload_problem is not None:
            problems.append(self._reload_problem)
        return problems

    async def _show_status(self, params: Document, call: Call) -> Document:
        listen = [str(address) for address in self.listener.bound]
        document = status.summary(self.service, self._problems(), self._store_name, listen)
        return {"name": server_name(self._loaded.value), **document}

    async def _session_list(self, params: Document, call: Call) -> Document:
        return status.sessions(self.service, self._loop.time())

    async def _client_list(self, params: Document, call: Call) -> Document:
        return status.clients(self._loaded.value.client, self.service)

    async def _tls_reload(self, params: Document, call: Call) -> Document:
        return self.certificates.reload()

    async def _doctor(self, params: Document, call: Call) -> Document:
        # Imported here: nothing else of the daemon needs it.
        from ifmap.server.doctor import subject
        from ifmap.server.main import check
        from runtime.doctor_daemon import examine_daemon, told

        found = await asyncio.to_thread(examine_daemon, subject(self._loaded.value, check), True)
        return {"items": found + told((one.what, one.why, one.hint) for one in self._problems())}

    async def _config_show(self, params: Document, call: Call) -> Document:
        return self._loaded.document()

    async def _version(self, params: Document, call: Call) -> Document:
        return {"program": "vrfwire-map", "version": VERSION, "pid": os.getpid()}


def _warn_of_nobody(config: MapConfig) -> None:
    if not config.client:
        log.warning("there is no [[client]] in the configuration: nobody can log in")


def _limits(config: MapConfig) -> HttpLimits:
    section = config.map
    return HttpLimits(
        max_request=section.max_request,
        max_connections=section.max_connections,
        max_logins=section.max_logins,
        login_time=section.login_time,
        request_time=section.request_time,
    )


def _lasting(config: MapConfig) -> tuple[object, ...]:
    """What of [map] counts from the start on."""
    section = config.map
    return section.listen, server_name(config), config.service("", shared=False)
