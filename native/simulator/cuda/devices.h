/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of this process, in the node that it has open. */
#ifndef HAMI_CUDA_DEVICES_H
#define HAMI_CUDA_DEVICES_H

#include "cuda_abi.h"
#include "node/store.h"

#include <stdatomic.h>
#include <stdbool.h>

struct context;
struct pool;

/* A GPU or MIG device as CUDA enumerates it. */
struct device {
    uint32_t index; /* among the devices that this process sees */
    struct usage_place place;
    uint32_t lane, multiprocessors, capability; /* 80 is 8.0 */
    uint64_t compute_instance;                  /* serial; 0 = the whole GPU */
    char name[NAME_SIZE];
    struct cu_uuid uuid;
    struct usage_slot *slot; /* NULL until this process holds something here */
    unsigned contexts;
    struct context *primary;
    unsigned primary_flags;
    struct pool *default_pool, *current_pool;
    bool has_pools; /* others than the default one */
    _Atomic uint64_t graph_used, graph_used_high, graph_reserved, graph_reserved_high;
};

struct driver {
    struct store store;
    unsigned device_count;
    struct device devices[MAX_GPUS];
};
extern struct driver driver;

struct device *device_at(int index); /* NULL: no such device */

/* The state as it is, for looks that need no lock. */
static inline const struct node *driver_node(void)
{
    const struct store_file *file = driver.store.file;
    return &file->nodes[atomic_load_explicit(&file->header.generation, memory_order_acquire) & 1];
}

static inline uint32_t device_kernel_us(const struct device *device)
{
    return __atomic_load_n(&driver_node()->gpus[device->place.gpu].kernel_us, __ATOMIC_RELAXED);
}

#endif
