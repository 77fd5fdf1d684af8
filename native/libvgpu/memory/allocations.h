/* SPDX-License-Identifier: Apache-2.0 */
/* What this process has allocated, by pointer or handle: a table of constant cost, empty in a forked child. */
#ifndef VGPU_ALLOCATIONS_H
#define VGPU_ALLOCATIONS_H

#include "vgpu.h"

enum allocation_space {
    SPACE_POINTER = 1,
    SPACE_PHYSICAL,
    SPACE_MAPPING,
    SPACE_ARRAY,
    SPACE_MIPMAP,
    SPACE_GRAPH,
    SPACE_EXEC,
    SPACE_POOL
};

/* A graph may have memory on several devices, each counted for itself. */
static inline enum allocation_space allocations_on(enum allocation_space space, int device)
{
    return (enum allocation_space)((unsigned)space | (unsigned)device << 8);
}

struct allocation {
    uint64_t bytes;
    uint64_t context; /* that ends with it, 0: none; of a mapping its physical memory; */
    int32_t device;
    uint32_t references;
};

/* False when there is no memory for it. What stood there is replaced, and given to `replaced` (bytes 0: nothing). */
bool allocations_put(enum allocation_space space, uint64_t key, struct allocation entry, struct allocation *replaced);

/* Takes an entry out; false when there is none. */
bool allocations_take(enum allocation_space space, uint64_t key, struct allocation *entry);

/* Reads an entry. */
bool allocations_get(enum allocation_space space, uint64_t key, struct allocation *entry);

/* Adds to an entry's references; when they come to 0 the entry is taken out. True when it was there. */
bool allocations_refer(enum allocation_space space, uint64_t key, int change, struct allocation *entry);

/* Adds to an entry's bytes, and makes one where there is none. */
bool allocations_grow(enum allocation_space space, uint64_t key, int32_t device, uint64_t bytes);

/* Takes out all that ends with a context; `gone` is told of each. */
void allocations_end_context(uint64_t context, void (*gone)(const struct allocation *entry));

#endif
