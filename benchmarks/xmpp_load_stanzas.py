"""What the hosts of the load generator send, as bytes made beforehand; names, addresses and routes by number."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from vpn.path import Encapsulation, NextHop, Path
from vpn.prefix import Prefix, format_address, parse_address
from xmpp import namespaces as ns
from xmpp.entry import Entry, encode

_PREFIX, _SEQUENCE = "10.255.255.254/32", 4_000_000_001
LABELS = 1_000_000
"""A route's label is of its number, so that routes of a host don't look alike."""


def host_name(number: int) -> str:
    """Of a host; all of one length."""
    return f"h{number:05d}"


def source_address(number: int) -> str:
    """Where a host connects from, which is its underlay address too: one of 127.16.0.0/12 each."""
    return f"127.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def host_number(address: str) -> int:
    """The contrary of source_address()."""
    return int.from_bytes(map(int, address.split("."))) - int.from_bytes((127, 16, 0, 0))


def prefix_text(number: int) -> bytes:
    """The route of that number: a /32 of 10.0.0.0/8."""
    return b"10.%d.%d.%d/32" % (number >> 16 & 255, number >> 8 & 255, number & 255)


def header(domain: str) -> bytes:
    """The beginning of a stream."""
    return f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' to='{domain}' version='1.0'>".encode()


def authentication(mechanism: str, name: str, password: str) -> bytes:
    """SASL in one step: EXTERNAL, PLAIN or ANONYMOUS."""
    initial = "="
    if mechanism == "PLAIN":
        initial = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    return f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{initial}</auth>".encode()


def bind(resource: str) -> bytes:
    """Resource binding."""
    return f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'><resource>{resource}</resource></bind></iq>".encode()


def ping(service: str, identifier: str) -> bytes:
    """XEP-0199."""
    return f"<iq type='get' to='{service}' id='{identifier}'><ping xmlns='{ns.PING}'/></iq>".encode()


def presence(service: str) -> bytes:
    """Directed presence (RFC 6121, section 4.6)."""
    return f"<presence to='{service}' id='q'/>".encode()


def subscribe(service: str, node: str, jid: str) -> bytes:
    """XEP-0060, section 6.1."""
    inner = f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{node}' jid='{jid}'/></pubsub>"
    return f"<iq type='set' to='{service}' id='s'>{inner}</iq>".encode()


@dataclass(frozen=True, slots=True)
class Template:
    """Publish requests of one host. Bytes with places for what differs."""

    service: str
    item: bytes

    @classmethod
    def of(cls, service: str, address: str) -> Template:
        """address: the host's, its next hop. An item is an entry as an agent makes it, its id in the draft's form."""
        hop = NextHop(parse_address(address), LABELS, (Encapsulation.GRE, Encapsulation.UDP))
        path = Path((hop,), 100, _SEQUENCE)
        entry = encode(Entry(Prefix.parse(_PREFIX), path)).replace(b"%", b"%%")
        entry = entry.replace(_PREFIX.encode(), b"%(prefix)b").replace(b"%d" % _SEQUENCE, b"%(version)d")
        entry = entry.replace(b">%d<" % LABELS, b">%(label)d<")
        identifier = f"{format_address(parse_address(address))}:1:".encode()
        return cls(service, b"<item id='%b%%(prefix)b'>%b</item>" % (identifier, entry))

    def publish(self, node: str, numbers: list[int], version: int, identifier: str) -> bytes:
        """Publish routes by number. version: of their content; what was published with another one has changed."""
        items = b"".join(
            self.item % {b"prefix": prefix_text(n), b"version": version, b"label": 16 + (n * 7 + version) % LABELS}
            for n in numbers
        )
        head = f"<iq type='set' to='{self.service}' id='{identifier}'><pubsub xmlns='{ns.PUBSUB}'>".encode()
        return b"%b<publish node='%b'>%b</publish></pubsub></iq>" % (head, node.encode(), items)
