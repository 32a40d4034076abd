"""The `vrfwire-agent` daemon."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.certificates import check_revocations
from agent.config import AgentConfig, GatewaySection
from agent.documents import Documents
from agent.drain_state import DrainPhase
from agent.hostagent import DEFAULT_MTU, OVERHEAD, HostAgent
from agent.methods import Methods
from agent.peer import Peer
from agent.session import Session
from agent.session_values import SessionSettings
from agent.store import State, Store
from agent.tls import tls_context
from datapath.driver import Driver
from datapath.events import Monitor
from datapath.observe import Observer
from datapath.plane import Datapath
from runtime.config import Loaded, read_secret
from runtime.control import ControlServer
from runtime.daemon import Program, Source, Task
from runtime.errors import OperatorError
from runtime.service import Notifier, stop_event
from runtime.version import VERSION
from runtime.watchdog import Vitals, live

if TYPE_CHECKING:
    from runtime.metrics import MetricsEndpoint

log = logging.getLogger("vrfwire.agent")

DUMP_PATIENCE = 1.0
"""Seconds after which the start says what keeps the kernel from being read, and again."""


class Daemon:
    """The agent with its control socket, on a datapath. Use it within one event loop.

    drivers, monitor: of the kernel, or of a fake one. mtu, observer: see HostAgent.
    """

    def __init__(
        self,
        loaded: Loaded[AgentConfig],
        store: Store,
        drivers: Sequence[Driver],
        monitor: Monitor | None,
        *,
        mtu: int = DEFAULT_MTU,
        observer: Observer | None = None,
    ) -> None:
        config = loaded.value
        self.datapath = Datapath(drivers, monitor)
        self.agent = HostAgent(config, store, self.datapath, self._make_session, mtu=mtu, observer=observer)
        self._config = config
        self._sessions: list[Session] = []
        self._documents = Documents(self.agent)
        self._metrics: MetricsEndpoint | None = None
        self._control = ControlServer(
            config.control.socket, Methods(self.agent, loaded).handlers(), group=config.control.group
        )

    async def start(self) -> None:
        """Plan what was kept, dump the kernel, open the socket, begin to connect. Waits for no gateway."""
        self.agent.plan()
        await self.datapath.start()
        try:
            while not await self.datapath.wait_in_sync(DUMP_PATIENCE):
                self._check_dumps()
            await self._control.start()
            self._start_metrics()
        except BaseException:
            await self._control.stop()
            await self.datapath.stop()
            raise
        self.agent.connect()

    async def stop(self) -> None:
        """Stop. Forwarding goes on, and what is announced stays announced until the gateways give it up."""
        self.agent.hub.close()
        await self._control.stop()
        if self._metrics is not None:
            await self._metrics.stop()
        await self.agent.stop()
        await self.datapath.stop()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises OperatorError, and what ended the datapath."""
        stop = stop_event()
        notifier = Notifier()
        began = time.monotonic()
        stopped = asyncio.ensure_future(stop.wait())
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.check_gateways)
        try:
            starting = asyncio.ensure_future(self.start())
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait([starting])
                return
            starting.result()
            notifier.ready()
            log.info("vrfwire-agent %s serves after %.2f s", VERSION, time.monotonic() - began)
            try:
                await self._serve(stopped, notifier)
            finally:
                notifier.stopping()
                await self.stop()
            log.info("stopped; forwarding goes on")
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            stopped.cancel()
            notifier.close()

    async def _serve(self, stopped: asyncio.Future[Any], notifier: Notifier) -> None:
        """Until the end; the watchdog is fed by the datapath's turns."""
        now = asyncio.get_running_loop().time()
        vitals = Vitals(notifier, self._summary, [("the datapath", self.datapath)], now)
        work = asyncio.ensure_future(self.datapath.run_forever())
        try:
            await live(vitals, [stopped, work])
        finally:
            work.cancel()

    def _start_metrics(self) -> None:
        listen = self._config.metrics.listen
        if listen is None:
            return
        # Imported here: an agent without metrics starts without.
        from agent.metrics import AgentMetrics
        from runtime.metrics import MetricsEndpoint

        metrics = AgentMetrics(self.agent, self._documents.status, self.agent.certificates.metrics)
        self._metrics = MetricsEndpoint(listen, metrics.snapshot)
        self._metrics.start()

    def _check_dumps(self) -> None:
        """Say what keeps the kernel from being read: without its state nothing may be changed."""
        for figures in self.datapath.reconciler.figures():
            if figures.dump_error:
                log.error("kernel: %s can't be read: %s", figures.kind.name.lower(), figures.dump_error)

    def _summary(self) -> str:
        """One line for `systemctl status`."""
        status = self._documents.status()
        phase = self.agent.drain.phase
        # Said once: it is the state itself, unless that is "degraded".
        drain = "" if phase is DrainPhase.ACTIVE or status["state"] == phase.value else f", {phase}"
        return (
            f"{status['state']}: {status['ports']} ports, {status['routes']} routes, "
            f"{status['gateways_connected']} of {status['gateways']} gateways{drain}"
        )

    def _make_session(self, peer: Peer, entry: GatewaySection) -> Session:
        session = Session(session_settings(self._config, entry), peer, self.agent.certificates.refusal)
        self._sessions.append(session)
        return session

    def check_gateways(self) -> None:
        """SIGHUP: end sessions with gateways whose certificate has been revoked."""
        for session in self._sessions:
            session.check_gateway()


