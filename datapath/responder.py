"""The first hop that a VM sees: a BPF program that answers every ARP request and every neighbour solicitation.

It runs as the action of the filters that admit ARP and ND from a VM (datapath/antispoofing.py), turns the question into
its answer in place and sends it back out of the port. So it answers in microseconds, for addresses with and without a
route, whether or not the agent runs, and the kernel's own tables never learn anything from a guest.

    ARP request (RFC 826)              -> ARP reply from VRRP_MAC
    neighbour solicitation (RFC 4861)  -> neighbour advertisement, R|S|O, target link-layer address VRRP_MAC
    gratuitous ARP, ARP reply, duplicate address detection (source ::), question about oneself, bad length, bad hop
    limit                              -> dropped: nobody else is on this link to hear it
    anything that is neither           -> TC_ACT_UNSPEC: the verdict that the filter names

The checksum of a solicitation isn't looked at: a wrong one could come only from the VM that gets the answer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from datapath.bpf import (
    BYTE,
    HALF,
    HELPER_REDIRECT,
    HELPER_SKB_CHANGE_TAIL,
    HELPER_SKB_PULL_DATA,
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    R9,
    WORD,
    Assembler,
    Program,
)
from datapath.values import VRRP_MAC

NAME: Final = "vrfwire_nd"
"""Name of the program and of the actions that run it."""

ACT_UNSPEC: Final = 0xFFFFFFFF
ACT_SHOT: Final = 2
ACT_REDIRECT: Final = 7

# struct __sk_buff
_SKB_IFINDEX: Final = 40
_SKB_DATA: Final = 76
_SKB_DATA_END: Final = 80

_ETHERNET: Final = 14
# Offsets from the start of the frame.
_ARP_OPERATION: Final = 20
_ARP_SHA: Final = 22
_ARP_SPA: Final = 28
_ARP_THA: Final = 32
_ARP_TPA: Final = 38
_ARP_LENGTH: Final = 42
_IP6_PAYLOAD_LENGTH: Final = 18
_IP6_NEXT_HEADER: Final = 20
_IP6_HOP_LIMIT: Final = 21
_IP6_SOURCE: Final = 22
_IP6_DESTINATION: Final = 38
_ICMP6: Final = 54
_ND_CHECKSUM: Final = 56
_ND_FLAGS: Final = 58
_ND_TARGET: Final = 62
_ND_OPTION: Final = 78
_NS_LENGTH: Final = 78
_NA_LENGTH: Final = 86

_NA_FLAGS: Final = bytes.fromhex("e0000000")
"""Router, Solicited, Override: the one who answers is the VM's router."""


def _native(octets: bytes) -> int:
    """What a load of these octets gives on this host."""
    return int.from_bytes(octets, sys.byteorder)


def build() -> bytes:
    """The program as instructions for the kernel."""
    asm = Assembler()
    asm.copy(R6, R1)
    _load_packet(asm, _ETHERNET)
    asm.load(HALF, R2, R7, 12)
    asm.jump_if("eq", R2, _native(b"\x08\x06"), "arp")
    asm.jump_if("eq", R2, _native(b"\x86\xdd"), "ip6")
    asm.label("other")
    asm.set(R0, -1)
    asm.exit()

    asm.label("arp")
    _answer_arp(asm)
    asm.label("ip6")
    _answer_solicitation(asm)

    asm.label("send")
    asm.load(WORD, R1, R6, _SKB_IFINDEX)
    asm.set(R2, 0)
    asm.call(HELPER_REDIRECT)
    asm.exit()

    asm.label("drop")
    asm.set(R0, ACT_SHOT)
    asm.exit()
    return asm.assemble()


def load() -> Program:
    """Load the program. Raises BpfError."""
    return Program.load(build(), NAME)


def _load_packet(asm: Assembler, length: int) -> None:
    """R7 = start of a frame of which `length` octets may be read and written; drop it if it is shorter."""
    asm.load(WORD, R7, R6, _SKB_DATA)
    asm.load(WORD, R3, R6, _SKB_DATA_END)
    asm.copy(R2, R7)
    asm.alu("add", R2, length)
    asm.jump_if_register("gt", R2, R3, "drop")


