"""The BGP codec: UPDATEs of VPN-IPv4 routes from a byte stream to values, and back.

Decoding includes the framing, in reads of 64 KiB. Every route has a prefix and a label of its own; attributes are
ORIGIN, AS_PATH, LOCAL_PREF and three extended communities. CPU time of one process; the best of the rounds counts, for
others on the machine can make a round slower and never faster.

    decode_upd_per_s                 UPDATEs with one NLRI and attributes seen before: what most reflectors send
    decode_new_attributes_upd_per_s  the same, but each with attributes that no other has
    decode_nlri_per_s                NLRI in UPDATEs of 100
    decode_full_nlri_per_s           NLRI in UPDATEs of 4096 bytes
    decode_vpnv6_nlri_per_s          VPN-IPv6 /64 in UPDATEs of 100
    decode_withdraw_upd_per_s        UPDATEs that withdraw one NLRI
    encode_*                         the other way
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks.report import Figures, Progress
from bgp.attributes import Attributes
from bgp.communities import MacMobility, pack_encapsulation, pack_mac_mobility, pack_route_target
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.framing import Framer
from bgp.nlri import Route, pack_labels, vpn_key
from bgp.update import UpdateDecoder, UpdateOptions
from bgp.update_encoder import UpdateEncoder
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.prefix import Prefix

COUNT = 100_000
"""Routes of each measurement."""
NEW = 20_000
"""Routes of the measurement with attributes of their own."""
ROUNDS = 5
READ = 65536
"""Bytes that the framer gets at once."""
OPTIONS = UpdateOptions(frozenset((VPNV4, VPNV6, RTC)))
NEXT_HOP = bytes((192, 0, 2, 1))


def _routes(family: Family) -> list[Route]:
    distinguisher = RouteDistinguisher.parse("192.0.2.1:1")
    routes = []
    for number in range(COUNT):
        if family == VPNV4:
            prefix = Prefix((0x0A000000 + number).to_bytes(4, "big"), 32)
        else:
            prefix = Prefix((0x20010DB8 << 32 | number).to_bytes(8, "big") + bytes(8), 64)
        routes.append((vpn_key(distinguisher, prefix), pack_labels([16 + number])))
    return routes


def _attributes(sequence_number: int) -> Attributes:
    target = pack_route_target(RouteTarget.parse("64512:100"))
    mobility = pack_mac_mobility(MacMobility(sequence_number))
    return Attributes(local_pref=100, extended_communities=(target, pack_encapsulation(2), mobility))


def _best(work: Callable[[], object]) -> float:
    """CPU seconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def _decode(stream: bytes) -> int:
    """Routes in a stream that a new session receives."""
    framer, decoder, routes = Framer(), UpdateDecoder(OPTIONS), 0
    for start in range(0, len(stream), READ):
        framer.receive_data(stream[start : start + READ])
        while (message := framer.next_message()) is not None:
            update = decoder.decode(message[1])
            if update.reach is not None:
                routes += len(update.reach.routes)
            else:
                routes += len(update.unreach[0].keys)
    return routes


def _announce(family: Family, sets: Sequence[Attributes], routes: Sequence[Route], each: int) -> bytes:
    """A stream of UPDATEs with so many routes each; several sets of attributes are used by turns."""
    encoder = UpdateEncoder(OPTIONS)
    messages: list[bytes] = []
    for number, start in enumerate(range(0, len(routes), each)):
        messages += encoder.announce(family, sets[number % len(sets)], NEXT_HOP, routes[start : start + each])
    return b"".join(messages)


def _withdraw(routes: Sequence[Route]) -> bytes:
    encoder = UpdateEncoder(OPTIONS)
    return b"".join([encoder.withdraw(VPNV4, [key])[0] for key, _ in routes])


def run(progress: Progress) -> Figures:
    """See benchmarks.report.Benchmark."""
    four, six = _routes(VPNV4), _routes(VPNV6)
    same, new = [_attributes(1)], [_attributes(number) for number in range(NEW)]
    ways: dict[str, tuple[Callable[[], bytes], int]] = {
        "upd": (lambda: _announce(VPNV4, same, four, 1), COUNT),
        "new_attributes_upd": (lambda: _announce(VPNV4, new, four[:NEW], 1), NEW),
        "nlri": (lambda: _announce(VPNV4, same, four, 100), COUNT),
        "full_nlri": (lambda: _announce(VPNV4, same, four, COUNT), COUNT),
        "vpnv6_nlri": (lambda: _announce(VPNV6, same, six, 100), COUNT),
        "withdraw_upd": (lambda: _withdraw(four), COUNT),
    }
    figures: dict[str, float | int | str] = {}
    for name, (write, count) in ways.items():
        stream = write()
        if _decode(stream) != count:
            raise AssertionError(f"{name}: routes were lost")
        figures[f"decode_{name}_per_s"] = round(count / _best(lambda stream=stream: _decode(stream)))  # type: ignore[misc]
        figures[f"encode_{name}_per_s"] = round(count / _best(write))
        progress(f"{name}: {figures[f'decode_{name}_per_s']:,}/s in, {figures[f'encode_{name}_per_s']:,}/s out")
    return figures
