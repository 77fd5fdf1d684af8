/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's own functions: those that hooks.def names, each looked up once, and any other by its symbol. */
#ifndef VGPU_DRIVER_H
#define VGPU_DRIVER_H

#include <stdatomic.h>

#include "vgpu.h"

enum hook_variant { PLAIN, PER_THREAD };

/* The functions that have a hook. */
enum hook {
#define HOOK(symbol, base, version, variant) HOOK_##symbol,
#include "hooks.def"
#undef HOOK
    HOOK_COUNT
};

/* Finds the driver's function behind a hook; one that answers NOT_FOUND where the driver has none. */
void *driver_find_real(int hook);

extern _Atomic(void *) driver_reals[];

/* The driver's function behind a hook, as the application found it or as we find it. */
static inline void *driver_real(int hook)
{
    void *found = atomic_load_explicit(&driver_reals[hook], memory_order_acquire);
    return VGPU_LIKELY(found != NULL) ? found : driver_find_real(hook);
}

/* The driver's function behind a hook is at this address. The first address stays. */
void driver_found(int hook, void *real);

/* Any function of the driver that we have no hook for; NULL where it has none. */
void *driver_function(const char *symbol);

/* A function of the driver that we have no hook for, looked up once. */
#define DRIVER(symbol, type)                                                                                           \
    ({                                                                                                                 \
        static _Atomic(void *) found_;                                                                                 \
        void *function_ = atomic_load_explicit(&found_, memory_order_acquire);                                         \
        if (VGPU_UNLIKELY(function_ == NULL)) {                                                                        \
            function_ = driver_function(#symbol);                                                                      \
            atomic_store_explicit(&found_, function_, memory_order_release);                                           \
        }                                                                                                              \
        (type)(uintptr_t) function_;                                                                                   \
    })

/* The driver's function behind the hook of this name, with its type. */
#define REAL(symbol) ((__typeof__(&symbol))(uintptr_t)driver_real(HOOK_##symbol))

#endif
