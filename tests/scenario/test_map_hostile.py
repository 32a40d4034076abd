"""What is meant to hurt the server: it costs the one who sends it, and a client beside it feels nothing."""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from tests.scenario.conftest import MakeClient, MakeMap
from tests.scenario.daemon_process import wait_for
from tests.scenario.map_process import MapProcess, client
from tests.scenario.raw_map import BASE, SOAP, RawClient, basic, device, envelope, multi, single, update

PATIENCE = 2.0
"""Seconds that nothing may take that a healthy client asks; on a busy machine, too."""


class Beside:
    """A healthy client that publishes all the time and measures how long that takes."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        self.slowest = 0.0
        self.count = 0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            began = time.monotonic()
            answer = self.raw.publish(update(device("beside"), single(str(self.count))))
            self.slowest = max(self.slowest, time.monotonic() - began)
            if "<publishReceived/>" not in answer.text:
                self.wrong.append(answer.text)
            self.count += 1


@pytest.fixture
def beside(shared_map: MapProcess, map_client: MakeClient) -> Iterator[Beside]:
    """It must have felt nothing."""
    with Beside(map_client(shared_map)) as healthy:
        yield healthy
    assert healthy.wrong == []
    assert healthy.count > 0
    assert healthy.slowest < PATIENCE


LAUGHS = "".join(f"<!ENTITY l{n} '" + f"&l{n - 1};" * 10 + "'>" for n in range(1, 12))
HOSTILE = {
    "external entity": envelope("<m:newSession>&e;</m:newSession>").replace(
        b"<s:Envelope", b'<!DOCTYPE s [<!ENTITY e SYSTEM "file:///etc/passwd">]><s:Envelope'
    ),
    "billion laughs": envelope("<m:newSession>&l11;</m:newSession>").replace(
        b"<s:Envelope", f'<!DOCTYPE s [<!ENTITY l0 "ha">{LAUGHS}]><s:Envelope'.encode()
    ),
    "doctype": envelope("<m:newSession/>").replace(b"<s:Envelope", b"<!DOCTYPE s><s:Envelope"),
    "external DTD": envelope("<m:newSession/>").replace(
        b"<s:Envelope", b'<!DOCTYPE s SYSTEM "http://127.0.0.1:1/x.dtd"><s:Envelope'
    ),
    "undefined entity": envelope("<m:newSession>&nope;</m:newSession>"),
    "10 MB attribute": envelope(f'<m:newSession max-poll-result-size="{"9" * 10_000_000}"/>'),
    "10 MB of attributes": envelope("<m:newSession " + " ".join(f'a{n}="{n}"' for n in range(500_000)) + "/>"),
    "deep nesting": envelope("<m:publish>" + "<a>" * 100_000 + "</a>" * 100_000 + "</m:publish>"),
    "never closed": envelope("<a>" * 200_000),
    "many elements": envelope("<m:publish>" + "<a/>" * 1_000_000 + "</m:publish>"),
    "many namespaces": envelope("<m:newSession/>", "".join(f' xmlns:n{n}="urn:{n}"' for n in range(50_000))),
    "wrong base namespace": envelope("<m:newSession/>").replace(BASE.encode(), b"http://example.net/IFMAP/2"),
    "IF-MAP 1": envelope("<m:newSession/>").replace(
        BASE.encode(), b"http://www.trustedcomputinggroup.org/2006/IFMAP/1"
    ),
    "SOAP 1.1": envelope("<m:newSession/>").replace(SOAP.encode(), b"http://schemas.xmlsoap.org/soap/envelope/"),
    "not UTF-8": envelope("<m:newSession/>").replace(b"<m:newSession/>", b"<m:newSession/>\xff\xfe\xfa"),
    "NUL": envelope("<m:newSession/>").replace(b"<m:newSession/>", b"<m:new\0Session/>"),
    "declares what it isn't": envelope("<m:newSession/>").replace(b"UTF-8", b"UTF-16"),
    "unknown encoding": envelope("<m:newSession/>").replace(b"UTF-8", b"EBCDIC-CP-US"),
    "two roots": envelope("<m:newSession/>") + envelope("<m:newSession/>"),
    "two operations": envelope("<m:newSession/><m:newSession/>"),
    "processing instruction": envelope('<?php echo "x"?>'),
    "a million spaces": b" " * 1_000_000,
    "random bytes": bytes(range(256)) * 4000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xml(shared_map: MapProcess, map_client: MakeClient, beside: Beside, name: str) -> None:
    raw = map_client(shared_map, begin=False)
    before = beside.count
    raw.ssrc.post(raw.user, HOSTILE[name])
    answer = raw.ssrc.answer()
    assert (answer.status, answer.error) == (200, "Failure"), answer.text[:500]
    assert len(answer.body) < 2000, "what is hostile isn't repeated"
    assert b"root:" not in answer.body
    # The connection is as good as before.
    assert raw.begin().error == ""
    wait_for(lambda: beside.count > before + 3, "the client beside")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_read(shared_map: MapProcess, map_client: MakeClient, encoding: str) -> None:
    raw = map_client(shared_map)
    text = envelope(raw.operation("publish", update(device("größe"), single("weiß")))).decode()
    mark = "" if encoding == "utf-16" else "\ufeff"
    raw.ssrc.post(raw.user, (mark + text.replace("UTF-8", "UTF-16")).encode(encoding))
    assert "<publishReceived/>" in raw.ssrc.answer().text
    found = raw.search(device("größe")).text
    assert "weiß" in found and 'encoding="UTF-8"' in found


def test_content_that_could_break_out(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map)
    here = device("a &lt;b&gt; &amp; &quot;c&quot; ]]&gt;")
    nasty = '<x:event ifmap-cardinality="multiValue" k="&lt;&quot;&#10;"><![CDATA[</metadata>]]>&lt;!--&#13;</x:event>'
    assert raw.publish(update(here, nasty)).error == ""
    answer = ElementTree.fromstring(raw.search(here).body)
    (item,) = answer.iter("resultItem")
    (event,) = item.iter("{urn:example:x}event")
    assert (event.text, event.get("k")) == ("</metadata><!--\r", '<"\n')


def test_a_search_that_would_cost_too_much(shared_map: MapProcess, map_client: MakeClient, beside: Beside) -> None:
    raw = map_client(shared_map)
    here = device("dear")
    raw.publish(update(here, multi("<a/>" * 2000)))
    dear = "x:event[" + "count(//a[count(//a)&gt;0])&gt;0 and " * 10 + "1]"
    found = raw.search(here, f' result-filter="{dear}"')
    assert (found.error, "<metadata" in found.text) == ("", False), "a filter that costs too much isn't true"
    assert raw.search(here, f' result-filter="{"x:a or " * 200_000}x:a"').error == "Failure"


def test_a_large_publish_does_not_hold_others(shared_map: MapProcess, map_client: MakeClient, beside: Beside) -> None:
    """10 MB that are in order."""
    raw = map_client(shared_map)
    hub = device("bulk")
    content = "".join(update(hub + device(f"bulk-{number}"), single("x" * 400)) for number in range(18_000))
    assert 9_000_000 < len(content) < 12_000_000
    before = beside.count
    assert "<publishReceived/>" in raw.publish(content).text
    wait_for(lambda: beside.count > before + 3, "the client beside")
    raw.subscribe("all", hub, ' max-depth="1" max-size="100000000"')
    assert "PollResultsTooBig" in raw.poll().text


# -- HTTP


def test_a_bomb(shared_map: MapProcess, map_client: MakeClient, beside: Beside) -> None:
    raw = map_client(shared_map, begin=False)
    bomb = gzip.compress(bytes(200_000_000), 9)
    assert len(bomb) < 250_000
    raw.ssrc.post(raw.user, bomb, "Content-Encoding: gzip")
    assert raw.ssrc.answer().status == 413
    assert raw.begin().error == ""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\0\1\2\3", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 70000000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nCookie: " + b"x" * 100_000, 431),
        (b"DELETE / HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 401),
        (b"POST / HTTP/1.1\r\nAuthorization: Basic\r\nContent-Length: 0\r\n\r\n", 401),
        (b"POST / HTTP/1.1\r\nAuthorization: Digest x\r\nContent-Length: 0\r\n\r\n", 401),
    ],
)
def test_http_of_others(shared_map: MapProcess, map_client: MakeClient, request_: bytes, status: int) -> None:
    raw = map_client(shared_map, begin=False)
    raw.ssrc.send(request_)
    answer = raw.ssrc.answer()
    assert answer.status == status
    if status == 401:
        assert b'\r\nWWW-Authenticate: Basic realm="' in answer.head
        assert raw.begin().error == "", "the connection is kept"
    elif status == 413:
        assert raw.ssrc.ended()


def test_slow_ones(make_map: MakeMap, map_client: MakeClient) -> None:
    """Connections that say little, or nothing, and say that slowly, don't keep others out."""
    server = make_map(settings="login_time = 0.5\nmax_logins = 8")
    healthy = map_client(server, "c0")
    late = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    heads = {b"": 0, b"P": 408, b"POST / HTTP/1.1\r\nHost: x\r\n": 408, late: 401}
    slow = [(map_client(server, "c0", begin=False), head) for head in [*heads, *heads]]
    for raw, head in slow:
        raw.ssrc.send(head)
    with pytest.raises(OSError):
        map_client(server, "c0", begin=False)
    assert healthy.ask("renewSession").error == ""
    for raw, head in slow:
        if heads[head]:
            assert raw.ssrc.answer().status == heads[head]
        else:
            assert raw.ssrc.ended()
        raw.close()
    wait_for(lambda: server.ask("status")["connections"] <= 1, "the end of the slow ones")
    assert map_client(server, "c0").session
    server.wait_log("127.0.0.1", "is too slow (head)")
    server.wait_log("127.0.0.1", "max_logins")


def test_guessing(make_map: MakeMap, map_client: MakeClient, beside: Beside) -> None:
    server = make_map(client("c0") + client("c1"))
    known = map_client(server, "c0")
    raw = map_client(server, "c1", begin=False)
    for number in range(3):
        raw.ssrc.send(f"POST / HTTP/1.1\r\n{basic('c1', f'guess-{number}')}\r\nContent-Length: 0\r\n\r\n".encode())
        answer = raw.ssrc.answer()
        assert answer.status == 401
        assert b"wrong user or password" in answer.body
    assert raw.begin().error == "", "after some slips one still gets in"
    assert known.ask("renewSession").error == ""
    log = server.text()
    assert "wrong user or password from 127.0.0.1" in log
    assert "guess-" not in log and not re.search("Basic [A-Za-z0-9+/]{8}", log)
