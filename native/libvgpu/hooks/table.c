/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/table.h"

#include <stdint.h>
#include <string.h>

#include "driver.h"

#define NEWEST_KNOWN 13000 /* the CUDA version whose table of ABIs hooks.def follows */

#define HOOK(symbol, base, version, variant) extern void symbol(void);
#include "hooks.def"
#undef HOOK

static const struct {
    const char *symbol, *base;
    int version;
    enum hook_variant variant;
    void (*ours)(void);
} hooks[HOOK_COUNT] = {
#define HOOK(symbol, base, version, variant) {#symbol, #base, version, variant, symbol},
#include "hooks.def"
#undef HOOK
};

int hook_by_symbol(const char *symbol)
{
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (strcmp(hooks[hook].symbol, symbol) == 0)
            return hook;
    return -1;
}

void *hook_ours(int hook)
{
    return (void *)(uintptr_t)hooks[hook].ours;
}

void hook_found(int hook, void *real)
{
    if (real != hook_ours(hook))
        driver_found(hook, real);
}

/* By the driver's own address where it gives the same one to dlsym; else by the table, as far as that knows CUDA. */
int hook_by_request(const char *base, int version, bool per_thread, void *answered)
{
    int best = -1;
    for (int hook = 0; hook < HOOK_COUNT; hook++) {
        if (strcmp(hooks[hook].base, base) != 0 || hooks[hook].version == 0)
            continue;
        if (driver_real(hook) == answered)
            return hook;
        bool same = (hooks[hook].variant == PER_THREAD) == per_thread;
        if (same && hooks[hook].version <= version && (best < 0 || hooks[hook].version > hooks[best].version))
            best = hook;
    }
    if (best < 0 && per_thread)
        return hook_by_request(base, version, false, answered);
    return version <= NEWEST_KNOWN ? best : -1;
}
