"""A host made of a socket: sends any bytes, and reads stanzas."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from lab.pki import Credentials
from tests.scenario.daemon_process import DEADLINE
from tests.scenario.gateway_process import DOMAIN
from tests.stream_elements import CLIENT, STREAM, StreamElements
from xmpp import namespaces as ns
from xmpp.notices import Notice, NoticeKind, read_notices
from xmpp.notification import parse_event

HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' to='{DOMAIN}' version='1.0'>"
)


def client_context(credentials: Credentials | None, ca: str) -> ssl.SSLContext:
    """TLS of a host; without credentials it shows no certificate."""
    context = ssl.create_default_context(cafile=ca)
    if credentials is not None:
        context.load_cert_chain(credentials.certificate, credentials.key)
    return context


class RawHost:
    """A connection to a gateway. name: of the host; context: its TLS settings; source: address that it comes from."""

    def __init__(
        self, port: int, name: str, context: ssl.SSLContext, *, starttls: bool = False, source: str = "127.0.0.1"
    ) -> None:
        self.name = name
        self.jid = f"{name}@{DOMAIN}/vrfwire"
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), DEADLINE, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.stanzas: list[Element] = []
        self.events: dict[str, dict[str, list[tuple[str, int]]]] = {}
        self.notices: list[Notice] = []
        self.ended = False
        self._parser = StreamElements()
        self._ids = 0
        try:
            if starttls:
                self.send(HEADER)
                self.read_until(lambda e: e.tag == f"{STREAM}features")
                self.send(f"<starttls xmlns='{ns.TLS}'/>")
                self.read_until(lambda e: e.tag == f"{{{ns.TLS}}}proceed")
            plain = self.socket
            self.socket = context.wrap_socket(plain, server_hostname=DOMAIN)
            self.restart()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RawHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self.socket.close()

    def send(self, data: str | bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def restart(self) -> None:
        """Begin a stream, and read its features."""
        self._parser = StreamElements()
        self.send(HEADER)
        self.features = self.read_until(lambda e: e.tag == f"{STREAM}features")

    def read_until(self, wanted: Callable[[Element], bool], deadline: float = DEADLINE) -> Element:
        """The first top-level element that is wanted; fails when the stream ends first."""
        end = time.monotonic() + deadline
        seen = 0
        while True:
            for element in self.stanzas[seen:]:
                seen += 1
                if wanted(element):
                    self.stanzas.remove(element)
                    return element
            assert not self.ended, f"the stream ended: {bytes(self.received[-2000:])!r}"
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self._feed(self._recv())

    def _recv(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except (ConnectionError, ssl.SSLEOFError):
            return b""

    def _feed(self, data: bytes) -> None:
        if not data:
            self.ended = True
            return
        self.received += data
        for element in self._parser.feed(data):
            self._take(element)
        self.ended = self._parser.ended

    def _take(self, element: Element) -> None:
        if element.tag == f"{CLIENT}message" and (notices := read_notices(element)):
            self.notices += notices
            for notice in notices:
                if notice.kind is NoticeKind.DELETED:
                    self.events.pop(notice.node, None)
            return
        event = parse_event(element) if element.tag == f"{CLIENT}message" else None
        if event is None:
            self.stanzas.append(element)
            return
        table = self.events.setdefault(event.node, {})
        for item_id, entry in event.changes:
            if entry is None:
                table.pop(item_id, None)
            else:
                table[item_id] = [(socket.inet_ntoa(hop.address), hop.label) for hop in entry.path.next_hops]

    def read_to_end(self, deadline: float = DEADLINE) -> Element | None:
        """Read until the gateway ends the stream; its stream error, if it sent one."""
        end = time.monotonic() + deadline
        while not self.ended:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self._feed(self._recv())
        return next((element for element in self.stanzas if element.tag == f"{STREAM}error"), None)

    def read_routes(self, node: str, wanted: dict[str, list[tuple[str, int]]], deadline: float = DEADLINE) -> None:
        """Read until the routes of a VPN are these."""
        end = time.monotonic() + deadline
        while self.events.get(node, {}) != wanted:
            assert not self.ended and time.monotonic() < end, f"{node}: {self.events.get(node)} instead of {wanted}"
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self._feed(self._recv())

    def read_notice(self, wanted: Notice, deadline: float = DEADLINE) -> None:
        """Read until a notice is there that is like this; it is taken out. A reason need only begin as wanted."""
        end = time.monotonic() + deadline
        while (found := next((n for n in self.notices if _like(n, wanted)), None)) is None:
            assert not self.ended and time.monotonic() < end, f"{self.notices} instead of {wanted}"
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self._feed(self._recv())
        self.notices.remove(found)

    def login(self, resource: str = "vrfwire") -> RawHost:
        """SASL EXTERNAL and resource binding."""
        self.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
        self.read_until(lambda e: e.tag == f"{{{ns.SASL}}}success")
        self.restart()
        bound = self.ask("set", f"<bind xmlns='{ns.BIND}'><resource>{resource}</resource></bind>", to="")
        assert bound.get("type") == "result", ElementTree.tostring(bound)
        self.jid = bound.findtext(f".//{{{ns.BIND}}}jid", "")
        return self

    def request(self, type: str, payload: str, to: str = DOMAIN) -> str:
        """Send an IQ; its id."""
        self._ids += 1
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{type}' id='r{self._ids}'{address}>{payload}</iq>")
        return f"r{self._ids}"

    def ask(self, type: str, payload: str, to: str = DOMAIN) -> Element:
        """Send an IQ and wait for its answer."""
        identity = self.request(type, payload, to)
        return self.read_until(lambda e: e.tag == f"{CLIENT}iq" and e.get("id") == identity)

    def ping(self) -> None:
        """Wait until everything owed has come."""
        assert self.ask("get", f"<ping xmlns='{ns.PING}'/>").get("type") == "result"

    def pubsub(self, action: str, type: str = "set") -> Element:
        """Ask for a publish-subscribe action."""
        return self.ask(type, f"<pubsub xmlns='{ns.PUBSUB}'>{action}</pubsub>")

    def subscribe(self, node: str, jid: str = "") -> Element:
        """Subscribe."""
        return self.pubsub(f"<subscribe node='{node}' jid='{jid or self.jid}'/>")

    def announce(
        self,
        node: str,
        prefix: str,
        label: int | str = 100,
        next_hop: str = "127.0.0.1",
        item_id: str = "",
        attachment: str = "",
    ) -> Element:
        """Publish one route."""
        return self.pubsub(
            f"<publish node='{node}'><item id='{item_id or f'127.0.0.1:1:{prefix}'}'>"
            f"{entry(prefix, label, next_hop, attachment)}</item></publish>"
        )

    def retract(self, node: str, item_id: str) -> Element:
        """Retract one item."""
        return self.pubsub(f"<retract node='{node}'><item id='{item_id}'/></retract>")


def _like(notice: Notice, wanted: Notice) -> bool:
    return notice._replace(reason="") == wanted._replace(reason="") and notice.reason.startswith(wanted.reason)


def entry(prefix: str, label: int | str, next_hop: str, attachment: str = "") -> str:
    """An entry, whatever its values."""
    named = f"<attachment xmlns='{ns.VRFWIRE_ENTRY}'>{attachment}</attachment>" if attachment else ""
    family = 2 if ":" in prefix else 1
    return (
        f"<entry xmlns='{ns.ENTRY}'><nlri><af>{family}</af><address>{prefix}</address></nlri><next-hops><next-hop>"
        f"<af>1</af><address>{next_hop}</address><label>{label}</label><tunnel-encapsulation-list>"
        f"<tunnel-encapsulation>gre</tunnel-encapsulation></tunnel-encapsulation-list></next-hop></next-hops>{named}</entry>"
    )


def mechanisms(host: RawHost) -> set[str | None]:
    """SASL mechanisms offered."""
    return {element.text for element in host.features.iter(f"{{{ns.SASL}}}mechanism")}


def stream_condition(error: Element | None) -> tuple[str, str]:
    """(condition, text) of a stream error."""
    assert error is not None, "the stream ended without an error"
    names = [child.tag.rpartition("}")[2] for child in error]
    return next(name for name in names if name != "text"), error.findtext(f"{{{ns.STREAM_ERRORS}}}text", "")
