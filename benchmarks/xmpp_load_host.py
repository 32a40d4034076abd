"""One host of the load generator: connects, logs in, carries out its plan, and counts what it is sent.

Plaintext isn't parsed as XML, but searched for the few marks that matter: a host must cost less than the server spends
on it. TLS is taken off record by record from memory, so that one system call reads many records.
"""

from __future__ import annotations

import contextlib
import errno
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.reconnect import Reconnect
from benchmarks import xmpp_load_stanzas as stanzas
from xmpp import namespaces as ns

if TYPE_CHECKING:
    from benchmarks.xmpp_load import Load

READ = 256 * 1024
RECORD = 16 * 1024
"""Plaintext of a TLS record, at most (RFC 8446, section 5.1)."""
CLOSING = b">"[0]
RESOURCE = "vrfwire"
_IP_BIND_ADDRESS_NO_PORT = 24
_ITEM = ns.ENTRY.encode()
"""Occurs once in each item of an event, and in no answer. The longer the mark, the faster it is found."""
_PING = ns.PING.encode()
_ENDS = 400
"""Where a ping or the end is looked for in what was read at once, bytes from either end: who is sent much isn't asked
whether it is there."""
_RESULTS = (b"type='result'", b'type="result"')
_ERRORS = (b"type='error'", b'type="error"')


_IQ = re.compile(rb"<iq(\s[^>]*)>")
_GET, _ID = re.compile(rb"\stype=['\"]get['\"]"), re.compile(rb"\sid=['\"]([^'\"]*)['\"]")
_FROM = re.compile(rb"\sfrom=['\"]([^'\"]*)['\"]")
_STREAM_END = b"</stream:stream>"
_CONDITION = re.compile(rb"<([a-z-]+) xmlns=['\"]urn:ietf:params:xml:ns:xmpp-streams['\"]")


class StreamEnded(Exception):
    """The server has ended the stream. condition: of its stream error, "" for none (RFC 6120, section 4.9.3)."""

    def __init__(self, text: bytes) -> None:
        found = _CONDITION.search(text)
        self.condition = found[1].decode() if found is not None else ""
        super().__init__(self.condition or "without an error")


class LoginError(Exception):
    """A host isn't let in, or not given what it asks for."""


