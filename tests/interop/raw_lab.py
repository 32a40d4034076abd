"""A gateway among raw speakers: one healthy peer and one host that must feel nothing, and any number of others.

All are clients of the gateway as a reflector, so that what one says is heard by the healthy one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from bgp.family import RTC, VPNV4, VPNV6
from bgp.open import Open
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import opening
from tests.interop.site import Host, Site, peer

GATEWAY = "127.0.0.15"
HEALTHY = "127.0.0.2"
HEALTHY_ROUTES = {"10.99.0.0/24": [("192.0.2.99", 1000)]}
"""What the healthy peer announces, as the gateway has it in VPN blue."""


class RawLab:
    """See the module. The gateway is passive towards all; `others`: how many addresses are free for speaker(), each
    with a session of its own; special: settings of [[bgp.peer]] by address, for special_speaker()."""

    def __init__(
        self, site: Site, others: int, special: Mapping[str, Mapping[str, object]] | None = None, **bgp: object
    ) -> None:
        self.site = site
        self.special = {address: dict(settings) for address, settings in (special or {}).items()}
        self._free = [f"127.1.0.{number + 1}" for number in range(others)]
        usual = {"passive": True, "reflector_client": True}
        peers = [peer(address, **usual) for address in (HEALTHY, *self._free)]
        for address, settings in self.special.items():
            external = settings.get("as", 64512) != 64512
            peers.append(peer(address, **{"passive": True, "reflector_client": not external} | settings))
        self.gateway = site.gateway("gw", GATEWAY, peers, **{"hold_time": 90, **bgp})
        self.gateway.start()
        self.healthy = site.keep(RawSpeaker(HEALTHY, GATEWAY, namespace=site.namespace)).establish()
        self.healthy.announce("64512:99", "10.99.0.0/24")
        self.healthy.end(VPNV4, VPNV6)
        self.host: Host = site.host(self.gateway, "hv1", "192.0.2.101")
        self.host.subscribe("blue")
        self.host.wait_routes("blue", HEALTHY_ROUTES)
        self._told = self._mentions()
        self._numbers = itertools.count(1)

    def address(self) -> str:
        """An address of a peer that nobody has used yet."""
        return self._free.pop(0)

    def number(self) -> int:
        """A number for prefixes that nobody has used yet."""
        return next(self._numbers)

    def speaker(self, opened: Open | None = None, address: str | None = None, **options: Any) -> RawSpeaker:
        """A peer at an address of its own (or at this one), not connected yet."""
        made = RawSpeaker(address or self.address(), GATEWAY, opened, namespace=self.site.namespace, **options)
        return self.site.keep(made)

    def rtc(self, address: str, **options: Any) -> RawSpeaker:
        """A special peer that speaks RTC too."""
        return self.speaker(opening(address, families=(VPNV4, VPNV6, RTC), **options), address)

    def wait_gone(self, speaker: RawSpeaker) -> None:
        """End a speaker's session, and wait until nothing of it is left."""
        speaker.close()
        self.wait_quiet()

    def wait_quiet(self) -> None:
        """Wait until there is nothing but the healthy peer's routes, everywhere."""
        self.gateway.wait_routes("blue", HEALTHY_ROUTES)
        self.host.wait_routes("blue", HEALTHY_ROUTES)
        self.healthy.wait(lambda: not self.healthy.table(), "no routes of others")

    def check(self) -> None:
        """Neither the healthy peer nor the host has felt anything. Raises AssertionError."""
        self.healthy.pump()
        assert self.healthy.established and not self.healthy.ended, str(self.healthy)
        assert self.healthy.notification is None
        self.host.raw.ping()
        assert self._mentions() == self._told, "the host was told something about the healthy peer's route"
        assert self.host.raw.events["blue"].items() >= HEALTHY_ROUTES.items()

    def _mentions(self) -> int:
        return self.host.raw.received.count(b"10.99.0.0/24")

    def peer(self, speaker: RawSpeaker) -> dict[str, Any]:
        """What `peer show` says of a speaker."""
        return self.gateway.peer(speaker.address)

    def wait_routes(self, prefixes: Mapping[str, int], next_hop: str = "192.0.2.99") -> None:
        """Wait until the host and the gateway have these (labels by prefix) beside the healthy peer's."""
        wanted = HEALTHY_ROUTES | {prefix: [(next_hop, label)] for prefix, label in prefixes.items()}
        self.host.wait_routes("blue", wanted)
        self.gateway.wait_routes("blue", wanted)
