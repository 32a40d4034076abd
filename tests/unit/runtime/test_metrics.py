"""The metrics endpoint, asked over HTTP, and the lag of the loop."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable

import pytest

from runtime import metrics
from runtime.errors import OperatorError
from runtime.listen import Listen
from runtime.metrics import Buckets, Description, LoopLag, Metric, MetricsEndpoint, Snapshot, grouped

GAUGE = Description("vrfwire_test_routes", "gauge", ("vpn",), "of tests")
COUNTER = Description("vrfwire_test_requests_total", "counter", (), "of tests")
HISTOGRAM = Description("vrfwire_test_lag_seconds", "histogram", (), "of tests")


def get(port: int, path: str = "/metrics", host: str = "127.0.0.1", accept: str = "") -> str:
    """One scrape."""
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=20) as response:
        return str(response.read().decode())


def serve(snapshot: Snapshot, use: Callable[[MetricsEndpoint], Awaitable[None]], listen: str = "127.0.0.1:0") -> None:
    """Run an endpoint while a test uses it."""

    async def main() -> None:
        endpoint = MetricsEndpoint(Listen.parse(listen), snapshot)
        endpoint.start()
        try:
            await use(endpoint)
        finally:
            await endpoint.stop()

    asyncio.run(main())


def snapshot() -> list[Metric]:
    return [
        Metric(GAUGE, [(("blue",), 3), (('wei"rd\\\n',), 4.5)]),
        Metric(COUNTER, [((), 7)]),
        Metric(HISTOGRAM, [((), Buckets((0.1, 1.0), (2, 1, 1), 3.5))]),
    ]


def test_a_scrape() -> None:
    async def use(endpoint: MetricsEndpoint) -> None:
        lines = (await asyncio.to_thread(get, endpoint.port)).splitlines()
        assert 'vrfwire_test_routes{vpn="blue"} 3.0' in lines
        assert r'vrfwire_test_routes{vpn="wei\"rd\\\n"} 4.5' in lines
        assert "# TYPE vrfwire_test_requests_total counter" in lines
        assert "vrfwire_test_requests_total 7.0" in lines
        assert [line for line in lines if line.startswith("vrfwire_test_lag")] == [
            'vrfwire_test_lag_seconds_bucket{le="0.1"} 2.0',
            'vrfwire_test_lag_seconds_bucket{le="1.0"} 3.0',
            'vrfwire_test_lag_seconds_bucket{le="+Inf"} 4.0',
            "vrfwire_test_lag_seconds_count 4.0",
            "vrfwire_test_lag_seconds_sum 3.5",
        ]
        for ours in (
            "process_resident_memory_bytes ",
            "vrfwire_loop_lag_seconds_count ",
            "vrfwire_build_info{version=",
        ):
            assert any(line.startswith(ours) for line in lines), ours
        text = await asyncio.to_thread(get, endpoint.port, "/metrics", "127.0.0.1", "application/openmetrics-text")
        assert text.endswith("# EOF\n")

    serve(snapshot, use)


def test_the_log_says_where(caplog: pytest.LogCaptureFixture) -> None:
    """The port too, when any free one was asked for."""

    async def use(endpoint: MetricsEndpoint) -> None:
        assert f"metrics at http://127.0.0.1:{endpoint.port}/metrics" in caplog.messages

    with caplog.at_level(logging.INFO, "vrfwire.metrics"):
        serve(snapshot, use)


def test_numbers_are_grouped_by_what_they_are() -> None:
    """In the order of the descriptions, each once, whether there is a number of it or not."""
    found = grouped([COUNTER, GAUGE, HISTOGRAM], [(GAUGE, ("a",), 1), (COUNTER, (), 2), (GAUGE, ("b",), 3)])
    assert found == [Metric(COUNTER, [((), 2)]), Metric(GAUGE, [(("a",), 1), (("b",), 3)]), Metric(HISTOGRAM, [])]
    with pytest.raises(KeyError):
        grouped([COUNTER], [(GAUGE, ("a",), 1)])


def test_the_loop_measures() -> None:
    """A table is never read by another thread."""
    threads: list[object] = []

    def look() -> list[Metric]:
        threads.append(asyncio.current_task())
        return []

    async def use(endpoint: MetricsEndpoint) -> None:
        await asyncio.gather(*(asyncio.to_thread(get, endpoint.port) for _ in range(3)))

    serve(look, use)
    assert len(threads) == 3
    assert None not in threads


def test_a_loop_that_is_too_busy(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(metrics, "SNAPSHOT_TIME", 0.05)

    async def use(endpoint: MetricsEndpoint) -> None:
        # Waits here, in the loop: nobody takes the snapshot meanwhile.
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(endpoint.port)
        assert caught.value.code == 503
        caught.value.close()
        assert "vrfwire_test" in await asyncio.to_thread(get, endpoint.port)

    with caplog.at_level(logging.WARNING):
        serve(snapshot, use)
    assert "no metrics for a scrape" in caplog.text


def test_ipv6() -> None:
    async def use(endpoint: MetricsEndpoint) -> None:
        assert "vrfwire_test" in await asyncio.to_thread(get, endpoint.port, "/metrics", "[::1]")

    serve(snapshot, use, "[::1]:0")


def test_a_port_that_is_taken() -> None:
    async def use(endpoint: MetricsEndpoint) -> None:
        with pytest.raises(OperatorError, match="Address already in use"):
            MetricsEndpoint(Listen.parse(f"127.0.0.1:{endpoint.port}"), snapshot).start()

    serve(snapshot, use)


def test_after_the_stop_nobody_listens() -> None:
    ports: list[int] = []

    async def use(endpoint: MetricsEndpoint) -> None:
        ports.append(endpoint.port)

    serve(snapshot, use)
    with pytest.raises(urllib.error.URLError):
        get(ports[0])


def test_lag() -> None:
    lag = LoopLag(bounds=(0.01, 0.1))
    for seconds in (0.0, 0.01, 0.05, 2.0):
        lag.observe(seconds)
    (_, buckets) = lag.metric().samples[0]
    assert isinstance(buckets, Buckets)
    assert buckets.counts == (2, 1, 1)
    assert buckets.sum == pytest.approx(2.06)


def test_lag_of_a_running_loop() -> None:
    async def main() -> int:
        lag = LoopLag(interval=0.001)
        lag.start()
        try:
            while True:
                await asyncio.sleep(0)
                (_, buckets) = lag.metric().samples[0]
                assert isinstance(buckets, Buckets)
                if sum(buckets.counts) >= 3:
                    return sum(buckets.counts)
        finally:
            lag.stop()

    assert asyncio.run(asyncio.wait_for(main(), 20)) == 3


def test_the_library_is_imported_late() -> None:
    """Its import costs a tenth of a second at every start."""
    code = "import sys, gateway.main, runtime.metrics, gateway.metrics; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
