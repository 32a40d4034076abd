"""A host that publishes many routes in one session, as fast as the gateway takes them; for benchmarks alone.

python -m benchmarks.publisher SETTINGS    settings: JSON, see Settings

Prints one line of JSON when the gateway has taken everything, and keeps the session, and with it the routes, until its
standard input ends.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, XMLPullParser

from vpn.path import Encapsulation, NextHop
from vpn.path import Path as VpnPath
from vpn.prefix import Prefix
from xmpp import namespaces as ns
from xmpp.client import item_id
from xmpp.entry import Entry, encode

ITEMS = 100
"""Routes of a request."""
AHEAD = 20
"""Requests sent before their answers are read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What to publish, and where. Routes are hosts of `network`, spread over the next hops, each with its own label."""

    gateway: str
    port: int
    domain: str
    host: str
    vpn: str
    routes: int
    network: str
    next_hops: list[str]
    ca: str
    certificate: str
    key: str


class Session:
    """A blocking XMPP session. Raises OSError, RuntimeError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        context = ssl.create_default_context(cafile=settings.ca)
        context.load_cert_chain(settings.certificate, settings.key)
        plain = socket.create_connection((settings.gateway, settings.port), 60)
        self._socket = context.wrap_socket(plain, server_hostname=settings.domain)
        self._restart()
        self._expect(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>", f"{{{ns.SASL}}}success")
        self._restart()
        self.request("bind", f"<bind xmlns='{ns.BIND}'><resource>vrfwire</resource></bind>")
        self.answer("bind")

    def _restart(self) -> None:
        self._parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
        self._depth = 0
        self._elements = self._read()
        self._expect(
            f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' to='{self._settings.domain}' "
            "version='1.0'>",
            f"{{{ns.STREAMS}}}features",
        )

    def _read(self) -> Iterator[Element]:
        """Elements of the stream, as they come."""
        while data := self._socket.recv(1 << 16):
            self._parser.feed(data)
            events: Iterator[Any] = self._parser.read_events()
            for event, element in events:
                self._depth += 1 if event == "start" else -1
                if event == "end" and self._depth == 1:
                    yield element
        raise RuntimeError("the gateway ended the stream")

    def _expect(self, text: str, tag: str) -> Element:
        self._socket.sendall(text.encode())
        element = next(self._elements)
        if element.tag != tag:
            raise RuntimeError(f"{element.tag} instead of {tag}")
        return element

    def request(self, identity: str, payload: str) -> None:
        """Send an IQ."""
        self._socket.sendall(f"<iq type='set' id='{identity}'>{payload}</iq>".encode())

    def answer(self, identity: str) -> None:
        """Wait for the answer to an IQ, a result."""
        element = next(element for element in self._elements if element.get("id") == identity)
        if element.get("type") != "result":
            raise RuntimeError(f"request {identity} was refused: {[child.tag for child in element.iter()]}")


def payloads(settings: Settings) -> Iterator[str]:
    """Publish requests for all routes."""
    base = int(IPv4Address(settings.network))
    hops = [IPv4Address(address).packed for address in settings.next_hops]
    for first in range(0, settings.routes, ITEMS):
        items = []
        for number in range(first, min(first + ITEMS, settings.routes)):
            prefix = Prefix((base + number).to_bytes(4, "big"), 32)
            path = VpnPath((NextHop(hops[number % len(hops)], 16 + number, (Encapsulation.GRE,)),))
            entry = encode(Entry(prefix, path)).decode()
            items.append(f"<item id='{item_id(settings.next_hops[0], 1, prefix)}'>{entry}</item>")
        yield f"<pubsub xmlns='{ns.PUBSUB}'><publish node='{settings.vpn}'>{''.join(items)}</publish></pubsub>"


def main() -> None:
    """See the module."""
    settings = Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    session = Session(settings)
    began = time.perf_counter()
    answered = sent = 0
    for payload in payloads(settings):
        session.request(f"p{sent}", payload)
        sent += 1
        if sent - answered > AHEAD:
            session.answer(f"p{answered}")
            answered += 1
    for number in range(answered, sent):
        session.answer(f"p{number}")
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
