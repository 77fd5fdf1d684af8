/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing in shards, each with a lock that is held for a few instructions and never across a call. All of it lies
 * in memory that the kernel empties for a forked child: what its parent allocated is none of the child's. */
#include "memory/allocations.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "wiped.h"

#define SHARDS 64
#define FIRST_CAPACITY 256

struct cell {
    uint64_t key;
    uint32_t space; /* 0: empty */
    uint32_t padding;
    struct allocation entry;
};

struct shard {
    _Alignas(64) atomic_int lock;
    size_t capacity, used;
    struct cell *cells;
};

static struct shard *_Atomic shards;

static struct shard *all_shards(void)
{
    struct shard *found = atomic_load_explicit(&shards, memory_order_acquire);
    if (VGPU_LIKELY(found != NULL))
        return found;
    struct shard *made = wiped_memory(SHARDS * sizeof *made);
    if (made == NULL)
        return NULL;
    if (atomic_compare_exchange_strong(&shards, &found, made))
        return made;
    munmap(made, SHARDS * sizeof *made);
    return found;
}

static uint64_t hash(uint64_t key, uint32_t space)
{
    uint64_t mixed = (key + space) * 0x9e3779b97f4a7c15ull;
    return mixed ^ (mixed >> 29);
}

static void lock(struct shard *shard)
{
    for (int free = 0;
         !atomic_compare_exchange_weak_explicit(&shard->lock, &free, 1, memory_order_acquire, memory_order_relaxed);
         free = 0)
        if (atomic_load_explicit(&shard->lock, memory_order_relaxed) != 0)
            sched_yield();
}

static void unlock(struct shard *shard)
{
    atomic_store_explicit(&shard->lock, 0, memory_order_release);
}

static struct shard *locked_shard(uint64_t hashed)
{
    struct shard *all = all_shards();
    if (all == NULL)
        return NULL;
    struct shard *shard = &all[hashed % SHARDS];
    lock(shard);
    return shard;
}

/* The cell with that key, or the empty one where it would stand; NULL in a shard without cells. */
static struct cell *find(const struct shard *shard, uint64_t key, uint32_t space, uint64_t hashed)
{
    if (shard->capacity == 0)
        return NULL;
    for (size_t place = hashed / SHARDS;; place++) {
        struct cell *cell = &shard->cells[place & (shard->capacity - 1)];
        if (cell->space == 0 || (cell->key == key && cell->space == space))
            return cell;
    }
}

static bool grow(struct shard *shard)
{
    struct shard larger = {.capacity = shard->capacity != 0 ? shard->capacity * 2 : FIRST_CAPACITY};
    larger.cells = wiped_memory(larger.capacity * sizeof *larger.cells);
    if (larger.cells == NULL)
        return false;
    for (size_t i = 0; i < shard->capacity; i++) {
        const struct cell *cell = &shard->cells[i];
        if (cell->space != 0)
            *find(&larger, cell->key, cell->space, hash(cell->key, cell->space)) = *cell;
    }
    if (shard->capacity != 0)
        munmap(shard->cells, shard->capacity * sizeof *shard->cells);
    shard->cells = larger.cells;
    shard->capacity = larger.capacity;
    return true;
}

/* Those behind move up, so that no search ends too early. */
static void remove_cell(struct shard *shard, struct cell *cell)
{
    size_t mask = shard->capacity - 1;
    size_t hole = (size_t)(cell - shard->cells);
    for (size_t place = (hole + 1) & mask; shard->cells[place].space != 0; place = (place + 1) & mask) {
        size_t home = hash(shard->cells[place].key, shard->cells[place].space) / SHARDS & mask;
        if (((place - home) & mask) >= ((place - hole) & mask)) {
            shard->cells[hole] = shard->cells[place];
            hole = place;
        }
    }
    shard->cells[hole].space = 0;
    shard->used--;
}

static struct cell *find_or_make(struct shard *shard, uint64_t key, uint32_t space, uint64_t hashed)
{
    if (shard->used * 4 >= shard->capacity * 3 && !grow(shard))
        return NULL;
    struct cell *cell = find(shard, key, space, hashed);
    if (cell->space == 0) {
        *cell = (struct cell){.key = key, .space = space};
        shard->used++;
    }
    return cell;
}

bool allocations_put(enum allocation_space space, uint64_t key, struct allocation entry, struct allocation *replaced)
{
    uint64_t hashed = hash(key, space);
    struct shard *shard = locked_shard(hashed);
    if (shard == NULL)
        return false;
    struct cell *cell = find_or_make(shard, key, space, hashed);
    if (cell != NULL) {
        *replaced = cell->entry;
        cell->entry = entry;
    }
    unlock(shard);
    return cell != NULL;
}

bool allocations_take(enum allocation_space space, uint64_t key, struct allocation *entry)
{
    uint64_t hashed = hash(key, space);
    struct shard *shard = locked_shard(hashed);
    if (shard == NULL)
        return false;
    struct cell *cell = find(shard, key, space, hashed);
    bool found = cell != NULL && cell->space != 0;
    if (found) {
        *entry = cell->entry;
        remove_cell(shard, cell);
    }
    unlock(shard);
    return found;
}

bool allocations_get(enum allocation_space space, uint64_t key, struct allocation *entry)
{
    return allocations_refer(space, key, 0, entry);
}

bool allocations_refer(enum allocation_space space, uint64_t key, int change, struct allocation *entry)
{
    uint64_t hashed = hash(key, space);
    struct shard *shard = locked_shard(hashed);
    if (shard == NULL)
        return false;
    struct cell *cell = find(shard, key, space, hashed);
    bool found = cell != NULL && cell->space != 0;
    if (found) {
        cell->entry.references += (uint32_t)change;
        *entry = cell->entry;
        if (entry->references == 0)
            remove_cell(shard, cell);
    }
    unlock(shard);
    return found;
}

bool allocations_grow(enum allocation_space space, uint64_t key, int32_t device, uint64_t bytes)
{
    uint64_t hashed = hash(key, space);
    struct shard *shard = locked_shard(hashed);
    if (shard == NULL)
        return false;
    struct cell *cell = find_or_make(shard, key, space, hashed);
    if (cell != NULL) {
        cell->entry.device = device;
        cell->entry.references = 1;
        cell->entry.bytes += bytes;
    }
    unlock(shard);
    return cell != NULL;
}

/* Removal moves another cell into the place, which is looked at again then. */
static void end_in(struct shard *shard, uint64_t context, void (*gone)(const struct allocation *entry))
{
    for (size_t i = 0; i < shard->capacity;) {
        struct cell *cell = &shard->cells[i];
        bool ends = (cell->space == SPACE_POINTER || cell->space == SPACE_ARRAY || cell->space == SPACE_MIPMAP) &&
                    cell->entry.context == context;
        if (ends) {
            struct allocation entry = cell->entry;
            remove_cell(shard, cell);
            gone(&entry);
        } else {
            i++;
        }
    }
}

void allocations_end_context(uint64_t context, void (*gone)(const struct allocation *entry))
{
    struct shard *all = all_shards();
    for (int i = 0; all != NULL && context != 0 && i < SHARDS; i++) {
        lock(&all[i]);
        end_in(&all[i], context, gone);
        unlock(&all[i]);
    }
}
