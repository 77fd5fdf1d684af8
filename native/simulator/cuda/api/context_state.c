/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: what the current context is set to. */
#include "cuda/context.h"
#include "cuda/frame.h"
#include "cuda/object.h"

#include <string.h>

CUDA_API int cuCtxGetDevice(int *device)
{
    ENTER_CONTEXT();
    if (device == NULL)
        return CU_ERROR_INVALID_VALUE;
    *device = (int)device_of_current()->index;
    return CU_SUCCESS;
}

/* NULL means the current one for the functions that name a context. */
static struct context *named(void *handle)
{
    return handle == NULL ? thread.current : object_check(handle, OBJECT_CONTEXT);
}

CUDA_API int cuCtxGetDevice_v2(int *device, void *handle)
{
    ENTER();
    struct context *context = named(handle);
    if (device == NULL || !context_is_usable(context))
        return device == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_CONTEXT;
    *device = (int)context->device->index;
    return CU_SUCCESS;
}

CUDA_API int cuCtxGetFlags(unsigned *flags)
{
    ENTER_CONTEXT();
    if (flags == NULL)
        return CU_ERROR_INVALID_VALUE;
    *flags = thread.current->flags;
    return CU_SUCCESS;
}

CUDA_API int cuCtxSetFlags(unsigned flags)
{
    ENTER_CONTEXT();
    if ((flags & ~(unsigned)CONTEXT_FLAGS_MASK) != 0)
        return CU_ERROR_INVALID_VALUE;
    thread.current->flags = flags;
    return CU_SUCCESS;
}

CUDA_API int cuCtxGetId(void *handle, unsigned long long *id)
{
    ENTER();
    struct context *context = named(handle);
    if (id == NULL || !context_is_usable(context))
        return id == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_CONTEXT_IS_DESTROYED;
    *id = context->id;
    return CU_SUCCESS;
}

CUDA_API int cuCtxGetApiVersion(void *handle, unsigned *version)
{
    ENTER();
    struct context *context = named(handle);
    if (version == NULL || !context_is_usable(context))
        return version == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_CONTEXT;
    *version = API_VERSION;
    return CU_SUCCESS;
}

CUDA_API int cuCtxGetLimit(size_t *value, int limit)
{
    ENTER_CONTEXT();
    if (value == NULL || limit < 0)
        return CU_ERROR_INVALID_VALUE;
    if (limit >= LIMITS)
        return CU_ERROR_UNSUPPORTED_LIMIT;
    *value = thread.current->limits[limit];
    return CU_SUCCESS;
}

CUDA_API int cuCtxSetLimit(int limit, size_t value)
{
    ENTER_CONTEXT();
    if (limit < 0 || limit >= LIMITS)
        return limit < 0 ? CU_ERROR_INVALID_VALUE : CU_ERROR_UNSUPPORTED_LIMIT;
    thread.current->limits[limit] = value;
    return CU_SUCCESS;
}

CUDA_API int cuCtxResetPersistingL2Cache(void)
{
    ENTER_CONTEXT();
    return CU_SUCCESS;
}

CUDA_API int cuCtxGetCacheConfig(int *config)
{
    ENTER_CONTEXT();
    if (config == NULL)
        return CU_ERROR_INVALID_VALUE;
    *config = thread.current->cache_config;
    return CU_SUCCESS;
}

CUDA_API int cuCtxSetCacheConfig(int config)
{
    ENTER_CONTEXT();
    if (config < 0 || config > 3)
        return CU_ERROR_INVALID_VALUE;
    thread.current->cache_config = config;
    return CU_SUCCESS;
}

CUDA_API int cuCtxGetSharedMemConfig(int *config)
{
    ENTER_CONTEXT();
    if (config == NULL)
        return CU_ERROR_INVALID_VALUE;
    *config = 1; /* four-byte banks, the only kind since Maxwell */
    return CU_SUCCESS;
}

CUDA_API int cuCtxSetSharedMemConfig(int config)
{
    ENTER_CONTEXT();
    return config < 0 || config > 2 ? CU_ERROR_INVALID_VALUE : CU_SUCCESS;
}

CUDA_API int cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    ENTER_CONTEXT();
    if (least != NULL)
        *least = 0;
    if (greatest != NULL)
        *greatest = -5;
    return CU_SUCCESS;
}

CUDA_API int cuCtxGetExecAffinity(void *affinity, int type)
{
    ENTER_CONTEXT();
    (void)type;
    return affinity == NULL ? CU_ERROR_INVALID_VALUE : 224 /* UNSUPPORTED_EXEC_AFFINITY */;
}

CUDA_API int cuProfilerStart(void)
{
    ENTER();
    return CU_SUCCESS;
}

CUDA_API int cuProfilerStop(void)
{
    ENTER();
    return CU_SUCCESS;
}

CUDA_API int cuFlushGPUDirectRDMAWrites(int target, int scope)
{
    ENTER_CONTEXT();
    return target != 0 || (scope != 100 && scope != 200) ? CU_ERROR_INVALID_VALUE : CU_SUCCESS;
}
