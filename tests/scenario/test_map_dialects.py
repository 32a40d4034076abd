"""Bytes as known IF-MAP clients send them. Written for these tests after descriptions of the clients' behaviour."""

from __future__ import annotations

import gzip
import re

from tests.scenario.conftest import MakeClient, MakeMap
from tests.scenario.map_process import MapProcess, client
from tests.scenario.raw_map import BASE, META, SOAP, RawConnection, basic

CONTRAIL = "http://www.contrailsystems.com/vnc_cfg.xsd"


# -- OpenContrail: HTTP by hand, no Host, one namespace, names joined by colons, the next poll early


class Contrail:
    """The C++ control node: finds what it wants in the bytes, and understands nothing but Content-Length."""

    def __init__(self, connection: RawConnection, user: str) -> None:
        self.connection = connection
        self.user = user
        self.session = ""

    def send(self, action: str, operation: str, host: bool = False) -> None:
        """A request."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" '
            f'xmlns:ifmap="{BASE}" xmlns:contrail="{CONTRAIL}" xmlns:meta="{META}"> <env:Body> {operation} </env:Body> '
            "</env:Envelope>"
        )
        lines = ["POST / HTTP/1.1", *(["Host: 127.0.0.1:8443"] if host else []), basic(self.user)]
        lines += ['Content-Type: text/xml; charset="UTF-8"', f"Content-Length: {len(body)}", f"SOAPAction: {action}"]
        self.connection.send(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def receive(self) -> str:
        """The body of an answer: `Content-Length: ` to the letter, then the declaration."""
        head = self.connection.until(b"\r\n\r\n")
        assert b"200 OK" in head
        length = int(head[head.index(b"Content-Length: ") + len(b"Content-Length: ") :].split(b"\r\n")[0])
        body = self.connection.exactly(length).decode()
        assert "<?xml version=" in body
        return body


def test_contrail(make_map: MakeMap, map_client: MakeClient) -> None:
    server = make_map(client("api") + client("control"), 'identifiers = "opaque"')
    tls = map_client(server, "api", begin=False).tls
    identity = '<identity name="contrail:{}" type="other" other-type-definition="extended"/>'
    root = identity.format("config-root:root")

    with (
        RawConnection(server.port, tls) as one,
        RawConnection(server.port, tls) as two,
        RawConnection(server.port, tls) as three,
    ):
        control, arc, api = Contrail(one, "control"), Contrail(two, "control"), Contrail(three, "api")
        control.send("newSession", "<ifmap:newSession/>", host=True)
        body = control.receive()
        control.session = body[body.index('session-id="') + len('session-id="') :].split('"')[0]
        assert 'ifmap-publisher-id="' in body
        control.send(
            "subscribe",
            f'<ifmap:subscribe session-id="{control.session}"> <update name="root" max-depth="255"> {root} </update> '
            "</ifmap:subscribe>",
        )
        assert "subscribeReceived" in control.receive()
        poll = f'<ifmap:poll session-id="{control.session}"/>'
        arc.send("poll", poll)
        first = arc.receive()
        assert "searchResult" in first and "errorResult" not in first and "endSessionResult" not in first
        arc.send("poll", poll)

        api.send("newSession", "<ifmap:newSession/>", host=True)
        session = re.search('session-id="([^"]*)"', api.receive())
        assert session is not None
        network = identity.format("virtual-network:default-domain:demo:blue &amp; &lt;green&gt;")
        target = identity.format("route-target:target:64512:8000001")
        link = '<contrail:config-root-virtual-network ifmap-cardinality="singleValue"/>'
        child = '<contrail:instance-target ifmap-cardinality="singleValue"><import-export/></contrail:instance-target>'
        api.send(
            "publish",
            f'<ifmap:publish session-id="{session[1]}">'
            f'<update lifetime="forever">{root}{network}<metadata>{link}</metadata></update>'
            f'<update lifetime="forever">{network}{target}<metadata>{child}</metadata></update></ifmap:publish>',
        )
        assert "publishReceived" in api.receive()
        # The next poll leaves before the answer to the former one has been read to its end.
        head = arc.connection.until(b"\r\n\r\n")
        arc.send("poll", poll)
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        told = arc.connection.exactly(int(length[1])).decode()
        assert "updateResult" in told
        assert "blue &amp; &lt;green&gt;" in told
        assert told.count("<resultItem>") == 2
        api.send(
            "publish",
            f'<ifmap:publish session-id="{session[1]}"><delete filter="contrail:instance-target">{network}{target}'
            "</delete></ifmap:publish>",
        )
        assert "publishReceived" in api.receive()
        assert "deleteResult" in arc.receive()


def test_contrail_with_a_wrong_password(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map, begin=False)
    raw.ssrc.send(f"POST / HTTP/1.1\r\n{basic(raw.user, 'no')}\r\nContent-Length: 0\r\n\r\n".encode())
    assert b"401 Unauthorized" in raw.ssrc.answer().head


# -- the Infoblox/ITI client: Python's urllib, a connection for each request


def test_iti(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map, begin=False)

    def ask(action: str, operation: str) -> str:
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<env:Envelope xmlns:env="{SOAP}" xmlns:ifmap="{BASE}"'
            f' xmlns:meta="{META}">\n  <env:Body>\n    {operation}\n  </env:Body>\n</env:Envelope>\n'
        )
        with RawConnection(shared_map.port, raw.tls) as connection:
            lines = [
                "POST / HTTP/1.1",
                "Accept-Encoding: identity",
                f"Content-Length: {len(body)}",
                "Host: 127.0.0.1:8443",
                "User-Agent: Python-urllib/2.7",
                "Connection: close",
                'Content-type: text/xml; charset="UTF-8"',
                f'SOAPAction: "{action}"',
                basic(raw.user),
            ]
            connection.send(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            answer = connection.answer()
            assert answer.status == 200
            assert b"\r\nConnection: close\r\n" in answer.head
            assert connection.ended()
            return answer.text

    found = re.search('session-id="([^"]*)"', ask("newSession", "<ifmap:newSession/>"))
    assert found is not None
    session = found[1]
    address = '<ip-address value="192.0.2.77" type="IPv4"/>'
    mac = '<mac-address value="02:00:5e:00:00:77"/>'
    link = '<meta:ip-mac ifmap-cardinality="multiValue"></meta:ip-mac>'
    assert "publishReceived" in ask(
        "publish",
        f'<ifmap:publish session-id="{session}"><update>{address}{mac}<metadata>{link}</metadata></update>'
        "</ifmap:publish>",
    )
    assert mac[:-2] in ask(
        "search",
        f'<ifmap:search session-id="{session}" match-links="meta:ip-mac" max-depth="1">{address}</ifmap:search>',
    )
    assert "renewSessionResult" in ask("renewSession", f'<ifmap:renewSession session-id="{session}"/>')
    assert "subscribeReceived" in ask(
        "subscribe",
        f'<ifmap:subscribe session-id="{session}"><update name="s" max-depth="1">{address}</update></ifmap:subscribe>',
    )
    assert "searchResult" in ask("poll", f'<ifmap:poll session-id="{session}"/>')
    assert "endSessionResult" in ask("endSession", f'<ifmap:endSession session-id="{session}"/>')


# -- ifmapj: application/soap+xml, gzip both ways, asks for a poll size and insists on its echo


def test_ifmapj(shared_map: MapProcess, map_client: MakeClient) -> None:
    raw = map_client(shared_map, begin=False)

    def ask(connection: RawConnection, operation: str) -> str:
        body = gzip.compress(
            f'<?xml version="1.0" encoding="UTF-8" standalone="no"?><ns0:Envelope xmlns:ns0="{SOAP}"><ns0:Body>'
            f"{operation}</ns0:Body></ns0:Envelope>".encode()
        )
        lines = [
            "POST / HTTP/1.1",
            basic(raw.user),
            "Content-Encoding: gzip",
            "Accept-Encoding: gzip",
            "Content-Type: application/soap+xml",
            "Transfer-Encoding: chunked",
            "Host: localhost:8443",
            "Connection: Keep-Alive",
            "User-Agent: Apache-HttpCore/4.3 (Java 1.5)",
            "Expect: 100-continue",
        ]
        connection.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert connection.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        middle = len(body) // 2
        for part in (body[:middle], body[middle:], b""):
            connection.send(b"%x\r\n%s\r\n" % (len(part), part))
        answer = connection.answer()
        assert answer.status == 200
        packed = b"Content-Encoding: gzip" in answer.head
        return (gzip.decompress(answer.body) if packed else answer.body).decode()

    made = ask(raw.ssrc, f'<ns1:newSession xmlns:ns1="{BASE}" max-poll-result-size="7000000"/>')
    assert 'max-poll-result-size="7000000"' in made
    found = re.search('session-id="([^"]*)"', made)
    assert found is not None
    session = f'xmlns:ns1="{BASE}" session-id="{found[1]}"'
    device = "<device><name>ifmapj</name></device>"
    metadata = '<meta:capability ifmap-cardinality="multiValue"><name>{}</name></meta:capability>'
    many = "".join(metadata.format("c" * 50 + str(number)) for number in range(100))
    assert "publishReceived" in ask(
        raw.ssrc,
        f'<ns1:publish {session}><update xmlns:meta="{META}" lifetime="session">{device}<metadata>{many}</metadata>'
        "</update></ns1:publish>",
    )
    assert "subscribeReceived" in ask(
        raw.ssrc,
        f'<ns1:subscribe {session}><update name="sub" max-depth="3" xmlns:meta="{META}" result-filter="meta:capability"'
        f' match-links="meta:ip-mac">{device}</update></ns1:subscribe>',
    )
    result = ask(raw.arc, f"<ns1:poll {session}/>")
    assert '<searchResult name="sub">' in result
    assert result.count("<meta:capability") == 100
    purge = re.search('ifmap-publisher-id="([^"]*)"', made)
    assert purge is not None
    assert "purgePublisherReceived" in ask(raw.ssrc, f'<ns1:purgePublisher {session} ifmap-publisher-id="{purge[1]}"/>')
    assert "deleteResult" in ask(raw.arc, f"<ns1:poll {session}/>")
    assert "endSessionResult" in ask(raw.ssrc, f"<ns1:endSession {session}/>")
