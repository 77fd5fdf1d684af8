/* SPDX-License-Identifier: Apache-2.0 */
#include "node/usage.h"

#include "node/process.h"

#include <sched.h>

static bool is_at(const struct usage_slot *slot, uint32_t gpu, uint64_t gpu_instance)
{
    return slot->gpu == gpu && (gpu_instance == 0 || slot->gpu_instance == gpu_instance);
}

static bool counts(struct usage_slot *slot)
{
    return atomic_load_explicit(&slot->pid, memory_order_acquire) != 0 && !atomic_load(&slot->evicted);
}

static bool is_alive(struct usage_slot *slot)
{
    return process_start_time(atomic_load(&slot->pid)) == slot->start_time;
}

struct usage_slot *usage_claim(struct usage *usage, uint32_t pid, const struct usage_place *place)
{
    for (uint32_t index = 0; index < MAX_SLOTS; index++) {
        struct usage_slot *slot = &usage->slots[index];
        if (atomic_load(&slot->pid) != 0)
            continue;
        slot->gpu = place->gpu;
        slot->gpu_instance = place->gpu_instance;
        slot->start_time = process_start_time(pid);
        atomic_store(&slot->bytes, 0);
        atomic_store(&slot->asking, 0);
        atomic_store(&slot->busy_ns, 0);
        atomic_store(&slot->launches, 0);
        atomic_store(&slot->evicted, 0);
        if (index >= atomic_load(&usage->used))
            atomic_store(&usage->used, index + 1);
        atomic_store(&slot->pid, pid);
        return slot;
    }
    return NULL;
}

void usage_release(struct usage_slot *slot)
{
    atomic_store(&slot->bytes, 0);
    atomic_store(&slot->pid, 0);
}

static bool stands_for(const struct node *node, uint32_t index)
{
    for (uint32_t row = 0; row < node->process_count; row++)
        if (node->processes[row].slot == index)
            return true;
    return false;
}

void usage_settle(struct usage *usage, const struct node *node)
{
    uint32_t used = atomic_load(&usage->used);
    for (uint32_t index = 0; index < used && index < MAX_SLOTS; index++) {
        struct usage_slot *slot = &usage->slots[index];
        if (atomic_load(&slot->pid) == 0)
            continue;
        if (!is_alive(slot))
            usage_release(slot);
        else if (!stands_for(node, index))
            atomic_store(&slot->evicted, 1);
    }
}

void usage_refresh(struct usage *usage, struct node *node)
{
    for (uint32_t row = 0; row < node->process_count; row++) {
        struct process *process = &node->processes[row];
        struct usage_slot *slot = &usage->slots[process->slot];
        if (atomic_load(&slot->pid) == process->pid)
            process->memory_bytes = atomic_load(&slot->bytes);
    }
}

/* `asked` counts what is being asked for as well. */
static uint64_t sum(struct usage *usage, uint32_t gpu, uint64_t gpu_instance, bool asked)
{
    uint64_t total = 0;
    uint32_t used = atomic_load_explicit(&usage->used, memory_order_acquire);
    for (uint32_t index = 0; index < used && index < MAX_SLOTS; index++) {
        struct usage_slot *slot = &usage->slots[index];
        /* Being asked for is read first: a request becomes held before it stops being asked for. */
        uint64_t asking = asked ? atomic_load(&slot->asking) : 0;
        if (is_at(slot, gpu, gpu_instance) && counts(slot))
            total += asking + atomic_load(&slot->bytes);
    }
    return total;
}

uint64_t usage_sum(struct usage *usage, const struct usage_place *place, const struct usage_slot *own)
{
    uint64_t total = 0;
    uint32_t used = atomic_load(&usage->used);
    for (uint32_t index = 0; index < used && index < MAX_SLOTS; index++) {
        struct usage_slot *slot = &usage->slots[index];
        uint64_t bytes = atomic_load(&slot->bytes);
        if (bytes != 0 && is_at(slot, place->gpu, place->gpu_instance) && counts(slot) &&
            (slot == own || is_alive(slot)))
            total += bytes;
    }
    return total;
}

bool usage_charge_quickly(struct usage *usage, struct usage_slot *slot, uint64_t bytes, uint64_t capacity)
{
    if (bytes > capacity)
        return false;
    atomic_fetch_add(&slot->asking, bytes);
    bool fits = sum(usage, slot->gpu, slot->gpu_instance, true) <= capacity;
    if (fits)
        atomic_fetch_add(&slot->bytes, bytes);
    atomic_fetch_sub(&slot->asking, bytes);
    return fits;
}

/* Who is still asking without the lock will be refused and wait for it; until then its request is in the way. Who
 * was stopped in the middle of asking is waited for only so long. */
bool usage_charge_locked(struct usage *usage, struct usage_slot *slot, uint64_t bytes, const struct usage_place *place)
{
    enum { PATIENCE = 100000 };
    for (unsigned attempt = 0; attempt < PATIENCE; attempt++) {
        if (usage_charge_quickly(usage, slot, bytes, place->capacity))
            return true;
        if (bytes > place->capacity || sum(usage, place->gpu, place->gpu_instance, false) > place->capacity - bytes)
            return false;
        sched_yield();
    }
    return false;
}

void usage_uncharge(struct usage_slot *slot, uint64_t bytes)
{
    atomic_fetch_sub(&slot->bytes, bytes);
}
