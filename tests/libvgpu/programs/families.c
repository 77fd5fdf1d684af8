/* SPDX-License-Identifier: Apache-2.0 */
/* Takes memory of every family, says what should be counted and what cuMemGetInfo says of it, gives all back, and says
 * that again: "<expected> <counted> <left>" in bytes. Any one call may fail; frees are tried again then. Waits at the end
 * for its standard input to close. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../../native/include/cuda_abi.h"

#define MIB ((size_t)1 << 20)
#define F(symbol, ...) ((int (*)(__VA_ARGS__))dlsym(cuda, #symbol))

static void *cuda;

/* What must not fail for good: a fault happens once. */
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        int first_ = (call), result_ = first_ != 0 ? (call) : 0;                                                       \
        if (result_ != 0) {                                                                                            \
            fprintf(stderr, "%s: %d, %d\n", #call, first_, result_);                                                   \
            exit(3);                                                                                                   \
        }                                                                                                              \
    } while (0)

static size_t counted(void)
{
    size_t free = 0, total = 0;
    MUST(F(cuMemGetInfo_v2, size_t *, size_t *)(&free, &total));
    return total - free;
}

static const struct cu_allocation PHYSICAL = {.type = CU_ALLOCATION_PINNED, .location = {CU_LOCATION_DEVICE, 0}};
static const struct cu_pool POOL = {.type = CU_ALLOCATION_PINNED, .location = {CU_LOCATION_DEVICE, 0}};
static struct cu_array3d picture = {.width = 1024, .height = 1024, .format = CU_FORMAT_FLOAT, .channels = 1};

/* What was taken; 0 or NULL what was not. */
static struct {
    cu_pointer linear, managed, pitched, async, pooled, in_context, address;
    uint64_t physical;
    void *array, *mipmap, *context, *stream, *pool, *graph, *instance, *captured, *captured_instance;
} has;

static size_t take_linear(void)
{
    size_t pitch, sum = 0;
    if (F(cuMemAlloc_v2, cu_pointer *, size_t)(&has.linear, MIB) == 0)
        sum += MIB;
    if (F(cuMemAllocManaged, cu_pointer *, size_t, unsigned)(&has.managed, MIB, CU_ATTACH_GLOBAL) == 0)
        sum += MIB;
    if (F(cuMemAllocPitch_v2, cu_pointer *, size_t *, size_t, size_t, unsigned)(&has.pitched, &pitch, 512, 2048, 4) ==
        0)
        sum += MIB;
    return sum;
}

/* A pool that keeps a MiB, which it gives out again to the next caller; true when it got one to keep. */
static int make_pool(void)
{
    uint64_t ever = UINT64_MAX;
    cu_pointer kept = 0;
    MUST(F(cuMemPoolCreate, void **, const struct cu_pool *)(&has.pool, &POOL));
    MUST(F(cuMemPoolSetAttribute, void *, int, void *)(has.pool, CU_POOL_RELEASE_THRESHOLD, &ever));
    if (F(cuMemAllocFromPoolAsync, cu_pointer *, size_t, void *, void *)(&kept, MIB, has.pool, has.stream) == 0)
        MUST(F(cuMemFreeAsync, cu_pointer, void *)(kept, has.stream));
    MUST(F(cuStreamSynchronize, void *)(has.stream));
    return kept != 0;
}

static size_t take_async(void)
{
    size_t sum = 0;
    MUST(F(cuStreamCreate, void **, unsigned)(&has.stream, 0));
    int keeps = make_pool();
    if (F(cuMemAllocAsync, cu_pointer *, size_t, void *)(&has.async, MIB, has.stream) == 0)
        sum += MIB;
    if (F(cuMemAllocFromPoolAsync, cu_pointer *, size_t, void *, void *)(&has.pooled, MIB, has.pool, has.stream) == 0 ||
        keeps)
        sum += MIB;
    return sum;
}

static size_t take_physical(void)
{
    MUST(F(cuMemAddressReserve, cu_pointer *, size_t, size_t, cu_pointer, uint64_t)(&has.address, 2 * MIB, 0, 0, 0));
    if (F(cuMemCreate, uint64_t *, size_t, const struct cu_allocation *, uint64_t)(&has.physical, 2 * MIB, &PHYSICAL,
                                                                                   0))
        return 0;
    MUST(F(cuMemMap, cu_pointer, size_t, size_t, uint64_t, uint64_t)(has.address, 2 * MIB, 0, has.physical, 0));
    MUST(F(cuMemRelease, uint64_t)(has.physical));
    return 2 * MIB;
}

