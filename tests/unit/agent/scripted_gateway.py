"""A gateway without sockets, for sessions of an agent: it answers what a login takes, and keeps what it is asked.

Connections go through the running loop's `create_connection`, which it takes the place of. What is written to it is
handled at once; what it sends arrives in a later turn of the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element, tostring

from xmpp import namespaces as ns
from xmpp.parser import End, Header, StreamParser

SM = "urn:xmpp:sm:3"
DEADLINE = 10.0
"""Seconds; far more than anything here takes."""


class _Tls:
    """What is left of TLS."""

    def getpeercert(self, binary_form: bool = False) -> bytes:
        return b"certificate"


class Link(asyncio.Transport):
    """One connection: both ends of it."""

    def __init__(self, gateway: ScriptedGateway, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.stanzas: list[Element] = []
        """Of the session, in order."""
        self.log: list[str] = []
        """What was asked for beside stanzas: "enable", "resume", "r", "a H", "end"."""
        self.handled = 0
        """Stanzas counted since they are (XEP-0198)."""
        self.counting = self.closed = False
        self._gateway = gateway
        self._protocol = protocol
        self._parser = StreamParser(1 << 20)
        self._authenticated = False

    # -- the agent's end

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _Tls() if name == "ssl_object" else default

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closed:
            return
        self._parser.feed(bytes(data))
        while not self.closed and (item := self._parser.next()) is not None:
            if isinstance(item, Header):
                self._opened()
            elif isinstance(item, End):
                self.log.append("end")
                self.close()
            else:
                self._element(item)

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        self.lose(None)

    # -- the gateway's end

    def lose(self, error: Exception | None) -> None:
        """The connection is lost: nothing that was sent and hasn't arrived does."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)

    def send(self, text: str) -> None:
        """Arrives in a later turn of the loop, in order."""
        asyncio.get_running_loop().call_soon(self._deliver, text.encode())

    def _deliver(self, data: bytes) -> None:
        if not self.closed:
            self._protocol.data_received(data)

    def answer(self, iq: Element, content: str = "") -> None:
        """The result of a request."""
        self.send(f"<iq type='result' from='{self._gateway.service}' id='{iq.get('id')}'>{content}</iq>")

    def end(self, condition: str, text: str = "") -> None:
        """A stream error, and the end of the stream."""
        words = f"<text xmlns='{ns.STREAM_ERRORS}'>{text}</text>" if text else ""
        error = f"<{condition} xmlns='{ns.STREAM_ERRORS}'/>{words}"
        self.send(f"<stream:error>{error}</stream:error></stream:stream>")

    def _opened(self) -> None:
        gateway = self._gateway
        if self._authenticated:
            features = f"<bind xmlns='{ns.BIND}'/>" + (f"<sm xmlns='{SM}'/>" if gateway.manages else "")
        else:
            features = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
        self.send(
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' from='gw' id='1'"
            f" version='1.0'><stream:features>{features}</stream:features>"
        )

    def _element(self, element: Element) -> None:
        gateway = self._gateway
        namespace, name = ns.split_tag(element.tag)
        if gateway.mute:
            return
        if namespace == ns.SASL:
            self._authenticated = True
            self._parser.restart()
            self.send(f"<success xmlns='{ns.SASL}'/>")
        elif namespace == SM:
            self._manage(name, element)
        elif element.find(f"{{{ns.BIND}}}bind") is not None:
            bound = f"<bind xmlns='{ns.BIND}'><jid>hv1@gw/vrfwire</jid></bind>"
            self.send(f"<iq type='result' id='{element.get('id')}'>{bound}</iq>")
        else:
            self.handled += self.counting
            self.stanzas.append(element)
            gateway.received(self, element)

    def _manage(self, name: str, element: Element) -> None:
        gateway = self._gateway
        self.log.append(name if name != "a" else f"a {element.get('h')}")
        if name == "enable":
            self.counting = True
            self.send(f"<enabled xmlns='{SM}' id='{len(gateway.links)}' resume='{str(gateway.resumes).lower()}'/>")
        elif name == "r":
            self.send(f"<a xmlns='{SM}' h='{self.handled}'/>")
        elif name == "resume" and gateway.kept is not None and element.get("previd") == gateway.kept[0]:
            self.counting = True
            self.handled = gateway.kept[1]
            self.send(f"<resumed xmlns='{SM}' previd='{gateway.kept[0]}' h='{self.handled}'/>" + gateway.owed)
        elif name == "resume":
            missing = f"<item-not-found xmlns='{ns.STANZA_ERRORS}'/>"
            self.send(f"<failed xmlns='{SM}'>{missing}</failed>")


class ScriptedGateway:
    """What the agent connects to, by one connection after the other."""

    def __init__(self, service: str = "gw") -> None:
        self.service = service
        self.links: list[Link] = []
        self.refuses = self.mute = False
        """Connections are refused; nothing is answered."""
        self.manages = self.resumes = True
        """XEP-0198 is offered; streams can be resumed."""
        self.kept: tuple[str, int] | None = None
        """The stream that can be resumed: its id, and the stanzas received on it."""
        self.owed = ""
        """What is sent again after it was resumed."""
        self.greetings = True
        """Presence is answered, by a component."""
        asyncio.get_running_loop().create_connection = self._connect  # type: ignore[method-assign, assignment]

    @property
    def link(self) -> Link:
        """The last connection."""
        return self.links[-1]

    def keep(self) -> Link:
        """Remember the stream, as it is now; returns its connection."""
        self.kept = str(len(self.links)), self.link.handled
        return self.link

    async def _connect(self, make: Callable[[], asyncio.Protocol], *_: Any, **__: Any) -> tuple[Link, asyncio.Protocol]:
        if self.refuses:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = make()
        link = Link(self, protocol)
        self.links.append(link)
        protocol.connection_made(link)
        return link, protocol

    def received(self, link: Link, stanza: Element) -> None:
        """A component answers presence."""
        if self.greetings and self.service != "gw" and stanza.tag == f"{{{ns.CLIENT}}}presence":
            link.send(f"<presence from='{self.service}' id='{stanza.get('id')}'/>")

    def asked(self) -> list[str]:
        """The stanzas of the last connection: "presence", or what is in an IQ."""
        return [_content(stanza) for stanza in self.link.stanzas]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when condition() is true; fails after DEADLINE."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"not within {DEADLINE:g} s"
            await asyncio.sleep(0.001)


def _content(stanza: Element) -> str:
    text = tostring(stanza, encoding="unicode")
    names = ("unsubscribe", "subscribe", "publish", "retract", "ping")
    return next((name for name in names if f":{name}" in text), ns.split_tag(stanza.tag)[1])
