"""A gateway that starts again: peers are told that they have everything when its hosts are back, however late."""

from __future__ import annotations

import time
from typing import Any

from bgp.family import VPNV4, VPNV6
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import opening
from tests.interop.site import Gateway, Site, peer
from tests.scenario.bgp_sites import ONE, QUICK, RAW, lines, site, wait

__all__ = ["site"]

GRACEFUL: dict[str, Any] = {**QUICK, "graceful_restart": True, "deferral_time": 40, "restart_time": 60}
SOON = 2.0
"""Seconds; less than anything that a start could wait for."""


class Witness(RawSpeaker):
    """A peer with graceful restart that remembers what it had been told when it was told that this is all."""

    def __init__(self, site: Site) -> None:
        self.at_end: set[str] | None = None
        super().__init__(RAW, ONE, opening(RAW, restart_time=60), namespace=site.namespace)

    def __enter__(self) -> Witness:
        return self

    def _update(self, body: bytes) -> None:
        before = len(self.ends)
        super()._update(body)
        if len(self.ends) > before and self.ends[-1] == VPNV4:
            self.at_end = self.prefixes()

    def meet(self) -> None:
        """Bring a session up, and say that we have nothing."""
        self.at_end = None
        self.establish()
        self.end(VPNV4, VPNV6)

    def wait_end(self) -> set[str]:
        """Wait for the End-of-RIB; the prefixes that came before it."""
        self.wait(lambda: self.at_end is not None, "the End-of-RIB")
        assert self.at_end is not None
        return self.at_end


def make(site: Site, **bgp: Any) -> Gateway:
    return site.gateway("one", ONE, [peer(RAW, passive=True)], **{**GRACEFUL, **bgp})


def waiting(gateway: Gateway) -> list[str]:
    told: list[list[str]] = []
    for _ in range(5):  # it may change between the two questions
        told = [gateway.ask("status")["bgp"]["waiting_for"], gateway.ask("peer.list")["waiting_for"]]
        if told[0] == told[1]:
            break
    found, also = told
    assert also == found
    return found


def test_a_first_start_waits_for_no_hosts(site: Site) -> None:
    one = make(site)
    one.start()
    with Witness(site) as raw:
        raw.establish()
        raw.wait(lambda: waiting(one) == [f"peer {RAW} (its End-of-RIB)"], "the gateway to wait for the peer alone")
        began = time.monotonic()
        raw.end(VPNV4, VPNV6)
        assert raw.wait_end() == set()
        assert time.monotonic() - began < SOON
        assert waiting(one) == []


def test_a_host_that_comes_late_is_waited_for(site: Site) -> None:
    one = make(site)
    one.start()
    routes = {"10.1.1.1/32": 101, "10.1.1.2/32": 102}
    with Witness(site) as raw:
        host = site.host(one, "hv1", "127.0.0.1")
        host.publish("blue", routes)
        one.wait_recorded({"hv1": 2})
        one.kill()
        one.start()
        began = time.monotonic()
        raw.meet()
        raw.wait(lambda: waiting(one) == ["host hv1 (no session)"], "the gateway to wait for the host alone")
        # As long as an agent may need that has tried for a while.
        raw.wait(lambda: time.monotonic() - began > 5.0, "5 s")
        host.connect()
        host.publish("blue", {"10.1.1.1/32": 101})
        raw.wait(lambda: waiting(one) == ["host hv1 (1 of 2 routes)"], "the first route")
        assert raw.at_end is None
        host.publish("blue", routes)
        assert raw.wait_end() == set(routes)
        assert waiting(one) == []
        assert not lines(one, "not waited any longer")


def test_an_orderly_end_is_remembered_as_well(site: Site) -> None:
    one = make(site)
    one.start()
    with Witness(site) as raw:
        host = site.host(one, "hv1", "127.0.0.1")
        host.publish("blue", {f"10.1.1.{number}/32": number for number in range(100, 120)})
        assert one.stop() == 0
        assert one.recorded() == {"hv1": 20}
        one.start()
        raw.meet()
        host.connect()
        # All but one of them are gone; after a while without more it is taken for all.
        host.publish("blue", {"10.1.1.100/32": 100})
        assert raw.wait_end() == {"10.1.1.100/32"}
        one.wait_recorded({"hv1": 1})


def test_a_host_that_stays_away_is_waited_for_only_so_long(site: Site) -> None:
    one = make(site, deferral_time=3, host_stale_time=1)
    one.start()
    with Witness(site) as raw:
        host, other = site.host(one, "hv1", "127.0.0.1"), site.host(one, "hv2", "127.0.0.2")
        host.publish("blue", {"10.1.1.1/32": 101})
        other.publish("blue", {"10.1.1.2/32": 102})
        one.wait_recorded({"hv1": 1, "hv2": 1})
        one.kill()
        one.start()
        raw.meet()
        other.connect()
        other.publish("blue", {"10.1.1.2/32": 102})
        assert raw.wait_end() == {"10.1.1.2/32"}
        assert lines(one, "not waited any longer for host hv1 (no session)")
        one.wait_recorded({"hv2": 1})


def test_a_record_that_cannot_be_kept_is_a_problem_and_no_more(site: Site) -> None:
    one = make(site)
    one.state.write_text("a file, where a directory should be")
    one.start()
    with Witness(site) as raw:
        raw.meet()
        assert raw.wait_end() == set()
        status = one.ask("status")
        problem = next(found for found in status["problems"] if "state directory" in found["what"])
        assert status["state"] == "degraded" and problem["hint"]
        assert lines(one, "state directory", "are not recorded")
        host = site.host(one, "hv1", "127.0.0.1")
        host.publish("blue", {"10.1.1.1/32": 101})
        wait(lambda: one.routes("blue"), "the route")


def test_a_damaged_record_is_ignored(site: Site) -> None:
    one = make(site)
    one.start()
    host = site.host(one, "hv1", "127.0.0.1")
    host.publish("blue", {"10.1.1.1/32": 101})
    assert one.stop() == 0
    [record] = [file for file in one.state.iterdir() if file.suffix == ".json"]
    record.write_bytes(record.read_bytes()[:20])
    one.start()
    with Witness(site) as raw:
        raw.meet()
        assert raw.wait_end() == set()
    assert lines(one, record.name, "it is ignored")
    host.connect()
    host.publish("blue", {"10.1.1.1/32": 101})
    one.wait_recorded({"hv1": 1})
