"""bpf(2) by ctypes, and an assembler just large enough for the responder.

A compiler, libbpf or BTF would be needed for nothing else: the one program of ours is a hundred instructions, has no
map and no relocation. It loads on any kernel since 4.15 and runs in the interpreter too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import Final

# Registers. R10 is the frame pointer, R6 to R9 survive a helper call.
R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)

BYTE: Final = 0x10
HALF: Final = 0x08
WORD: Final = 0x00
DOUBLE: Final = 0x18

HELPER_REDIRECT: Final = 23
HELPER_SKB_CHANGE_TAIL: Final = 38
HELPER_SKB_PULL_DATA: Final = 39

PROG_TYPE_SCHED_ACT: Final = 4
"""Programs that a tc action runs (act_bpf)."""

_ALU64: Final = 0x07
_JUMP: Final = 0x05
_FROM_REGISTER: Final = 0x08
_ALU_CODES: Final = {
    "add": 0x00,
    "sub": 0x10,
    "or": 0x40,
    "and": 0x50,
    "lsh": 0x60,
    "rsh": 0x70,
    "xor": 0xA0,
    "mov": 0xB0,
}
_JUMP_CODES: Final = {"eq": 0x10, "gt": 0x20, "ge": 0x30, "set": 0x40, "ne": 0x50, "lt": 0xA0, "le": 0xB0}

_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_CMD_PROG_LOAD: Final = 5
_CMD_PROG_TEST_RUN: Final = 10
_CMD_OBJ_GET_INFO_BY_FD: Final = 15
_ATTRIBUTE_SIZE: Final = 128
_STRICT_ALIGNMENT: Final = 1
"""BPF_F_STRICT_ALIGNMENT: the verifier asks here for what it asks for on machines without unaligned access."""
_LOG_SIZE: Final = 1 << 16


class AssemblyError(ValueError):
    """The program text is wrong: a label that is missing, doubled or too far away."""


class BpfError(OSError):
    """bpf(2) failed. errno says how; the text has the last lines of the verifier's log, if it had any."""


