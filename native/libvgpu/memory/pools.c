/* SPDX-License-Identifier: Apache-2.0 */
/* After every call that may change a pool, we ask the driver how much memory the pool has and how much of it is in use.
 * A pool is pinned during these calls, so that no thread destroys it. */
#include "memory/pools.h"

#include <sched.h>
#include <stdatomic.h>

#include "cuda_abi.h"
#include "driver.h"
#include "log.h"
#include "memory/accounting.h"
#include "wiped.h"

#define KEEPERS 128 /* a process has one or two such pools */
#define SETTLE_TRIES 8

typedef int (*get_attribute)(void *pool, int attribute, void *value);
typedef int (*trim_to)(void *pool, size_t keep);

struct keeper {
    atomic_int taken, pins;
    void *_Atomic pool; /* NULL: there is none here, or it is being removed */
    atomic_int device;
    atomic_uint settlements;
    _Atomic uint64_t threshold, kept;
    _Atomic uint64_t high;  /* the most that was in use at once of what the pool has now */
    _Atomic uint64_t spare; /* what it has beyond what is in use and kept: the rest of its driver's steps */
};

struct keepers {
    atomic_int guard; /* held for a search and a store, never across a call of the driver */
    struct keeper places[KEEPERS];
};

struct keepers *_Atomic pools_keepers;

static struct keepers *all_keepers(void)
{
    struct keepers *found = atomic_load_explicit(&pools_keepers, memory_order_acquire);
    if (found != NULL)
        return found;
    struct keepers *made = wiped_memory(sizeof *made);
    if (made == NULL || atomic_compare_exchange_strong(&pools_keepers, &found, made))
        return made;
    munmap(made, sizeof *made);
    return found;
}

/* The keeper's pool, pinned against destruction until `unpin`; NULL when it has none. */
static void *pin(struct keeper *keeper)
{
    atomic_fetch_add(&keeper->pins, 1);
    void *pool = atomic_load(&keeper->pool);
    if (pool == NULL)
        atomic_fetch_sub(&keeper->pins, 1);
    return pool;
}

static void unpin(struct keeper *keeper)
{
    atomic_fetch_sub(&keeper->pins, 1);
}

static struct keeper *find(const void *pool)
{
    struct keepers *all = atomic_load_explicit(&pools_keepers, memory_order_acquire);
    for (int place = 0; all != NULL && pool != NULL && place < KEEPERS; place++)
        if (atomic_load(&all->places[place].pool) == pool)
            return &all->places[place];
    return NULL;
}

static struct keeper *free_place(struct keepers *all)
{
    for (int place = 0; all != NULL && place < KEEPERS; place++) {
        int unused = 0;
        if (atomic_compare_exchange_strong(&all->places[place].taken, &unused, 1))
            return &all->places[place];
    }
    return NULL;
}

/* Stores the new figure and adds the difference to the container's sum, so that the sum matches the last stored figure
 * even with concurrent callers. */
static void count(struct keeper *keeper, uint64_t kept)
{
    uint64_t before = atomic_exchange(&keeper->kept, kept);
    if (kept > before)
        accounting_force(keeper->device, kept - before);
    else
        accounting_release(keeper->device, before - kept);
}

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* Reads what the pool has. `kept` is the memory that stays in the pool after the next synchronisation; false when the
 * driver does not report it. */
static bool ask(struct keeper *keeper, void *pool, uint64_t *kept)
{
    get_attribute get = DRIVER(cuMemPoolGetAttribute, get_attribute);
    uint64_t high = atomic_load(&keeper->high), reserved = 0, used = 0;
    if (get == NULL || get(pool, CU_POOL_RESERVED_CURRENT, &reserved) != CU_SUCCESS ||
        get(pool, CU_POOL_USED_CURRENT, &used) != CU_SUCCESS)
        return false;
    high = least(high > used ? high : used, reserved);
    uint64_t stays = least(high, atomic_load(&keeper->threshold));
    *kept = stays > used ? stays - used : 0;
    atomic_store(&keeper->high, high);
    atomic_store(&keeper->spare, reserved > used + *kept ? reserved - used - *kept : 0);
    return true;
}

/* The memory of all pools of a device that is not counted. */
static uint64_t all_spare(int device)
{
    struct keepers *all = atomic_load_explicit(&pools_keepers, memory_order_acquire);
    uint64_t spare = 0;
    for (int place = 0; all != NULL && place < KEEPERS; place++)
        if (atomic_load(&all->places[place].pool) != NULL && all->places[place].device == device)
            spare += atomic_load(&all->places[place].spare);
    return spare;
}

/* True when the driver's memory stays within the limit after this many more bytes are counted. */
static bool fits(int device, uint64_t more)
{
    uint64_t limit = accounting_limit(device);
    return limit == 0 || accounting_used(device) + more + all_spare(device) <= limit;
}

