/* SPDX-License-Identifier: Apache-2.0 */
/* What allocations of all kinds share. */
#ifndef HAMI_CUDA_MEMORY_API_H
#define HAMI_CUDA_MEMORY_API_H

#include "cuda/arena.h"
#include "cuda/context.h"
#include "node/memory.h"

/* Memory of the current context's device, charged. */
int allocate(size_t size, enum block_kind kind, struct block **made);
/* Frees it whatever it is: linear, managed, of a pool or a graph. */
void release(struct block *block);

/* Whether `size` bytes at an address can be touched: device memory, or the host's where `host_too`. */
bool can_touch(cu_pointer address, size_t size, bool host_too);

/* Page-locked memory of the host: the range that an address lies in. */
struct host_range {
    char *start;
    size_t size;
    unsigned flags;
    bool is_registered; /* and not allocated by us */
    struct context *context;
};
struct host_range *host_find(const void *address);

bool range_is_mapped(const struct block *block, cu_pointer address, size_t size);

#endif
