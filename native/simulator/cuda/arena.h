/* SPDX-License-Identifier: Apache-2.0 */
/* The address space of the devices. Memory is real, so that copies work, but takes room only where it is touched.
 * Small blocks share units of 2 MiB by size; what an address belongs to is found without a search. */
#ifndef HAMI_CUDA_ARENA_H
#define HAMI_CUDA_ARENA_H

#include "cuda_abi.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct context;
struct device;

enum { ALLOCATION_UNIT = 512, VIRTUAL_UNIT = 2 << 20 };

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
    return value > UINT64_MAX - unit ? UINT64_MAX / unit * unit : (value + unit - 1) / unit * unit;
}

enum block_kind {
    BLOCK_LINEAR,
    BLOCK_MANAGED,
    BLOCK_POOL,     /* charged to its pool */
    BLOCK_GRAPH,    /* of a graph's allocation node */
    BLOCK_RESERVED, /* addresses of cuMemAddressReserve */
    BLOCK_IMPORTED, /* another process's memory */
    BLOCK_VARIABLE, /* of a module */
    BLOCK_HIDDEN    /* behind an array: no address of it is ever told */
};

struct block {
    cu_pointer address;
    size_t size;      /* as requested; 0 = the block is free */
    uint64_t charged; /* to the device */
    struct device *device;
    struct context *context; /* NULL: it outlives contexts */
    void *owner;             /* pool, graph node, external memory */
    enum block_kind kind;
    uint32_t flags;
    uint64_t id;
    struct block *next_free;
    struct mapping *mappings; /* of a BLOCK_RESERVED */
    int descriptor;           /* of memory that others share, plus 1 */
};

/* A block of at least `size` bytes at a multiple of its size class (512 at least, 2 MiB from 1 MiB on); uncharged.
 * NULL if the address space is used up. */
struct block *arena_take(size_t size, enum block_kind kind);
void arena_give(struct block *block);

/* The live block that an address lies in, or NULL. */
struct block *arena_find(cu_pointer address);
/* The live block that starts there. */
struct block *arena_find_start(cu_pointer address);
bool arena_holds(cu_pointer address);

/* Calls `visit` for every live block. */
void arena_visit(void (*visit)(struct block *block, void *data), void *data);

/* The whole units around a block: the range that remapping it affects. */
void arena_extent(const struct block *block, cu_pointer *start, size_t *size);
/* Fresh anonymous memory again, readable or not. */
bool arena_clear(cu_pointer start, size_t size, bool readable);

#endif
