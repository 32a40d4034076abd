"""Gateways as route reflectors: BIRD and FRR as clients of both and outside of the cluster, and a loop between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.pki import Authority
from lab.speakers.base import Neighbour, Received, Speaker
from lab.speakers.bird import Bird
from lab.speakers.frr import Frr
from tests.interop.site import Gateway, Host, Site, announcement, peer, told

ONE, TWO, BIRD, FRR, OUTER, OTHER = (f"127.0.0.{number}" for number in (15, 16, 21, 22, 23, 24))


@dataclass(slots=True)
class Cluster:
    """Two reflectors that are clients of each other, BIRD and FRR as clients of both, two speakers that aren't clients
    of the first."""

    site: Site
    clusters: tuple[str, str]
    one: Gateway
    two: Gateway
    bird: Bird
    frr: Frr
    outer: Bird
    other: Bird
    host: Host

    def wait_received(self, speaker: Speaker, wanted: set[Any]) -> None:
        """Wait until a speaker has these: (peer, prefix, label, originator, clusters)."""

        def found() -> set[Any]:
            paths: list[Received] = [*speaker.received("vpnv4"), *speaker.received("vpnv6")]
            return set(told(paths, "peer", "prefix", "label", "originator", "clusters"))

        self.site.wait(lambda: found() == wanted, f"{speaker.name} to have {wanted}")

    def wait_paths(self, prefix: str, count: int) -> None:
        """Wait until both reflectors have so many paths to a prefix."""

        def found(gateway: Gateway) -> int:
            family = "vpnv6" if ":" in prefix else "vpnv4"
            items = gateway.ask("bgp.routes", {"family": family})["items"]
            return sum(item["paths"] for item in items if item["prefix"] == prefix)

        self.site.wait(lambda: found(self.one) == found(self.two) == count, f"{count} paths to {prefix}")


@pytest.fixture(scope="module", params=[True, False], ids=["one cluster", "two clusters"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("site")
    clusters = ("127.0.0.99", "127.0.0.99") if request.param else (ONE, TWO)
    with Site(directory, authority) as site:
        clients = [peer(BIRD, name="bird", reflector_client=True), peer(FRR, name="frr", reflector_client=True)]
        outside = [peer(OUTER, name="outer", passive=True), peer(OTHER, name="other", passive=True)]
        one = site.gateway(
            *("one", ONE, [peer(TWO, name="two", reflector_client=True), *clients, *outside]), cluster_id=clusters[0]
        )
        two = site.gateway(
            *("two", TWO, [peer(ONE, name="one", reflector_client=True), *clients]), cluster_id=clusters[1]
        )
        both = [Neighbour(ONE), Neighbour(TWO)]
        bird, frr = site.speaker(Bird, "bird", BIRD, both), site.speaker(Frr, "frr", FRR, both)
        outer, other = (site.speaker(Bird, *end, [Neighbour(ONE)]) for end in (("outer", OUTER), ("other", OTHER)))
        speakers: list[Speaker] = [bird, frr, outer, other]
        for speaker in speakers:
            speaker.launch()
        one.start()
        two.start()
        host = site.host(one, "hv1", "192.0.2.101")
        host.subscribe("blue")
        for speaker in speakers:
            speaker.wait_established()
        one.wait_established()
        yield Cluster(site, clusters, one, two, bird, frr, outer, other, host)


def test_routes_of_a_client_go_to_everybody(cluster: Cluster) -> None:
    prefix, (first, second) = "10.21.0.0/24", cluster.clusters
    route = announcement(21, prefix, 2101)
    cluster.bird.announce(route)
    reflected = {(ONE, prefix, 2101, BIRD, (first,)), (TWO, prefix, 2101, BIRD, (second,))}
    cluster.wait_received(cluster.frr, reflected)
    cluster.wait_received(cluster.outer, {(ONE, prefix, 2101, BIRD, (first,))})
    cluster.wait_received(cluster.other, {(ONE, prefix, 2101, BIRD, (first,))})
    cluster.host.wait_routes("blue", {prefix: [("192.0.2.21", 2101)]})
    cluster.two.wait_routes("blue", {prefix: [("192.0.2.21", 2101)]})
    assert cluster.bird.received("vpnv4") == []

    cluster.bird.withdraw(route)
    for speaker in (cluster.frr, cluster.outer, cluster.other):
        cluster.wait_received(speaker, set())
    cluster.wait_paths(prefix, 0)


def test_the_loop_is_broken(cluster: Cluster) -> None:
    """In one cluster a reflector takes nothing that the other has reflected; in two, all but what has been here."""
    prefix = "2001:db8:21::/64"
    same = cluster.clusters[0] == cluster.clusters[1]

    def looped() -> int:
        return int(cluster.one.peer("two")["counters"]["looped"])

    before = looped()
    route = announcement(21, prefix, 2102)
    cluster.bird.announce(route)
    cluster.wait_received(
        cluster.frr, {(n, prefix, 2102, BIRD, (c,)) for n, c in zip((ONE, TWO), cluster.clusters, strict=True)}
    )
    cluster.wait_paths(prefix, 1 if same else 2)
    assert (looped() > before) is same
    cluster.bird.withdraw(route)
    cluster.wait_received(cluster.frr, set())


def test_routes_of_a_speaker_outside_go_to_clients_only(cluster: Cluster) -> None:
    prefix, first = "10.23.0.0/24", cluster.clusters[0]
    route = announcement(23, prefix, 2301)
    cluster.outer.announce(route)
    # The second reflector has it from the first, its client, and tells its own clients.
    second = set() if first == cluster.clusters[1] else {(TWO, prefix, 2301, OUTER, (cluster.clusters[1], first))}
    wanted = {(ONE, prefix, 2301, OUTER, (first,)), *second}
    cluster.wait_received(cluster.frr, wanted)
    cluster.wait_received(cluster.bird, wanted)
    assert cluster.other.received("vpnv4") == []
    cluster.outer.withdraw(route)
    cluster.wait_received(cluster.frr, set())


def test_routes_of_a_host_go_to_everybody(cluster: Cluster) -> None:
    prefix = "10.1.0.1/32"
    cluster.host.publish("blue", {prefix: 101})
    own = cluster.host.route("blue", prefix, 101)
    cluster.site.wait(lambda: cluster.outer.received("vpnv4") == [own], "the route of the host")
    cluster.site.wait(lambda: cluster.other.received("vpnv4") == [own], "the route of the host")
    second = cluster.clusters[1]
    wanted = {(ONE, prefix, 101, None, ()), (TWO, prefix, 101, ONE, (second,))}
    cluster.wait_received(cluster.frr, wanted)
    cluster.wait_received(cluster.bird, wanted)
    cluster.host.retract("blue", prefix)
    cluster.wait_received(cluster.frr, set())
    cluster.wait_received(cluster.bird, set())
