/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated CUDA driver in one process: its devices, the frame of every call, and who frees what. */
#ifndef HAMI_CUDA_DRIVER_H
#define HAMI_CUDA_DRIVER_H

#include "cuda_abi.h"
#include "node/fault.h"
#include "node/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define CUDA_API __attribute__((visibility("default")))

enum { ALLOCATION_UNIT = 512, VIRTUAL_UNIT = 2 << 20 };

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

/* One lock for what is rare: contexts, modules, pools, graphs, the host's memory. Recursive: nothing below it blocks. */
void driver_lock(void);
void driver_unlock(void);

/* The CUDA version of the node's driver, also before cuInit; the newest without a node. */
int driver_version(void);

/* The devices that CUDA_VISIBLE_DEVICES leaves, in its order; the lock of the store is held. */
void visible_devices(struct node *node);
/* What the board says of a device. */
void device_describe(struct device *device, struct node *node, struct gpu *gpu, struct compute_instance *instance);
struct device *device_at(int index); /* NULL: no such device */

/* Makes this process a client of the device in the node; a CUDA result. */
int device_attach(struct device *device);
/* Ends that once no context and no memory is left. */
void device_detach(struct device *device);
/* Counts memory as held, or OUT_OF_MEMORY; `device_take` gives unused memory of pools back before it refuses. */
int device_charge(struct device *device, uint64_t bytes);
int device_take(struct device *device, uint64_t bytes);
void device_give(struct device *device, uint64_t bytes);

/* The frame: every API function starts with one of the three macros below and may just return. */
struct call {
    bool dies_after;
};
enum { NOT_READY = 0, READY = 1 };
/* Lies in a page that the kernel wipes in a forked child. */
extern _Atomic uint32_t *driver_state;
int call_refuse(void);
int call_fault(struct call *call, const char *function);
void call_die(void);

static inline void call_end(struct call *call)
{
    if (call->dies_after)
        call_die();
}

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

static inline int call_begin(struct call *call, const char *function)
{
    if (driver_state == NULL || atomic_load_explicit(driver_state, memory_order_acquire) != READY)
        return call_refuse();
    return fault_is_possible(driver_node()) ? call_fault(call, function) : CU_SUCCESS;
}

/* For functions that need no cuInit; only after it are there faults. */
static inline int call_begin_early(struct call *call, const char *function)
{
    bool ready = driver_state != NULL && atomic_load_explicit(driver_state, memory_order_acquire) == READY;
    return ready ? call_begin(call, function) : CU_SUCCESS;
}

/* The context of the thread, in `context.c`. */
struct thread {
    struct context *current;
    struct context **stack;
    unsigned depth, room;
};
extern _Thread_local struct thread thread;
int context_refuse(void);
bool context_is_usable(const struct context *context);

#define ENTER()                                                                                                      \
    struct call call __attribute__((cleanup(call_end))) = {false};                                                   \
    int refused = call_begin(&call, __func__);                                                                       \
    if (refused != CU_SUCCESS)                                                                                       \
    return refused

#define ENTER_EARLY()                                                                                                \
    struct call call __attribute__((cleanup(call_end))) = {false};                                                   \
    int refused = call_begin_early(&call, __func__);                                                                 \
    if (refused != CU_SUCCESS)                                                                                       \
    return refused

#define ENTER_CONTEXT()                                                                                              \
    ENTER();                                                                                                         \
    if (!context_is_usable(thread.current))                                                                          \
    return context_refuse()

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
    return value > UINT64_MAX - unit ? UINT64_MAX / unit * unit : (value + unit - 1) / unit * unit;
}

uint64_t clock_ns(void);
void sleep_until(uint64_t time_ns);

#endif
