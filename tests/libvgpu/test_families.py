# SPDX-License-Identifier: Apache-2.0
"""Every way to get device memory is limited to the byte, and every legal way to give it back gives all of it back."""

import pytest
from support.sharing import MIB, close

OUT_OF_MEMORY = 2
LIMIT = 96 * MIB
POOLED = "ctypes.c_size_t({size}), ctypes.c_void_p(d.pool())"
# How each family takes `size` bytes; the value is what is given back.
TAKE = {
    "linear": "d.alloc({size})",
    "managed": "d.get('cuMemAllocManaged', ctypes.c_size_t({size}), 1)",
    "async": "d.get('cuMemAllocAsync', ctypes.c_size_t({size}), None)",
    "async per thread": "d.get('cuMemAllocAsync_ptsz', ctypes.c_size_t({size}), None)",
    "pool": f"d.get('cuMemAllocFromPoolAsync', {POOLED}, None)",
    "pool per thread": f"d.get('cuMemAllocFromPoolAsync_ptsz', {POOLED}, None)",
}
FREE = {
    "free": "d.code('cuMemFree_v2', u64({pointer}))",
    "free async": "d.code('cuMemFreeAsync', u64({pointer}), None)",
    "free async per thread": "d.code('cuMemFreeAsync_ptsz', u64({pointer}), None)",
    "context": "d.code('cuDevicePrimaryCtxReset_v2', 0)",
}


