# SPDX-License-Identifier: Apache-2.0
"""The built file, and how callers come to it."""

import re
import subprocess
import sys
from pathlib import Path

from support.sharing import LIBRARY, MIB, close

CONTROL = {"cuInit", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemAllocAsync_ptsz", "cuGetProcAddress_v2", "dlsym"}


def dump(*options):
    return subprocess.run(["objdump", *options, LIBRARY], capture_output=True, text=True, check=True).stdout


def test_it_needs_a_libc_of_2012_alone():
    """No version beyond glibc 2.17, no library but libc: not the driver's, not libdl, not libpthread."""
    versions = {tuple(map(int, each.split("."))) for each in re.findall(r"GLIBC_([0-9.]+)", dump("-T"))}
    assert max(versions) <= (2, 17)
    assert re.findall(r"NEEDED +(\S+)", dump("-p")) == ["libc.so.6"]


def test_it_exports_its_hooks_alone():
    """No name of ours can meet one of the application's."""
    exported = {line.split()[-1] for line in dump("-T").splitlines() if " .text" in line}
    assert exported >= CONTROL
    assert all(re.fullmatch(r"dlsym|cu[A-Z]\w+|nvml[A-Z]\w+", name) for name in exported)


def test_it_is_small_and_begins_with_nothing():
    """At most 100 KiB, and no constructor of ours: the section holds the compiler's frame_dummy alone."""
    assert Path(LIBRARY).stat().st_size <= 100 * 1024
    sections = dump("-h")
    (size,) = re.findall(r"\.init_array +([0-9a-f]+)", sections)
    assert int(size, 16) == 8


def test_a_process_without_cuda_pays_the_mapping_alone(container):
    """No file, no region, no word."""
    place = container(100)
    found = place.run("/bin/echo", "fine")
    assert (found.stdout, found.stderr, found.returncode) == ("fine\n", "", 0)
    assert not place.cache.exists()


def test_every_way_to_a_function_leads_to_the_hook(container):
    """dlsym, both kinds of cuGetProcAddress in both their streams, and direct linking find the same function."""
    client = container(100).client()
    ours = client("d.address('cuMemAlloc_v2')")
    assert client("d.resolve(b'cuMemAlloc', 3020)") == (0, ours, 0)
    assert client("d.resolve(b'cuMemAlloc', 12000)") == (0, ours, 0)
    per_thread = client("d.address('cuMemAllocAsync_ptsz')")
    assert client("d.resolve(b'cuMemAllocAsync', 12000, 2)") == (0, per_thread, 0)
    assert client("d.resolve(b'cuGetProcAddress', 12000)")[1] == client("d.address('cuGetProcAddress_v2')")
    assert client("d.resolve(b'cuGetProcAddress', 11030)")[1] == client("d.address('cuGetProcAddress')")
    close(client)


def test_old_interfaces_and_misses_are_the_drivers_own(container):
    """A version that is no hook's is left alone; codes and statuses come through."""
    place = container(100)
    ours, bare = place.client(), place.client(preload=False)
    for ask in (
        "d.resolve(b'cuMemAlloc', 2000)",
        "d.resolve(b'cuMemAllocAsync', 11000)",
        "d.resolve(b'cuNothing', 12000)",
    ):
        code, address, status = ours(ask)
        assert (code, status) == bare(ask)[::2]
        assert address != ours("d.address('cuMemAlloc_v2')")
    close(ours, bare)


def test_nvml_sees_what_cuda_sees(container):
    """The container's NVML shows its limit, what it uses, and its own processes with their bytes."""
    place = container(100)
    other = container(50, state=place.state)
    clients = place.client(), other.client()
    clients[0](f"d.alloc({30 * MIB})")
    clients[1](f"d.alloc({20 * MIB})")
    program = (
        "import pynvml as n; n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0); m = n.nvmlDeviceGetMemoryInfo(h);"
        "print(m.total >> 20, m.used >> 20, m.free >> 20,"
        "[(p.pid, p.usedGpuMemory >> 20) for p in n.nvmlDeviceGetComputeRunningProcesses(h)])"
    )
    found = place.run(sys.executable, "-c", program)
    assert found.stdout == f"100 30 70 {[(clients[0].pid, 30)]}\n", found.stderr
    close(*clients)


def test_control_can_be_switched_off(container):
    """CUDA_DISABLE_CONTROL, and an environment without limits, leave the driver alone."""
    place = container(100)
    for client in (place.client(CUDA_DISABLE_CONTROL="true"), place.client(preload=False)):
        assert client("d.info()")[1] > 100 * MIB
        assert client(f"d.alloc({200 * MIB}) > 0")
        close(client)


def test_a_malformed_limit_gives_nothing_and_says_so(container):
    """Read as no limit it would take the neighbours' memory."""
    client = container(None).client(CUDA_DEVICE_MEMORY_LIMIT_0="lots")
    assert client("d.alloc(1)")[1] == 2
    close(client)