def session_settings(config: AgentConfig, entry: GatewaySection) -> SessionSettings:
    """How to reach a gateway of the configuration."""
    signaling = config.signaling
    return SessionSettings(
        address=str(entry.address),
        port=entry.port,
        domain=entry.domain,
        service=entry.service or entry.domain,
        host=config.host.name,
        underlay=str(config.host.address),
        ca=config.tls.ca,
        certificate=None if entry.password_file else config.tls.certificate,
        key=None if entry.password_file else config.tls.key,
        password_file=entry.password_file,
        starttls=entry.starttls,
        hold_time=signaling.hold_time,
        login_time=signaling.login_time,
        reconnect_min=signaling.reconnect_min,
        reconnect_max=signaling.reconnect_max,
        reconnect_spread=signaling.reconnect_spread,
    )


def check(config: AgentConfig) -> None:
    """Everything that can be found wrong without serving; raises OperatorError."""
    tls_context(config.tls.ca, config.tls.certificate, config.tls.key)
    check_revocations(config.tls)
    for entry in config.gateway:
        if entry.password_file is not None:
            read_secret(entry.password_file)


def _ranges(config: AgentConfig, state: State) -> tuple[range, range]:
    """Tables and labels that are ours: of the configuration, and given out under an earlier one."""
    section = config.datapath
    tables = [section.table_base, section.table_base + 0xFFFF, *(record.table for record in state.vpns)]
    labels = [section.label_base, section.label_base + section.label_count - 1]
    labels += [attached.label for attached in state.attachments]
    return range(min(tables), max(tables) + 1), range(min(labels), max(labels) + 1)


async def _serve(loaded: Loaded[AgentConfig], source: Source) -> None:
    store = Store(loaded.value.state.directory)
    try:
        await _run(loaded, store)
    finally:
        store.close()


async def _run(loaded: Loaded[AgentConfig], store: Store) -> None:
    # The slowest import, and --check and errors in the configuration don't need it.
    from datapath.kernel import KernelConfig, open_kernel
    from datapath.kernel_observer import KernelObserver

    config = loaded.value
    tables, labels = _ranges(config, store.load())
    try:
        kernel = open_kernel(KernelConfig(config.host.address.packed, tables, labels))
    except OSError as error:
        raise OperatorError("kernel", error.strerror or str(error), "run `vrfwire doctor` as root") from error
    try:
        if kernel.responder_error:
            log.warning("ARP and ND are answered for known destinations only: %s", kernel.responder_error)
        mtu = kernel.overlay_mtu()
        if mtu is None:
            log.warning("no device has the underlay address %s", config.host.address)
        if config.datapath.underlay_mtu is not None:
            mtu = config.datapath.underlay_mtu - OVERHEAD
        observer = KernelObserver(kernel)
        await Daemon(loaded, store, kernel.drivers, kernel.monitor, mtu=mtu or DEFAULT_MTU, observer=observer).run()
    finally:
        kernel.close()


def _remove_datapath(socket: Path | None) -> None:
    # Imported here: nothing else of the daemon needs it.
    from agent.remove_datapath import remove

    remove(socket)


_REMOVAL = Task("--remove-datapath", "take the whole datapath away and exit; no agent may run", _remove_datapath)
PROGRAM = Program(
    *("vrfwire-agent", "vrfwire-agent", "Host daemon of vrfwire.", "agent", AgentConfig, check, _serve), (_REMOVAL,)
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return PROGRAM.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
