/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: contexts, the primary one and others, and the stack that each thread has of them. */
#include "cuda/api/array.h"
#include "cuda/api/memory.h"
#include "cuda/api/module.h"
#include "cuda/api/stream.h"
#include "cuda/context.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/pool.h"
#include "node/memory.h"
#include "node/store.h"

#include <string.h>

static uint64_t next_id = 1;

static void set_limits(struct context *context)
{
    static const size_t defaults[LIMITS] = {1024, 1 << 20, 8 << 20, 2, 2048, 128};
    memcpy(context->limits, defaults, sizeof defaults);
}

static int open_context(struct context *context)
{
    struct device *device = context->device;
    int result = device_attach(device);
    if (result != CU_SUCCESS)
        return result;
    uint64_t cost = (uint64_t)store_current(&driver.store)->gpus[device->place.gpu].context_mib * MIB;
    result = device_take(device, cost);
    if (result == CU_SUCCESS) {
        context->charged = cost;
        context->legacy = stream_new(context, 0, 0);
        context->per_thread = stream_new(context, 0, 0);
        if (context->legacy == NULL || context->per_thread == NULL)
            result = CU_ERROR_OUT_OF_MEMORY;
    }
    if (result != CU_SUCCESS) {
        device_give(device, context->charged);
        streams_end_context(context);
        device_detach(device);
        return result;
    }
    context->legacy->is_legacy = context->legacy->is_special = context->per_thread->is_special = true;
    device->contexts++;
    context->id = next_id++;
    set_limits(context);
    return CU_SUCCESS;
}

