# SPDX-License-Identifier: Apache-2.0
"""Checks that bytes are a libvgpu for this machine: a complete ELF shared object with the exports for hooking."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

EXPORTS: Final = ("dlsym", "cuInit")
# From the ELF specification: e_machine by the kernel's name of the architecture, then the fields read here.
_MACHINES: Final = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "ppc64le": 21, "loongarch64": 258}
# ELFCLASS64, ELFDATA2LSB
_CLASS_AND_ORDER: Final = b"\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SHARED_OBJECT, _LOAD, _DYNAMIC_SEGMENT = 3, 1, 2
_STRTAB, _SYMTAB, _STRSZ, _FLAGS_1, _GNU_HASH, _HASH = 5, 6, 10, 0x6FFFFFFB, 0x6FFFFEF5, 4
_POSITION_INDEPENDENT_PROGRAM = 0x08000000
_GLOBAL, _WEAK = 1, 2
_VISIBLE = (0, 3)


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class _Broken(Exception):  # noqa: N818  # never leaves this module
    """The bytes contradict themselves."""


def library_problem(data: bytes | memoryview, machine: str) -> str:
    """Why these bytes are not a libvgpu for `machine` (as uname names it); empty if they are one."""
    header = data[: _HEADER.size]
    problem = _header_problem(bytes(header), machine)
    if problem:
        return problem
    try:
        return _content_problem(data)
    except (_Broken, struct.error, IndexError, OverflowError) as error:
        return f"its ELF structure is broken ({error})" if str(error) else "its ELF structure is broken"


def _header_problem(header: bytes, machine: str) -> str:
    if header[:4] != b"\x7fELF" or len(header) < _HEADER.size:
        return "not an ELF file"
    if header[4:6] != _CLASS_AND_ORDER:
        return "not a 64-bit little-endian ELF file"
    fields = _HEADER.unpack(header)
    if fields[1] != _SHARED_OBJECT:
        return "not a shared object"
    if fields[2] != _MACHINES.get(machine):
        return f"not built for {machine}"
    return ""


def _content_problem(data: bytes | memoryview) -> str:
    fields = _HEADER.unpack_from(data)
    program_offset, section_offset = fields[5], fields[6]
    segments = [_segment(data, program_offset + index * fields[9]) for index in range(fields[10])]
    end = max([section_offset + fields[11] * fields[12], *(s.offset + s.size for s in segments if s.kind == _LOAD)])
    if end > len(data):
        return f"truncated: {len(data)} of at least {end} bytes"
    table = dict(_dynamic(data, segments))
    if table.get(_FLAGS_1, 0) & _POSITION_INDEPENDENT_PROGRAM:
        return "a program, not a shared object"
    missing = [name for name in EXPORTS if name not in set(_exports(data, segments, table))]
    return f"it does not export {' and '.join(missing)}" if missing else ""


def _segment(data: bytes | memoryview, offset: int) -> _Segment:
    kind, _, file_offset, address, _, size, _, _ = _SEGMENT.unpack_from(data, offset)
    return _Segment(kind, file_offset, address, size)


def _dynamic(data: bytes | memoryview, segments: list[_Segment]) -> Iterator[tuple[int, int]]:
    """The entries of the dynamic table; the tags read here appear only once."""
    for segment in segments:
        if segment.kind != _DYNAMIC_SEGMENT:
            continue
        for offset in range(segment.offset, segment.offset + segment.size, _DYNAMIC.size):
            tag, value = _DYNAMIC.unpack_from(data, offset)
            if tag == 0:
                return
            yield tag, value
        return
    raise _Broken("no dynamic table")


def _exports(data: bytes | memoryview, segments: list[_Segment], table: dict[int, int]) -> Iterator[str]:
    if _SYMTAB not in table or _STRTAB not in table:
        raise _Broken("no dynamic symbols")
    symbols = _file_offset(segments, table[_SYMTAB])
    strings = _file_offset(segments, table[_STRTAB])
    names = bytes(data[strings : strings + table.get(_STRSZ, 0)])
    for index in range(_symbol_count(data, segments, table)):
        name, info, other, section, _, _ = _SYMBOL.unpack_from(data, symbols + index * _SYMBOL.size)
        if section != 0 and info >> 4 in (_GLOBAL, _WEAK) and other & 3 in _VISIBLE:
            end = names.find(b"\0", name)
            yield names[name:end].decode("ascii", "replace")


def _file_offset(segments: list[_Segment], address: int) -> int:
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    raise _Broken("an address outside of every segment")


def _symbol_count(data: bytes | memoryview, segments: list[_Segment], table: dict[int, int]) -> int:
    if _HASH in table:
        return int(struct.unpack_from("<II", data, _file_offset(segments, table[_HASH]))[1])
    if _GNU_HASH not in table:
        raise _Broken("no symbol hash table")
    return _gnu_symbol_count(data, _file_offset(segments, table[_GNU_HASH]))


def _gnu_symbol_count(data: bytes | memoryview, offset: int) -> int:
    """One more than the highest symbol index that the GNU hash table reaches."""
    buckets, first, bloom, _ = struct.unpack_from("<IIII", data, offset)
    start = offset + 16 + bloom * 8
    if start + buckets * 4 > len(data):
        raise _Broken("a hash table that leaves the file")
    last = max(struct.unpack_from(f"<{buckets}I", data, start), default=0)
    if last < first:
        return int(first)
    chain = start + buckets * 4
    while not struct.unpack_from("<I", data, chain + (last - first) * 4)[0] & 1:
        last += 1
    return int(last) + 1