static size_t take_arrays(void)
{
    size_t sum = 0;
    if (F(cuArray3DCreate_v2, void **, const struct cu_array3d *)(&has.array, &picture) == 0)
        sum += 4 * MIB;
    if (F(cuMipmappedArrayCreate, void **, const struct cu_array3d *, unsigned)(&has.mipmap, &picture, 2) == 0)
        sum += 5 * MIB;
    return sum;
}

static size_t take_graphs(void)
{
    struct cu_memory_node memory = {.pool = POOL, .bytes = 2 * MIB};
    cu_pointer pointer;
    void *node;
    size_t sum = 0;
    MUST(F(cuGraphCreate, void **, unsigned)(&has.graph, 0));
    int (*add)(void **, void *, void *, size_t, struct cu_memory_node *) = dlsym(cuda, "cuGraphAddMemAllocNode");
    if (add(&node, has.graph, NULL, 0, &memory) == 0 &&
        F(cuGraphInstantiateWithFlags, void **, void *, unsigned long long)(&has.instance, has.graph, 0) == 0)
        sum += 2 * MIB;
    MUST(F(cuStreamBeginCapture_v2, void *, int)(has.stream, 2));
    int allocated = F(cuMemAllocAsync, cu_pointer *, size_t, void *)(&pointer, 2 * MIB, has.stream);
    MUST(F(cuStreamEndCapture, void *, void **)(has.stream, &has.captured));
    if (F(cuGraphInstantiateWithFlags, void **, void *, unsigned long long)(&has.captured_instance, has.captured, 0) ==
        0)
        sum += allocated == 0 ? 2 * MIB : 0;
    return sum;
}

static size_t take_in_context(void)
{
    size_t sum = 0;
    void *popped;
    MUST(F(cuCtxCreate_v2, void **, unsigned, int)(&has.context, 0, 0));
    if (F(cuMemAlloc_v2, cu_pointer *, size_t)(&has.in_context, MIB) == 0)
        sum += MIB;
    MUST(F(cuCtxPopCurrent_v2, void **)(&popped));
    return sum;
}

static void end(const char *destroy, void *handle)
{
    if (handle != NULL)
        MUST(((int (*)(void *))dlsym(cuda, destroy))(handle));
}

static void give_back(void)
{
    cu_pointer pointers[] = {has.linear, has.managed, has.pitched};
    cu_pointer ordered[] = {has.async, has.pooled};
    for (int i = 0; i < 3; i++)
        if (pointers[i] != 0)
            MUST(F(cuMemFree_v2, cu_pointer)(pointers[i]));
    for (int i = 0; i < 2; i++)
        if (ordered[i] != 0)
            MUST(F(cuMemFreeAsync, cu_pointer, void *)(ordered[i], has.stream));
    MUST(F(cuStreamSynchronize, void *)(has.stream));
    if (has.physical != 0)
        MUST(F(cuMemUnmap, cu_pointer, size_t)(has.address, 2 * MIB));
    end("cuArrayDestroy", has.array);
    end("cuMipmappedArrayDestroy", has.mipmap);
    end("cuGraphExecDestroy", has.instance);
    end("cuGraphExecDestroy", has.captured_instance);
    end("cuGraphDestroy", has.graph);
    end("cuGraphDestroy", has.captured);
    MUST(F(cuMemPoolTrimTo, void *, size_t)(has.pool, 0));
    end("cuMemPoolDestroy", has.pool);
    end("cuCtxDestroy_v2", has.context);
}

int main(void)
{
    void *context;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (cuda == NULL)
        return 2;
    MUST(F(cuInit, unsigned)(0));
    MUST(F(cuDevicePrimaryCtxRetain, void **, int)(&context, 0));
    MUST(F(cuCtxSetCurrent, void *)(context));
    size_t (*const takes[])(void) = {take_linear, take_async, take_physical, take_arrays, take_graphs, take_in_context};
    size_t expected = 0;
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++)
        expected += takes[i]();
    size_t held = counted();
    give_back();
    printf("%zu %zu %zu\n", expected, held, counted());
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return 0;
}
