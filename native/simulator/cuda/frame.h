/* SPDX-License-Identifier: Apache-2.0 */
/* The frame: every API function starts with one of the three macros below and may just return. */
#ifndef HAMI_CUDA_FRAME_H
#define HAMI_CUDA_FRAME_H

#include "cuda/context.h"
#include "cuda/devices.h"
#include "node/fault.h"

#define CUDA_API __attribute__((visibility("default")))

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

#define ENTER()                                                                                                        \
    struct call call __attribute__((cleanup(call_end))) = {false};                                                     \
    int refused = call_begin(&call, __func__);                                                                         \
    if (refused != CU_SUCCESS)                                                                                         \
    return refused

#define ENTER_EARLY()                                                                                                  \
    struct call call __attribute__((cleanup(call_end))) = {false};                                                     \
    int refused = call_begin_early(&call, __func__);                                                                   \
    if (refused != CU_SUCCESS)                                                                                         \
    return refused

#define ENTER_CONTEXT()                                                                                                \
    ENTER();                                                                                                           \
    if (!context_is_usable(thread.current))                                                                            \
    return context_refuse()

#endif
