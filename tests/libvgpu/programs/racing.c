/* SPDX-License-Identifier: Apache-2.0 */
/* Takes pieces of one family in many threads until there is no more, and says how many; at a line of input it gives all of
 * them back, and says how many calls went wrong.
 *
 *   racing FAMILY THREADS      linear|managed|pitch|async|pool|keeping|physical|array|mipmap|graph
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../native/include/cuda_abi.h"

#define MIB ((size_t)1 << 20)
#define MOST 256
#define F(symbol, ...) ((int (*)(__VA_ARGS__))dlsym(cuda, #symbol))

static void *cuda, *context, *pool;

union piece {
    cu_pointer pointer;
    uint64_t physical;
    void *handle;
};

static int take_linear(union piece *piece)
{
    return F(cuMemAlloc_v2, cu_pointer *, size_t)(&piece->pointer, MIB);
}

static int take_managed(union piece *piece)
{
    return F(cuMemAllocManaged, cu_pointer *, size_t, unsigned)(&piece->pointer, MIB, CU_ATTACH_GLOBAL);
}

static int take_pitch(union piece *piece)
{
    size_t pitch;
    return F(cuMemAllocPitch_v2, cu_pointer *, size_t *, size_t, size_t, unsigned)(&piece->pointer, &pitch, 500, 2048,
                                                                                   4);
}

static int take_async(union piece *piece)
{
    return F(cuMemAllocAsync, cu_pointer *, size_t, void *)(&piece->pointer, MIB, NULL);
}

static int take_pool(union piece *piece)
{
    return F(cuMemAllocFromPoolAsync, cu_pointer *, size_t, void *, void *)(&piece->pointer, MIB, pool, NULL);
}

static int take_physical(union piece *piece)
{
    const struct cu_allocation wanted = {.type = CU_ALLOCATION_PINNED, .location = {CU_LOCATION_DEVICE, 0}};
    return F(cuMemCreate, uint64_t *, size_t, const struct cu_allocation *, uint64_t)(&piece->physical, 2 * MIB,
                                                                                      &wanted, 0);
}

static struct cu_array3d picture = {.width = 512, .height = 512, .format = CU_FORMAT_FLOAT, .channels = 1};

static int take_array(union piece *piece)
{
    return F(cuArray3DCreate_v2, void **, const struct cu_array3d *)(&piece->handle, &picture);
}

static int take_mipmap(union piece *piece)
{
    return F(cuMipmappedArrayCreate, void **, const struct cu_array3d *, unsigned)(&piece->handle, &picture, 1);
}

static int take_graph(union piece *piece)
{
    struct cu_memory_node memory = {.pool = {.type = CU_ALLOCATION_PINNED, .location = {CU_LOCATION_DEVICE, 0}},
                                    .bytes = 2 * MIB};
    void *graph, *node;
    int (*add)(void **, void *, void *, size_t, struct cu_memory_node *) = dlsym(cuda, "cuGraphAddMemAllocNode");
    if (F(cuGraphCreate, void **, unsigned)(&graph, 0) != 0 || add(&node, graph, NULL, 0, &memory) != 0)
        return 999;
    int result = F(cuGraphInstantiateWithFlags, void **, void *, unsigned long long)(&piece->handle, graph, 0);
    return F(cuGraphDestroy, void *)(graph) == 0 ? result : 999;
}

static const struct family {
    const char *name;
    int (*take)(union piece *piece);
    const char *give;
    bool keeps; /* its pool keeps what is freed, until it is trimmed */
} families[] = {
    {"linear", take_linear, "cuMemFree_v2", false},
    {"managed", take_managed, "cuMemFree_v2", false},
    {"pitch", take_pitch, "cuMemFree_v2", false},
    {"async", take_async, "cuMemFreeAsync", false},
    {"pool", take_pool, "cuMemFreeAsync", false},
    {"keeping", take_pool, "cuMemFreeAsync", true},
    {"physical", take_physical, "cuMemRelease", false},
    {"array", take_array, "cuArrayDestroy", false},
    {"mipmap", take_mipmap, "cuMipmappedArrayDestroy", false},
    {"graph", take_graph, "cuGraphExecDestroy", false},
};
static const struct family *family;
static atomic_int taken, wrong;

struct hand {
    pthread_t thread;
    union piece pieces[MOST];
    int count;
};

static void *take_all(void *data)
{
    struct hand *hand = data;
    int code = 0;
    wrong += F(cuCtxSetCurrent, void *)(context) != 0;
    while (hand->count < MOST && (code = family->take(&hand->pieces[hand->count])) == 0)
        hand->count++;
    wrong += code != CU_ERROR_OUT_OF_MEMORY;
    taken += hand->count;
    return NULL;
}

static void *give_all(void *data)
{
    struct hand *hand = data;
    int (*give)(uint64_t, void *) = (int (*)(uint64_t, void *))dlsym(cuda, family->give);
    wrong += F(cuCtxSetCurrent, void *)(context) != 0;
    while (hand->count > 0)
        wrong += give(hand->pieces[--hand->count].pointer, NULL) != 0;
    return NULL;
}

static void set_threshold(uint64_t bytes)
{
    wrong += F(cuMemPoolSetAttribute, void *, int, void *)(pool, CU_POOL_RELEASE_THRESHOLD, &bytes) != 0;
}

static void trim(void)
{
    wrong += F(cuCtxSynchronize, void)() != 0;
    wrong += F(cuMemPoolTrimTo, void *, size_t)(pool, 0) != 0;
}

static void all(struct hand *hands, int threads, void *(*work)(void *))
{
    for (int i = 0; i < threads; i++)
        pthread_create(&hands[i].thread, NULL, work, &hands[i]);
    for (int i = 0; i < threads; i++)
        pthread_join(hands[i].thread, NULL);
}

int main(int count, char **words)
{
    static struct hand hands[64];
    const struct cu_pool wanted = {.type = CU_ALLOCATION_PINNED, .location = {CU_LOCATION_DEVICE, 0}};
    for (size_t i = 0; count == 3 && i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].name, words[1]) == 0)
            family = &families[i];
    if (family == NULL || (cuda = dlopen("libcuda.so.1", RTLD_NOW)) == NULL || F(cuInit, unsigned)(0) != 0 ||
        F(cuDevicePrimaryCtxRetain, void **, int)(&context, 0) != 0 || F(cuCtxSetCurrent, void *)(context) != 0 ||
        F(cuMemPoolCreate, void **, const struct cu_pool *)(&pool, &wanted) != 0)
        return 3;
    if (family->keeps)
        set_threshold(UINT64_MAX);
    all(hands, atoi(words[2]), take_all);
    printf("%d\n", taken);
    fflush(stdout);
    getchar();
    all(hands, atoi(words[2]), give_all);
    if (family->keeps)
        trim();
    printf("%d\n", wrong);
    fflush(stdout);
    getchar();
    return 0;
}
