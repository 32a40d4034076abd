"""What known IF-MAP clients sent to a server, sent again byte for byte; answers are read by lxml alone.

A recording is a text file: some words about it, and then

    >>> 2        a request on connection 2: its head (lines end with CRLF on the wire), an empty line, its body
    <<< 2        the answer that came at this point: XPath expressions that must be true of it, or `status N`
    --- 2        the client closed the connection

`session ID` and `publisher ID` in an answer stand for what newSessionResult gave then: in later requests they are
replaced by what it gives now, which is all that is changed (with Content-Length, were it another length). Bodies that
were packed are shown unpacked. docs/map-interop.md says how the clients were run.
"""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from lab.pki import Authority
from tests.scenario.map_process import MapProcess, client
from tests.scenario.raw_map import BASE, META, SOAP, Answer, RawClient, RawConnection, context, envelope

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.txt"))
USERS = ("test", "test2")
PREFIXES = {"s": SOAP, "m": BASE, "meta": META}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[MapProcess]:
    process = MapProcess(tmp_path_factory.mktemp("recorded"), authority, "".join(map(client, USERS)))
    try:
        process.start()
        yield process
        assert process.stop() == 0, process.text()
        assert "Traceback" not in process.text()
    finally:
        process.kill()


def clean(server: MapProcess) -> None:
    """Take away what the recorded clients left."""
    for user in USERS:
        one = RawClient(server.port, context(str(server.credentials.ca)), user)
        one.begin()
        assert (
            "<purgePublisherReceived/>" in one.ask("purgePublisher", "", f' ifmap-publisher-id="{one.publisher}"').text
        )
        one.close()


class Player:
    """Plays one recording to a server."""

    def __init__(self, server: MapProcess) -> None:
        self._server = server
        self._tls = context(str(server.credentials.ca))
        self._connections: dict[str, RawConnection] = {}
        self._ids: dict[bytes, bytes] = {}
        self._asked: dict[str, bytes] = {}
        self.answers = 0

    def play(self, recording: str) -> None:
        """Plays it wholly."""
        _, *blocks = re.split(r"^(>>>|<<<|---) (\d+)\n", recording, flags=re.MULTILINE)
        for what, number, text in zip(*[iter(blocks)] * 3, strict=True):
            if what == ">>>":
                self._send(number, text)
            elif what == "<<<":
                self._check(number, text.splitlines())
            else:
                self._connections.pop(number).close()

    def close(self) -> None:
        """Closes what is open."""
        for connection in self._connections.values():
            connection.close()

    def _send(self, number: str, text: str) -> None:
        head, _, shown = text.partition("\n\n")
        body = shown.removesuffix("\n").encode()
        packed = "\nContent-Encoding: gzip\n" in head
        length = re.search(r"\nContent-Length: (\d+)", head)
        assert packed or (length is not None and int(length[1]) == len(body)), "the recording was changed"
        for old, new in self._ids.items():
            body = body.replace(old, new)
        self._asked[number] = body
        if packed:
            body = gzip.compress(body)
        head = re.sub(r"\nContent-Length: \d+", f"\nContent-Length: {len(body)}", head)
        if number not in self._connections:
            self._connections[number] = RawConnection(self._server.port, self._tls)
        self._connections[number].send(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)

    def _check(self, number: str, expected: list[str]) -> None:
        answer = self._connections[number].answer()
        self.answers += 1
        if expected[0].startswith("status "):
            assert answer.status == int(expected[0].split()[1])
            return
        result = read(answer)
        if result.tag == "newSessionResult":
            asked = b"max-poll-result-size" in self._asked[number]
            assert ("max-poll-result-size" in result.attrib) is asked
        for line in expected:
            word, _, old = line.partition(" ")
            if word == "session":
                self._ids[old.encode()] = result.get("session-id", "").encode()
            elif word == "publisher":
                self._ids[old.encode()] = result.get("ifmap-publisher-id", "").encode()
            else:
                assert result.xpath(f"boolean({line})", namespaces=PREFIXES), f"{line}\n{answer.text}"


def read(answer: Answer) -> etree._Element:
    """The element within `response`, of an answer that is as all answers must be."""
    assert answer.status == 200
    envelope = etree.fromstring(answer.body)
    assert envelope.xpath("count(/s:Envelope/s:Body/m:response/*)", namespaces=PREFIXES) == 1
    inner = "//m:response//*[not(ancestor::metadata)]"
    assert envelope.xpath(f"count({inner}[namespace-uri()])", namespaces=PREFIXES) == 0, "qualified inner elements"
    attributes = "@ifmap-publisher-id and @ifmap-timestamp and @ifmap-cardinality"
    assert envelope.xpath(f"count(//metadata/*[not({attributes})])") == 0, "metadata without its attributes"
    assert envelope.xpath("count(//metadata[not(*)])") == 0
    return envelope[0][0][0]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recording(server: MapProcess, recording: Path) -> None:
    text = recording.read_text()
    player = Player(server)
    try:
        player.play(text)
    finally:
        player.close()
    # A client may go while its poll waits.
    assert 0 <= len(re.findall("^>>> ", text, re.MULTILINE)) - player.answers <= 1, "an answer that nobody looked at"
    clean(server)


def test_what_real_clients_leave_outlives_the_server(server: MapProcess) -> None:
    player = Player(server)
    recording = next(path for path in RECORDINGS if path.stem == "ifmapcli-subscribe").read_text()
    try:
        player.play(recording[: recording.index("--- 1\n")])
    finally:
        player.close()
    assert server.stop() == 0
    server.start()
    with_link = RawClient(server.port, context(str(server.credentials.ca)), "test")
    with_link.begin()
    answer = with_link.search('<ip-address value="192.0.2.7"/>', ' max-depth="1"')
    with_link.close()
    found = read(answer).xpath("resultItem[mac-address]/metadata/meta:ip-mac/dhcp-server/text()", namespaces=PREFIXES)
    assert found == ["ip-mac-cli"]
    clean(server)


def test_an_answer_comes_in_one_tls_record(server: MapProcess) -> None:
    # strongSwan reads once, and takes what it gets for the whole answer.
    one = RawClient(server.port, context(str(server.credentials.ca)), "test")
    one.ssrc.post("test", envelope("<m:newSession/>"))
    assert one.ssrc.read(1 << 16).endswith(b"</s:Envelope>\n")
    one.close()


def test_the_first_request_of_a_connection_waits_for_nothing(server: MapProcess) -> None:
    # These clients don't set TCP_NODELAY, and some open a connection for each request: the kernel sends it when the end
    # of the handshake is acknowledged, by itself after 40 ms.
    took = []
    for _ in range(6):
        with RawConnection(server.port, context(str(server.credentials.ca))) as connection:
            began = time.monotonic()
            connection.send(b"GET /health HTTP/1.1\r\n\r\n")
            connection.answer()
            took.append(time.monotonic() - began)
    assert min(took) < 0.03, took
