"""Makes the captures of tests/differential/captures anew: what the BGP daemons of Debian send, byte by byte.

    python -m tests.differential.capture [NAME...]          as root; names: frr bird gobgp openbgpd exabgp

A daemon reflects between two sessions made of sockets. The source says routes with attributes of all kinds, the sink
writes down everything that the daemon sends to it: its OPEN, its own routes, how it puts those of the source into
bytes, withdrawals, the answer to a request for a refresh, and why it ends the session.
tests/differential/test_captures.py holds them against our codec and against tshark.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bgp.as_path import Segment, SegmentKind
from bgp.attributes import Aggregator, Attributes, Origin
from bgp.capabilities import Capabilities, GracefulRestart, LongLivedFamily, RestartFamily
from bgp.communities import MacMobility, pack_encapsulation, pack_mac_mobility, pack_route_target
from bgp.errors import BgpError
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.framing import Framer
from bgp.message import KEEPALIVE, MessageType, frame
from bgp.nlri import Route, pack_labels, rtc_key, vpn_key
from bgp.open import Open, decode_open
from bgp.refresh import RouteRefresh
from bgp.update import UpdateDecoder, UpdateOptions
from bgp.update_encoder import UpdateEncoder, end_of_rib
from lab.namespace import Namespace
from lab.speakers.base import Announcement, Neighbour, Speaker
from lab.speakers.bird import Bird
from lab.speakers.exabgp import ExaBgp
from lab.speakers.frr import Frr
from lab.speakers.gobgp import GoBgp
from lab.speakers.openbgpd import OpenBgpd
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.prefix import Prefix, parse_address

FOLDER = Path(__file__).parent / "captures"
AS = 64512
DAEMON, SOURCE, SINK = "127.0.0.11", "127.0.0.15", "127.0.0.16"
PORT = 1790
PATIENCE = 20.0
"""Seconds until the daemon must have said what is waited for."""
QUIET = 3.0
"""Seconds after which a daemon that has said nothing more is done; FRR sends its first routes after 1 s."""
SPEAKERS: dict[str, tuple[type[Speaker], str]] = {
    "frr": (Frr, "frr"),
    "bird": (Bird, "bird2"),
    "gobgp": (GoBgp, "gobgpd"),
    "openbgpd": (OpenBgpd, "openbgpd"),
    "exabgp": (ExaBgp, "exabgp"),
}
"""By name: how it is started, and the Debian package that it is from."""
OWN = (
    Announcement("64512:11", "10.11.0.0/24", 1011, ("64512:100",), "192.0.2.11"),
    Announcement("64512:11", "2001:db8:11::/64", 1011, ("64512:100",), "::ffff:192.0.2.11"),
)


def targets(*texts: str) -> tuple[bytes, ...]:
    """Route targets of text."""
    return tuple(pack_route_target(RouteTarget.parse(text)) for text in texts)


def route(rd: str, prefix: str, *labels: int) -> Route:
    """A VPN route."""
    return vpn_key(RouteDistinguisher.parse(rd), Prefix.parse(prefix)), pack_labels(labels)


PLAIN = Attributes(local_pref=100, extended_communities=targets("64512:100"))
RICH = Attributes(
    origin=Origin.INCOMPLETE,
    as_path=(Segment(SegmentKind.SEQUENCE, (65001, 4200000000)), Segment(SegmentKind.SET, (65002, 65003))),
    med=50,
    local_pref=200,
    atomic_aggregate=True,
    aggregator=Aggregator(4200000001, parse_address("198.51.100.1")),
    communities=(64512 << 16 | 1, 64512 << 16 | 2),
    extended_communities=(
        *targets("64512:100", "192.0.2.1:7", "4200000000:9"),
        pack_encapsulation(2),
        pack_mac_mobility(MacMobility(7)),
    ),
    large_communities=(bytes.fromhex("0000fc000000000100000002"),),
)
HOP4, HOP6 = parse_address("192.0.2.15"), parse_address("2001:db8:ffff::15")
SAID: list[tuple[Family, Attributes, bytes, list[Route]]] = [
    (VPNV4, PLAIN, HOP4, [route("64512:15", f"10.15.{number}.0/24", 1500 + number) for number in range(5)]),
    (VPNV4, PLAIN, HOP4, [route("192.0.2.15:1", "10.15.9.1/32", 16), route("4200000000:1", "0.0.0.0/0", 0xFFFFF)]),
    (VPNV4, PLAIN, HOP4, [route("64512:15", "10.16.0.0/13", 1600)]),
    (VPNV4, RICH, HOP4, [route("64512:15", "10.17.0.0/16", 1700)]),
    (VPNV6, PLAIN, HOP6, [route("64512:15", "2001:db8:15::/48", 1500), route("192.0.2.15:1", "2001:db8::15/128", 17)]),
    (VPNV6, RICH, HOP6, [route("64512:15", "2001:db8:17::/61", 1700)]),
]
GONE = (RouteDistinguisher.parse("64512:15"), Prefix.parse("10.15.0.0/24"))
"""What the source withdraws in the end."""


class Tap:
    """One of our two ends: a session made of a socket, and everything that came."""

    def __init__(self, sock: socket.socket, address: str, families: Sequence[Family]) -> None:
        self.socket = sock
        self.messages: list[bytes] = []
        self.heard = time.monotonic()
        """When something else than a KEEPALIVE came."""
        self.open: Open | None = None
        self.ended = False
        self._framer = Framer()
        self._framer.allow_extended_messages()
        restart = GracefulRestart(30, tuple(RestartFamily(family) for family in families))
        long_lived = tuple(LongLivedFamily(family, 3600) for family in families)
        said = Capabilities(tuple(families), AS, True, True, True, restart, long_lived)
        self.socket.sendall(Open(AS, 90, parse_address(address), said).encode())

    def read(self, seconds: float) -> None:
        """Take what comes, and answer what has to be answered."""
        if self.ended or not select.select([self.socket], [], [], seconds)[0]:
            return
        data = self.socket.recv(65536)
        self.ended = not data
        self._framer.receive_data(data)
        while (found := self._framer.next_message()) is not None:
            kind, body = found
            if kind is MessageType.KEEPALIVE:
                self.socket.sendall(KEEPALIVE)
                continue
            self.messages.append(frame(kind, body, 65535))
            self.heard = time.monotonic()
            if kind is MessageType.OPEN:
                self.open = decode_open(body)
                self.socket.sendall(KEEPALIVE)

    def routes(self) -> set[bytes]:
        """Keys that were announced and not withdrawn."""
        assert self.open is not None
        four_octet = self.open.capabilities.four_octet_as is not None
        decoder = UpdateDecoder(UpdateOptions(frozenset((VPNV4, VPNV6, RTC)), four_octet))
        held: set[bytes] = set()
        for message in self.messages:
            if message[18] == MessageType.UPDATE:
                update = decoder.decode(message[19:])
                held -= {key for _, keys in update.unreach for key in keys}
                held |= {key for key, _ in update.reach.routes} if update.reach is not None else set()
        return held


def wait(taps: Sequence[Tap], condition: Callable[[], bool], what: str) -> None:
    """Read until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        for tap in taps:
            tap.read(0.02)