@pytest.fixture
def client(container):
    made = container(LIMIT // MIB).client()
    yield made
    close(made)


def used(client):
    return client("d.used()")


@pytest.mark.parametrize("family", TAKE)
def test_the_limit_is_exact(family, client):
    """One unit under the limit and the limit itself are given, one byte more is OUT_OF_MEMORY."""
    take = TAKE[family]
    for size in (LIMIT - 512, LIMIT):
        pointer = client(take.format(size=size))
        assert isinstance(pointer, int), pointer
        assert used(client) == size
        assert client(take.format(size=LIMIT - size + 1))[1] == OUT_OF_MEMORY
        assert client(FREE["free"].format(pointer=pointer)) == 0
        assert used(client) == 0
    assert client(take.format(size=LIMIT + 1))[1] == OUT_OF_MEMORY
    assert used(client) == 0


@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("family", TAKE)
def test_every_free_gives_all_of_it_back(family, free, client):
    """Also the free of another family, and the end of the context; a second free is the driver's error."""
    if free == "context" and family not in {"linear", "managed"}:
        pytest.skip("pools outlive a context")
    pointer = client(TAKE[family].format(size=LIMIT))
    code = client(FREE[free].format(pointer=pointer))
    if code != 0:
        assert used(client) == LIMIT, "what the driver refuses to free stays counted"
        return
    if free == "context":
        client("d.open()")
    assert used(client) == 0
    assert isinstance(client(TAKE[family].format(size=LIMIT)), int)


def test_a_pitch_is_charged_with_what_the_driver_chose(client):
    """Narrow rows take their pitch: 100 bytes wide is 512 a row."""
    pitched = (
        "d.get('cuMemAllocPitch_v2', ctypes.byref(ctypes.c_size_t()), ctypes.c_size_t(100), ctypes.c_size_t({rows}), 4)"
    )
    rows = LIMIT // 512
    assert client(pitched.format(rows=rows + 1))[1] == OUT_OF_MEMORY
    pointer = client(pitched.format(rows=rows))
    assert used(client) == LIMIT
    assert client(FREE["free"].format(pointer=pointer)) == 0
    assert used(client) == 0


def test_physical_memory_lives_with_its_last_handle_or_mapping(client):
    """Released while mapped it still counts; retained handles and mappings each hold it."""
    handle = client(f"d.physical({LIMIT})")
    assert client(f"d.physical({2 * MIB})")[1] == OUT_OF_MEMORY
    address = client(f"d.map({handle}, {LIMIT})")
    retained = client(f"d.get('cuMemRetainAllocationHandle', ctypes.c_void_p({address}))")
    for name in ("cuMemRelease", "cuMemRelease"):
        assert client(f"d.code('{name}', u64({retained}))") == 0
        assert used(client) == LIMIT
    assert client(f"d.code('cuMemUnmap', u64({address}), ctypes.c_size_t({LIMIT}))") == 0
    assert used(client) == 0
    assert isinstance(client(f"d.physical({LIMIT})"), int)


def test_what_is_imported_counts_for_its_maker(client):
    """The same memory is not charged twice, and ends with the maker's last hold."""
    handle = client(f"d.physical({LIMIT})")
    imported = client(f"d.export({handle})")
    assert used(client) == LIMIT
    assert client(f"d.code('cuMemRelease', u64({imported}))") == 0
    assert client(f"d.code('cuMemRelease', u64({handle}))") == 0
    assert used(client) == 0


@pytest.mark.parametrize(
    ("make", "end"),
    [("d.array({n}, {n})", "cuArrayDestroy"), ("d.mipmap({n}, 3)", "cuMipmappedArrayDestroy")],
)
def test_arrays_are_charged_with_the_drivers_size(make, end, container):
    """As much as the driver itself takes, in a full container not one more."""
    place = container(100)
    client = place.client()
    before = place.used()
    made = client(make.format(n=4096))
    assert used(client) == place.used() - before >= 64 * MIB
    assert client(make.format(n=4096))[1] == OUT_OF_MEMORY
    assert client(f"d.code('{end}', ctypes.c_void_p({made}))") == 0
    assert used(client) == 0
    assert place.used() == before
    close(client)


def test_memory_of_graphs_counts_from_instantiation_to_its_end(client):
    """Before any launch could take it."""
    instance, _ = client(f"d.graph_memory({LIMIT})")
    assert used(client) == LIMIT
    assert client("d.alloc(1)")[1] == OUT_OF_MEMORY
    assert client(f"d.graph_memory({2 * MIB})")[1] == OUT_OF_MEMORY
    assert client(f"d.code('cuGraphExecDestroy', ctypes.c_void_p({instance}))") == 0
    assert used(client) == 0


def test_processes_of_a_container_share_its_limit(container):
    """Pieces of two processes add up to the limit exactly; a killed one's are free again for the other."""
    place = container(96)
    first, second = place.client(), place.client()
    assert first(f"d.fill({MIB})") == 96
    assert second("d.alloc(1)")[1] == OUT_OF_MEMORY
    assert first("d.drain()") == {0}
    assert first(f"len([d.alloc({MIB}) for _ in range(40)])") == 40
    assert second(f"d.fill({MIB})") == 56
    assert place.used() == 96 * MIB
    first.kill()
    assert second(f"d.get('cuMemAlloc_v2', ctypes.c_size_t({40 * MIB})) > 0")
    assert place.used() == 96 * MIB
    close(second)


def test_two_containers_know_nothing_of_each_other(container):
    """Each has its own limit on the same GPU."""
    first = container(96)
    second = container(32, state=first.state)
    clients = first.client(), second.client()
    assert [each(f"d.fill({MIB})") for each in clients] == [96, 32]
    assert [each("d.info()") for each in clients] == [(0, 96 * MIB), (0, 32 * MIB)]
    close(*clients)


def test_a_driver_that_fails_changes_no_figure(container):
    """Every function that gives memory is made to fail once: its code comes through, and nothing stays counted."""
    place = container(96)
    calls = {
        "cuMemAlloc_v2": TAKE["linear"],
        "cuMemAllocManaged": TAKE["managed"],
        "cuMemAllocAsync": TAKE["async"],
        "cuMemAllocFromPoolAsync": TAKE["pool"],
        "cuMemCreate": "d.physical({size})",
        "cuArray3DCreate_v2": "d.array(2048, 2048)",
        "cuMipmappedArrayCreate": "d.mipmap(2048, 2)",
        "cuGraphInstantiateWithFlags": "d.graph_memory({size})",
    }
    for name, call in calls.items():
        # The size of an array is asked by making one without memory.
        number = 2 if "Array" in name else 1
        client = place.client(HAMI_SIM_FAULTS=f"{name}#{number}=error:999")
        assert client(call.format(size=2 * MIB)) == (name, 999)
        assert used(client) == 0, name
        close(client)


def test_what_the_driver_will_not_free_stays_counted(container):
    """A free that fails leaves the figure as it was, and can be tried again."""
    client = container(96).client(HAMI_SIM_FAULTS="cuMemFree_v2#1=error:999")
    pointer = client(f"d.alloc({MIB})")
    assert client(f"d.free({pointer})") == 999
    assert used(client) == MIB
    assert client(f"d.free({pointer})") == 0
    assert used(client) == 0
    close(client)
