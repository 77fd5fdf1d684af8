/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: memory pools. */
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/pool.h"

#include <string.h>

static struct pool *pool_check(void *handle)
{
    struct pool *pool = object_check(handle, OBJECT_POOL);
    return pool != NULL && !pool->is_destroyed ? pool : NULL;
}

CUDA_API int cuMemPoolCreate(struct pool **made, const struct cu_pool *properties)
{
    ENTER();
    if (made == NULL || properties == NULL || properties->type != CU_ALLOCATION_PINNED)
        return CU_ERROR_INVALID_VALUE;
    if (properties->location.type != CU_LOCATION_DEVICE)
        return CU_ERROR_NOT_SUPPORTED;
    struct device *device = device_at(properties->location.id);
    if (device == NULL)
        return CU_ERROR_INVALID_DEVICE;
    if ((properties->handle_types & ~CU_HANDLE_POSIX_FD) != 0)
        return CU_ERROR_NOT_SUPPORTED;
    struct pool *pool = object_new(OBJECT_POOL);
    if (pool == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    pool->device = device;
    pool->reuse[1] = pool->reuse[2] = pool->reuse[3] = 1;
    pool->handle_types = properties->handle_types;
    pool->maximum = properties->max_size;
    device->has_pools = true;
    *made = pool;
    return CU_SUCCESS;
}

/* What it gave out lives on until it is freed. */
CUDA_API int cuMemPoolDestroy(void *handle)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    if (pool == NULL || pool->is_default)
        return CU_ERROR_INVALID_VALUE;
    driver_lock();
    if (pool->device->current_pool == pool)
        pool->device->current_pool = NULL;
    pool->is_destroyed = true;
    pool_trim(pool, 0);
    if (pool->blocks == 0)
        object_free(pool);
    driver_unlock();
    return CU_SUCCESS;
}

CUDA_API int cuMemPoolTrimTo(void *handle, size_t keep)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    if (pool == NULL)
        return CU_ERROR_INVALID_VALUE;
    pool_trim(pool, keep);
    return CU_SUCCESS;
}

static uint64_t *counter(struct pool *pool, int attribute)
{
    switch (attribute) {
    case CU_POOL_RELEASE_THRESHOLD:
        return &pool->threshold;
    case CU_POOL_RESERVED_CURRENT:
        return &pool->reserved;
    case CU_POOL_RESERVED_HIGH:
        return &pool->reserved_high;
    case CU_POOL_USED_CURRENT:
        return &pool->used;
    case CU_POOL_USED_HIGH:
        return &pool->used_high;
    default:
        return NULL;
    }
}

static bool is_reuse(int attribute)
{
    return attribute >= CU_POOL_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
           attribute <= CU_POOL_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

CUDA_API int cuMemPoolGetAttribute(void *handle, int attribute, void *value)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    if (pool == NULL || value == NULL)
        return CU_ERROR_INVALID_VALUE;
    const uint64_t *found = counter(pool, attribute);
    if (is_reuse(attribute))
        memcpy(value, &pool->reuse[attribute], sizeof pool->reuse[0]);
    else if (found != NULL)
        memcpy(value, found, sizeof *found);
    return is_reuse(attribute) || found != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

/* A high-water mark can only be set back to now. */
CUDA_API int cuMemPoolSetAttribute(void *handle, int attribute, const void *value)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    uint64_t wide = 0;
    if (pool == NULL || value == NULL)
        return CU_ERROR_INVALID_VALUE;
    if (is_reuse(attribute)) {
        memcpy(&pool->reuse[attribute], value, sizeof pool->reuse[0]);
        return CU_SUCCESS;
    }
    memcpy(&wide, value, sizeof wide);
    if (attribute == CU_POOL_RELEASE_THRESHOLD)
        pool->threshold = wide;
    else if (attribute == CU_POOL_RESERVED_HIGH && wide == 0)
        pool->reserved_high = pool->reserved;
    else if (attribute == CU_POOL_USED_HIGH && wide == 0)
        pool->used_high = pool->used;
    else
        return CU_ERROR_INVALID_VALUE;
    return CU_SUCCESS;
}

CUDA_API int cuMemPoolSetAccess(void *handle, const struct cu_access *accesses, size_t count)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    if (pool == NULL || (accesses == NULL && count != 0))
        return CU_ERROR_INVALID_VALUE;
    for (size_t index = 0; index < count; index++) {
        struct device *device = device_at(accesses[index].location.id);
        if (accesses[index].location.type != CU_LOCATION_DEVICE || device == NULL)
            return CU_ERROR_INVALID_DEVICE;
        if (device != pool->device)
            return CU_ERROR_PEER_ACCESS_UNSUPPORTED;
        if (accesses[index].flags != 3)
            return CU_ERROR_INVALID_VALUE;
    }
    return CU_SUCCESS;
}

CUDA_API int cuMemPoolGetAccess(int *flags, void *handle, const struct cu_location *location)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    if (flags == NULL || pool == NULL || location == NULL || location->type != CU_LOCATION_DEVICE)
        return CU_ERROR_INVALID_VALUE;
    *flags = device_at(location->id) == pool->device ? 3 : 0;
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetDefaultMemPool(struct pool **pool, int index)
{
    ENTER();
    if (pool == NULL || device_at(index) == NULL)
        return pool == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    *pool = pool_default(device_at(index));
    return *pool != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuDeviceGetMemPool(struct pool **pool, int index)
{
    ENTER();
    if (pool == NULL || device_at(index) == NULL)
        return pool == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    *pool = pool_current(device_at(index));
    return *pool != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuDeviceSetMemPool(int index, void *handle)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    if (pool == NULL || device_at(index) == NULL)
        return pool == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    if (pool->device != device_at(index))
        return CU_ERROR_INVALID_VALUE;
    __atomic_store_n(&device_at(index)->current_pool, pool, __ATOMIC_RELEASE);
    return CU_SUCCESS;
}

/* The same by location, as of CUDA 13; only device memory has pools here. */
static struct device *device_of_location(const struct cu_location *location)
{
    return location != NULL && location->type == CU_LOCATION_DEVICE ? device_at(location->id) : NULL;
}

CUDA_API int cuMemGetDefaultMemPool(struct pool **pool, const struct cu_location *location, int type)
{
    ENTER();
    if (pool == NULL || device_of_location(location) == NULL || type != CU_ALLOCATION_PINNED)
        return pool == NULL || location == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_NOT_SUPPORTED;
    *pool = pool_default(device_of_location(location));
    return *pool != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuMemGetMemPool(struct pool **pool, const struct cu_location *location, int type)
{
    ENTER();
    if (pool == NULL || device_of_location(location) == NULL || type != CU_ALLOCATION_PINNED)
        return pool == NULL || location == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_NOT_SUPPORTED;
    *pool = pool_current(device_of_location(location));
    return *pool != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuMemSetMemPool(const struct cu_location *location, int type, void *handle)
{
    ENTER();
    struct pool *pool = pool_check(handle);
    struct device *device = device_of_location(location);
    if (pool == NULL || device == NULL || type != CU_ALLOCATION_PINNED || pool->device != device)
        return CU_ERROR_INVALID_VALUE;
    __atomic_store_n(&device->current_pool, pool, __ATOMIC_RELEASE);
    return CU_SUCCESS;
}