class Host:
    """One host. number: of its name, address and routes. nodes: VPNs of its plan; routes: numbers of those that it
    publishes in each; expected: items that it has when it has everything."""

    __slots__ = (
        *("_connecting", "_incoming", "_life", "_load", "_mark", "_outgoing", "_ready", "_seen", "_socket", "_tail"),
        *("_template", "_tls", "_unsent", "answers", "expected", "items", "jid", "nodes", "number", "owed"),
        *("reconnect", "routes", "since", "up", "version", "whole_since"),
    )

    def __init__(self, load: Load, number: int) -> None:
        self.number = number
        self.up = False
        self.nodes: list[str] = []
        self.routes: list[list[int]] = []
        self.expected = 0
        self.items = 0
        """Items received in this session."""
        self.whole_since = 0.0
        """When it had everything of its plan in this session; 0: not yet."""
        self.answers = 0
        self.owed = 0
        """Answers to requests."""
        self.version = 0
        self.since = 0.0
        """When its session began."""
        self.jid = ""
        settings = load.settings
        self.reconnect = Reconnect(settings.reconnect_min, settings.reconnect_max, settings.reconnect_spread)
        self._load = load
        self._template: stanzas.Template | None = None
        self._reset()

    def _reset(self) -> None:
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ready = False
        self._connecting = False
        self._unsent = b""
        self._tail = b""
        self._seen = bytearray()
        self._mark: tuple[bytes, ...] = ()
        self._life: Iterator[tuple[bytes, ...]] | None = None

    @property
    def template(self) -> stanzas.Template:
        """Of its publish requests."""
        if self._template is None:
            settings = self._load.settings
            self._template = stanzas.Template.of(settings.service, stanzas.source_address(self.number))
        return self._template

    # -- connection

    def connect(self) -> None:
        """Begin. Raises OSError."""
        settings = self._load.settings
        self._reset()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        if settings.receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer)
        self._socket.bind((stanzas.source_address(self.number), 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._socket.connect_ex((settings.address, settings.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "can't connect")
        self._connecting = True
        self._load.watch(self, self._socket.fileno(), select.EPOLLOUT)

    def close(self) -> None:
        """Without a word. Its life may begin again."""
        self.up = False
        self.items = self.answers = self.owed = 0
        self.whole_since = 0.0
        if self._socket is not None:
            self._load.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._tls = None

    def handle(self, events: int) -> None:
        """The socket is ready. Raises OSError, LoginError, StreamEnded."""
        if self._connecting:
            assert self._socket is not None
            if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, "can't connect")
            self._connecting = False
            self._load.modify(self._socket.fileno(), select.EPOLLIN)
            if self._load.settings.tls:
                self._tls = self._load.tls_of(self.number, self._incoming, self._outgoing)
                self._shake()
            else:
                self._begin()
            return
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT:
            self._read()

    def _shake(self) -> None:
        assert self._tls is not None
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self._ready = True
        self._flush()
        if self._ready:
            self._begin()

    def send(self, data: bytes) -> None:
        """Send, or keep until the socket takes it. Raises OSError."""
        if self._tls is not None:
            self._tls.write(data)
        else:
            self._unsent += data
        self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        waited = bool(self._unsent)
        if self._tls is not None and self._outgoing.pending:
            self._unsent += self._outgoing.read()
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if self._unsent or waited:
            events = select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0)
            self._load.modify(self._socket.fileno(), events)

    def _read(self) -> None:
        assert self._socket is not None
        load, kept = self._load, len(self._tail)
        into = load.cipher_view if self._tls is not None else load.text_view[kept : kept + READ]
        try:
            size = self._socket.recv_into(into)
        except BlockingIOError:
            return
        if not size:
            raise ConnectionResetError("the server ended the connection")
        load.counts.wire += size
        if self._tls is None:
            self._take(size)
            return
        self._incoming.write(into[:size])
        if not self._ready:
            self._shake()
        if self._ready:
            self._decrypt()

    def _decrypt(self) -> None:
        tls, text, incoming = self._tls, self._load.text_view, self._incoming
        kept = size = len(self._tail)
        while tls is not None and incoming.pending:
            try:
                got = tls.read(RECORD, text[size:])
            except ssl.SSLWantReadError:
                break
            if not got:
                raise ConnectionResetError("the server ended TLS")
            size += int(got)
        if size > kept:
            self._take(size - kept)

    def _take(self, got: int) -> None:
        """Plaintext: what was kept goes before what was got, in the text that all hosts share."""
        load, tail = self._load, self._tail
        text = load.text
        size = len(tail) + got
        text[: len(tail)] = tail
        if not self.up:
            self._progress(bytes(text[:size]))
            return
        end = size if text[size - 1] == CLOSING else max(text.rfind(b"<", 0, size), 0)
        self._tail = bytes(text[end:size]) if end < size else b""
        if not end:
            return
        counts = load.counts
        counts.plain += got
        if items := text.count(_ITEM, 0, end):
            counts.items += items
            self.items += items
            counts.last = time.monotonic()
            if self.expected and not self.whole_since and self.items >= self.expected:
                self.whole_since = counts.last
                counts.whole += 1
            if load.latencies is not None:
                load.latencies.note(bytes(text[:end]), counts.last)
        if self.owed:
            self._count_answers(bytes(text[:end]))
        if text.find(_STREAM_END, max(0, end - _ENDS), end) >= 0:
            raise StreamEnded(bytes(text[max(0, end - _ENDS) : end]))
        if text.find(_PING, 0, min(end, _ENDS)) >= 0 or text.find(_PING, max(0, end - _ENDS), end) >= 0:
            self._answer_ping(bytes(text[:end]))

    def _count_answers(self, text: bytes) -> None:
        results, errors = (sum(map(text.count, marks)) for marks in (_RESULTS, _ERRORS))
        if errors:
            self._load.counts.errors += errors
            self._load.fail(f"{stanzas.host_name(self.number)}: {text[-600:]!r}")
        self.answers += results + errors
        self.owed = max(0, self.owed - results - errors)
        if not self.owed and self._life is not None:
            self._advance()
        self._load.answered(self)

    def _answer_ping(self, text: bytes) -> None:
        for attributes in _IQ.findall(text):
            if _GET.search(attributes) and (identifier := _ID.search(attributes)):
                # Of the server, or of a component of it, which sends no more than a window until it is answered.
                sender = _FROM.search(attributes)
                to = sender[1] if sender else self._load.settings.domain.encode()
                self.send(b"<iq type='result' to='%b' id='%b'/>" % (to, identifier[1]))

    # -- what it does, from the login on

    def _begin(self) -> None:
        self._life = self._login()
        self._advance()

    def _advance(self) -> None:
        assert self._life is not None
        self._mark = next(self._life, ())
        if not self._mark:
            self._life = None

    def _progress(self, data: bytes) -> None:
        self._seen += data
        seen = bytes(self._seen)
        for wrong in (b"<stream:error", b"<failure", *_ERRORS):
            if wrong in seen:
                raise LoginError(f"{stanzas.host_name(self.number)}: {seen[-300:]!r}")
        if any(mark in seen for mark in self._mark):
            self._advance()

    def _login(self) -> Iterator[tuple[bytes, ...]]:
        """Yields the marks of which one is waited for; () waits for the answers owed."""
        settings, features = self._load.settings, (b"</stream:features>",)
        opening = stanzas.header(settings.domain)
        name = stanzas.host_name(self.number)
        for step, marks in (
            (opening, features),
            (stanzas.authentication(settings.mechanism, name, settings.password), (b"<success",)),
            (opening, features),
            (stanzas.bind(RESOURCE), (b"</iq>",)),
        ):
            self._seen.clear()
            self.send(step)
            yield marks
        jid = bytes(self._seen).partition(b"<jid>")[2].partition(b"</jid>")[0].decode()
        self.jid = jid or f"{name}@{settings.domain}/{RESOURCE}"
        if settings.presence:
            self._seen.clear()
            self.send(stanzas.presence(settings.service))
            yield (b"<presence",)
        self._seen.clear()
        self.up = True
        self.since = time.monotonic()
        self._load.logged_in(self)
        yield from self._carry_out()

    def _carry_out(self) -> Iterator[tuple[bytes, ...]]:
        """The plan, as an agent does at the beginning of a session: subscribe, publish, ask when that was all."""
        service = self._load.settings.service
        if self.nodes:
            self.owed += len(self.nodes)
            self.send(b"".join(stanzas.subscribe(service, node, self.jid) for node in self.nodes))
            yield _RESULTS
        if any(self.routes):
            self.owed += sum(map(bool, self.routes))
            requests = [
                self.template.publish(node, numbers, self.version, f"r{place}")
                for place, (node, numbers) in enumerate(zip(self.nodes, self.routes, strict=True))
                if numbers
            ]
            self.send(b"".join(requests))
            yield _RESULTS
        self._load.settled(self)

    def carry_out(self) -> None:
        """The plan, in a session that is there."""
        self._life = self._carry_out()
        self._advance()

    def ask(self, request: bytes, answers: int = 1) -> None:
        """Send a request, of whose answers count is kept."""
        self.owed += answers
        self.send(request)
