/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/call.h"

#include "node/capabilities.h"
#include "node/fault.h"
#include "nvml/handles.h"
#include "nvml/session.h"

#include <signal.h>
#include <unistd.h>

static struct store *entered;

static bool refuse(struct call *call, int result)
{
    call_end(call, result);
    return false;
}

/* Locks and finds the object first, so that a fault can be meant for one GPU; then gives the locks back while the
 * fault acts, since a slow or hanging call must not hold up others, and starts again. */
static bool enter(struct call *call, const char *function, enum access access)
{
    *call = (struct call){.function = function, .access = access, .index = NO_SLOT};
    struct store *store = session_enter(&call->result);
    if (store == NULL)
        return false;
    entered = store;
    call->node = access == WRITE ? store_begin_change(store) : store_current(store);
    return true;
}

static void leave(void)
{
    struct store *store = entered;
    entered = NULL;
    session_leave(store);
}

/* The files under the node's root follow within the same lock, so that they never say less than the last change. */
static void commit(const struct call *call)
{
    store_commit(entered);
    if (call->index != NO_SLOT)
        capabilities_write_gpu(call->node, call->index);
}

int call_end(struct call *call, int result)
{
    if (call->access == WRITE && result == NVML_SUCCESS)
        commit(call);
    leave();
    if (call->dies_after)
        raise(SIGKILL);
    call->result = result;
    return result;
}

typedef int (*resolver)(struct call *call, const void *handle, unsigned targets);

static int resolve_nothing(struct call *call, const void *handle, unsigned targets)
{
    (void)call, (void)handle, (void)targets;
    return NVML_SUCCESS;
}

static int find_gpu(struct call *call, const struct handle *handle)
{
    if (handle == NULL || handle->gpu >= call->node->gpu_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    call->index = handle->gpu;
    call->gpu = &call->node->gpus[handle->gpu];
    return NVML_SUCCESS;
}

static int find_compute_instance(struct call *call, const struct handle *handle)
{
    struct compute_instance *instance = &call->gpu->compute_instances[handle->slot];
    if (instance->serial != handle->serial)
        return NVML_ERROR_INVALID_ARGUMENT;
    call->compute_instance = instance;
    call->gpu_instance = gpu_instance_of(call->gpu, instance);
    return NVML_SUCCESS;
}

static int lost(const struct call *call, unsigned targets)
{
    return call->gpu->lost && !(targets & TARGET_LOST_TOO) ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

static int resolve_device(struct call *call, const void *pointer, unsigned targets)
{
    const struct handle *handle = handle_check(pointer);
    int result = find_gpu(call, handle);
    if (result != NVML_SUCCESS)
        return result;
    if (handle->kind == HANDLE_GPU)
        return targets & TARGET_GPU ? lost(call, targets) : NVML_ERROR_INVALID_ARGUMENT;
    if (handle->kind != HANDLE_MIG_DEVICE)
        return NVML_ERROR_INVALID_ARGUMENT;
    result = find_compute_instance(call, handle);
    if (result != NVML_SUCCESS)
        return result;
    if (targets & TARGET_MIG)
        return lost(call, targets);
    return targets & TARGET_MIG_UNSUPPORTED ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
}

static int resolve_gpu_instance(struct call *call, const void *pointer, unsigned targets)
{
    const struct handle *handle = handle_check(pointer);
    int result = find_gpu(call, handle);
    if (result != NVML_SUCCESS)
        return result;
    if (handle->kind != HANDLE_GPU_INSTANCE || call->gpu->gpu_instances[handle->slot].serial != handle->serial)
        return NVML_ERROR_INVALID_ARGUMENT;
    call->gpu_instance = &call->gpu->gpu_instances[handle->slot];
    return lost(call, targets);
}

static int resolve_compute_instance(struct call *call, const void *pointer, unsigned targets)
{
    const struct handle *handle = handle_check(pointer);
    int result = find_gpu(call, handle);
    if (result != NVML_SUCCESS)
        return result;
    if (handle->kind != HANDLE_COMPUTE_INSTANCE)
        return NVML_ERROR_INVALID_ARGUMENT;
    result = find_compute_instance(call, handle);
    return result != NVML_SUCCESS ? result : lost(call, targets);
}

struct request {
    const char *function;
    enum access access;
    resolver resolve;
    const void *handle;
    unsigned targets;
    const void *required;
};

static bool begin(struct call *call, const struct request *request)
{
    if (!enter(call, request->function, request->access))
        return false;
    int result = request->resolve(call, request->handle, request->targets);
    struct fault_effect effect;
    if (fault_due(entered, call->node, call->function, call->index, &effect)) {
        leave();
        call->result = fault_act(&effect);
        if (call->result != NVML_SUCCESS || !enter(call, request->function, request->access))
            return false;
        call->dies_after = effect.action == FAULT_KILL_AFTER;
        result = request->resolve(call, request->handle, request->targets);
    }
    if (result == NVML_SUCCESS && request->required == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    return result == NVML_SUCCESS || refuse(call, result);
}

bool call_begin(struct call *call, const char *function, enum access access, const void *required)
{
    return begin(call, &(struct request){function, access, resolve_nothing, NULL, 0, required});
}

bool call_begin_device(struct call *call, const char *function, enum access access, unsigned targets,
                       const void *device, const void *required)
{
    return begin(call, &(struct request){function, access, resolve_device, device, targets, required});
}

bool call_begin_gpu_instance(struct call *call, const char *function, enum access access, const void *instance,
                             const void *required)
{
    return begin(call, &(struct request){function, access, resolve_gpu_instance, instance, 0, required});
}

bool call_begin_compute_instance(struct call *call, const char *function, enum access access, const void *instance,
                                 const void *required)
{
    return begin(call, &(struct request){function, access, resolve_compute_instance, instance, 0, required});
}

int call_privilege(const struct call *call)
{
    return call->node->behaviour.root_only && geteuid() != 0 ? NVML_ERROR_NO_PERMISSION : NVML_SUCCESS;
}

void *call_gpu_handle(const struct call *call, unsigned index)
{
    (void)call;
    return handle_for(HANDLE_GPU, index, 0, 0);
}

void *call_gpu_instance_handle(const struct call *call, const struct gpu_instance *instance)
{
    uint32_t slot = (uint32_t)(instance - call->gpu->gpu_instances);
    return handle_for(HANDLE_GPU_INSTANCE, call->index, slot, instance->serial);
}

void *call_compute_instance_handle(const struct call *call, const struct compute_instance *instance)
{
    uint32_t slot = (uint32_t)(instance - call->gpu->compute_instances);
    return handle_for(HANDLE_COMPUTE_INSTANCE, call->index, slot, instance->serial);
}

void *call_mig_handle(const struct call *call, const struct compute_instance *instance)
{
    uint32_t slot = (uint32_t)(instance - call->gpu->compute_instances);
    return handle_for(HANDLE_MIG_DEVICE, call->index, slot, instance->serial);
}
