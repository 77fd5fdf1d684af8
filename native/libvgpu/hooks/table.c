/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/table.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>

#include "symbols.h"

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

_Atomic(void *) hook_reals[HOOK_COUNT];

static bool is_nvml(const char *symbol)
{
    return symbol[0] == 'n';
}

static int cuda_missing(void)
{
    return 500; /* CUDA_ERROR_NOT_FOUND */
}

static int nvml_missing(void)
{
    return 13; /* NVML_ERROR_FUNCTION_NOT_FOUND */
}

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

/* A library that the application has loaded already, wherever it lies, else the one that the linker finds. */
static void *driver(bool nvml)
{
    static _Atomic(void *) handles[2];
    void *handle = atomic_load_explicit(&handles[nvml], memory_order_acquire);
    if (handle != NULL)
        return handle;
    const char *name = nvml ? "libnvidia-ml.so.1" : "libcuda.so.1";
    handle = symbols_dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == NULL)
        handle = symbols_dlopen(name, RTLD_LAZY);
    atomic_store_explicit(&handles[nvml], handle, memory_order_release);
    return handle;
}

/* What stands behind us in the order of libraries, so that another interposer there keeps its place; else the driver. */
static void *find(const char *symbol)
{
    void *found = symbols_real_dlsym(RTLD_NEXT, symbol);
    void *handle = found == NULL ? driver(is_nvml(symbol)) : NULL;
    return handle != NULL ? symbols_real_dlsym(handle, symbol) : found;
}

void *hook_find_real(int hook)
{
    void *found = find(hooks[hook].symbol);
    if (found == NULL)
        found = (void *)(uintptr_t)(is_nvml(hooks[hook].symbol) ? nvml_missing : cuda_missing);
    hook_found(hook, found);
    return atomic_load_explicit(&hook_reals[hook], memory_order_acquire);
}

void hook_found(int hook, void *found)
{
    void *none = NULL;
    if (found != hook_ours(hook))
        atomic_compare_exchange_strong(&hook_reals[hook], &none, found);
}

void *hook_driver_function(const char *symbol)
{
    return find(symbol);
}

/* By the driver's own address where it gives the same one to dlsym; else by the table, as far as that knows CUDA. */
int hook_by_request(const char *base, int version, bool per_thread, void *answered)
{
    int best = -1;
    for (int hook = 0; hook < HOOK_COUNT; hook++) {
        if (strcmp(hooks[hook].base, base) != 0 || hooks[hook].version == 0)
            continue;
        if (hook_real(hook) == answered)
            return hook;
        bool same = (hooks[hook].variant == PER_THREAD) == per_thread;
        if (same && hooks[hook].version <= version && (best < 0 || hooks[hook].version > hooks[best].version))
            best = hook;
    }
    if (best < 0 && per_thread)
        return hook_by_request(base, version, false, answered);
    return version <= NEWEST_KNOWN ? best : -1;
}
