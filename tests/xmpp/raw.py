"""A client made of a socket: sends any bytes to any XMPP server, and tells what came of them.

It knows no more of XMPP than it needs to log in (SCRAM-SHA-256, RFC 7677), and takes nothing for granted: what the
server does is read back as an outcome in words, e.g. "error cancel item-not-found" or "stream not-well-formed".
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.stream_elements import CLIENT, STREAM, StreamElements
from xmpp import namespaces as ns

DEADLINE = 20.0
"""Seconds until an answer has to be there; far more than it takes."""
STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"
_AFTER = "after-it"
"""Id of the ping behind something that mustn't be answered."""


def header(domain: str, attributes: str = "version='1.0'", namespace: str = ns.CLIENT) -> str:
    """A stream header."""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='{ns.STREAMS}' to='{domain}' "
        f"{attributes}>"
    )


class RawClient:
    """A connection to a server of `domain`. context: TLS from the first byte; None: plain."""

    def __init__(self, address: str, port: int, domain: str, context: ssl.SSLContext | None = None) -> None:
        self.domain = domain
        self.jid = ""
        self.elements: list[Element] = []
        """Received and not asked for yet."""
        self.closed = False
        """Whether the server has closed the connection."""
        self.parser = StreamElements()
        self.features: Element | None = None
        self._ids = 0
        self.socket: socket.socket = socket.create_connection((address, port), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.secure(context)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self.socket.close()

    def secure(self, context: ssl.SSLContext) -> None:
        """TLS handshake."""
        plain = self.socket
        try:
            self.socket = context.wrap_socket(plain, server_hostname=self.domain)
        except BaseException:
            plain.close()
            raise

    def send(self, data: str | bytes) -> None:
        """Send bytes; a server that has closed already is found out by reading."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def _read(self, end: float) -> None:
        self.socket.settimeout(max(0.001, end - time.monotonic()))
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if data:
            self.elements += self.parser.feed(data)
        else:
            self.closed = True

    def next(self, wanted: Callable[[Element], bool], deadline: float = DEADLINE) -> Element | None:
        """The first element that is wanted, taken out; None when the stream ends before."""
        end = time.monotonic() + deadline
        while True:
            for index, element in enumerate(self.elements):
                if wanted(element):
                    return self.elements.pop(index)
            if self.closed or self.parser.ended:
                return None
            self._read(end)

    def expect(self, name: str, deadline: float = DEADLINE) -> Element:
        """The first element of this local name; fails when the stream ends before."""
        found = self.next(lambda element: element.tag.rpartition("}")[2] == name, deadline)
        assert found is not None, f"the stream ended before <{name}/>: {[self.describe(e) for e in self.elements]}"
        return found

    @staticmethod
    def describe(element: Element) -> str:
        """For messages of failures."""
        return ElementTree.tostring(element, encoding="unicode")

    # Negotiation.

    def open(self, text: str | None = None) -> RawClient:
        """Begin a stream, anew after TLS or SASL, and read its features."""
        self.parser = StreamElements()
        self.send(header(self.domain) if text is None else text)
        self.features = self.expect("features")
        return self

    def start_tls(self, context: ssl.SSLContext) -> RawClient:
        """STARTTLS, with a new stream behind it."""
        self.send(STARTTLS)
        self.expect("proceed")
        self.secure(context)
        return self.open()

    def mechanisms(self) -> set[str]:
        """SASL mechanisms on offer."""
        assert self.features is not None
        return {element.text or "" for element in self.features.iter(f"{{{ns.SASL}}}mechanism")}

    def offers(self, tag: str) -> bool:
        """Whether a feature is among those offered."""
        assert self.features is not None
        return self.features.find(tag) is not None

    def auth(self, mechanism: str, message: bytes | str | None = None) -> None:
        """Send <auth/>. message: bytes are encoded, a text is sent as it is."""
        payload = base64.b64encode(message).decode() if isinstance(message, bytes) else message or ""
        self.send(f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{payload}</auth>")

    def respond(self, message: bytes | str) -> None:
        """Send <response/>."""
        payload = base64.b64encode(message).decode() if isinstance(message, bytes) else message
        self.send(f"<response xmlns='{ns.SASL}'>{payload}</response>")

    def scram(
        self, user: str, password: str, *, gs2: str = "n,,", binding: str | None = None, wrong_nonce: bool = False
    ) -> str:
        """SCRAM-SHA-256 (RFC 5802); outcome as of sasl_outcome(). Fails when the server proves nothing."""
        nonce = secrets.token_hex(12)
        bare = f"n={user},r={nonce}"
        self.auth("SCRAM-SHA-256", (gs2 + bare).encode())
        answer = self.expect_sasl()
        if not answer.tag.endswith("}challenge"):
            return self.sasl_outcome(answer)
        first = base64.b64decode(answer.text or "").decode()
        values = dict(part.split("=", 1) for part in first.split(","))
        assert values["r"].startswith(nonce) and len(values["r"]) > len(nonce)
        rounds = int(values["i"])
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(values["s"]), rounds)
        key = hmac.digest(salted, b"Client Key", "sha256")
        final_nonce = values["r"][:-1] + "~" if wrong_nonce else values["r"]
        unsigned = f"c={base64.b64encode((binding or gs2).encode()).decode()},r={final_nonce}"
        message = f"{bare},{first},{unsigned}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self.respond(f"{unsigned},p={base64.b64encode(proof).decode()}".encode())
        verdict = self.expect_sasl()
        if verdict.tag.endswith("}success"):
            server_key = hmac.digest(salted, b"Server Key", "sha256")
            proven = base64.b64encode(hmac.digest(server_key, message, "sha256")).decode()
            assert base64.b64decode(verdict.text or "").decode() == f"v={proven}"
        return self.sasl_outcome(verdict)

    def expect_sasl(self) -> Element:
        """The next element of SASL, or the stream's error."""
        found = self.next(lambda e: e.tag.startswith(f"{{{ns.SASL}}}") or e.tag == f"{STREAM}error")
        assert found is not None, "the stream ended without a word"
        return found

    def sasl_outcome(self, element: Element | None = None) -> str:
        """ "success", "challenge", a failure's condition, or "stream CONDITION"."""
        element = self.expect_sasl() if element is None else element
        name = element.tag.rpartition("}")[2]
        if name == "error":
            return f"stream {_condition(element)}"
        return _condition(element) if name == "failure" else name

    def log_in(self, user: str, password: str, resource: str = "conformance") -> RawClient:
        """Authentication, a new stream, and a resource. PLAIN where it is offered: those servers' SCRAM is slow."""
        if "PLAIN" in self.mechanisms():
            self.auth("PLAIN", f"\0{user}\0{password}".encode())
            assert self.sasl_outcome() == "success"
        else:
            assert self.scram(user, password) == "success"
        self.open()
        self.bind(resource)
        return self

    def bind(self, resource: str = "") -> Element:
        """Bind a resource, the server's choice when ""; jid is the full JID after it."""
        wanted = f"<resource>{resource}</resource>" if resource else ""
        answer = self.ask("set", f"<bind xmlns='{ns.BIND}'>{wanted}</bind>")
        self.jid = answer.findtext(f"{{{ns.BIND}}}bind/{{{ns.BIND}}}jid", "")
        assert self.jid.partition("/")[2], self.describe(answer)
        return answer

    # Requests.

    def ask(self, type: str, payload: str, to: str = "") -> Element:
        """Send an IQ and wait for its answer."""
        self._ids += 1
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{type}' id='a{self._ids}'{address}>{payload}</iq>")
        identity = f"a{self._ids}"
        answer = self.next(lambda e: e.tag == f"{CLIENT}iq" and e.get("id") == identity)
        assert answer is not None, f"the stream ended: {[self.describe(e) for e in self.elements]}"
        return answer

    def outcome(self, data: str | bytes, *, id: str = "c1", silent: bool = False) -> str:
        """What comes of sending this: "result", "error TYPE CONDITION [APP]" for the stanza with this id, "stream
        CONDITION", "closed", or "nothing". silent: nothing is expected, which an answered ping behind it shows."""
        self.send(data)
        if silent:
            self.send(f"<iq type='get' id='{_AFTER}'><ping xmlns='{ns.PING}'/></iq>")
        found = self.next(
            lambda e: e.tag == f"{STREAM}error" or (e.tag.startswith(CLIENT) and e.get("id") in (id, _AFTER))
        )
        if found is None:
            return "closed"
        if found.tag == f"{STREAM}error":
            return f"stream {_condition(found)}"
        return "nothing" if found.get("id") == _AFTER else stanza_outcome(found)

    def ending(self, deadline: float = DEADLINE) -> str:
        """How the server ends the stream: "stream CONDITION", or "closed" without an error. "waits": it hasn't."""
        with contextlib.suppress(TimeoutError):
            error = self.next(lambda element: element.tag == f"{STREAM}error", deadline)
            return "closed" if error is None else f"stream {_condition(error)}"
        return "waits"

    def read_to_close(self) -> None:
        """Read until the server has closed the connection; fails when it doesn't."""
        end = time.monotonic() + DEADLINE
        while not self.closed:
            self._read(end)


def stanza_outcome(stanza: Element) -> str:
    """ "result" or "error TYPE CONDITION [APP [FEATURE]]"; the kind of stanza if it is neither."""
    if stanza.get("type") != "error":
        return stanza.get("type") or stanza.tag.rpartition("}")[2]
    error = stanza.find(f"{CLIENT}error")
    assert error is not None, RawClient.describe(stanza)
    words = ["error", error.get("type", "-")]
    for child in sorted(error, key=lambda child: not child.tag.startswith(f"{{{ns.STANZA_ERRORS}}}")):
        namespace, _, name = child.tag[1:].partition("}")
        if name != "text" and namespace in (ns.STANZA_ERRORS, ns.PUBSUB_ERRORS):
            words.append(name)
        if "feature" in child.attrib:
            words.append(child.attrib["feature"])
    return " ".join(words)


def _condition(element: Element) -> str:
    return next((name for child in element if (name := child.tag.rpartition("}")[2]) != "text"), "without condition")
