/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: linear, pitched and managed memory, and that of pools in the order of streams. */
#include "cuda/api/memory.h"

#include "cuda/api/host.h"
#include "cuda/api/ipc.h"
#include "cuda/api/virtual.h"
#include "cuda/arena.h"
#include "cuda/capture.h"
#include "cuda/context.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/object.h"
#include "cuda/pool.h"
#include "cuda/stream.h"

#include <string.h>

enum { PITCH_UNIT = 512 };

int allocate(size_t size, enum block_kind kind, struct block **made)
{
    struct device *device = device_of_current();
    uint64_t bytes = round_up(size, ALLOCATION_UNIT);
    int result = device_take(device, bytes);
    if (result != CU_SUCCESS)
        return result;
    struct block *block = arena_take(size, kind);
    if (block == NULL) {
        device_give(device, bytes);
        return CU_ERROR_OUT_OF_MEMORY;
    }
    block->charged = bytes;
    block->device = device;
    block->context = thread.current;
    *made = block;
    return CU_SUCCESS;
}

/* Frees memory of any kind: linear, managed, of a pool or a graph. */
static void release(struct block *block)
{
    struct device *device = block->device;
    uint64_t charged = block->charged;
    if (block->kind == BLOCK_POOL) {
        pool_give(block);
        return;
    }
    if (block->kind == BLOCK_GRAPH) {
        graph_memory_free(block);
        return;
    }
    if (block->owner != NULL) { /* mapped from external memory */
        ipc_close(block);
        return;
    }
    if (block->descriptor != 0)
        ipc_unshare(block);
    arena_give(block);
    device_give(device, charged);
}

static void end_block(struct block *block, void *context)
{
    if (block->context == context && (block->kind == BLOCK_LINEAR || block->kind == BLOCK_MANAGED))
        release(block);
    else if (block->context == context && block->kind == BLOCK_IMPORTED)
        ipc_close(block);
}

void memory_end_context(struct context *context)
{
    arena_visit(end_block, context);
}

CUDA_API int cuMemAlloc_v2(cu_pointer *pointer, size_t size)
{
    ENTER_CONTEXT();
    struct block *block;
    if (pointer == NULL || size == 0)
        return CU_ERROR_INVALID_VALUE;
    int result = allocate(size, BLOCK_LINEAR, &block);
    if (result == CU_SUCCESS)
        *pointer = block->address;
    return result;
}

CUDA_API int cuMemAllocPitch_v2(cu_pointer *pointer, size_t *pitch, size_t width, size_t height, unsigned element)
{
    ENTER_CONTEXT();
    struct block *block;
    uint64_t row = round_up(width, PITCH_UNIT);
    if (pointer == NULL || pitch == NULL || width == 0 || height == 0 ||
        (element != 4 && element != 8 && element != 16))
        return CU_ERROR_INVALID_VALUE;
    if (height > UINT64_MAX / 2 / row)
        return CU_ERROR_OUT_OF_MEMORY;
    int result = allocate(row * height, BLOCK_LINEAR, &block);
    if (result == CU_SUCCESS) {
        *pointer = block->address;
        *pitch = row;
    }
    return result;
}

CUDA_API int cuMemAllocManaged(cu_pointer *pointer, size_t size, unsigned flags)
{
    ENTER_CONTEXT();
    struct block *block;
    if (pointer == NULL || size == 0 || (flags != CU_ATTACH_GLOBAL && flags != CU_ATTACH_HOST))
        return CU_ERROR_INVALID_VALUE;
    int result = allocate(size, BLOCK_MANAGED, &block);
    if (result == CU_SUCCESS) {
        block->flags = flags;
        *pointer = block->address;
    }
    return result;
}

static bool is_freed_by_pointer(const struct block *block)
{
    return block != NULL && (block->kind == BLOCK_LINEAR || block->kind == BLOCK_MANAGED || block->kind == BLOCK_POOL ||
                             (block->kind == BLOCK_GRAPH && block->charged != 0));
}

CUDA_API int cuMemFree_v2(cu_pointer pointer)
{
    ENTER_CONTEXT();
    if (pointer == 0)
        return CU_SUCCESS;
    struct block *block = arena_find_start(pointer);
    if (!is_freed_by_pointer(block))
        return CU_ERROR_INVALID_VALUE;
    release(block);
    return CU_SUCCESS;
}

static unsigned short_pointer(cu_pointer pointer)
{
    return (unsigned)pointer;
}

