/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: page-locked memory of the host. It costs the device nothing. */
#include "cuda/api/host.h"

#include "cuda/context.h"
#include "cuda/frame.h"
#include "cuda/lock.h"

#include <search.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ALLOC_FLAGS = 7, REGISTER_FLAGS = 15, MAP_TO_DEVICE = 2 };

static void *ranges; /* a tree of host_range, by address; overlapping ones are equal */

static int compare(const void *left, const void *right)
{
    const struct host_range *a = left, *b = right;
    if (a->start + a->size <= b->start)
        return -1;
    return b->start + b->size <= a->start;
}

static struct host_range *find_overlap(const void *start, size_t size)
{
    struct host_range wanted = {.start = (char *)(uintptr_t)start, .size = size};
    driver_lock();
    struct host_range **node = tfind(&wanted, &ranges, compare);
    struct host_range *found = node != NULL ? *node : NULL;
    driver_unlock();
    return found;
}

struct host_range *host_find(const void *address)
{
    return find_overlap(address, 1);
}

static int add(void *start, size_t size, unsigned flags, bool is_registered)
{
    struct host_range *range = malloc(sizeof *range);
    if (range == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    *range = (struct host_range){start, size, flags, is_registered, thread.current};
    driver_lock();
    struct host_range **node = tsearch(range, &ranges, compare);
    bool added = node != NULL && *node == range;
    driver_unlock();
    if (added)
        return CU_SUCCESS;
    free(range);
    return node == NULL ? CU_ERROR_OUT_OF_MEMORY : CU_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}

static void drop(struct host_range *range)
{
    driver_lock();
    tdelete(range, &ranges, compare);
    driver_unlock();
    if (!range->is_registered)
        munmap(range->start, range->size);
    free(range);
}

static int allocate_host(void **pointer, size_t size, unsigned flags)
{
    if (pointer == NULL || size == 0)
        return CU_ERROR_INVALID_VALUE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return CU_ERROR_OUT_OF_MEMORY;
    int result = add(memory, size, flags, false);
    if (result == CU_SUCCESS)
        *pointer = memory;
    else
        munmap(memory, size);
    return result;
}

CUDA_API int cuMemHostAlloc(void **pointer, size_t size, unsigned flags)
{
    ENTER_CONTEXT();
    return (flags & ~(unsigned)ALLOC_FLAGS) != 0 ? CU_ERROR_INVALID_VALUE : allocate_host(pointer, size, flags);
}

CUDA_API int cuMemAllocHost_v2(void **pointer, size_t size)
{
    ENTER_CONTEXT();
    return allocate_host(pointer, size, MAP_TO_DEVICE);
}

CUDA_API int cuMemAllocHost(void **pointer, unsigned size)
{
    ENTER_CONTEXT();
    return allocate_host(pointer, size, MAP_TO_DEVICE);
}

CUDA_API int cuMemFreeHost(void *pointer)
{
    ENTER_CONTEXT();
    struct host_range *range = host_find(pointer);
    if (range == NULL || range->start != pointer || range->is_registered)
        return CU_ERROR_INVALID_VALUE;
    drop(range);
    return CU_SUCCESS;
}

CUDA_API int cuMemHostRegister_v2(void *pointer, size_t size, unsigned flags)
{
    ENTER_CONTEXT();
    if (pointer == NULL || size == 0 || (flags & ~(unsigned)REGISTER_FLAGS) != 0)
        return CU_ERROR_INVALID_VALUE;
    return add(pointer, size, flags, true);
}

CUDA_API int cuMemHostRegister(void *pointer, size_t size, unsigned flags)
{
    return cuMemHostRegister_v2(pointer, size, flags);
}

CUDA_API int cuMemHostUnregister(void *pointer)
{
    ENTER_CONTEXT();
    struct host_range *range = host_find(pointer);
    if (range == NULL || range->start != pointer || !range->is_registered)
        return CU_ERROR_HOST_MEMORY_NOT_REGISTERED;
    drop(range);
    return CU_SUCCESS;
}

CUDA_API int cuMemHostGetDevicePointer_v2(cu_pointer *device, void *pointer, unsigned flags)
{
    ENTER_CONTEXT();
    if (device == NULL || flags != 0 || host_find(pointer) == NULL)
        return CU_ERROR_INVALID_VALUE;
    *device = (cu_pointer)(uintptr_t)pointer;
    return CU_SUCCESS;
}

CUDA_API int cuMemHostGetFlags(unsigned *flags, void *pointer)
{
    ENTER_CONTEXT();
    const struct host_range *range = host_find(pointer);
    if (flags == NULL || range == NULL || range->is_registered)
        return CU_ERROR_INVALID_VALUE;
    *flags = range->flags | MAP_TO_DEVICE;
    return CU_SUCCESS;
}
