/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_threads THREADS ROUNDS: threads that take, use and give memory of all kinds at once on one device. Prints what
 * is left at the end, which must be nothing, and fails if any call that must work does not. */
#include "cuda_abi.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_THREADS = 64, UNIT = 2 << 20 };

int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuCtxSetCurrent(void *context);
int cuCtxSynchronize(void);
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total);
int cuMemAlloc_v2(cu_pointer *pointer, size_t size);
int cuMemFree_v2(cu_pointer pointer);
int cuMemAllocAsync(cu_pointer *pointer, size_t size, void *stream);
int cuMemFreeAsync(cu_pointer pointer, void *stream);
int cuMemPoolTrimTo(void *pool, size_t keep);
int cuDeviceGetDefaultMemPool(void **pool, int device);
int cuMemCreate(void **handle, size_t size, const struct cu_allocation *properties, unsigned long long flags);
int cuMemRelease(void *handle);
int cuArrayCreate_v2(void **array, const struct cu_array *shape);
int cuArrayDestroy(void *array);
int cuStreamCreate(void **stream, unsigned flags);
int cuStreamDestroy_v2(void *stream);
int cuStreamSynchronize(void *stream);
int cuLaunchHostFunc(void *stream, void (*function)(void *data), void *data);

static void *context;
static unsigned long rounds;

static void must(int result, const char *what)
{
    if (result == CU_SUCCESS)
        return;
    fprintf(stderr, "%s: %d\n", what, result);
    abort();
}

static void use_pointer(void *stream, unsigned kind, size_t size)
{
    cu_pointer pointer;
    if ((kind & 1) != 0)
        must(cuMemAllocAsync(&pointer, size, stream), "cuMemAllocAsync");
    else
        must(cuMemAlloc_v2(&pointer, size), "cuMemAlloc");
    *(volatile char *)(uintptr_t)pointer = 1;
    if ((kind & 2) != 0)
        must(cuMemFreeAsync(pointer, stream), "cuMemFreeAsync");
    else
        must(cuMemFree_v2(pointer), "cuMemFree");
}

static void use_object(unsigned kind)
{
    struct cu_allocation allocation = {.type = CU_ALLOCATION_PINNED, .location = {CU_LOCATION_DEVICE, 0}};
    struct cu_array shape = {64, 64, CU_FORMAT_FLOAT, 1};
    void *handle;
    if (kind == 0) {
        must(cuMemCreate(&handle, UNIT, &allocation, 0), "cuMemCreate");
        must(cuMemRelease(handle), "cuMemRelease");
    } else {
        must(cuArrayCreate_v2(&handle, &shape), "cuArrayCreate");
        must(cuArrayDestroy(handle), "cuArrayDestroy");
    }
}

static void count_up(void *data)
{
    ++*(unsigned long *)data;
}

static void *work(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    unsigned long called = 0, wanted = 0;
    void *stream, *pool;
    must(cuCtxSetCurrent(context), "cuCtxSetCurrent");
    must(cuStreamCreate(&stream, 1), "cuStreamCreate");
    must(cuDeviceGetDefaultMemPool(&pool, 0), "cuDeviceGetDefaultMemPool");
    for (unsigned long round = 0; round < rounds; round++) {
        unsigned choice = (unsigned)rand_r(&seed);
        use_pointer(stream, choice, choice % 70000 + 1);
        if (choice % 16 == 0)
            use_object(choice / 16 % 2);
        if (choice % 64 == 1)
            must(cuMemPoolTrimTo(pool, 0), "cuMemPoolTrimTo");
        if (choice % 32 == 3) {
            must(cuLaunchHostFunc(stream, count_up, &called), "cuLaunchHostFunc");
            wanted++;
        }
        if (choice % 128 == 5)
            must(cuStreamSynchronize(stream), "cuStreamSynchronize");
    }
    must(cuStreamSynchronize(stream), "cuStreamSynchronize");
    must(cuStreamDestroy_v2(stream), "cuStreamDestroy");
    must(called == wanted ? CU_SUCCESS : CU_ERROR_UNKNOWN, "a host function was not called");
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t ids[MOST_THREADS];
    size_t free_bytes, total;
    void *pool;
    unsigned threads = count == 3 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0;
    setenv("HAMI_SIM_NODE", "1xA30", 1);
    unsetenv("HAMI_SIM_STATE");
    if (threads == 0 || threads > MOST_THREADS)
        return 2;
    rounds = strtoul(arguments[2], NULL, 10);
    must(cuInit(0), "cuInit");
    must(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
    must(cuCtxSetCurrent(context), "cuCtxSetCurrent");
    for (unsigned index = 0; index < threads; index++)
        must(pthread_create(&ids[index], NULL, work, (void *)(uintptr_t)(index + 1)), "pthread_create");
    for (unsigned index = 0; index < threads; index++)
        pthread_join(ids[index], NULL);
    must(cuCtxSynchronize(), "cuCtxSynchronize");
    must(cuDeviceGetDefaultMemPool(&pool, 0), "cuDeviceGetDefaultMemPool");
    must(cuMemPoolTrimTo(pool, 0), "cuMemPoolTrimTo");
    must(cuMemGetInfo_v2(&free_bytes, &total), "cuMemGetInfo");
    printf("%zu bytes left\n", total - free_bytes);
    return 0;
}
