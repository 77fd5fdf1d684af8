/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: memory in the order of streams. It belongs to its pool, which has a device, and outlives contexts. */
#include "cuda_abi.h"
#include "driver.h"
#include "memory/capture.h"
#include "memory/charge.h"
#include "memory/device.h"
#include "memory/pools.h"

typedef int (*alloc_async)(cu_pointer *pointer, size_t bytes, void *stream);
typedef int (*alloc_from_pool)(cu_pointer *pointer, size_t bytes, void *pool, void *stream);
typedef int (*free_async)(cu_pointer pointer, void *stream);
typedef int (*pool_of_device)(void **pool, int ordinal);
typedef int (*pool_at_location)(void **pool, struct cu_location *location, int type);

/* Pools are remembered with their device; DEVICE_NONE is memory of the host, which no limit is about. */
static void remember_pool(const void *pool, int device)
{
    struct allocation entry = {.device = device, .references = 1}, replaced;
    allocations_put(SPACE_POOL, (uint64_t)(uintptr_t)pool, entry, &replaced);
}

static int device_at(const struct cu_location *location)
{
    return location->type == CU_LOCATION_DEVICE ? device_index(location->id) : DEVICE_NONE;
}

static int device_of_pool(const void *pool, void *stream)
{
    struct allocation entry;
    if (!device_controlled())
        return DEVICE_NONE;
    return allocations_get(SPACE_POOL, (uint64_t)(uintptr_t)pool, &entry) ? entry.device : device_of_stream(stream);
}

VGPU_EXPORT int cuMemPoolCreate(void **pool, const struct cu_pool *properties)
{
    int result = REAL(cuMemPoolCreate)(pool, properties);
    if (result == CU_SUCCESS && device_controlled())
        remember_pool(*pool, device_at(&properties->location));
    return result;
}

VGPU_EXPORT int cuMemPoolDestroy(void *pool)
{
    struct allocation entry;
    bool known = charge_begin_free(&entry, SPACE_POOL, (uint64_t)(uintptr_t)pool);
    uint64_t threshold = known ? pools_forget(pool) : 0;
    int result = REAL(cuMemPoolDestroy)(pool);
    if (known && result != CU_SUCCESS) {
        remember_pool(pool, entry.device);
        pools_keep(pool, entry.device, threshold);
    }
    return result;
}

VGPU_EXPORT int cuMemPoolSetAttribute(void *pool, int attribute, const void *value)
{
    struct allocation entry;
    int result = REAL(cuMemPoolSetAttribute)(pool, attribute, value);
    if (result == CU_SUCCESS && attribute == CU_POOL_RELEASE_THRESHOLD && device_controlled() &&
        allocations_get(SPACE_POOL, (uint64_t)(uintptr_t)pool, &entry) && entry.device >= 0)
        pools_keep(pool, entry.device, *(const uint64_t *)value);
    return result;
}

VGPU_EXPORT int cuMemPoolTrimTo(void *pool, size_t keep)
{
    struct allocation entry;
    int result = REAL(cuMemPoolTrimTo)(pool, keep);
    if (pools_keep_any() && allocations_get(SPACE_POOL, (uint64_t)(uintptr_t)pool, &entry))
        charge_settle(entry.device);
    return result;
}

static int tell_pool_of(pool_of_device real, void **pool, int ordinal)
{
    int result = real(pool, ordinal);
    if (result == CU_SUCCESS && device_controlled())
        remember_pool(*pool, device_index(ordinal));
    return result;
}

static int tell_pool_at(pool_at_location real, void **pool, struct cu_location *location, int type)
{
    int result = real(pool, location, type);
    if (result == CU_SUCCESS && device_controlled())
        remember_pool(*pool, device_at(location));
    return result;
}

VGPU_EXPORT int cuDeviceGetDefaultMemPool(void **pool, int ordinal)
{
    return tell_pool_of(REAL(cuDeviceGetDefaultMemPool), pool, ordinal);
}