static void trim(void *pool)
{
    trim_to real = DRIVER(cuMemPoolTrimTo, trim_to);
    if (real != NULL)
        real(pool, 0);
}

/* A thread that asked the driver first may store its answer last: if another thread began after it, it asks again. */
static void settle(struct keeper *keeper, void *pool)
{
    for (int tries = 0; tries < SETTLE_TRIES; tries++) {
        unsigned mine = atomic_fetch_add(&keeper->settlements, 1) + 1;
        uint64_t kept, before = atomic_load(&keeper->kept);
        if (!ask(keeper, pool, &kept))
            return;
        if (!fits(keeper->device, kept > before ? kept - before : 0)) {
            trim(pool);
            if (!ask(keeper, pool, &kept))
                return;
        }
        count(keeper, kept);
        if (atomic_load(&keeper->settlements) == mine)
            return;
    }
}

void pools_settle(int device)
{
    struct keepers *all = atomic_load_explicit(&pools_keepers, memory_order_acquire);
    for (int place = 0; all != NULL && place < KEEPERS; place++) {
        void *pool = atomic_load(&all->places[place].pool) != NULL ? pin(&all->places[place]) : NULL;
        if (pool == NULL)
            continue;
        if (all->places[place].device == device)
            settle(&all->places[place], pool);
        unpin(&all->places[place]);
    }
}

static bool has_any(struct keeper *keeper)
{
    return atomic_load(&keeper->kept) + atomic_load(&keeper->spare) != 0;
}

bool pools_give_up(int device)
{
    struct keepers *all = atomic_load_explicit(&pools_keepers, memory_order_acquire);
    bool had = false;
    for (int place = 0; all != NULL && place < KEEPERS; place++) {
        void *pool = has_any(&all->places[place]) ? pin(&all->places[place]) : NULL;
        if (pool == NULL)
            continue;
        if (all->places[place].device == device) {
            had = had || atomic_load(&all->places[place].kept) != 0;
            trim(pool);
            settle(&all->places[place], pool);
        }
        unpin(&all->places[place]);
    }
    return had;
}

void pools_make_room(int device)
{
    if (!fits(device, 0))
        pools_give_up(device);
}

/* The pool's keeper; a new one if it has none. Concurrent callers get the same one. */
static struct keeper *find_or_make(void *pool, int device)
{
    struct keepers *all = all_keepers();
    if (all == NULL)
        return NULL;
    for (int released = 0; !atomic_compare_exchange_weak(&all->guard, &released, 1); released = 0)
        sched_yield();
    struct keeper *keeper = find(pool);
    if (keeper == NULL) {
        keeper = free_place(all);
        if (keeper != NULL) {
            atomic_store(&keeper->device, device);
            atomic_store(&keeper->pool, pool);
        }
    }
    atomic_store(&all->guard, 0);
    return keeper;
}

void pools_keep(void *pool, int device, uint64_t threshold)
{
    struct keeper *keeper = threshold != 0 ? find_or_make(pool, device) : find(pool);
    if (keeper != NULL)
        atomic_store(&keeper->threshold, threshold);
    else if (threshold != 0)
        vgpu_log(VGPU_WARNING, "more than %d pools have a release threshold: what this one keeps is not counted",
                 KEEPERS);
    pools_settle(device);
}

uint64_t pools_forget(void *pool)
{
    struct keeper *keeper = find(pool);
    if (keeper == NULL || !atomic_compare_exchange_strong(&keeper->pool, &pool, NULL))
        return 0;
    while (atomic_load(&keeper->pins) != 0)
        sched_yield();
    uint64_t threshold = atomic_exchange(&keeper->threshold, 0);
    count(keeper, 0);
    atomic_store(&keeper->high, 0);
    atomic_store(&keeper->spare, 0);
    atomic_store(&keeper->taken, 0);
    return threshold;
}

/* Takes from one keeper; what comes back is at most `bytes`. */
static uint64_t take_from(struct keeper *keeper, uint64_t bytes)
{
    uint64_t kept = atomic_load(&keeper->kept), taken;
    do
        taken = kept < bytes ? kept : bytes;
    while (!atomic_compare_exchange_weak(&keeper->kept, &kept, kept - taken));
    return taken;
}

uint64_t pools_take(const void *pool, int device, uint64_t bytes)
{
    struct keepers *all = atomic_load_explicit(&pools_keepers, memory_order_acquire);
    struct keeper *one = find(pool);
    if (pool != NULL)
        return one != NULL ? take_from(one, bytes) : 0;
    for (int place = 0; all != NULL && place < KEEPERS; place++)
        if (atomic_load(&all->places[place].pool) != NULL && all->places[place].device == device &&
            atomic_load(&all->places[place].kept) != 0)
            return take_from(&all->places[place], bytes);
    return 0;
}
