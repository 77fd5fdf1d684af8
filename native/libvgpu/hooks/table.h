/* SPDX-License-Identifier: Apache-2.0 */
/* The table of hooks: by symbol, by what cuGetProcAddress calls them, and the driver's own function behind each. */
#ifndef VGPU_HOOK_TABLE_H
#define VGPU_HOOK_TABLE_H

#include <stdatomic.h>

#include "vgpu.h"

enum hook_variant { PLAIN, PER_THREAD };

enum hook {
#define HOOK(symbol, base, version, variant) HOOK_##symbol,
#include "hooks.def"
#undef HOOK
    HOOK_COUNT
};

/* The hook for a symbol, or -1. */
int hook_by_symbol(const char *symbol);

/* The hook for what cuGetProcAddress was asked for and what the driver answered, or -1. */
int hook_by_request(const char *base, int version, bool per_thread, void *answered);

/* Our function. */
void *hook_ours(int hook);

/* Finds the driver's function; one that answers NOT_FOUND where the driver has none. */
void *hook_find_real(int hook);

extern _Atomic(void *) hook_reals[];

/* The driver's, as the application found it or as we find it. */
static inline void *hook_real(int hook)
{
    void *found = atomic_load_explicit(&hook_reals[hook], memory_order_acquire);
    return VGPU_LIKELY(found != NULL) ? found : hook_find_real(hook);
}

/* The application found the driver's function at this address. */
void hook_found(int hook, void *real);

/* Any function of the driver that we have no hook for; NULL where it has none. */
void *hook_driver_function(const char *symbol);

/* A function of the driver that we have no hook for, looked up once. */
#define DRIVER(symbol, type)                                                                                          \
    ({                                                                                                                \
        static _Atomic(void *) found_;                                                                                \
        void *function_ = atomic_load_explicit(&found_, memory_order_acquire);                                        \
        if (VGPU_UNLIKELY(function_ == NULL)) {                                                                       \
            function_ = hook_driver_function(#symbol);                                                                \
            atomic_store_explicit(&found_, function_, memory_order_release);                                          \
        }                                                                                                             \
        (type)(uintptr_t) function_;                                                                                  \
    })

/* The driver's function behind the hook of this name, with its type. */
#define REAL(symbol) ((__typeof__(&symbol))(uintptr_t)hook_real(HOOK_##symbol))

#endif
