/* SPDX-License-Identifier: Apache-2.0 */
/* Memory pools: what they hold of a device (reserved, in steps) and what of that is given out (used). */
#ifndef HAMI_CUDA_POOL_H
#define HAMI_CUDA_POOL_H

#include "cuda/arena.h"
#include "cuda/object.h"

enum { POOL_STEP = 32 << 20 };

struct pool {
    struct object object;
    struct device *device;
    bool is_default, is_destroyed;
    unsigned reuse[4]; /* attributes 1 to 3 */
    int handle_types;
    uint64_t threshold, maximum;
    uint64_t reserved, reserved_high, used, used_high;
    uint64_t blocks;
};

struct pool *pool_default(struct device *device);
struct pool *pool_current(struct device *device);

/* Takes or gives back memory of a pool; a CUDA result. */
int pool_take(struct pool *pool, size_t size, struct block **made);
void pool_give(struct block *block);

/* Gives back what is reserved beyond `keep` bytes and not used. */
void pool_trim(struct pool *pool, uint64_t keep);

/* What synchronisation does: reserved memory above the threshold goes back. */
void pools_settle(struct device *device);
/* Counts memory of the device as held; gives unused memory of pools back before it refuses. A CUDA result. */
int device_take(struct device *device, uint64_t bytes);
/* The last context of the device ended. */
void pools_end_device(struct device *device);

#endif
