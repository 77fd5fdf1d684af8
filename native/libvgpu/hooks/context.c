/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: the beginning, and contexts, with which memory ends. */
#include <stdatomic.h>

#include "cuda_abi.h"
#include "driver.h"
#include "memory/charge.h"
#include "memory/device.h"
#include "region/attach.h"

#define ORDINALS 64

static _Atomic uint64_t primary[ORDINALS];

VGPU_EXPORT int cuInit(unsigned flags)
{
    int result = REAL(cuInit)(flags);
    /* Attaching is cheap now and would be a surprise in the first allocation. */
    if (result == CU_SUCCESS && device_controlled())
        region_get();
    return result;
}

static int end_context(void *context, int result)
{
    if (result == CU_SUCCESS) {
        device_forget_contexts();
        charge_end_context((uint64_t)(uintptr_t)context);
    }
    return result;
}

VGPU_EXPORT int cuCtxDestroy(void *context)
{
    return end_context(context, REAL(cuCtxDestroy)(context));
}

VGPU_EXPORT int cuCtxDestroy_v2(void *context)
{
    return end_context(context, REAL(cuCtxDestroy_v2)(context));
}

/* It ends with the last one who detaches. */
VGPU_EXPORT int cuCtxDetach(void *context)
{
    int (*version_of)(void *, unsigned *) = DRIVER(cuCtxGetApiVersion, int (*)(void *, unsigned *));
    int result = REAL(cuCtxDetach)(context);
    unsigned version;
    if (result == CU_SUCCESS && version_of != NULL && version_of(context, &version) != CU_SUCCESS)
        end_context(context, result);
    return result;
}

VGPU_EXPORT int cuDevicePrimaryCtxRetain(void **context, int ordinal)
{
    int result = REAL(cuDevicePrimaryCtxRetain)(context, ordinal);
    if (result == CU_SUCCESS && context != NULL && ordinal >= 0 && ordinal < ORDINALS)
        atomic_store(&primary[ordinal], (uint64_t)(uintptr_t)*context);
    return result;
}

static void end_primary(int ordinal)
{
    typedef int (*get_state)(int ordinal, unsigned *flags, int *active);
    get_state ask = DRIVER(cuDevicePrimaryCtxGetState, get_state);
    unsigned flags;
    int active = 1;
    if (ordinal < 0 || ordinal >= ORDINALS || ask == NULL || ask(ordinal, &flags, &active) != CU_SUCCESS || active != 0)
        return;
    end_context((void *)(uintptr_t)atomic_load(&primary[ordinal]), CU_SUCCESS);
}

static int after_primary(int ordinal, int result)
{
    if (result == CU_SUCCESS)
        end_primary(ordinal);
    return result;
}

VGPU_EXPORT int cuDevicePrimaryCtxRelease(int ordinal)
{
    return after_primary(ordinal, REAL(cuDevicePrimaryCtxRelease)(ordinal));
}

VGPU_EXPORT int cuDevicePrimaryCtxRelease_v2(int ordinal)
{
    return after_primary(ordinal, REAL(cuDevicePrimaryCtxRelease_v2)(ordinal));
}

VGPU_EXPORT int cuDevicePrimaryCtxReset(int ordinal)
{
    return after_primary(ordinal, REAL(cuDevicePrimaryCtxReset)(ordinal));
}

VGPU_EXPORT int cuDevicePrimaryCtxReset_v2(int ordinal)
{
    return after_primary(ordinal, REAL(cuDevicePrimaryCtxReset_v2)(ordinal));
}
