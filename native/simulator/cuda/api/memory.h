/* SPDX-License-Identifier: Apache-2.0 */
/* What allocations of all kinds share. */
#ifndef HAMI_CUDA_API_MEMORY_H
#define HAMI_CUDA_API_MEMORY_H

#include "cuda/arena.h"
#include "cuda/context.h"

/* Memory of the current context's device, charged. */
int allocate(size_t size, enum block_kind kind, struct block **made);
/* Whether `size` bytes at an address can be touched: device memory, or the host's where `host_too`. */
bool can_touch(cu_pointer address, size_t size, bool host_too);

/* A context ended: its memory is freed. */
void memory_end_context(struct context *context);

#endif
