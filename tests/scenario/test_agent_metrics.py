"""What a host measures, as Prometheus gets it."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from pathlib import Path

from agent.metrics import AGENT_METRICS
from datapath.values import Kind
from runtime.metrics import RUNTIME_METRICS
from tests.scenario.agent_harness import Host, World, free_port, play, until

DOCUMENT = Path(__file__).parents[2] / "docs/metrics.md"
_LINE = re.compile(r"(\w+?)(?:\{(.*)\})? (\S+)")


async def scraped(port: int) -> dict[str, float]:
    """Samples by name with labels, without the prefix."""

    def blocking() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    found = {}
    for line in (await asyncio.to_thread(blocking)).splitlines():
        if match := _LINE.fullmatch(line):
            labels = "" if match[2] is None else "{" + match[2].replace('"', "") + "}"
            found[match[1].removeprefix("vrfwire_agent_") + labels] = float(match[3])
    return found


async def measured_host(world: World, *gateways: object) -> tuple[Host, int]:
    port = free_port()
    host = await world.host(1, *gateways, settings=f'[metrics]\nlisten = "127.0.0.1:{port}"\n')  # type: ignore[arg-type]
    return host, port


def test_ports_gateways_and_objects() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        host, port = await measured_host(world, gateway)
        await until(host.connected, "connected")
        await host.attach("web-1", "blue", "10.1.1.1")
        await host.has_route("blue", "10.1.1.1/32")
        found = await scraped(port)
        end = f"{{gateway={gateway.address}:{gateway.port}}}"
        assert found["ports{state=programmed}"] == 1
        assert found["ports{state=error}"] == 0
        assert found["announced_ports{announced=yes}"] == 1
        assert (found["vpns"], found["routes{vpn=blue}"], found["problems"], found["drained"]) == (1, 1, 0, 0)
        assert (found["gateway_up" + end], found["gateway_sessions_total" + end]) == (1, 1)
        assert (found["gateway_losses_total" + end], found["gateway_routes" + end]) == (0, 1)
        assert found["gateway_changed_timestamp_seconds" + end] > 1.7e9
        assert found["objects_wanted{kind=vrf_route}"] == found["objects_in_kernel{kind=vrf_route}"] == 1
        assert found["dumps_total{kind=port}"] >= 1
        assert (found["labels{state=used}"], found["labels{state=resting}"]) == (1, 0)
        assert found["labels{state=free}"] == 99999
        assert found["mtu_bytes"] == 1472
        assert "vrfwire_loop_lag_seconds_count" in found
        assert any(name.startswith("vrfwire_build_info") for name in found)

    play(scenario)


def test_what_an_operator_is_woken_for() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway(hosts='[[host]]\nname = "hv1"\naddresses = ["192.0.2.11"]\nvpns = ["red"]\n')
        host, port = await measured_host(world, gateway)
        await until(host.connected, "connected")
        await host.attach("web-1", "blue", "10.1.1.1", wait="programmed")
        await host.attach("web-2", "red", "10.1.1.1")
        end = f"{{gateway={gateway.address}:{gateway.port}}}"
        found = await scraped(port)
        assert (found["announced_ports{announced=refused}"], found["blocked_ports"]) == (1, 1)
        assert found["gateway_refused_items" + end] >= 1
        assert found["gateway_refusals_total" + end] >= 1
        assert found["problems"] >= 1
        # Somebody deletes a route of ours; it is put back, and counted.
        await host.has_route("red", "10.1.1.1/32")
        host.kernel.delete(Kind.MPLS_ROUTE, next(iter(host.kernel.objects[Kind.MPLS_ROUTE])))

        def repaired() -> bool:
            assert host.daemon is not None
            return sum(one.repaired for one in host.daemon.agent.datapath.reconciler.figures()) > 0

        await until(repaired, "repaired")
        assert (await scraped(port))["repairs_total{kind=mpls_route}"] == 1
        await gateway.stop()
        await until(lambda: not host.connected(), "the loss is noticed")
        found = await scraped(port)
        assert (found["gateway_up" + end], found["gateway_losses_total" + end]) == (0, 1)
        await gateway.start()
        await until(host.connected, "connected again")
        assert (await scraped(port))["gateway_sessions_total" + end] == 2

    play(scenario)


def test_every_metric_is_documented_and_no_other() -> None:
    _, heading, part = DOCUMENT.read_text().partition("\n## The agent of a host\n")
    assert heading
    rows = re.findall(r"^\| `(vrfwire_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", part, re.MULTILINE)
    assert rows == [
        (name, kind, ", ".join(f"`{label}`" for label in labels) or "-", text)
        for name, kind, labels, text in AGENT_METRICS
    ]
    known = {metric.name for metric in (*AGENT_METRICS, *RUNTIME_METRICS)}
    alarms = set(re.findall(r"vrfwire_agent_\w+", part))
    assert alarms <= known, "an alarm on what isn't measured is never raised"


def test_names_follow_the_rules() -> None:
    for name, kind, labels, text in AGENT_METRICS:
        assert name.startswith("vrfwire_agent_"), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert text, name
        assert not {"prefix", "port", "host", "address"} & set(labels), name
    assert len({metric.name for metric in AGENT_METRICS}) == len(AGENT_METRICS)