static int new_context(struct device *device, unsigned flags, struct context **made)
{
    struct context *context = object_new(OBJECT_CONTEXT);
    if (context == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    context->device = device;
    context->flags = flags;
    int result = open_context(context);
    if (result == CU_SUCCESS)
        *made = context;
    else
        object_free(context);
    return result;
}

/* The object stays: threads that have it current are told that it is destroyed. */
static void end_context(struct context *context)
{
    struct device *device = context->device;
    context->is_destroyed = true;
    streams_end_context(context);
    modules_end_context(context);
    arrays_end_context(context);
    memory_end_context(context);
    device_give(device, context->charged);
    device->contexts--;
    if (device->contexts == 0) {
        pools_end_device(device);
        graph_memory_end(device);
    }
    device_detach(device);
}

static int create(struct context **context, unsigned flags, int index)
{
    struct device *device = device_at(index);
    struct context *made = NULL;
    if (context == NULL || (flags & ~(unsigned)CONTEXT_FLAGS_MASK) != 0 || (flags & SCHEDULING_MASK) == 3 ||
        (flags & SCHEDULING_MASK) > 4)
        return CU_ERROR_INVALID_VALUE;
    if (device == NULL)
        return CU_ERROR_INVALID_DEVICE;
    driver_lock();
    int result = new_context(device, flags, &made);
    if (result == CU_SUCCESS)
        result = context_push(made);
    driver_unlock();
    if (result == CU_SUCCESS)
        *context = made;
    return result;
}

CUDA_API int cuCtxCreate_v2(struct context **context, unsigned flags, int device)
{
    ENTER();
    return create(context, flags, device);
}

CUDA_API int cuCtxCreate(struct context **context, unsigned flags, int device)
{
    ENTER();
    return create(context, flags, device);
}

CUDA_API int cuCtxCreate_v3(struct context **context, const void *affinities, int count, unsigned flags, int device)
{
    ENTER();
    if (count < 0 || (count != 0 && affinities == NULL))
        return CU_ERROR_INVALID_VALUE;
    return count != 0 ? 224 /* UNSUPPORTED_EXEC_AFFINITY: only MPS has it */ : create(context, flags, device);
}

CUDA_API int cuCtxCreate_v4(struct context **context, const void *parameters, unsigned flags, int device)
{
    ENTER();
    struct parameters {
        const void *affinities;
        int count;
        const void *graphics;
    };
    const struct parameters *given = parameters;
    if (given != NULL && (given->count != 0 || given->graphics != NULL))
        return CU_ERROR_NOT_SUPPORTED;
    return create(context, flags, device);
}

CUDA_API int cuCtxDestroy_v2(struct context *handle)
{
    ENTER();
    struct context *context = context_check(handle);
    if (context == NULL || context->is_primary)
        return CU_ERROR_INVALID_CONTEXT;
    driver_lock();
    if (thread.current == context)
        context_pop();
    end_context(context);
    driver_unlock();
    return CU_SUCCESS;
}

CUDA_API int cuCtxDestroy(struct context *handle)
{
    return cuCtxDestroy_v2(handle);
}

/* The compatibility pair of CUDA 2: one reference that the context was created with. */
CUDA_API int cuCtxAttach(struct context **context, unsigned flags)
{
    ENTER_CONTEXT();
    if (context == NULL || flags != 0)
        return CU_ERROR_INVALID_VALUE;
    *context = thread.current;
    return CU_SUCCESS;
}

CUDA_API int cuCtxDetach(struct context *handle)
{
    ENTER();
    return context_check(handle) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_CONTEXT;
}

CUDA_API int cuCtxPushCurrent_v2(struct context *handle)
{
    ENTER();
    if (context_check(handle) == NULL)
        return CU_ERROR_INVALID_CONTEXT;
    return context_push(handle);
}

CUDA_API int cuCtxPushCurrent(struct context *handle)
{
    return cuCtxPushCurrent_v2(handle);
}

CUDA_API int cuCtxPopCurrent_v2(struct context **popped)
{
    ENTER();
    if (thread.depth == 0)
        return CU_ERROR_INVALID_CONTEXT;
    struct context *context = context_pop();
    if (popped != NULL)
        *popped = context;
    return CU_SUCCESS;
}

CUDA_API int cuCtxPopCurrent(struct context **popped)
{
    return cuCtxPopCurrent_v2(popped);
}

CUDA_API int cuCtxSetCurrent(struct context *handle)
{
    ENTER();
    if (handle != NULL && context_check(handle) == NULL)
        return CU_ERROR_INVALID_CONTEXT;
    if (thread.depth != 0)
        context_pop();
    return handle != NULL ? context_push(handle) : CU_SUCCESS;
}

CUDA_API int cuCtxGetCurrent(struct context **context)
{
    ENTER();
    if (context == NULL)
        return CU_ERROR_INVALID_VALUE;
    *context = thread.current;
    return CU_SUCCESS;
}

CUDA_API int cuDevicePrimaryCtxRetain(struct context **context, int index)
{
    ENTER();
    struct device *device = device_at(index);
    int result = CU_SUCCESS;
    if (context == NULL || device == NULL)
        return context == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    driver_lock();
    struct context *primary = device->primary;
    if (primary == NULL)
        primary = device->primary = object_new(OBJECT_CONTEXT);
    if (primary == NULL) {
        result = CU_ERROR_OUT_OF_MEMORY;
    } else if (primary->references == 0) {
        primary->device = device;
        primary->flags = device->primary_flags;
        primary->is_primary = true;
        result = open_context(primary);
        primary->is_destroyed = result != CU_SUCCESS;
    }
    if (result == CU_SUCCESS) {
        primary->references++;
        *context = primary;
    }
    driver_unlock();
    return result;
}

static int release_primary(struct device *device, bool all)
{
    int result = CU_SUCCESS;
    driver_lock();
    struct context *primary = device->primary;
    if (primary == NULL || primary->references == 0)
        result = all ? CU_SUCCESS : CU_ERROR_INVALID_CONTEXT;
    else if (all || primary->references == 1) {
        primary->references = 0;
        end_context(primary);
    } else {
        primary->references--;
    }
    driver_unlock();
    return result;
}

CUDA_API int cuDevicePrimaryCtxRelease_v2(int index)
{
    ENTER();
    return device_at(index) != NULL ? release_primary(device_at(index), false) : CU_ERROR_INVALID_DEVICE;
}

CUDA_API int cuDevicePrimaryCtxRelease(int index)
{
    return cuDevicePrimaryCtxRelease_v2(index);
}

CUDA_API int cuDevicePrimaryCtxReset_v2(int index)
{
    ENTER();
    return device_at(index) != NULL ? release_primary(device_at(index), true) : CU_ERROR_INVALID_DEVICE;
}

CUDA_API int cuDevicePrimaryCtxReset(int index)
{
    return cuDevicePrimaryCtxReset_v2(index);
}

CUDA_API int cuDevicePrimaryCtxSetFlags_v2(int index, unsigned flags)
{
    ENTER();
    struct device *device = device_at(index);
    if (device == NULL || (flags & ~(unsigned)CONTEXT_FLAGS_MASK) != 0)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    device->primary_flags = flags;
    if (device->primary != NULL)
        device->primary->flags = flags;
    return CU_SUCCESS;
}

CUDA_API int cuDevicePrimaryCtxSetFlags(int index, unsigned flags)
{
    return cuDevicePrimaryCtxSetFlags_v2(index, flags);
}

CUDA_API int cuDevicePrimaryCtxGetState(int index, unsigned *flags, int *active)
{
    ENTER();
    struct device *device = device_at(index);
    if (device == NULL || flags == NULL || active == NULL)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    *flags = device->primary_flags;
    *active = device->primary != NULL && device->primary->references != 0;
    return CU_SUCCESS;
}
