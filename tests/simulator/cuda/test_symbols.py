# SPDX-License-Identifier: Apache-2.0
"""Every function of the driver is there, by its symbol and through cuGetProcAddress with the right version."""

from __future__ import annotations

import re
import subprocess

import pynvml
import pytest
from support import REPOSITORY
from support.cudatools import LIBRARIES, environment
from support.narrow import present

from hamid.core.errors import UsageError
from hamid.node.simulation import control

NAMES = REPOSITORY / "native/simulator/cuda/names.txt"
NEWEST, PER_THREAD = 13000, 2
FOUND, NOT_FOUND, TOO_OLD = 0, 1, 2
NO_SUCH, INVALID_VALUE = 500, 1


def entries():
    """Per base name its versions: (first CUDA version, symbol), the plain ones and those of the per-thread stream."""
    found: dict[str, tuple[list[tuple[int, str]], list[tuple[int, str]]]] = {}
    for line in NAMES.read_text().splitlines():
        if line.startswith("#"):
            continue
        base, *versions = line.split()
        plain, own = found.setdefault(base, ([], []))
        for version in versions:
            number, suffix = present(re.fullmatch(r"(\d+)(.*)", version)).groups()
            symbol = suffix[1:] if suffix.startswith("=") else base + suffix
            (own if symbol.endswith(("_ptds", "_ptsz")) else plain).append((int(number), symbol))
    return found


@pytest.fixture
def client(node, cuda):
    return cuda(node("1xA100-SXM4-40GB"), opened=False)


def test_every_version_resolves_to_its_symbol(client):
    """At its first version, at the last before the next, and today each ABI of each function is the exported symbol."""
    rows = []
    for base, (plain, own) in entries().items():
        for versions, flags in ((plain, 0), (own, PER_THREAD)):
            ends = [first - 1 for first, _ in versions[1:]] + [NEWEST]
            for (first, symbol), last in zip(versions, ends, strict=False):
                rows += [(base.encode(), version, flags, symbol) for version in (first, last)]
    assert len(rows) > 1300
    assert client(f"d.misresolved({rows!r})") == []


def test_a_fault_can_make_every_function_fail(node, cuda):
    """With a rule for all of them, each exported function answers what the rule says."""
    state = node("1xA100-SXM4-40GB")
    client = cuda(state)
    symbols = sorted({symbol for pair in entries().values() for versions in pair for _, symbol in versions})
    control.add_fault("cu*=error:999", state=state)
    assert len(symbols) > 670
    assert client(f"[name for name in {symbols!r} if d.code(name, *[u64(0)] * 11) != 999]") == []


def test_without_a_per_thread_variant_the_plain_one_is_given(client):
    """Asking for the per-thread stream gives another function where there is one, and the only one elsewhere."""
    assert client(f"d.misresolved([(b'cuMemAlloc', {NEWEST}, {PER_THREAD}, 'cuMemAlloc_v2')])") == []
    assert client("d.resolve(b'cuMemcpyHtoD', 13000, 2)[1] != d.resolve(b'cuMemcpyHtoD', 13000, 0)[1]") is True
    assert client("d.misresolved([(b'cuMemcpyHtoD', 3020, 2, 'cuMemcpyHtoD_v2')])") == []


def test_an_older_driver_knows_less(node, cuda):
    """A node of an older CUDA says so through both libraries, and resolves what that version had, before cuInit too."""
    state = node("1xA100-SXM4-40GB")
    control.set_knob("cuda_version", "12020", state=state)
    client = cuda(state, opened=False)
    for _ in range(2):
        assert client("d.get('cuDriverGetVersion', kind=ctypes.c_int)") == 12020
        assert client("d.resolve(b'cuMemGetDefaultMemPool', 13000)") == (NO_SUCH, None, NOT_FOUND)
        assert client("d.misresolved([(b'cuGraphAddNode', 13000, 0, 'cuGraphAddNode')])") == []
        client("d.open()")
    assert pynvml.nvmlSystemGetCudaDriverVersion() == 12020
    with pytest.raises(UsageError, match="not a value"):
        control.set_knob("cuda_version", "13010", state=state)


def test_a_program_may_link_the_driver_directly(node, tmp_path):
    """A C program that names the library at link time, per-thread variants included, runs on the node."""
    source = tmp_path / "direct.c"
    names = ["cuMemAlloc_v2", "cuMemcpyHtoD_v2_ptds", "cuLaunchKernel_ptsz", "cuProfilerInitialize", "cuGLInit"]
    declared = "".join(f"int {name}();" for name in names)
    used = " + ".join(f"({name} != 0)" for name in names)
    source.write_text(f"int cuInit(unsigned); {declared} int main(void) {{ return cuInit(0) * 100 + {used}; }}")
    program = tmp_path / "direct"
    command = ["gcc", "-w", "-o", str(program), str(source), f"-L{LIBRARIES}", "-l:libcuda.so.1"]
    subprocess.run(command, check=True, timeout=60)
    done = subprocess.run([str(program)], env=environment(node("1xA30")), timeout=60, check=False)
    assert done.returncode == len(names)


def test_what_is_not_there_is_told_apart(client):
    """An unknown name, a client that is too old for a known one, and bad arguments have answers of their own."""
    assert client("d.resolve(b'cuNoSuchThing', 13000)") == (NO_SUCH, None, NOT_FOUND)
    assert client("d.resolve(b'cuMemAlloc_v2', 13000)") == (NO_SUCH, None, NOT_FOUND)
    assert client("d.resolve(b'cuMemAllocAsync', 11010)") == (NO_SUCH, None, TOO_OLD)
    assert client("d.resolve(b'cuMemAllocAsync', 11020)")[::2] == (0, FOUND)
    assert client("d.resolve(b'cuMemAlloc', 13000, 9)")[0] == INVALID_VALUE
    assert client("d.code('cuGetExportTable', ctypes.byref(u64()), (ctypes.c_ubyte * 16)())") == NO_SUCH


def test_every_result_has_a_name_and_a_text(client):
    """Names and texts of results exist without cuInit; an unknown result has none."""
    get = "(lambda p: (d.code('{}', {}, ctypes.byref(p)), p.value))(ctypes.c_char_p())"
    assert client(get.format("cuGetErrorName", 2)) == (0, b"CUDA_ERROR_OUT_OF_MEMORY")
    assert client(get.format("cuGetErrorString", 2)) == (0, b"out of memory")
    assert client(get.format("cuGetErrorName", 77777)) == (INVALID_VALUE, None)
