"""An unmodified slixmpp against the gateway: every way to log in, and the publish-subscribe round trip."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from lab.pki import Authority
from tests.scenario.conftest import MakeGateway
from tests.scenario.daemon_process import DEADLINE
from tests.scenario.gateway_process import DOMAIN, MESH, GatewayProcess
from tests.scenario.raw_host import client_context, entry
from xmpp import namespaces as ns
from xmpp.notification import parse_event

PASSWORD = "correct horse battery staple"


class Host:
    """A host made of slixmpp."""

    def __init__(self, name: str, context: ssl.SSLContext, *, starttls: bool, password: str = "") -> None:
        settings: dict[str, Any] = {"sasl_mech": "EXTERNAL"} if not password else {}
        self.client = slixmpp.ClientXMPP(f"{name}@{DOMAIN}/vrfwire", password, ssl_context=context, **settings)
        self.client.enable_direct_tls = not starttls
        self.client.enable_starttls = starttls
        self.client.enable_plaintext = False
        for plugin in ("xep_0030", "xep_0060", "xep_0199"):
            self.client.register_plugin(plugin)
        self.routes: dict[str, int] = {}
        self.changed = asyncio.Event()
        self.client.remove_handler("Pubsub Event: Items")
        matcher = MatchXPath(f"{{{ns.CLIENT}}}message/{{{ns.PUBSUB_EVENT}}}event")
        self.client.register_handler(Callback("events", matcher, self._event))

    def _event(self, message: Any) -> None:
        event = parse_event(message.xml)
        assert event is not None and not event.bad
        for item_id, route in event.changes:
            if route is None:
                del self.routes[item_id]
            else:
                self.routes[item_id] = route.path.next_hops[0].label
        self.changed.set()

    async def connect(self, port: int) -> None:
        """Log in."""
        started = self.client.wait_until("session_start", timeout=DEADLINE)
        self.client.connect("127.0.0.1", port)
        await started

    async def until(self, routes: dict[str, int]) -> None:
        """Wait for a table."""
        async with asyncio.timeout(DEADLINE):
            while self.routes != routes:
                self.changed.clear()
                await self.changed.wait()

    @property
    def pubsub(self) -> Any:
        """The XEP-0060 plugin."""
        return self.client.plugin["xep_0060"]

    async def close(self) -> None:
        """Log out."""
        await self.client.disconnect()


def payload(prefix: str, label: int) -> ElementTree.Element:
    return ElementTree.fromstring(entry(prefix, label, "127.0.0.1"))


async def round_trip(one: Host, two: Host, port: int) -> None:
    await asyncio.gather(one.connect(port), two.connect(port))
    await two.pubsub.subscribe(DOMAIN, "blue", bare=False)
    await one.pubsub.publish(DOMAIN, "blue", id="127.0.0.1:1:10.1.1.1/32", payload=payload("10.1.1.1/32", 101))
    await one.pubsub.publish(DOMAIN, "blue", id="127.0.0.1:1:2001:db8::1/128", payload=payload("2001:db8::1/128", 102))
    await two.until({"10.1.1.1/32": 101, "2001:db8::1/128": 102})
    items = await two.pubsub.get_items(DOMAIN, "blue")
    assert [item["id"] for item in items["pubsub"]["items"].iterables] == ["10.1.1.1/32", "2001:db8::1/128"]
    await one.pubsub.retract(DOMAIN, "blue", "127.0.0.1:1:10.1.1.1/32")
    await two.until({"2001:db8::1/128": 102})
    assert await one.client.plugin["xep_0199"].ping(DOMAIN) >= 0
    with pytest.raises(IqError) as caught:
        await one.pubsub.subscribe(DOMAIN, "green", bare=False)
    assert caught.value.condition == "item-not-found" and "green" in caught.value.text
    info = await one.client.plugin["xep_0030"].get_info(DOMAIN)
    assert ns.PUBSUB in info["disco_info"]["features"]
    await one.pubsub.retract(DOMAIN, "blue", "127.0.0.1:1:2001:db8::1/128")
    await two.until({})
    await one.close()
    await two.close()


@pytest.mark.parametrize("starttls", [False, True], ids=["direct-tls", "starttls"])
def test_external(starttls: bool, shared_gateway: GatewayProcess, authority: Authority) -> None:
    async def main() -> None:
        hosts = []
        for name in ("slix1", "slix2"):
            context = client_context(authority.host(name, DOMAIN, ["127.0.0.1"]), str(authority.certificate))
            hosts.append(Host(name, context, starttls=starttls))
        await round_trip(hosts[0], hosts[1], shared_gateway.port)

    asyncio.run(main())


def test_scram(make_gateway: MakeGateway, authority: Authority, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD + "\n")
    hosts = "".join(f'[[host]]\nname = "lab{n}"\npassword_file = "{secret}"\n' for n in (1, 2))
    gateway = make_gateway(tables=MESH + hosts)
    context = client_context(None, str(authority.certificate))

    async def main() -> None:
        await round_trip(
            Host("lab1", context, starttls=True, password=PASSWORD),
            Host("lab2", context, starttls=False, password=PASSWORD),
            gateway.port,
        )
        stranger = Host("lab1", context, starttls=False, password="wrong")
        failed = stranger.client.wait_until("failed_auth", timeout=DEADLINE)
        stranger.client.connect("127.0.0.1", gateway.port)
        await failed
        await stranger.close()

    asyncio.run(main())
    assert "SCRAM-SHA-256" in gateway.text() and PASSWORD not in gateway.text()