def _pull(asm: Assembler, length: int) -> None:
    """As _load_packet, of a frame that may be in pieces or shared."""
    asm.copy(R1, R6)
    asm.set(R2, length)
    asm.call(HELPER_SKB_PULL_DATA)
    asm.jump_if("ne", R0, 0, "drop")
    _load_packet(asm, length)


def _widths(*offsets: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(distance, size code, octets) of the accesses that cover an even number of octets from each of the offsets.

    Words only where all are aligned, counting from 2: that puts the IP header on a multiple of 4 (NET_IP_ALIGN).
    """
    done = 0
    while done < length:
        aligned = all((offset + done + 2) % 4 == 0 for offset in offsets)
        size, width = (WORD, 4) if aligned and length - done >= 4 else (HALF, 2)
        yield done, size, width
        done += width


def _copy(asm: Assembler, target: int, source: int, length: int) -> None:
    """Copy an even number of octets within the frame."""
    for distance, size, _ in _widths(target, source, length=length):
        asm.load(size, R2, R7, source + distance)
        asm.store(size, R7, target + distance, R2)


def _store(asm: Assembler, target: int, octets: bytes) -> None:
    """Write an even number of octets into the frame."""
    for distance, size, width in _widths(target, length=len(octets)):
        asm.store_value(size, R7, target + distance, _native(octets[distance : distance + width]))


def _load_halves(asm: Assembler, register: int, source: int) -> None:
    """register = the four octets at `source`, which may be unaligned, in an order that only _store_halves knows."""
    asm.load(HALF, register, R7, source + 2)
    asm.alu("lsh", register, 16)
    asm.load(HALF, R2, R7, source)
    asm.alu_register("or", register, R2)


def _store_halves(asm: Assembler, target: int, register: int) -> None:
    """Write what _load_halves has read, and spoil the register."""
    asm.store(HALF, R7, target, register)
    asm.alu("rsh", register, 16)
    asm.store(HALF, R7, target + 2, register)


def _answer_ethernet(asm: Assembler) -> None:
    """Destination = who asked, source = the virtual MAC."""
    _copy(asm, 0, 6, 6)
    _store(asm, 6, VRRP_MAC)


def _answer_arp(asm: Assembler) -> None:
    """From label "arp": answer a request for IPv4 over Ethernet, drop any other ARP."""
    _pull(asm, _ARP_LENGTH)
    # Hardware type 1, protocol 0x0800, lengths 6 and 4, operation 1.
    asm.load(WORD, R2, R7, _ETHERNET)
    _jump_unless_word(asm, b"\x00\x01\x08\x00")
    asm.load(WORD, R2, R7, _ETHERNET + 4)
    _jump_unless_word(asm, b"\x06\x04\x00\x01")
    _load_halves(asm, R8, _ARP_SPA)
    _load_halves(asm, R9, _ARP_TPA)
    asm.jump_if("eq", R8, 0, "drop")
    asm.jump_if_register("eq", R8, R9, "drop")

    _answer_ethernet(asm)
    _store(asm, _ARP_OPERATION, b"\x00\x02")
    _copy(asm, _ARP_THA, _ARP_SHA, 6)
    _store(asm, _ARP_SHA, VRRP_MAC)
    _store_halves(asm, _ARP_SPA, R9)
    _store_halves(asm, _ARP_TPA, R8)
    asm.jump("send")


def _jump_unless_word(asm: Assembler, octets: bytes) -> None:
    """Drop unless R2 holds the four octets (R3 is clobbered: an immediate would be sign-extended)."""
    asm.set(R3, _native(octets))
    asm.alu("lsh", R3, 32)
    asm.alu("rsh", R3, 32)
    asm.jump_if_register("ne", R2, R3, "drop")


def _answer_solicitation(asm: Assembler) -> None:
    """From label "ip6": answer a neighbour solicitation."""
    _pull(asm, _ICMP6 + 4)
    asm.load(BYTE, R2, R7, _IP6_NEXT_HEADER)
    asm.jump_if("ne", R2, 58, "other")
    asm.load(BYTE, R2, R7, _ICMP6)
    asm.jump_if("ne", R2, 135, "other")
    # Checks of RFC 4861, section 7.1.1, that keep nonsense from being turned into an answer.
    asm.load(BYTE, R2, R7, _IP6_HOP_LIMIT)
    asm.jump_if("ne", R2, 255, "drop")
    asm.load(BYTE, R2, R7, _ICMP6 + 1)
    asm.jump_if("ne", R2, 0, "drop")
    _pull(asm, _NS_LENGTH)
    asm.load(BYTE, R2, R7, _IP6_SOURCE)
    asm.jump_if("eq", R2, 0xFF, "drop")
    asm.load(BYTE, R2, R7, _ND_TARGET)
    asm.jump_if("eq", R2, 0xFF, "drop")
    # Source :: is duplicate address detection: an answer would take the VM's address away. The same goes for a VM that
    # asks for the address it asks from. R2: bits set in the source, R3: bits that differ between source and target.
    asm.set(R2, 0)
    asm.set(R3, 0)
    for word in range(0, 16, 4):
        asm.load(WORD, R8, R7, _IP6_SOURCE + word)
        asm.load(WORD, R9, R7, _ND_TARGET + word)
        asm.alu_register("or", R2, R8)
        asm.alu_register("xor", R8, R9)
        asm.alu_register("or", R3, R8)
    asm.jump_if("eq", R2, 0, "drop")
    asm.jump_if("eq", R3, 0, "drop")

    # Options of the question (source link-layer address, nonce) are cut, ours is added: the answer has one length.
    asm.copy(R1, R6)
    asm.set(R2, _NA_LENGTH)
    asm.set(R3, 0)
    asm.call(HELPER_SKB_CHANGE_TAIL)
    asm.jump_if("ne", R0, 0, "drop")
    _pull(asm, _NA_LENGTH)

    _answer_ethernet(asm)
    payload = _NA_LENGTH - _ICMP6
    _store(asm, _IP6_PAYLOAD_LENGTH, payload.to_bytes(2, "big"))
    _copy(asm, _IP6_DESTINATION, _IP6_SOURCE, 16)
    _copy(asm, _IP6_SOURCE, _ND_TARGET, 16)
    head = b"\x88\x00"
    option = b"\x02\x01" + VRRP_MAC
    _store(asm, _ICMP6, head)
    _store(asm, _ND_FLAGS, _NA_FLAGS)
    _store(asm, _ND_OPTION, option)

    # RFC 4443, section 2.3. The one's complement sum doesn't depend on the byte order (RFC 1071), so host-order words
    # are summed in 64 bits and folded. What is constant is summed here; the target counts twice, as source too.
    fixed = head + b"\0\0" + _NA_FLAGS + option + payload.to_bytes(4, "big") + (58).to_bytes(4, "big")
    asm.set(R4, sum(_native(fixed[start : start + 2]) for start in range(0, len(fixed), 2)))
    for word in range(0, 16, 4):
        asm.load(WORD, R2, R7, _ND_TARGET + word)
        asm.alu_register("add", R4, R2)
        asm.alu_register("add", R4, R2)
        asm.load(WORD, R2, R7, _IP6_DESTINATION + word)
        asm.alu_register("add", R4, R2)
    for shift in (32, 16, 16, 16):
        asm.copy(R2, R4)
        asm.alu("rsh", R2, shift)
        if shift == 32:
            asm.alu("lsh", R4, 32)
            asm.alu("rsh", R4, 32)
        else:
            asm.alu("and", R4, 0xFFFF)
        asm.alu_register("add", R4, R2)
    asm.alu("xor", R4, 0xFFFF)
    asm.store(HALF, R7, _ND_CHECKSUM, R4)
    asm.jump("send")
