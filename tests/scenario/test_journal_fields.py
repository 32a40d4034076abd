"""What an operator can look for in the journal: the fields of what daemons log."""

from __future__ import annotations

import errno
import logging

import pytest

from datapath.describe import describe, journal_fields
from datapath.values import Key, Kind, NextHop, NextHopGroup
from gateway.admission import Decision
from gateway.map_log import DecisionLog
from tests.scenario.agent_harness import Host, World, play, until
from vpn.prefix import Prefix

Fields = dict[str, str]


def of(caplog: pytest.LogCaptureFixture, text: str) -> Fields:
    """Fields of the last line that has a text."""
    found = [record for record in caplog.records if text in record.getMessage()]
    assert found, f"{text!r} isn't in the log: {[record.getMessage() for record in caplog.records]}"
    given = {key: str(value) for key, value in vars(found[-1]).items() if key.startswith("VRFWIRE_")}
    return {key.removeprefix("VRFWIRE_"): value for key, value in given.items()}


def test_of_a_host_and_its_gateway(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vrfwire")

    async def scenario(world: World) -> None:
        gateway = await world.gateway(hosts='[[host]]\nname = "hv1"\naddresses = ["192.0.2.11"]\nvpns = ["red"]\n')
        host = await world.host(1, gateway)
        await until(host.connected, "connected")
        assert of(caplog, "session up") == {"PEER": "127.0.0.1", "GATEWAY": "127.0.0.1"}
        assert of(caplog, "host hv1 connected") == {"PEER": "127.0.0.1", "HOST": "hv1"}
        await host.attach("web-1", "blue", "10.1.1.1", wait="programmed")
        assert of(caplog, "port web-1 attached") == {"PORT": "web-1", "VPN": "blue"}
        await until(lambda: any("blocked" in record.getMessage() for record in caplog.records), "it is blocked")
        assert of(caplog, "port web-1: blocked") == {"PORT": "web-1", "VPN": "blue", "PREFIX": "10.1.1.1/32"}
        refused = of(caplog, "VPN blue: 10.1.1.1/32 refused")
        assert refused == {"PEER": "127.0.0.1", "GATEWAY": "127.0.0.1", "VPN": "blue", "PREFIX": "10.1.1.1/32"}
        await until(
            lambda: any("host hv1: " in record.getMessage() for record in caplog.records), "the gateway says so"
        )
        assert of(caplog, "host hv1: ") == {"HOST": "hv1", "VPN": "blue"}
        host.kernel.fail(errno.EBUSY, kind=Kind.PORT, key="tap-web-2")
        await host.attach("web-2", "red", "10.1.1.1", wait="programmed")
        assert of(caplog, "port tap-web-2") == {
            "KIND": "port",
            "DEVICE": "tap-web-2",
            "PORT": "web-2",
            "VPN": "red",
        }
        await gateway.stop()
        await until(lambda: not host.connected(), "the loss is noticed")
        assert of(caplog, "gateway 127.0.0.1: ")["GATEWAY"] == "127.0.0.1"

    play(scenario)


def test_repairs_of_what_belongs_to_a_port_are_found_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vrfwire")

    async def repaired(host: Host, kind: Kind, key: Key) -> tuple[Fields, Fields]:
        """What is logged of its loss, and of its repair."""
        caplog.clear()  # others went with one before
        host.kernel.delete(kind, key)
        name = describe(kind, key)
        done = f"{name}: repaired"
        await until(lambda: done in {one.getMessage() for one in caplog.records}, done)
        return of(caplog, f"{name}: deleted by another program"), of(caplog, done)

    async def scenario(world: World) -> None:
        host = await world.host(1, await world.gateway())
        web = await host.attach("web-1", "blue", "10.1.1.1", wait="announced")
        assert host.daemon is not None
        desired = host.daemon.agent.datapath.reconciler.desired
        await until(lambda: bool(desired(Kind.VRF_ROUTE)), "its own address is routed to it")
        objects: list[tuple[Kind, Key]] = [
            (Kind.ANTI_SPOOFING, "tap-web-1"),
            (Kind.MPLS_ROUTE, int(str(web["label"]))),
            *((kind, key) for kind in (Kind.NEIGHBOUR, Kind.NEXT_HOP, Kind.VRF_ROUTE) for key in desired(kind)),
            (Kind.PORT, "tap-web-1"),  # which takes the others with it
        ]
        for kind, key in objects:
            for found in await repaired(host, kind, key):
                assert (found["PORT"], found["VPN"]) == ("web-1", "blue"), describe(kind, key)
        for found in await repaired(host, Kind.VRF, next(iter(desired(Kind.VRF)))):
            assert (found["VPN"], "PORT" in found) == ("blue", False)

    play(scenario)


def test_of_objects() -> None:
    hop = NextHop("vw-gre", bytes((192, 0, 2, 12)), (100000,))
    assert journal_fields(Kind.VRF_ROUTE, (10000, Prefix.parse("10.1.0.0/16"))) == {
        "kind": "vrf_route",
        "prefix": Prefix.parse("10.1.0.0/16"),
    }
    assert journal_fields(Kind.NEXT_HOP, hop) == {"kind": "next_hop", "device": "vw-gre"}
    assert journal_fields(Kind.NEXT_HOP_GROUP, NextHopGroup((hop,))) == {"kind": "next_hop_group"}
    assert journal_fields(Kind.NEIGHBOUR, ("vw-gre", bytes(4))) == {"kind": "neighbour", "device": "vw-gre"}
    assert journal_fields(Kind.MPLS_ROUTE, 100000) == {"kind": "mpls_route"}


@pytest.mark.parametrize(
    ("item", "prefix"),
    [("192.0.2.11:1:10.1.0.0/16", "10.1.0.0/16"), ("[2001:db8::1]:7:fd00::/64", "fd00::/64"), ("strange", None)],
)
def test_of_what_the_map_decides(item: str, prefix: str | None, caplog: pytest.LogCaptureFixture) -> None:
    DecisionLog().write([Decision("hv1", "blue", item, "web-1", "it isn't bound")], 0.0)
    found = of(caplog, "is withdrawn")
    assert (found["HOST"], found["VPN"], found["ATTACHMENT"]) == ("hv1", "blue", "web-1")
    assert found.get("PREFIX") == prefix
