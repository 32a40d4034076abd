"""The assembler, and bpf(2) where this process may use it."""

from __future__ import annotations

import struct

import pytest

from datapath.bpf import HALF, R0, R1, R2, WORD, Assembler, AssemblyError, BpfError, Program
from tests.unit.datapath_dev.support import needs_bpf


def test_instructions_are_those_of_the_kernel_documentation() -> None:
    asm = Assembler()
    asm.set(R0, 7)
    asm.copy(R2, R1)
    asm.load(WORD, R1, R2, 76)
    asm.store(HALF, R2, 12, R1)
    asm.store_value(WORD, R2, 4, 0xFFFFFFFF)
    asm.call(23)
    asm.exit()
    codes = [struct.unpack_from("=BBhi", asm.assemble(), at) for at in range(0, 56, 8)]
    assert [code[0] for code in codes] == [0xB7, 0xBF, 0x61, 0x6B, 0x62, 0x85, 0x95]
    assert codes[2][2] == 76
    assert codes[4][3] == -1
    assert codes[5][3] == 23


def test_a_jump_counts_the_instructions_between() -> None:
    asm = Assembler()
    asm.jump_if("eq", R1, 5, "end")
    asm.set(R0, 1)
    asm.set(R0, 2)
    asm.label("end")
    asm.exit()
    assert struct.unpack_from("=BBhi", asm.assemble())[2] == 2


def test_labels_missing_and_doubled_are_errors() -> None:
    asm = Assembler()
    asm.jump("nowhere")
    with pytest.raises(AssemblyError, match="nowhere"):
        asm.assemble()
    asm.label("twice")
    with pytest.raises(AssemblyError, match="twice"):
        asm.label("twice")


def test_a_label_out_of_reach_is_an_error() -> None:
    asm = Assembler()
    asm.jump("far")
    for _ in range(0x8000):
        asm.set(R0, 0)
    asm.label("far")
    asm.exit()
    with pytest.raises(AssemblyError, match="too far"):
        asm.assemble()


@needs_bpf
def test_what_the_verifier_refuses_says_why() -> None:
    asm = Assembler()
    asm.load(WORD, R0, R2, 0)
    asm.exit()
    with pytest.raises(BpfError, match=r"R2 !read_ok"):
        Program.load(asm.assemble(), "wrong")


@needs_bpf
def test_tag_is_the_same_for_the_same_program() -> None:
    asm = Assembler()
    asm.set(R0, 2)
    asm.exit()
    first, second = Program.load(asm.assemble(), "one"), Program.load(asm.assemble(), "two")
    try:
        assert len(first.tag()) == 8
        assert first.tag() == second.tag()
        assert first.test_run(bytes(60)) == (2, bytes(60))
    finally:
        first.close()
        second.close()
        second.close()