def quiet(taps: Sequence[Tap]) -> None:
    """Read until nothing has come for a while."""
    began = time.monotonic()
    wait(taps, lambda: all(time.monotonic() - max(began, tap.heard) > QUIET for tap in taps), "silence")


def connected(namespace: Namespace, speaker: Speaker, address: str, *, passive: bool) -> socket.socket:
    """A connection with the daemon from (or to) an address."""
    with namespace.entered():
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not passive:
            made.bind((address, 0))
            made.settimeout(PATIENCE)
            made.connect((DAEMON, PORT))
            return made
        with made:
            made.bind((address, PORT))
            made.listen(1)
            made.settimeout(PATIENCE)
            speaker.start()
            return made.accept()[0]


def record(name: str) -> dict[str, object]:
    """Let one daemon speak."""
    kind, package = SPEAKERS[name]
    dials = kind is ExaBgp
    families = (VPNV4, VPNV6, RTC) if kind is GoBgp else (VPNV4, VPNV6)
    names = tuple(str(family) for family in families)
    neighbours = [
        # FRR as a restarter without zebra puts off its decisions for good.
        Neighbour(
            address, passive=not dials, client=True, families=names, hold_time=90, graceful_restart=kind is not Frr
        )
        for address in ((SINK,) if dials else (SOURCE, SINK))
    ]
    with tempfile.TemporaryDirectory(prefix="vrfwire-capture-") as directory, Namespace(f"capture-{name}") as place:
        own = () if kind is OpenBgpd else OWN
        speaker = kind(name, Path(directory) / name, DAEMON, neighbours, own, namespace=place)
        if not dials:
            speaker.start()
        try:
            sink = Tap(connected(place, speaker, SINK, passive=dials), SINK, families)
            taps = [sink]
            if not dials:
                taps.append(Tap(connected(place, speaker, SOURCE, passive=False), SOURCE, families))
            wait(taps, lambda: all(tap.open is not None for tap in taps), "sessions")
            # OpenBGPD 7.7 counts withdrawals of VPN routes, whatever the label, and goes on using the routes.
            talk(taps, families, withdraws=kind is not OpenBgpd)
            speaker.stop()
            wait(taps, lambda: all(tap.ended for tap in taps), "the end")
        except (BgpError, OSError):
            print(speaker.tail(), file=sys.stderr)
            raise
        finally:
            speaker.kill()
            Path(directory, "done").touch()
    asked = ["dpkg-query", "-W", "-f", "${Version}", package]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return {
        "speaker": f"{package} {version}",
        "families": [list(family) for family in families],
        "messages": [message.hex() for message in sink.messages],
    }


def talk(taps: Sequence[Tap], families: Sequence[Family], *, withdraws: bool) -> None:
    """Say what there is to say, and let the daemon answer."""
    sink, *sources = taps
    if RTC in families:
        everything = UpdateEncoder(UpdateOptions(frozenset(families))).announce(
            RTC, replace(PLAIN, extended_communities=()), HOP4, [(rtc_key(None), b"")]
        )
        for tap in taps:
            tap.socket.sendall(b"".join((*everything, end_of_rib(RTC))))
    ends = b"".join(end_of_rib(family) for family in families if family != RTC)
    sink.socket.sendall(ends)
    keys = {key for _, _, _, routes in SAID for key, _ in routes}
    gone = vpn_key(*GONE)
    if sources:
        encoder = UpdateEncoder(UpdateOptions(frozenset(families)))
        said = [encoder.announce(*one) for one in SAID]
        sources[0].socket.sendall(b"".join([*(message for messages in said for message in messages), ends]))
        wait(taps, lambda: keys <= sink.routes(), "all routes")
        quiet(taps)
        sources[0].socket.sendall(b"".join(encoder.withdraw(VPNV4, [gone])))
        wait(taps, lambda: not withdraws or gone not in sink.routes(), "the withdrawal")
    quiet(taps)
    sink.socket.sendall(RouteRefresh(VPNV4).encode())
    quiet(taps)


def main() -> None:
    """The command."""
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SPEAKERS:
        print(f"{name}: recording", flush=True)
        found = record(name)
        (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        messages = found["messages"]
        assert isinstance(messages, list)
        print(f"{name}: {len(messages)} messages", flush=True)


if __name__ == "__main__":
    main()
