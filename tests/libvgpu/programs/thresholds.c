/* SPDX-License-Identifier: Apache-2.0 */
/* POOLS times: two threads set the threshold of one new pool at the same instant, a MiB is taken from it and freed, and the
 * pool is destroyed. One line: how often another figure than that MiB was counted then, and how often any was left. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../../native/include/cuda_abi.h"

#define MIB ((size_t)1 << 20)
#define F(symbol, ...) ((int (*)(__VA_ARGS__))dlsym(cuda, #symbol))

static void *cuda, *context, *pool;
static int (*set_attribute)(void *, int, void *);
static atomic_int round_begun, rounds_done;

static void set_threshold(void)
{
    uint64_t ever = UINT64_MAX;
    if (set_attribute(pool, CU_POOL_RELEASE_THRESHOLD, &ever) != 0)
        exit(4);
}

static void *other(void *rounds)
{
    for (int round = 1; round <= *(int *)rounds; round++) {
        while (atomic_load(&round_begun) < round)
            continue;
        set_threshold();
        atomic_store(&rounds_done, round);
    }
    return NULL;
}

static size_t counted(void)
{
    size_t free = 0, total = 0;
    if (F(cuMemGetInfo_v2, size_t *, size_t *)(&free, &total) != 0)
        exit(5);
    return total - free;
}

static void set_at_once(int round)
{
    const struct cu_pool wanted = {.type = CU_ALLOCATION_PINNED, .location = {CU_LOCATION_DEVICE, 0}};
    if (F(cuMemPoolCreate, void **, const struct cu_pool *)(&pool, &wanted) != 0)
        exit(6);
    atomic_store(&round_begun, round);
    set_threshold();
    while (atomic_load(&rounds_done) < round)
        continue;
}

int main(int count, char **words)
{
    int rounds = count == 2 ? atoi(words[1]) : 0, wrong = 0, left = 0;
    pthread_t thread;
    if ((cuda = dlopen("libcuda.so.1", RTLD_NOW)) == NULL || F(cuInit, unsigned)(0) != 0 ||
        F(cuDevicePrimaryCtxRetain, void **, int)(&context, 0) != 0 || F(cuCtxSetCurrent, void *)(context) != 0)
        return 3;
    set_attribute = F(cuMemPoolSetAttribute, void *, int, void *);
    pthread_create(&thread, NULL, other, &rounds);
    for (int round = 1; round <= rounds; round++) {
        cu_pointer kept = 0;
        set_at_once(round);
        F(cuMemAllocFromPoolAsync, cu_pointer *, size_t, void *, void *)(&kept, MIB, pool, NULL);
        F(cuMemFreeAsync, cu_pointer, void *)(kept, NULL);
        wrong += counted() != MIB;
        F(cuMemPoolDestroy, void *)(pool);
        left += counted() != 0;
    }
    pthread_join(thread, NULL);
    printf("%d %d\n", wrong, left);
    return 0;
}