/* The interface of CUDA 2 carries 32 bits, which no address of a 64-bit process fits. */
CUDA_API int cuMemAlloc(unsigned *pointer, unsigned size)
{
    ENTER_CONTEXT();
    return pointer == NULL || size == 0 ? CU_ERROR_INVALID_VALUE : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuMemFree(unsigned pointer)
{
    return cuMemFree_v2(short_pointer(pointer));
}

static int take_from(struct pool *pool, cu_pointer *pointer, size_t size)
{
    struct block *block;
    int result = pool_take(pool, size, &block);
    if (result == CU_SUCCESS)
        *pointer = block->address;
    return result;
}

CUDA_API int cuMemAllocAsync(cu_pointer *pointer, size_t size, void *handle)
{
    ENTER_CONTEXT();
    struct stream *stream = stream_find(handle);
    if (pointer == NULL || stream == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    if (size == 0) {
        *pointer = 0;
        return CU_SUCCESS;
    }
    if (stream->capture != NULL)
        return capture_allocation(stream, pointer, size);
    struct pool *pool = pool_current(stream->context->device);
    return pool != NULL ? take_from(pool, pointer, size) : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuMemAllocFromPoolAsync(cu_pointer *pointer, size_t size, void *handle, void *stream_handle)
{
    ENTER_CONTEXT();
    struct pool *pool = object_check(handle, OBJECT_POOL);
    struct stream *stream = stream_find(stream_handle);
    if (stream == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (pointer == NULL || pool == NULL || pool->is_destroyed)
        return CU_ERROR_INVALID_VALUE;
    if (size == 0) {
        *pointer = 0;
        return CU_SUCCESS;
    }
    if (stream->capture != NULL)
        return capture_allocation(stream, pointer, size);
    return take_from(pool, pointer, size);
}

CUDA_API int cuMemFreeAsync(cu_pointer pointer, void *handle)
{
    ENTER_CONTEXT();
    struct stream *stream = stream_find(handle);
    struct block *block = arena_find_start(pointer);
    if (stream == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (pointer == 0)
        return CU_SUCCESS;
    if (stream->capture != NULL)
        return capture_free(stream, pointer);
    if (!is_freed_by_pointer(block) || block->kind == BLOCK_MANAGED)
        return CU_ERROR_INVALID_VALUE;
    release(block);
    return CU_SUCCESS;
}

CUDA_API int cuMemGetAddressRange_v2(cu_pointer *base, size_t *size, cu_pointer pointer)
{
    ENTER_CONTEXT();
    const struct block *block = arena_find(pointer);
    if (block == NULL)
        return CU_ERROR_NOT_FOUND;
    if (base != NULL)
        *base = block->address;
    if (size != NULL)
        *size = block->size;
    return CU_SUCCESS;
}

bool can_touch(cu_pointer address, size_t size, bool host_too)
{
    if (!arena_holds(address)) {
        const struct host_range *range = host_too ? NULL : host_find((const void *)(uintptr_t)address);
        return host_too || (range != NULL && size <= (uintptr_t)range->start + range->size - address);
    }
    const struct block *block = arena_find(address);
    if (block == NULL || size > block->address + block->size - address)
        return false;
    return block->kind != BLOCK_RESERVED || range_is_mapped(block, address, size);
}

/* Managed memory: hints are taken and change nothing that can be seen. */
static int check_managed(cu_pointer pointer, size_t size)
{
    const struct block *block = arena_find(pointer);
    bool good =
        block != NULL && block->kind == BLOCK_MANAGED && size != 0 && size <= block->address + block->size - pointer;
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

CUDA_API int cuMemAdvise(cu_pointer pointer, size_t size, int advice, int device)
{
    ENTER_CONTEXT();
    (void)device;
    return advice < 1 || advice > 6 ? CU_ERROR_INVALID_VALUE : check_managed(pointer, size);
}

CUDA_API int cuMemAdvise_v2(cu_pointer pointer, size_t size, int advice, struct cu_location location)
{
    ENTER_CONTEXT();
    (void)location;
    return advice < 1 || advice > 6 ? CU_ERROR_INVALID_VALUE : check_managed(pointer, size);
}

CUDA_API int cuMemPrefetchAsync(cu_pointer pointer, size_t size, int device, void *stream)
{
    ENTER_CONTEXT();
    if (stream_find(stream) == NULL || (device != -1 && device_at(device) == NULL))
        return stream_find(stream) == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_DEVICE;
    return check_managed(pointer, size);
}

CUDA_API int cuMemPrefetchAsync_v2(cu_pointer pointer, size_t size, struct cu_location location, unsigned flags,
                                   void *stream)
{
    ENTER_CONTEXT();
    if (flags != 0 || stream_find(stream) == NULL)
        return flags != 0 ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    if (location.type == CU_LOCATION_DEVICE && device_at(location.id) == NULL)
        return CU_ERROR_INVALID_DEVICE;
    return check_managed(pointer, size);
}

CUDA_API int cuStreamAttachMemAsync(void *stream, cu_pointer pointer, size_t length, unsigned flags)
{
    ENTER_CONTEXT();
    const struct block *block = arena_find_start(pointer);
    if (stream_find(stream) == NULL)
        return CU_ERROR_INVALID_HANDLE;
    bool good = block != NULL && block->kind == BLOCK_MANAGED && (length == 0 || length == block->size) &&
                (flags == CU_ATTACH_GLOBAL || flags == CU_ATTACH_HOST || flags == CU_ATTACH_SINGLE);
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}
