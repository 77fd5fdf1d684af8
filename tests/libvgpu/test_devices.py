# SPDX-License-Identifier: Apache-2.0
"""A container with two GPUs: memory counts on the GPU where it is allocated, independent of the current one."""

import pytest
from support.sharing import MIB, close

OUT_OF_MEMORY = 2
LIMITS = {"CUDA_DEVICE_MEMORY_LIMIT_0": "64m", "CUDA_DEVICE_MEMORY_LIMIT_1": "96m"}
TAKE = {
    "stream": "d.get('cuMemAllocAsync', ctypes.c_size_t({size}), ctypes.c_void_p(d.stream_on({device})))",
    "default pool": "d.from_pool(d.default_pool({device}), {size})",
    "current pool": "d.from_pool(d.default_pool({device}, 'cuDeviceGetMemPool'), {size})",
    "own pool": "d.from_pool(d.pool({device}), {size})",
    "physical": "d.physical({size}, {device})",
}


@pytest.fixture
def client(container):
    """On the first of two GPUs."""
    made = container(64, board="2xA30", **LIMITS).client()
    yield made
    close(made)


@pytest.mark.parametrize("family", TAKE)
def test_memory_counts_where_it_lies(family, client):
    """The other GPU's limit holds for the other GPU's memory; here nothing is used, there all of it."""
    take = TAKE[family]
    assert isinstance(client(take.format(size=96 * MIB, device=1)), int)
    assert client(take.format(size=2 * MIB, device=1))[1] == OUT_OF_MEMORY
    assert client("d.used()") == 0
    assert isinstance(client(take.format(size=64 * MIB, device=0)), int)
    assert client("d.used()") == 64 * MIB
    assert client("d.on(1, d.info)") == (0, 96 * MIB)


def test_a_graph_with_memory_on_two_gpus_counts_on_both(client):
    """Instantiated only where both have room; its end gives both back."""
    instance, _ = client(f"d.graph_memory({64 * MIB}, {96 * MIB})")
    assert client("d.info()") == (0, 64 * MIB)
    assert client("d.on(1, d.info)") == (0, 96 * MIB)
    assert client(f"d.code('cuGraphExecDestroy', ctypes.c_void_p({instance}))") == 0
    assert client("d.info()") == (64 * MIB, 64 * MIB)
    assert client("d.on(1, d.info)") == (96 * MIB, 96 * MIB)
    assert client(f"d.graph_memory({32 * MIB}, {98 * MIB})")[1] == OUT_OF_MEMORY
    assert client("d.info()") == (64 * MIB, 64 * MIB)
