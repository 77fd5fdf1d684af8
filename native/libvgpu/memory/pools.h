/* SPDX-License-Identifier: Apache-2.0 */
/* What pools keep of freed memory because the application asked them to (CU_MEMPOOL_ATTR_RELEASE_THRESHOLD). It is used
 * for everybody else, so it counts; their own pool uses it again, and it is given up before a limit refuses anything.
 * What such a pool has only because its driver takes memory in steps does not count, and is given up when it is in the way.
 * Without a threshold a pool gives back at the next synchronisation, and nothing here is ever looked at. */
#ifndef VGPU_POOLS_H
#define VGPU_POOLS_H

#include <stdatomic.h>

#include "vgpu.h"

extern struct keepers *_Atomic pools_keepers;

/* True once some pool has had a threshold. */
static inline bool pools_keep_any(void)
{
    return VGPU_UNLIKELY(atomic_load_explicit(&pools_keepers, memory_order_acquire) != NULL);
}

/* Sets how much memory a pool of a device keeps. */
void pools_keep(void *pool, int device, uint64_t threshold);

/* After this returns, no thread queries the pool; returns its threshold, 0 when it had none. */
uint64_t pools_forget(void *pool);

/* Returns how many of the requested bytes a pool already keeps (NULL: any pool of the device). They are counted
 * already, and from now on belong to the caller. */
uint64_t pools_take(const void *pool, int device, uint64_t bytes);

/* Counts what the pools of a device keep now. */
void pools_settle(int device);

/* Makes the pools of a device give up what they keep; false when they kept nothing. */
bool pools_give_up(int device);

/* Bytes were reserved: where the driver would be over the limit with what its steps left in pools, they give that up. */
void pools_make_room(int device);

#endif
