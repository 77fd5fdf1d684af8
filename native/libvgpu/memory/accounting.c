/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/accounting.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "region/attach.h"

/* How often a reservation that does not fit is tried again: another process's, which does not fit either, may stand in
 * its slot for a moment. */
#define TRIES 64
#define REAP_PAUSE_NS 20000000ll

static struct region_used *own_used(struct region *region, int device)
{
    struct region_process *process = atomic_load_explicit(&region->process, memory_order_relaxed);
    if (VGPU_UNLIKELY(atomic_load_explicit(&process->pid, memory_order_relaxed) != region->pid)) {
        region_restore(region);
        process = atomic_load(&region->process);
    }
    return &process->used[device];
}

/* What all slots hold. A slot's figure is never believed beyond half of what a number can be, so that no sum wraps. */
static uint64_t sum(const struct region *region, int device)
{
    uint64_t total = 0;
    int count = atomic_load_explicit(&region->shared->process_count, memory_order_acquire);
    for (int slot = 0; slot < count && slot < VGPU_SLOTS; slot++) {
        uint64_t used = atomic_load_explicit(&region->shared->processes[slot].used[device].total, memory_order_seq_cst);
        total += used < UINT64_MAX / 2 ? used : 0;
        if (total > UINT64_MAX / 2)
            return UINT64_MAX / 2;
    }
    return total;
}

uint64_t accounting_limit(int device)
{
    struct region *region = region_get();
    return region != NULL ? atomic_load_explicit(&region->own->limit[device], memory_order_relaxed) : 0;
}

static void show(struct region_used *used, uint64_t total)
{
    atomic_store_explicit(&used->data, total, memory_order_relaxed);
}

static void add(struct region *region, int device, uint64_t bytes)
{
    struct region_used *used = own_used(region, device);
    CRASH_POINT("adding");
    show(used, atomic_fetch_add(&used->total, bytes) + bytes);
    CRASH_POINT("added");
}

static void subtract(struct region *region, int device, uint64_t bytes)
{
    struct region_used *used = own_used(region, device);
    show(used, atomic_fetch_sub(&used->total, bytes) - bytes);
    CRASH_POINT("subtracted");
}

/* Adds the bytes; if the sum is then over the limit, subtracts them again and returns false. A later caller sees what
 * an earlier one added, so of concurrent requests that do not fit together, only as many succeed as fit. */
static bool try_add(struct region *region, int device, uint64_t bytes, uint64_t limit)
{
    add(region, device, bytes);
    if (VGPU_LIKELY(sum(region, device) <= limit))
        return true;
    subtract(region, device, bytes);
    return false;
}

static bool reserve_slowly(struct region *region, int device, uint64_t bytes, uint64_t limit)
{
    region_reap();
    for (unsigned tries = 0; tries < TRIES; tries++) {
        if (sum(region, device) <= limit - bytes && try_add(region, device, bytes, limit))
            return true;
        /* Not all wait for equally long, or they would meet again. */
        for (unsigned turns = (unsigned)(region->slot * 7 + (int)tries * 13) % 61; turns > 0; turns--)
            __asm__ volatile("" ::: "memory");
        sched_yield();
    }
    return false;
}

bool accounting_reserve(int device, uint64_t bytes)
{
    struct region *region = region_get();
    if (region == NULL)
        return false;
    uint64_t limit = atomic_load_explicit(&region->own->limit[device], memory_order_relaxed);
    if (limit == 0) {
        add(region, device, bytes);
        return true;
    }
    if (bytes > limit)
        return false;
    return VGPU_LIKELY(try_add(region, device, bytes, limit)) || reserve_slowly(region, device, bytes, limit);
}

void accounting_force(int device, uint64_t bytes)
{
    struct region *region = region_get();
    if (region != NULL)
        add(region, device, bytes);
}

void accounting_release(int device, uint64_t bytes)
{
    struct region *region = region_get();
    if (region != NULL && bytes != 0)
        subtract(region, device, bytes);
}

/* A search for dead processes runs only now and then, and only if other slots are taken: a view must be cheap. */
static void reap_sometimes(const struct region *region)
{
    static _Atomic int64_t next;
    struct timespec now;
    if (VGPU_LIKELY(atomic_load_explicit(&region->shared->process_count, memory_order_relaxed) == 1))
        return;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    int64_t nanoseconds = now.tv_sec * 1000000000ll + now.tv_nsec;
    int64_t due = atomic_load_explicit(&next, memory_order_relaxed);
    if (nanoseconds >= due && atomic_compare_exchange_strong(&next, &due, nanoseconds + REAP_PAUSE_NS))
        region_reap();
}

uint64_t accounting_used(int device)
{
    struct region *region = region_get();
    if (region == NULL)
        return 0;
    reap_sometimes(region);
    return sum(region, device);
}

bool accounting_used_by(int device, int pid, uint64_t *bytes)
{
    struct region *region = region_get();
    int count = region != NULL ? atomic_load(&region->shared->process_count) : 0;
    for (int slot = 0; slot < count && slot < VGPU_SLOTS; slot++) {
        const struct region_process *process = &region->shared->processes[slot];
        if (atomic_load(&process->status) != 0 && process->pid == pid) {
            *bytes = atomic_load(&process->used[device].total);
            return true;
        }
    }
    return false;
}