VGPU_EXPORT int cuDeviceGetMemPool(void **pool, int ordinal)
{
    return tell_pool_of(REAL(cuDeviceGetMemPool), pool, ordinal);
}

VGPU_EXPORT int cuMemGetDefaultMemPool(void **pool, struct cu_location *location, int type)
{
    return tell_pool_at(REAL(cuMemGetDefaultMemPool), pool, location, type);
}

VGPU_EXPORT int cuMemGetMemPool(void **pool, struct cu_location *location, int type)
{
    return tell_pool_at(REAL(cuMemGetMemPool), pool, location, type);
}

/* In a capture nothing is allocated: the graph's memory counts when it is instantiated. */
static int allocate_async(alloc_async real, cu_pointer *pointer, size_t bytes, void *stream)
{
    struct charge charge;
    struct capture capture;
    if (pointer == NULL || !device_controlled())
        return real(pointer, bytes, stream);
    int asked = capture_ask(stream, &capture);
    if (asked != CU_SUCCESS)
        return asked;
    if (capture.active)
        return capture_allocated(&capture, bytes, real(pointer, bytes, stream));
    if (!charge_pool(&charge, device_of_stream(stream), NULL, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    int result = charge_keep_pointer(&charge, pointer, real(pointer, bytes, stream));
    charge_settle(charge.device);
    return result;
}

static int allocate_from(alloc_from_pool real, cu_pointer *pointer, size_t bytes, void *pool, void *stream)
{
    struct charge charge;
    struct capture capture;
    if (pointer == NULL || !device_controlled())
        return real(pointer, bytes, pool, stream);
    int asked = capture_ask(stream, &capture);
    if (asked != CU_SUCCESS)
        return asked;
    if (capture.active)
        return capture_allocated(&capture, bytes, real(pointer, bytes, pool, stream));
    if (!charge_pool(&charge, device_of_pool(pool, stream), pool, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    int result = charge_keep_pointer(&charge, pointer, real(pointer, bytes, pool, stream));
    charge_settle(charge.device);
    return result;
}

/* A free in a capture happens at each launch, if ever; the bytes stay counted until then. */
static int release_async(free_async real, cu_pointer pointer, void *stream)
{
    struct allocation entry;
    struct capture capture = {.active = false};
    int asked = device_controlled() ? capture_ask(stream, &capture) : CU_SUCCESS;
    if (asked != CU_SUCCESS)
        return asked;
    if (capture.active)
        return real(pointer, stream);
    bool known = charge_begin_free(&entry, SPACE_POINTER, pointer);
    int result = real(pointer, stream);
    charge_end_free(known, &entry, SPACE_POINTER, pointer, result);
    return result;
}

VGPU_EXPORT int cuMemAllocAsync(cu_pointer *pointer, size_t bytes, void *stream)
{
    return allocate_async(REAL(cuMemAllocAsync), pointer, bytes, stream);
}

VGPU_EXPORT int cuMemAllocAsync_ptsz(cu_pointer *pointer, size_t bytes, void *stream)
{
    return allocate_async(REAL(cuMemAllocAsync_ptsz), pointer, bytes, stream);
}

VGPU_EXPORT int cuMemAllocFromPoolAsync(cu_pointer *pointer, size_t bytes, void *pool, void *stream)
{
    return allocate_from(REAL(cuMemAllocFromPoolAsync), pointer, bytes, pool, stream);
}

VGPU_EXPORT int cuMemAllocFromPoolAsync_ptsz(cu_pointer *pointer, size_t bytes, void *pool, void *stream)
{
    return allocate_from(REAL(cuMemAllocFromPoolAsync_ptsz), pointer, bytes, pool, stream);
}

VGPU_EXPORT int cuMemFreeAsync(cu_pointer pointer, void *stream)
{
    return release_async(REAL(cuMemFreeAsync), pointer, stream);
}

VGPU_EXPORT int cuMemFreeAsync_ptsz(cu_pointer pointer, void *stream)
{
    return release_async(REAL(cuMemFreeAsync_ptsz), pointer, stream);
}
