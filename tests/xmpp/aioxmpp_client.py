"""The pub-sub of two aioxmpp clients, run by the Python of .venv-xmpp. Arguments: a JSON object; prints another one.

{"address", "port", "tls", "domain", "service", "ca", "password", "item", "prefix", "payload"}
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from datetime import timedelta
from typing import Any

import aioxmpp
import aioxmpp.connector
import aioxmpp.disco
import aioxmpp.pubsub
import aioxmpp.security_layer
import aioxmpp.xml
import OpenSSL
from aioxmpp.utils import namespaces

DEADLINE = 20.0


def make_entry(namespace: str) -> Any:
    """The class of an entry's element: aioxmpp carries only what it knows."""
    parts = {"TAG": (namespace, "entry"), "parts": aioxmpp.xso.Collector()}
    return aioxmpp.pubsub.xso.as_payload_class(type("Entry", (aioxmpp.xso.XSO,), parts))


def client(name: str, settings: dict[str, Any]) -> Any:
    """A client of a host, which verifies the server's certificate."""

    def context(_transport: object = None) -> OpenSSL.SSL.Context:
        made = aioxmpp.security_layer.default_ssl_context()
        made.load_verify_locations(settings["ca"])
        return made

    async def password(_jid: object, attempts: int) -> str | None:
        return settings["password"] if attempts == 0 else None

    security = aioxmpp.make_security_layer(password)._replace(ssl_context_factory=context)
    direct = settings["tls"]
    connector = aioxmpp.connector.XMPPOverTLSConnector() if direct else aioxmpp.connector.STARTTLSConnector()
    made = aioxmpp.PresenceManagedClient(
        aioxmpp.JID.fromstr(f"{name}@{settings['domain']}/aioxmpp"),
        security,
        override_peer=[(settings["address"], settings["port"], connector)],
    )
    made.summon(aioxmpp.PubSubClient)
    return made


async def run(settings: dict[str, Any]) -> dict[str, Any]:
    """All that the two do; what they were told."""
    entry_class = make_entry(settings["namespace"])
    one, two = client("host1", settings), client("host2", settings)
    service = aioxmpp.JID.fromstr(settings["service"])
    events: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    pubsub = two.summon(aioxmpp.PubSubClient)
    pubsub.on_item_published.connect(lambda jid, node, item, message=None: events.put_nowait(("item", item.id_)))
    pubsub.on_item_retracted.connect(lambda jid, node, id_, message=None: events.put_nowait(("retract", id_)))
    said: dict[str, Any] = {}
    async with one.connected() as stream, two.connected():
        said["jid"] = str(one.local_jid)
        said["sm"] = bool(stream.sm_enabled)
        await pubsub.subscribe(service, settings["node"], subscription_jid=two.local_jid)
        root = aioxmpp.xml.read_single_xso(io.BytesIO(settings["payload"].encode()), entry_class)
        publisher = one.summon(aioxmpp.PubSubClient)
        said["published"] = await publisher.publish(service, settings["node"], root, id_=settings["item"])
        said["event"] = await asyncio.wait_for(events.get(), DEADLINE)
        items = await pubsub.get_items(service, settings["node"])
        said["items"] = [item.id_ for item in items.payload.items]
        payloads = [item.registered_payload for item in items.payload.items]
        said["payload"] = [sorted(child.tag.rpartition("}")[2] for child in entry.parts) for entry in payloads]
        await publisher.retract(service, settings["node"], settings["item"], notify=True)
        said["retracted"] = await asyncio.wait_for(events.get(), DEADLINE)
        info = await two.summon(aioxmpp.DiscoClient).query_info(service)
        said["pubsub"] = namespaces.xep0060 in info.features
        said["ping"] = await aioxmpp.ping.ping(two, service) is None
        try:
            await pubsub.subscribe(service, "no-such-vpn", subscription_jid=two.local_jid)
        except aioxmpp.errors.XMPPCancelError as error:
            said["refused"] = error.condition.name
        await pubsub.unsubscribe(service, settings["node"], subscription_jid=two.local_jid)
        subscriptions = await pubsub.get_subscriptions(service)
        said["subscriptions"] = len(subscriptions.subscriptions)
    return said


def main() -> None:
    """Read the settings, run, print."""
    settings = json.loads(sys.argv[1])
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    said = loop.run_until_complete(asyncio.wait_for(run(settings), timedelta(seconds=60).total_seconds()))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
