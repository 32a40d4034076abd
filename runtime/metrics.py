"""Metrics of a daemon for Prometheus, over HTTP, and with them the lag of its event loop.

A scrape is served in a thread of its own. What is measured is taken by the event loop in one go and handed over as
numbers, so that no table is ever read by another thread; only the text is made in the thread.

prometheus_client is imported when an endpoint starts, and not before: daemons without metrics do without.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from runtime.errors import OperatorError
from runtime.listen import Listen
from runtime.version import VERSION

if TYPE_CHECKING:
    from prometheus_client.core import Metric as PrometheusMetric

log = logging.getLogger("vrfwire.metrics")

SNAPSHOT_TIME = 5.0
"""Seconds that the event loop may take until a scrape is given up."""
LAG_INTERVAL = 0.25
"""Seconds between two looks at the loop's lag."""
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds, seconds."""
_CLIENT_TIME = 10.0
"""Seconds that a client may be silent."""


class Description(NamedTuple):
    """A metric. name: "vrfwire_..." with the base unit, "_total" for a counter; labels: their names."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    help: str


class Buckets(NamedTuple):
    """State of a histogram. counts: observations by bucket, the last one of those above all bounds; sum: of all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


Sample = tuple[tuple[str, ...], float | Buckets]
"""Values of the labels, and the number."""


class Metric(NamedTuple):
    """A metric with its samples."""

    description: Description
    samples: Sequence[Sample]


Measured = tuple[Description, tuple[str, ...], float]
"""A number: what it is, the values of its labels, and how much."""


def grouped(descriptions: Iterable[Description], measured: Iterable[Measured]) -> list[Metric]:
    """Numbers by what they are, in the order of the descriptions; those of which there is no number are there too."""
    samples: dict[Description, list[Sample]] = {description: [] for description in descriptions}
    for description, labels, value in measured:
        samples[description].append((labels, value))
    return [Metric(description, values) for description, values in samples.items()]


Snapshot = Callable[[], Iterable[Metric]]
"""Everything that is measured; called in the event loop."""

LOOP_LAG = Description(
    "vrfwire_loop_lag_seconds", "histogram", (), "how late the event loop was when something was due"
)
BUILD_INFO = Description("vrfwire_build_info", "gauge", ("version",), "1; the version of the daemon")
RUNTIME_METRICS = (LOOP_LAG, BUILD_INFO)
"""Of every daemon, beside what its snapshot has."""


def build_info() -> Metric:
    """The version of the daemon."""
    return Metric(BUILD_INFO, [((VERSION,), 1)])


class LoopLag:
    """Measures how late the running event loop is, all the time. Use it within the loop."""

    def __init__(self, interval: float = LAG_INTERVAL, bounds: tuple[float, ...] = LAG_BUCKETS) -> None:
        self._interval = interval
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._next(loop, loop.time())

    def stop(self) -> None:
        """End."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _next(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        due = now + self._interval
        self._handle = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self.observe(max(0.0, now - due))
        self._next(loop, now)

    def observe(self, seconds: float) -> None:
        """It was as late as that."""
        index = next((i for i, bound in enumerate(self._bounds) if seconds <= bound), len(self._bounds))
        self._counts[index] += 1
        self._sum += seconds

    def metric(self) -> Metric:
        """The lag so far."""
        return Metric(LOOP_LAG, [((), Buckets(self._bounds, tuple(self._counts), self._sum))])


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIME

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s: %s", self.client_address[0], format % args)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Without the name of the host, which http.server would ask the network for.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class MetricsEndpoint:
    """Serves snapshots at http://LISTEN/metrics, and RUNTIME_METRICS with them. listen: of this machine.

    Use it within the event loop that snapshot belongs to.
    """

    def __init__(self, listen: Listen, snapshot: Snapshot) -> None:
        self._listen = listen
        self._snapshot = snapshot
        self._lag = LoopLag()
        self._server: _Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port if self._server is not None else self._listen.port

    def start(self) -> None:
        """Listen, and begin to measure the lag. Raises OperatorError."""
        # Imported here: a daemon without metrics starts without.
        from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

        self._loop = asyncio.get_running_loop()
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(self)
        application = make_wsgi_app(registry)

        def guarded(environ: dict[str, Any], start_response: Any) -> Any:
            try:
                return application(environ, start_response)
            except (TimeoutError, CancelledError, RuntimeError) as error:
                log.warning("no metrics for a scrape: %s", str(error) or "the daemon is too busy, or stops")
                start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"too busy\n"]

        address, port = self._listen.address, self._listen.port
        kind = _Server6 if address.version == 6 else _Server
        try:
            self._server = make_server(str(address), port, guarded, kind, _Handler)
        except OSError as error:
            what = f"metrics at {address} port {port}"
            raise OperatorError(what, error.strerror or str(error), "change metrics.listen") from None
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        self._lag.start()
        log.info("metrics at http://%s/metrics", replace(self._listen, port=self.port))

    async def stop(self) -> None:
        """Listen no more."""
        self._lag.stop()
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.shutdown)
            server.server_close()

    # -- in the threads of the server

    def describe(self) -> list[PrometheusMetric]:
        """Nothing: what there is depends on the moment."""
        return []

    def collect(self) -> Iterator[PrometheusMetric]:
        """Called for a scrape, by the server's thread."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(self._take(), self._loop)
        try:
            found = future.result(SNAPSHOT_TIME)
        except TimeoutError:
            future.cancel()
            raise
        return iter([_metric(one) for one in found])

    async def _take(self) -> list[Metric]:
        return [*self._snapshot(), self._lag.metric(), build_info()]


def _metric(metric: Metric) -> PrometheusMetric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name, kind, labels, text = metric.description
    family: Any
    if kind == "histogram":
        family = HistogramMetricFamily(name, text, labels=labels)
        for values, value in metric.samples:
            assert isinstance(value, Buckets)
            family.add_metric(values, list(_cumulative(value)), value.sum)
        return family  # type: ignore[no-any-return]
    family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, text, labels=labels)
    for values, value in metric.samples:
        family.add_metric(values, value)
    return family  # type: ignore[no-any-return]


def _cumulative(value: Buckets) -> Iterator[tuple[str, int]]:
    total = 0
    for bound, count in zip((*map(str, value.bounds), "+Inf"), value.counts, strict=True):
        total += count
        yield bound, total