class Assembler:
    """Instructions with symbolic jump targets; `assemble()` gives the bytes for the kernel.

    Only forward jumps are of use: kernels before 5.3 accept no loop.
    """

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int, int]] = []
        self._jumps: dict[int, str] = {}
        self._labels: dict[str, int] = {}

    def _emit(self, code: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> None:
        self._code.append((code, target, source, offset, immediate))

    def label(self, name: str) -> None:
        """Name the place of the next instruction."""
        if name in self._labels:
            raise AssemblyError(f"label {name} is there twice")
        self._labels[name] = len(self._code)

    def set(self, register: int, value: int) -> None:
        """register = value (32 bits, sign-extended)."""
        self._emit(_ALU64 | _ALU_CODES["mov"], register, immediate=value)

    def copy(self, register: int, source: int) -> None:
        """register = source register."""
        self._emit(_ALU64 | _ALU_CODES["mov"] | _FROM_REGISTER, register, source)

    def alu(self, operation: str, register: int, value: int) -> None:
        """register = register OPERATION value, in 64 bits; value is 32 bits, sign-extended."""
        self._emit(_ALU64 | _ALU_CODES[operation], register, immediate=value)

    def alu_register(self, operation: str, register: int, source: int) -> None:
        """register = register OPERATION source register, in 64 bits."""
        self._emit(_ALU64 | _ALU_CODES[operation] | _FROM_REGISTER, register, source)

    def load(self, size: int, register: int, base: int, offset: int) -> None:
        """register = the SIZE bytes at [base + offset], zero-extended, in the byte order of the host."""
        self._emit(0x61 | size, register, base, offset)

    def store(self, size: int, base: int, offset: int, register: int) -> None:
        """The SIZE bytes at [base + offset] = register."""
        self._emit(0x63 | size, base, register, offset)

    def store_value(self, size: int, base: int, offset: int, value: int) -> None:
        """The SIZE bytes at [base + offset] = value."""
        self._emit(0x62 | size, base, 0, offset, value)

    def jump(self, label: str) -> None:
        """Go to the label."""
        self._jumps[len(self._code)] = label
        self._emit(_JUMP)

    def jump_if(self, condition: str, register: int, value: int, label: str) -> None:
        """Go to the label if register CONDITION value; eq, ne, gt, ge, lt, le are unsigned, 64 bits."""
        self._jumps[len(self._code)] = label
        self._emit(_JUMP | _JUMP_CODES[condition], register, immediate=value)

    def jump_if_register(self, condition: str, register: int, source: int, label: str) -> None:
        """Go to the label if register CONDITION source register."""
        self._jumps[len(self._code)] = label
        self._emit(_JUMP | _JUMP_CODES[condition] | _FROM_REGISTER, register, source)

    def call(self, helper: int) -> None:
        """Call a kernel helper: arguments in R1..R5, which it clobbers; result in R0."""
        self._emit(_JUMP | 0x80, immediate=helper)

    def exit(self) -> None:
        """End; R0 is the verdict."""
        self._emit(_JUMP | 0x90)

    def assemble(self) -> bytes:
        """The instructions, 8 bytes each (struct bpf_insn). Raises AssemblyError."""
        out = bytearray()
        for index, (code, target, source, offset, immediate) in enumerate(self._code):
            name = self._jumps.get(index)
            if name is not None:
                if name not in self._labels:
                    raise AssemblyError(f"label {name} is nowhere")
                offset = self._labels[name] - index - 1
                if not -0x8000 <= offset < 0x8000:
                    raise AssemblyError(f"label {name} is too far away")
            # The two register numbers are bit fields, so their order follows the byte order of the host.
            registers = source << 4 | target if sys.byteorder == "little" else target << 4 | source
            immediate = (immediate + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            out += struct.pack("=BBhi", code, registers, offset, immediate)
        return bytes(out)


def _bpf(command: int, attribute: bytes) -> tuple[int, bytes]:
    """bpf(2): its result and the attribute as the kernel left it. Raises BpfError."""
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        raise BpfError(errno.ENOSYS, f"bpf(2) is not known for {os.uname().machine}")
    buffer = ctypes.create_string_buffer(attribute.ljust(_ATTRIBUTE_SIZE, b"\0"), _ATTRIBUTE_SIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), ctypes.c_int(command), buffer, ctypes.c_uint(_ATTRIBUTE_SIZE))
    if result < 0:
        code = ctypes.get_errno()
        raise BpfError(code, os.strerror(code))
    return result, buffer.raw


def _load(instructions: bytes, name: str, program_type: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
    """BPF_PROG_LOAD: the file descriptor. The verifier writes into `log`, if given. Raises BpfError."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"")
    attribute = struct.pack(
        "=IIQQIIQII16s",
        program_type,
        len(instructions) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        0 if log is None else 1,
        0 if log is None else len(log),
        0 if log is None else ctypes.addressof(log),
        0,
        _STRICT_ALIGNMENT,
        name.encode()[:15],
    )
    return _bpf(_CMD_PROG_LOAD, attribute)[0]


class Program:
    """A loaded program; the file descriptor keeps it until close(), a filter that uses it keeps it on its own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def load(cls, instructions: bytes, name: str, program_type: int = PROG_TYPE_SCHED_ACT) -> Program:
        """Load (BPF_PROG_LOAD). name: at most 15 characters. Needs CAP_BPF and CAP_NET_ADMIN. Raises BpfError.

        No helper used here asks for a licence, so none is claimed.
        """
        try:
            return cls(_load(instructions, name, program_type, None))
        except BpfError as error:
            if error.errno not in (errno.EINVAL, errno.EACCES):
                raise
            # Again, for the verifier's reason only: a log is costly, and too small a buffer would fail a good program.
            log = ctypes.create_string_buffer(_LOG_SIZE)
            try:
                return cls(_load(instructions, name, program_type, log))
            except BpfError as second:
                lines = log.value.decode(errors="replace").strip().splitlines()
                text = "; ".join([os.strerror(second.errno or 0), *lines[-6:]])
                raise BpfError(second.errno, text) from None

    def fileno(self) -> int:
        """The file descriptor, for TCA_ACT_BPF_FD."""
        return self._fd

    def tag(self) -> bytes:
        """The kernel's 8-byte digest of the instructions: the same in every process that loads the same program."""
        info = ctypes.create_string_buffer(40)
        _bpf(_CMD_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", self._fd, len(info), ctypes.addressof(info)))
        return info.raw[8:16]

    def test_run(self, packet: bytes) -> tuple[int, bytes]:
        """Run once on a packet (from its Ethernet header, at least 14 bytes): verdict and the packet afterwards.

        The redirection a verdict asks for isn't carried out. Raises BpfError.
        """
        data = ctypes.create_string_buffer(packet, len(packet))
        out = ctypes.create_string_buffer(len(packet) + 256)
        attribute = struct.pack(
            "=IIIIQQII", self._fd, 0, len(packet), len(out), ctypes.addressof(data), ctypes.addressof(out), 1, 0
        )
        _, left = _bpf(_CMD_PROG_TEST_RUN, attribute)
        verdict, _, size = struct.unpack_from("=III", left, 4)
        return verdict, out.raw[:size]

    def close(self) -> None:
        """Close the file descriptor. Again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
