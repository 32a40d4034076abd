"""Ends of tables and of items, with agents, sockets and time: what goes at once, what stays, and who delays nobody."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Iterator

import pytest

from datapath.values import Kind
from lab.pki import Authority
from tests.scenario.agent_harness import Gateway, World, play, until
from tests.scenario.conftest import Connect
from tests.scenario.gateway_process import DOMAIN, GatewayProcess
from tests.scenario.raw_host import RawHost, client_context, entry

FOR_EVER = 3600.0
"""Seconds for which the gateway keeps what a lost session has left: the test is over long before."""
TABLE = 1000
ROUNDS = 12
BATCH = 100


def never_swept(gateway: Gateway) -> None:
    """What goes before the time is up goes by the host's word."""
    assert gateway.daemon is not None
    gateway.daemon.service.rib.stale_time = FOR_EVER


def test_what_a_host_without_memory_has_left_goes_when_it_has_announced_the_rest() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        never_swept(gateway)
        one = await world.host(1, gateway)
        for name, vpn, address in (("web", "blue", "10.1.1.1"), ("db", "blue", "10.1.1.2"), ("x", "red", "10.2.2.2")):
            await one.attach(name, vpn, address)
        await one.stop()
        shutil.rmtree(one.state)
        assert gateway.prefixes("blue") == {"10.1.1.1/32", "10.1.1.2/32"}
        await one.start()
        await one.attach("web", "blue", "10.1.1.1")
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.1/32"}, "the port that isn't there any more is gone")
        assert gateway.prefixes("red") == {"10.2.2.2/32"}, "of that VPN the host has said nothing"
        assert gateway.stale_items("hv1") == 1

    play(scenario)


def test_nothing_goes_while_a_port_is_not_ready() -> None:
    """The host comes back, and one of its two ports isn't in the kernel: what the gateway has of it is all there is."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        never_swept(gateway)
        one = await world.host(1, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        label = (await one.attach("db", "blue", "10.1.1.2"))["label"]
        assert isinstance(label, int)
        assert gateway.daemon is not None
        lost = gateway.daemon.service.rib.tables["blue"].cursor(from_start=False)
        await one.stop()
        one.kernel.delete(Kind.MPLS_ROUTE, label)
        one.kernel.fail(errno.ENOMEM, kind=Kind.MPLS_ROUTE, key=label, times=-1)
        await one.start()
        await until(lambda: gateway.stale_items("hv1") == 1, "web is announced again")
        counters = gateway.daemon.service.counters
        # Announced, answered, and nothing more: another port makes another round trip.
        before = counters["end_of_items"]
        await one.attach("new", "red", "10.2.2.2")
        await until(lambda: counters["end_of_items"] > before, "all of the other VPN is told")
        assert counters["end_of_items"] == before + 1
        assert gateway.stale_items("hv1") == 1
        one.kernel.heal()
        await until(lambda: gateway.stale_items("hv1") == 0, "db is announced again")
        await until(lambda: counters["end_of_items"] == before + 2, "and that was all")
        assert [prefix for prefix, path in lost.read(100) if path is None] == []
        assert gateway.prefixes("blue") == {"10.1.1.1/32", "10.1.1.2/32"}

    play(scenario)


@pytest.fixture
def hosts(shared_gateway: GatewayProcess, authority: Authority) -> Iterator[Connect]:
    """Connects hosts, each with a certificate of its own."""
    made: list[RawHost] = []

    def connect(name: str) -> RawHost:
        context = client_context(authority.host(name, DOMAIN, ["127.0.0.1"]), str(authority.certificate))
        made.append(RawHost(shared_gateway.port, name, context))
        return made[-1].login()

    yield connect
    for host in made:
        host.close()


def test_a_host_that_stops_reading_is_told_the_newest_state_alone(hosts: Connect) -> None:
    """Everything flaps meanwhile. What it is told in the end doesn't depend on how often, and nobody waits for it."""
    stopped, bystander, source = hosts("stopped-1"), hosts("bystander-1"), hosts("source-1")
    stopped.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    for host in (stopped, bystander):
        host.subscribe("blue")
    for turn in range(ROUNDS):
        for start in range(0, TABLE, BATCH):
            items = "".join(
                f"<item id='127.0.0.1:1:10.7.{n >> 8}.{n & 255}/32'>"
                f"{entry(f'10.7.{n >> 8}.{n & 255}/32', 100 + turn, '127.0.0.1')}</item>"
                for n in range(start, start + BATCH)
            )
            answer = source.pubsub(f"<publish node='blue'>{items}</publish>")
            assert answer.get("type") == "result"
        bystander.ping()
    wanted = {f"10.7.{n >> 8}.{n & 255}/32": [("127.0.0.1", 100 + ROUNDS - 1)] for n in range(TABLE)}
    assert bystander.events["blue"] == wanted
    stopped.ping()
    assert stopped.events["blue"] == wanted
    assert len(stopped.received) < len(bystander.received) / 3
