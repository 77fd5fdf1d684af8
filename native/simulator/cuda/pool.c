/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/pool.h"

#include "cuda/arena.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/lock.h"
#include "cuda/object.h"

#include <pthread.h>

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;

static struct pool *new_default(struct device *device)
{
    struct pool *pool = object_new(OBJECT_POOL);
    if (pool != NULL) {
        pool->device = device;
        pool->is_default = true;
        pool->reuse[1] = pool->reuse[2] = pool->reuse[3] = 1;
    }
    return pool;
}

struct pool *pool_default(struct device *device)
{
    struct pool *pool = __atomic_load_n(&device->default_pool, __ATOMIC_ACQUIRE);
    if (pool != NULL)
        return pool;
    driver_lock();
    if (device->default_pool == NULL)
        __atomic_store_n(&device->default_pool, new_default(device), __ATOMIC_RELEASE);
    pool = device->default_pool;
    driver_unlock();
    return pool;
}

struct pool *pool_current(struct device *device)
{
    struct pool *pool = __atomic_load_n(&device->current_pool, __ATOMIC_ACQUIRE);
    return pool != NULL ? pool : pool_default(device);
}

/* Counters change under the lock of all pools; the device is asked without it, since that may want memory of pools
 * back. */
static bool use(struct pool *pool, uint64_t bytes)
{
    pthread_mutex_lock(&pool_lock);
    bool fits = pool->reserved - pool->used >= bytes;
    if (fits) {
        pool->used += bytes;
        pool->blocks++;
        if (pool->used > pool->used_high)
            pool->used_high = pool->used;
    }
    pthread_mutex_unlock(&pool_lock);
    return fits;
}

static int grow(struct pool *pool, uint64_t bytes)
{
    uint64_t step = round_up(bytes, POOL_STEP);
    if (pool->maximum != 0 && pool->reserved + bytes > pool->maximum)
        return CU_ERROR_OUT_OF_MEMORY;
    int result = device_charge(pool->device, step);
    if (result == CU_ERROR_OUT_OF_MEMORY) {
        step = round_up(bytes, VIRTUAL_UNIT);
        result = device_charge(pool->device, step);
    }
    if (result != CU_SUCCESS)
        return result;
    pthread_mutex_lock(&pool_lock);
    pool->reserved += step;
    if (pool->reserved > pool->reserved_high)
        pool->reserved_high = pool->reserved;
    pthread_mutex_unlock(&pool_lock);
    return CU_SUCCESS;
}

static uint64_t lacking(struct pool *pool, uint64_t bytes)
{
    pthread_mutex_lock(&pool_lock);
    uint64_t room = pool->reserved - pool->used;
    pthread_mutex_unlock(&pool_lock);
    return room < bytes ? bytes - room : 0;
}

/* How much is reserved beyond `keep` and not used, in whole steps; it is no longer the pool's. */
static uint64_t take_back(struct pool *pool, uint64_t keep)
{
    pthread_mutex_lock(&pool_lock);
    uint64_t needed = round_up(pool->used, VIRTUAL_UNIT);
    uint64_t kept = needed > keep ? needed : keep;
    uint64_t back = pool->reserved > kept ? pool->reserved - kept : 0;
    pool->reserved -= back;
    pthread_mutex_unlock(&pool_lock);
    return back;
}

/* Gives all unused memory of a device's pools back; whether there was any. */
static bool give_back(struct device *device)
{
    uint64_t back = 0;
    driver_lock();
    for (struct pool *pool = object_next(OBJECT_POOL, NULL); pool != NULL; pool = object_next(OBJECT_POOL, pool))
        if (pool->device == device)
            back += take_back(pool, 0);
    device_give(device, back);
    driver_unlock();
    return back != 0;
}

/* What pools keep goes back once, this pool's own too, before a request is refused. */
static int make_room(struct pool *pool, uint64_t bytes)
{
    bool gave_back = false;
    while (!use(pool, bytes)) {
        uint64_t more = lacking(pool, bytes);
        int result = more != 0 ? grow(pool, more) : CU_SUCCESS;
        if (result == CU_ERROR_OUT_OF_MEMORY && !gave_back)
            gave_back = give_back(pool->device);
        else if (result != CU_SUCCESS)
            return result;
        if (result == CU_ERROR_OUT_OF_MEMORY && !gave_back)
            return result;
    }
    return CU_SUCCESS;
}

int pool_take(struct pool *pool, size_t size, struct block **made)
{
    uint64_t bytes = round_up(size, ALLOCATION_UNIT);
    int result = make_room(pool, bytes);
    if (result != CU_SUCCESS)
        return result;
    struct block *block = arena_take(size, BLOCK_POOL);
    if (block == NULL) {
        pthread_mutex_lock(&pool_lock);
        pool->used -= bytes;
        pool->blocks--;
        pthread_mutex_unlock(&pool_lock);
        return CU_ERROR_OUT_OF_MEMORY;
    }
    block->device = pool->device;
    block->owner = pool;
    *made = block;
    return CU_SUCCESS;
}

void pool_trim(struct pool *pool, uint64_t keep)
{
    device_give(pool->device, take_back(pool, keep));
}

void pool_give(struct block *block)
{
    struct pool *pool = block->owner;
    uint64_t bytes = round_up(block->size, ALLOCATION_UNIT);
    arena_give(block);
    pthread_mutex_lock(&pool_lock);
    pool->used -= bytes;
    pool->blocks--;
    bool over = pool->is_destroyed && pool->blocks == 0;
    pthread_mutex_unlock(&pool_lock);
    if (over) {
        pool_trim(pool, 0);
        object_free(pool);
    }
}

void pools_settle(struct device *device)
{
    struct pool *only = __atomic_load_n(&device->default_pool, __ATOMIC_ACQUIRE);
    if (!device->has_pools) {
        if (only != NULL)
            pool_trim(only, only->threshold);
        return;
    }
    driver_lock();
    for (struct pool *pool = object_next(OBJECT_POOL, NULL); pool != NULL; pool = object_next(OBJECT_POOL, pool))
        if (pool->device == device)
            pool_trim(pool, pool->threshold);
    driver_unlock();
}

static void end_block(struct block *block, void *device)
{
    if (block->kind == BLOCK_POOL && block->device == device)
        pool_give(block);
}

/* Pools live as long as some context of their device does. */
void pools_end_device(struct device *device)
{
    arena_visit(end_block, device);
    give_back(device);
}

int device_take(struct device *device, uint64_t bytes)
{
    int result = device_charge(device, bytes);
    if (result == CU_ERROR_OUT_OF_MEMORY && give_back(device))
        result = device_charge(device, bytes);
    return result;
}
