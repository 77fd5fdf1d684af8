# SPDX-License-Identifier: Apache-2.0
"""What is taken for a libvgpu: the compiler's own files, and small ELF files whose every part a test can change."""

import os
import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.library.elf import EXPORTS, library_problem

MACHINE = os.uname().machine
BASE = 0x1000  # the address of the file's first byte
LOAD, DYNAMIC, NOTE = 1, 2, 4
STRTAB, SYMTAB, STRSZ, FLAGS_1, GNU_HASH, HASH = 5, 6, 10, 0x6FFFFFFB, 0x6FFFFEF5, 4
LOCAL, GLOBAL, WEAK = 0, 1, 2
DEFAULT, HIDDEN, PROTECTED = 0, 2, 3


class Symbol(NamedTuple):
    """A dynamic symbol; section 0 is one that another library must have."""

    name: str
    binding: int = GLOBAL
    visibility: int = DEFAULT
    section: int = 1


WANTED = tuple(map(Symbol, EXPORTS))


def elf(symbols=WANTED, *, left_out=(), more=(), gnu=None, segments=None, kind=3, machine=62, ended=True):
    """A shared object with these symbols; `more` are dynamic entries besides, `gnu` the words of a GNU hash table."""
    strings = b"\0" + b"".join(symbol.name.encode() + b"\0" for symbol in symbols)
    table = bytearray(24)
    for symbol in symbols:
        at = strings.index(b"\0" + symbol.name.encode() + b"\0") + 1
        table += struct.pack("<IBBHQQ", at, symbol.binding << 4, symbol.visibility, symbol.section, 0, 0)
    hashes = struct.pack("<II", 1, len(symbols) + 1) if gnu is None else struct.pack(f"<{len(gnu)}I", *gnu)
    start = 64 + 3 * 56
    places = {
        STRTAB: start,
        SYMTAB: start + len(strings),
        (HASH if gnu is None else GNU_HASH): start + len(strings) + len(table),
    }
    dynamic = [(tag, BASE + offset) for tag, offset in places.items()] + [(STRSZ, len(strings)), *more]
    entries = b"".join(struct.pack("<qQ", *each) for each in dynamic if each[0] not in left_out)
    entries += struct.pack("<qQ", 0, 0) if ended else b""
    body = strings + bytes(table) + hashes
    total = start + len(body) + len(entries)
    rows = segments or [(NOTE, 0, 0, 0), (LOAD, 0, BASE, total), (DYNAMIC, start + len(body), 0, len(entries))]
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, machine, 1, 0, 64, 0, 0, 64, 56, len(rows), 64, 0, 0
    )
    headers = b"".join(
        struct.pack("<IIQQQQQQ", kind, 0, offset, address, 0, size, size, 0) for kind, offset, address, size in rows
    )
    return header + headers.ljust(3 * 56, b"\0") + body + entries


def problem(data):
    return library_problem(data, "x86_64")


# Buckets, first symbol, words of the bloom filter, shift; the filter; the bucket; a chain, whose end has its last bit.
CHAIN = (1, 1, 1, 0, 0, 0, 1, 8, 9)


@pytest.mark.parametrize(
    "data",
    [
        elf(),
        memoryview(elf()),
        elf((*WANTED, Symbol("other"))),
        elf([Symbol(name, WEAK, PROTECTED) for name in EXPORTS]),
        elf(gnu=CHAIN),
        elf(ended=False),
        elf(more=[(FLAGS_1, 1)]),
    ],
)
def test_a_shared_object_with_the_exports_is_a_library(data):
    """Global or weak, by either kind of hash table, with or without an end of the dynamic table."""
    assert problem(data) == ""


BROKEN = "its ELF structure is broken"
WHOLE = len(elf())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not an ELF file"),
        (elf()[:63], "not an ELF file"),
        (b"\x7fELG" + elf()[4:], "not an ELF file"),
        (elf()[:4] + b"\x01" + elf()[5:], "not a 64-bit little-endian ELF file"),
        (elf()[:5] + b"\x02" + elf()[6:], "not a 64-bit little-endian ELF file"),
        (elf(kind=2), "not a shared object"),
        (elf(machine=183), "not built for x86_64"),
        (elf()[:-1], f"truncated: {WHOLE - 1} of at least {WHOLE} bytes"),
        (elf(more=[(FLAGS_1, 0x08000000)]), "a program, not a shared object"),
        (elf(()), "it does not export dlsym and cuInit"),
        (elf(WANTED[:1]), "it does not export cuInit"),
        (elf([WANTED[0], Symbol("cuInit", LOCAL)]), "it does not export cuInit"),
        (elf([WANTED[0], Symbol("cuInit", GLOBAL, HIDDEN)]), "it does not export cuInit"),
        (elf([WANTED[0], Symbol("cuInit", section=0)]), "it does not export cuInit"),
        (elf(segments=[(LOAD, 0, BASE, 64)]), f"{BROKEN} (no dynamic table)"),
        (elf(left_out=[SYMTAB]), f"{BROKEN} (no dynamic symbols)"),
        (elf(left_out=[STRTAB]), f"{BROKEN} (no dynamic symbols)"),
        (elf(left_out=[HASH]), f"{BROKEN} (no symbol hash table)"),
        (elf(left_out=[STRSZ]), "it does not export dlsym and cuInit"),
        (elf(more=[(SYMTAB, 1)]), f"{BROKEN} (an address outside of every segment)"),
        (elf(gnu=(1 << 20, 1, 1, 0)), f"{BROKEN} (a hash table that leaves the file)"),
        (elf(gnu=(1, 3, 1, 0, 0, 0, 0)), ""),
        (elf(gnu=(1, 1, 1, 0, 0, 0, 0)), "it does not export dlsym and cuInit"),
        (elf(gnu=(0, 2, 1, 0, 0, 0)), "it does not export cuInit"),
    ],
)
def test_what_keeps_a_file_from_being_a_library(data, text):
    """Each part that is missing, cut off or contradicts another is named, and nothing raises."""
    assert problem(data) == text


def test_a_chain_that_leaves_the_file_is_broken():
    """The reader stops at the file's end, where it looks for the end of a chain."""
    assert problem(elf(gnu=(1, 1, 1, 0, 0, 0, 1 << 30))).startswith(BROKEN)


def test_sections_belong_to_the_file():
    """A section table that begins or ends behind the file's end means that the file is cut off."""
    data = bytearray(elf())
    struct.pack_into("<Q", data, 40, len(data) - 64)
    struct.pack_into("<HH", data, 58, 64, 2)
    assert problem(bytes(data)) == f"truncated: {WHOLE} of at least {WHOLE + 64} bytes"


def test_a_real_library_is_one(libraries):
    """The compiler's shared object passes on this machine, and on no other."""
    assert library_problem(libraries.one, MACHINE) == ""
    assert "not built for" in library_problem(libraries.one, "s390x")


def test_a_library_that_is_cut_off_is_none(libraries):
    """At every length but the whole: this is the half-written file that processes crashed on."""
    for length in range(0, len(libraries.one), 97):
        assert library_problem(libraries.one[:length], MACHINE)


@given(st.data())
def test_no_damage_makes_the_reader_of_elf_files_fail(libraries, data):
    """For changed bytes the answer is a text, never an exception or an endless loop."""
    damaged = bytearray(libraries.one)
    headers = 4096
    for position, byte in data.draw(st.lists(st.tuples(st.integers(0, headers), st.integers(0, 255)), max_size=20)):
        damaged[position] = byte
    assert isinstance(library_problem(bytes(damaged), MACHINE), str)
