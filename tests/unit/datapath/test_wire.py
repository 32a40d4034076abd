"""Packed netlink: what is written can be read, the columns equal the single messages, garbage raises only WireError."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath import wire, wire_nexthop, wire_route
from datapath.values import PROTOCOL
from datapath.wire import KernelError, Message, WireError
from vpn.prefix import Prefix

NUMBERS = st.integers(1, 0xFFFFFFFF)
INDICES = st.integers(1, 0x7FFFFFFF)
LABELS = st.integers(16, 0xFFFFF)
STACKS = st.lists(LABELS, max_size=4).map(tuple)
ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
SLACK = bytes(128)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    packed = draw(ADDRESSES)
    bits = 8 * len(packed)
    length = draw(st.integers(0, bits))
    mask = ((1 << bits) - 1) ^ ((1 << (bits - length)) - 1)
    return Prefix((int.from_bytes(packed, "big") & mask).to_bytes(len(packed), "big"), length)


def only(packed: bytes | bytearray) -> Message:
    """The one message of a buffer."""
    (found,) = wire.messages(packed, len(packed))
    return found


def multipart(packed: bytes) -> bytes:
    """A request as the kernel would give it back in a dump."""
    length, kind, _, sequence, _ = wire.HEADER.unpack_from(packed)
    return wire.HEADER.pack(length, kind, wire.NLM_F_MULTI, sequence, 77) + packed[wire.HEADER.size :]


# Framing


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20))))
def test_messages_are_found_again(bodies: list[tuple[int, bytes]]) -> None:
    packed = b"".join(
        wire.message(kind, 5, place, body + bytes(-len(body) % 4)) for place, (kind, body) in enumerate(bodies)
    )
    found = list(wire.messages(packed, len(packed)))
    assert [(m.type, m.flags, m.sequence) for m in found] == [(kind, 5, n) for n, (kind, _) in enumerate(bodies)]
    assert all(packed[m.start : m.end].startswith(body) for m, (_, body) in zip(found, bodies, strict=True))


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=30)))
def test_attributes_are_found_again(have: dict[int, bytes]) -> None:
    packed = b"".join(wire.attribute(number, payload) for number, payload in have.items())
    assert len(packed) % 4 == 0
    assert wire.attributes(packed, 0, len(packed)) == have


@given(st.lists(LABELS, min_size=1, max_size=8).map(tuple))
def test_label_stacks(labels: tuple[int, ...]) -> None:
    stack = wire.encode_labels(labels)
    assert wire.decode_labels(stack) == labels
    assert [entry[2] & 1 for entry in zip(*[iter(stack)] * 4, strict=True)] == [0] * (len(labels) - 1) + [1]


def test_a_label_stack_entry_is_as_in_rfc_3032() -> None:
    assert wire.encode_labels((100000,)).hex() == "186a0100"
    assert wire.encode_labels((16, 17)).hex() == "0001000000011100"


@pytest.mark.parametrize("size", [0, 3, 5, 16])
def test_numbers_of_odd_sizes_are_refused(size: int) -> None:
    with pytest.raises(WireError):
        wire.number(bytes(size))


def test_numbers() -> None:
    assert wire.number(None) == 0
    assert wire.number(struct.pack("=I", 0x01020304)) == 0x01020304
    assert wire.number(struct.pack("=H", 0x0102)) == 0x0102
    assert wire.number(b"\x07") == 7


# Errors


def error(code: int, text: str = "", capped: bool = True) -> bytes:
    """An NLMSG_ERROR as the kernel writes it."""
    original = wire.message(wire.RTM_NEWROUTE, 5, 9, bytes(0 if capped else 24))
    flags = (wire.NLM_F_CAPPED if capped else 0) | (wire.NLM_F_ACK_TLVS if text else 0)
    extra = wire.attribute(wire.NLMSGERR_ATTR_MSG, text.encode() + b"\0") if text else b""
    return wire.message(wire.NLMSG_ERROR, flags, 9, struct.pack("=i", -code) + original + extra)


@pytest.mark.parametrize("capped", [True, False])
def test_error_with_and_without_text(capped: bool) -> None:
    packed = error(errno.EINVAL, "Nexthop id does not exist", capped)
    assert wire.decode_error(packed, only(packed)) == KernelError(errno.EINVAL, "Nexthop id does not exist")
    packed = error(errno.EBUSY, "", capped)
    found = wire.decode_error(packed, only(packed))
    assert found is not None
    assert found.text == "EBUSY: Device or resource busy"
    packed = error(0)
    assert wire.decode_error(packed, only(packed)) is None


def test_the_end_of_a_dump() -> None:
    done = wire.message(wire.NLMSG_DONE, wire.NLM_F_MULTI, 9, struct.pack("=i", 0))
    assert wire.decode_done(done, only(done)) is None
    failed = wire.message(wire.NLMSG_DONE, wire.NLM_F_MULTI, 9, struct.pack("=i", -errno.ENOENT))
    assert wire.decode_done(failed, only(failed)) == KernelError(errno.ENOENT, "")


# Next hops


@given(NUMBERS, NUMBERS, INDICES, ADDRESSES, STACKS)
def test_next_hop(sequence: int, identity: int, oif: int, gateway: bytes, labels: tuple[int, ...]) -> None:
    stack = wire.encode_labels(labels)
    packed = wire_nexthop.encode_next_hop(sequence, identity, oif, gateway, stack)
    assert only(packed).sequence == sequence
    expected = wire_nexthop.RawNextHop(identity, PROTOCOL, oif, gateway, stack, None, True)
    assert wire_nexthop.decode(packed, only(packed)) == expected
    others: list[Message] = []
    assert wire_nexthop.decode_dump(multipart(packed) + SLACK, len(packed), others) == [expected]
    assert others == []


@given(NUMBERS, NUMBERS, st.lists(NUMBERS, min_size=1, max_size=8).map(tuple))
def test_group(sequence: int, identity: int, members: tuple[int, ...]) -> None:
    packed = wire_nexthop.encode_group(sequence, identity, members)
    assert wire_nexthop.decode(packed, only(packed)) == (identity, PROTOCOL, 0, b"", b"", members, True)


def test_a_group_of_weights_or_a_blackhole_is_not_plain() -> None:
    packed = bytearray(wire_nexthop.encode_group(1, 7, (5, 6)))
    packed[-4] = 3
    assert not wire_nexthop.decode(packed, only(packed)).plain
    payload = struct.pack("=BBBBI", socket.AF_INET, 0, PROTOCOL, 0, 0)
    blackhole = wire.message(104, 0, 1, payload + wire.attribute(1, struct.pack("=I", 9)) + wire.attribute(4, b""))
    assert not wire_nexthop.decode(blackhole, only(blackhole)).plain


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.binary(min_size=4, max_size=4), LABELS, LABELS), min_size=1, max_size=9),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
)
def test_next_hops_by_column(rows: list[tuple[int, int, bytes, int, int]], depth: int, six: bool) -> None:
    gateways = [(b"\0" * 10 + b"\xff\xff" if six else b"") + row[2] for row in rows]
    labels = [(row[3], row[4])[:depth] for row in rows]
    sequences, identities = [row[0] for row in rows], [row[1] for row in rows]
    together = wire_nexthop.encode_next_hops(sequences, identities, 12, gateways, labels, wire.NEW)
    assert together == b"".join(
        wire_nexthop.encode_next_hop(seq, identity, 12, gateway, wire.encode_labels(stack), wire.NEW)
        for seq, identity, gateway, stack in zip(sequences, identities, gateways, labels, strict=True)
    )


# Routes


@given(NUMBERS, NUMBERS, prefixes(), NUMBERS)
def test_route(sequence: int, table: int, prefix: Prefix, next_hop: int) -> None:
    packed = wire_route.encode_route(sequence, table, *prefix, next_hop)
    expected = wire_route.RawRoute(PROTOCOL, table, *prefix, next_hop, True)
    assert wire_route.decode_route(packed, only(packed)) == expected
    others: list[Message] = []
    assert wire_route.decode_route_dump(multipart(packed) + SLACK, len(packed), others) == [expected]
    assert others == []


@given(st.lists(st.tuples(NUMBERS, NUMBERS, prefixes(), NUMBERS), min_size=1, max_size=9), st.sampled_from([4, 16]))
def test_routes_by_column(rows: list[tuple[int, int, Prefix, int]], size: int) -> None:
    rows = [row for row in rows if len(row[2].packed) == size] or [(1, 2, Prefix(bytes(size), 0), 3)]
    sequences, tables, nets, hops = zip(*rows, strict=True)
    packed, lengths = zip(*nets, strict=True)
    together = wire_route.encode_routes(sequences, tables, packed, lengths, hops, wire.SET)
    assert together == b"".join(
        wire_route.encode_route(seq, table, *net, hop, wire.SET) for seq, table, net, hop in rows
    )


@given(NUMBERS, prefixes())
def test_deletion_names_protocol_type_and_metric(table: int, prefix: Prefix) -> None:
    packed = wire_route.encode_route_delete(1, table, *prefix)
    expected = wire_route.RawRoute(PROTOCOL, table, *prefix, 0, True)
    assert wire_route.decode_route(packed, only(packed)) == expected


def test_routes_that_cannot_be_ours_are_not_read() -> None:
    packed = bytearray(wire_route.encode_route(1, 10000, bytes([10, 0, 0, 0]), 8, 5))
    unreachable = packed.copy()
    unreachable[23] = 7
    assert wire_route.decode_route(unreachable, only(unreachable)) is None
    metric = packed.copy()
    metric[48:52] = struct.pack("=I", 50)
    assert wire_route.decode_route(metric, only(metric)) is None
    service = packed.copy()
    service[19] = 4
    assert wire_route.decode_route(service, only(service)) is None


@given(NUMBERS, LABELS, INDICES, ADDRESSES | st.just(b""))
def test_mpls_route(sequence: int, label: int, oif: int, via: bytes) -> None:
    packed = wire_route.encode_mpls_route(sequence, label, oif, via)
    expected = wire_route.RawMplsRoute(label, PROTOCOL, oif, via, True)
    assert wire_route.decode_mpls_route(packed, only(packed)) == expected
    assert wire_route.decode_mpls_route_dump(multipart(packed), len(packed), []) == [expected]
    packed = wire_route.encode_mpls_route_delete(sequence, label)
    found = wire_route.decode_mpls_route(packed, only(packed))
    assert found is not None
    assert found.label == label


@given(NUMBERS, INDICES, ADDRESSES, st.binary(min_size=4, max_size=6))
def test_neighbour(sequence: int, ifindex: int, address: bytes, lladdr: bytes) -> None:
    packed = wire_route.encode_neighbour(sequence, ifindex, address, lladdr)
    expected = wire_route.RawNeighbour(ifindex, address, lladdr, PROTOCOL, wire_route.NUD_PERMANENT)
    assert wire_route.decode_neighbour(packed, only(packed)) == expected
    assert wire_route.decode_neighbour_dump(multipart(packed), len(packed), []) == [expected]


# Garbage


@given(st.binary(max_size=200))
def test_garbage_raises_only_wire_errors(garbage: bytes) -> None:
    decoders = (
        wire_nexthop.decode_dump,
        wire_route.decode_route_dump,
        wire_route.decode_mpls_route_dump,
        wire_route.decode_neighbour_dump,
    )
    for kind in (wire.RTM_NEWROUTE, wire.RTM_NEWNEIGH, wire.RTM_NEWNEXTHOP, None):
        body = garbage
        if kind is not None:
            body = wire.HEADER.pack(16 + len(garbage), kind, wire.NLM_F_MULTI, 1, 0) + garbage
        for decode in decoders:
            try:
                decode(body + SLACK, len(body), [])
            except WireError:
                continue


@given(st.binary(max_size=60), st.sampled_from([0, wire.NLM_F_ACK_TLVS, wire.NLM_F_ACK_TLVS | wire.NLM_F_CAPPED]))
def test_garbage_errors(garbage: bytes, flags: int) -> None:
    packed = wire.HEADER.pack(16 + len(garbage), wire.NLMSG_ERROR, flags, 1, 0) + garbage
    for decode in (wire.decode_error, wire.decode_done):
        try:
            decode(packed, only(packed))
        except WireError:
            continue


def test_a_marked_message_is_passed_on_as_well() -> None:
    packed = bytearray(multipart(wire_route.encode_route(1, 10000, bytes(4), 0, 5)))
    packed[6:8] = struct.pack("=H", wire.NLM_F_MULTI | wire.NLM_F_DUMP_INTR)
    others: list[Message] = []
    assert len(wire_route.decode_route_dump(bytes(packed) + SLACK, len(packed), others)) == 1
    assert [found.flags & wire.NLM_F_DUMP_INTR for found in others] == [wire.NLM_F_DUMP_INTR]
