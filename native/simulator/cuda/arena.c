/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/arena.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { CLASSES = 12, NOTHING = 0xFFFFFFFF };

/* A run of units that is one block, or one unit cut into equal blocks. */
struct slab {
    uint32_t first, units, count, live;
    size_t block_size;
    struct block *free_blocks;
    struct slab *next, *previous; /* among those of its class with room */
    struct block blocks[];
};

/* Every unit: whose it is, or where a free run starts and ends and how the free runs hang together. */
struct unit {
    struct slab *slab;
    uint32_t free_length, next, previous;
};

static pthread_mutex_t arena_lock = PTHREAD_MUTEX_INITIALIZER;
static char *base;
static struct unit *units;
static uint32_t unit_count, fresh_unit, free_run = NOTHING;
static struct slab *open_slabs[CLASSES];
static uint64_t next_id;

static void *map_sparsely(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

/* As large as the system lets it be; aligned to a unit. */
static bool open_arena(void)
{
    for (unsigned bits = 43; bits >= 32 && base == NULL; bits--) {
        char *space = map_sparsely(((size_t)1 << bits) + VIRTUAL_UNIT);
        if (space == NULL)
            continue;
        madvise(space, ((size_t)1 << bits) + VIRTUAL_UNIT, MADV_DONTDUMP);
        unit_count = (uint32_t)(((size_t)1 << bits) / VIRTUAL_UNIT);
        units = map_sparsely(unit_count * sizeof *units);
        base = units != NULL ? (char *)(uintptr_t)round_up((uintptr_t)space, VIRTUAL_UNIT) : NULL;
    }
    return base != NULL;
}

static void unlink_run(uint32_t run)
{
    uint32_t next = units[run].next, previous = units[run].previous;
    if (previous == NOTHING)
        free_run = next;
    else
        units[previous].next = next;
    if (next != NOTHING)
        units[next].previous = previous;
    units[run].free_length = units[run + units[run].free_length - 1].free_length = 0;
}

static void link_run(uint32_t run, uint32_t length)
{
    if (run + length < fresh_unit && units[run + length].free_length != 0) {
        uint32_t right = units[run + length].free_length;
        unlink_run(run + length);
        length += right;
    }
    if (run != 0 && units[run - 1].free_length != 0) {
        uint32_t left = units[run - 1].free_length;
        unlink_run(run - left);
        run -= left;
        length += left;
    }
    units[run] = (struct unit){.free_length = length, .next = free_run, .previous = NOTHING};
    units[run + length - 1].free_length = length;
    if (free_run != NOTHING)
        units[free_run].previous = run;
    free_run = run;
}

static uint32_t take_run(uint32_t length)
{
    for (uint32_t run = free_run; run != NOTHING; run = units[run].next) {
        uint32_t found = units[run].free_length;
        if (found < length)
            continue;
        unlink_run(run);
        if (found > length)
            link_run(run + length, found - length);
        return run;
    }
    if (unit_count - fresh_unit < length)
        return NOTHING;
    fresh_unit += length;
    return fresh_unit - length;
}

static struct slab *new_slab(uint32_t length, size_t block_size, uint32_t count)
{
    struct slab *slab = calloc(1, sizeof *slab + count * sizeof slab->blocks[0]);
    if (slab == NULL)
        return NULL;
    slab->first = take_run(length);
    if (slab->first == NOTHING) {
        free(slab);
        return NULL;
    }
    slab->units = length;
    slab->block_size = block_size;
    slab->count = count;
    for (uint32_t index = count; index-- != 0;) {
        struct block *block = &slab->blocks[index];
        block->address = (cu_pointer)(uintptr_t)base + (uint64_t)slab->first * VIRTUAL_UNIT + index * block_size;
        block->next_free = slab->free_blocks;
        slab->free_blocks = block;
    }
    for (uint32_t unit = slab->first; unit < slab->first + length; unit++)
        units[unit].slab = slab;
    return slab;
}

static void open_slab(struct slab *slab, unsigned class)
{
    slab->previous = NULL;
    slab->next = open_slabs[class];
    if (slab->next != NULL)
        slab->next->previous = slab;
    open_slabs[class] = slab;
}

static void close_slab(struct slab *slab, unsigned class)
{
    *(slab->previous != NULL ? &slab->previous->next : &open_slabs[class]) = slab->next;
    if (slab->next != NULL)
        slab->next->previous = slab->previous;
}

static unsigned class_of(size_t size)
{
    return size <= ALLOCATION_UNIT ? 0 : 64u - (unsigned)__builtin_clzll(size - 1) - 9;
}

static struct slab *slab_with_room(size_t size, unsigned *class)
{
    *class = size <= VIRTUAL_UNIT / 2 ? class_of(size) : CLASSES;
    if (*class == CLASSES) {
        uint64_t length = round_up(size, VIRTUAL_UNIT) / VIRTUAL_UNIT;
        return length < unit_count ? new_slab((uint32_t)length, length * VIRTUAL_UNIT, 1) : NULL;
    }
    if (open_slabs[*class] == NULL) {
        size_t block_size = (size_t)ALLOCATION_UNIT << *class;
        struct slab *slab = new_slab(1, block_size, (uint32_t)(VIRTUAL_UNIT / block_size));
        if (slab != NULL)
            open_slab(slab, *class);
    }
    return open_slabs[*class];
}

struct block *arena_take(size_t size, enum block_kind kind)
{
    unsigned class;
    pthread_mutex_lock(&arena_lock);
    struct slab *slab = base != NULL || open_arena() ? slab_with_room(size, &class) : NULL;
    struct block *block = slab != NULL ? slab->free_blocks : NULL;
    if (block != NULL) {
        slab->free_blocks = block->next_free;
        slab->live++;
        if (class != CLASSES && slab->free_blocks == NULL)
            close_slab(slab, class);
        *block = (struct block){.address = block->address, .size = size, .kind = kind, .id = ++next_id};
    }
    pthread_mutex_unlock(&arena_lock);
    return block;
}

static void free_slab(struct slab *slab)
{
    for (uint32_t unit = slab->first; unit < slab->first + slab->units; unit++)
        units[unit].slab = NULL;
    link_run(slab->first, slab->units);
    free(slab);
}

/* A unit that is empty stays open if it is the only one of its class, so that one pair in a row is cheap. */
void arena_give(struct block *block)
{
    pthread_mutex_lock(&arena_lock);
    struct slab *slab = units[(block->address - (cu_pointer)(uintptr_t)base) / VIRTUAL_UNIT].slab;
    unsigned class = slab->block_size <= VIRTUAL_UNIT / 2 ? class_of(slab->block_size) : CLASSES;
    if (class == CLASSES)
        madvise((void *)(uintptr_t)block->address, slab->block_size, MADV_DONTNEED);
    block->size = 0;
    block->next_free = slab->free_blocks;
    if (class != CLASSES && slab->free_blocks == NULL)
        open_slab(slab, class);
    slab->free_blocks = block;
    slab->live--;
    if (class == CLASSES) {
        free_slab(slab);
    } else if (slab->live == 0 && (open_slabs[class] != slab || slab->next != NULL)) {
        close_slab(slab, class);
        free_slab(slab);
    }
    pthread_mutex_unlock(&arena_lock);
}

bool arena_holds(cu_pointer address)
{
    cu_pointer start = (cu_pointer)(uintptr_t)base;
    return base != NULL && address >= start && address - start < (uint64_t)unit_count * VIRTUAL_UNIT;
}

struct block *arena_find(cu_pointer address)
{
    struct block *block = NULL;
    if (!arena_holds(address))
        return NULL;
    pthread_mutex_lock(&arena_lock);
    uint64_t offset = address - (cu_pointer)(uintptr_t)base;
    struct slab *slab = units[offset / VIRTUAL_UNIT].slab;
    if (slab != NULL) {
        block = &slab->blocks[(offset - (uint64_t)slab->first * VIRTUAL_UNIT) / slab->block_size];
        if (address - block->address >= block->size || block->kind == BLOCK_HIDDEN)
            block = NULL;
    }
    pthread_mutex_unlock(&arena_lock);
    return block;
}

struct block *arena_find_start(cu_pointer address)
{
    struct block *block = arena_find(address);
    return block != NULL && block->address == address ? block : NULL;
}

void arena_visit(void (*visit)(struct block *block, void *data), void *data)
{
    for (uint32_t unit = 0; unit < fresh_unit;) {
        struct slab *slab = units[unit].slab;
        uint32_t length = slab != NULL ? slab->units : 1, count = slab != NULL ? slab->count : 0;
        for (uint32_t index = 0; index < count && units[unit].slab == slab; index++)
            if (slab->blocks[index].size != 0)
                visit(&slab->blocks[index], data);
        unit += length;
    }
}

void arena_extent(const struct block *block, cu_pointer *start, size_t *size)
{
    cu_pointer origin = (cu_pointer)(uintptr_t)base;
    *start = origin + (block->address - origin) / VIRTUAL_UNIT * VIRTUAL_UNIT;
    *size = round_up(block->address + block->size - *start, VIRTUAL_UNIT);
}

bool arena_clear(cu_pointer start, size_t size, bool readable)
{
    int protection = readable ? PROT_READ | PROT_WRITE : PROT_NONE;
    return mmap((void *)(uintptr_t)start, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                0) != MAP_FAILED;
}
