/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <dlfcn.h>

#include "symbols.h"

static const char *const hook_symbols[HOOK_COUNT] = {
#define HOOK(symbol, base, version, variant) #symbol,
#include "hooks.def"
#undef HOOK
};

_Atomic(void *) driver_reals[HOOK_COUNT];

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

/* A library that the application has loaded already, wherever it lies, else the one that the linker finds. */
static void *library(bool nvml)
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
void *driver_function(const char *symbol)
{
    void *found = symbols_real_dlsym(RTLD_NEXT, symbol);
    void *handle = found == NULL ? library(is_nvml(symbol)) : NULL;
    return handle != NULL ? symbols_real_dlsym(handle, symbol) : found;
}

void *driver_find_real(int hook)
{
    void *found = driver_function(hook_symbols[hook]);
    if (found == NULL)
        found = (void *)(uintptr_t)(is_nvml(hook_symbols[hook]) ? nvml_missing : cuda_missing);
    driver_found(hook, found);
    return atomic_load_explicit(&driver_reals[hook], memory_order_acquire);
}

void driver_found(int hook, void *real)
{
    void *none = NULL;
    atomic_compare_exchange_strong(&driver_reals[hook], &none, real);
}
