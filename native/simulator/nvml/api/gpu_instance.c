/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: GPU instances. */
#include "node/effects.h"
#include "node/process.h"
#include "nvml/api/profile.h"

static struct gpu_instance *free_slot(struct gpu *gpu)
{
    for (unsigned slot = 0; slot < MAX_GPU_INSTANCES; slot++)
        if (gpu->gpu_instances[slot].serial == 0)
            return &gpu->gpu_instances[slot];
    return NULL;
}

/* A client on the whole GPU (a profiler, a monitor with an open context) blocks creation: seen on GH200. */
static int require_no_clients(const struct call *call)
{
    struct process_scope clients = {.gpu = call->index, .whole_gpu_only = true};
    return process_any_alive(call->node, &clients) ? NVML_ERROR_IN_USE : NVML_SUCCESS;
}

static int create_at(struct call *call, const struct profile *profile, unsigned start, void **handle)
{
    struct gpu_instance *instance = free_slot(call->gpu);
    if (instance == NULL)
        return NVML_ERROR_INSUFFICIENT_RESOURCES;
    const struct board *board = gpu_board(call->gpu);
    *instance = (struct gpu_instance){.serial = node_take_serial(call->node),
                                      .id = rules_instance_id(board, profile, start, call->gpu->swapped_ids),
                                      .profile = (uint32_t)(profile - board->profiles),
                                      .start = start};
    effect_instances_changed(call->node, call->index, instance->id, WHOLE_GPU);
    *handle = call_gpu_instance_handle(call, instance);
    return *handle != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

/* With `placement` NULL the driver chooses. */
static int create(struct call *call, unsigned profile_id, const struct nvml_placement *placement, void **handle)
{
    const struct profile *profile = NULL;
    int result = require_mig(call);
    if (result == NVML_SUCCESS)
        result = profile_by_id(call, profile_id, &profile);
    if (result == NVML_SUCCESS && placement != NULL &&
        (placement->size != profile->size || !rules_start_exists(profile, placement->start)))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        result = require_no_clients(call);
    if (result != NVML_SUCCESS)
        return result;
    struct layout layout = gpu_layout(call->gpu);
    if (placement == NULL) {
        int start = rules_default_start(&layout, profile);
        return start == NO_START ? NVML_ERROR_INSUFFICIENT_RESOURCES
                                 : create_at(call, profile, (unsigned)start, handle);
    }
    if (!rules_fits(&layout, profile, placement->start))
        return NVML_ERROR_INSUFFICIENT_RESOURCES;
    return create_at(call, profile, placement->start, handle);
}

EXPORT int nvmlDeviceCreateGpuInstance(void *device, unsigned profile_id, void **instance)
{
    struct call call;
    if (!call_begin_device(&call, __func__, WRITE, TARGET_GPU, device, instance))
        return call.result;
    return call_end(&call, create(&call, profile_id, NULL, instance));
}

EXPORT int nvmlDeviceCreateGpuInstanceWithPlacement(void *device, unsigned profile_id,
                                                    const struct nvml_placement *placement, void **instance)
{
    struct call call;
    if (!call_begin_device(&call, __func__, WRITE, TARGET_GPU, device, instance))
        return call.result;
    return call_end(&call,
                    placement == NULL ? NVML_ERROR_INVALID_ARGUMENT : create(&call, profile_id, placement, instance));
}

EXPORT int nvmlGpuInstanceDestroy(void *instance)
{
    struct call call;
    if (!call_begin_gpu_instance(&call, __func__, WRITE, instance, instance))
        return call.result;
    int result = require_mig(&call);
    if (result != NVML_SUCCESS)
        return call_end(&call, result);
    struct process_scope users = {.gpu = call.index, .gpu_instance = call.gpu_instance->serial};
    if (gpu_instance_children(call.gpu, call.gpu_instance) != 0 || process_any_alive(call.node, &users))
        return call_end(&call, NVML_ERROR_IN_USE);
    effect_instances_changed(call.node, call.index, call.gpu_instance->id, WHOLE_GPU);
    *call.gpu_instance = (struct gpu_instance){0};
    if (call.node->process_count != 0)
        process_purge(call.node);
    return call_end(&call, NVML_SUCCESS);
}

/* In the order of their ids, as hardware lists them. */
static unsigned list_instances(const struct call *call, const struct profile *profile, void **handles)
{
    unsigned count = 0;
    for (unsigned id = 0; id < 16; id++)
        for (unsigned slot = 0; slot < MAX_GPU_INSTANCES; slot++) {
            const struct gpu_instance *instance = &call->gpu->gpu_instances[slot];
            if (instance->serial != 0 && instance->id == id && gpu_instance_profile(call->gpu, instance) == profile)
                handles[count++] = call_gpu_instance_handle(call, instance);
        }
    return count;
}

EXPORT int nvmlDeviceGetGpuInstances(void *device, unsigned profile_id, void **instances, unsigned *count)
{
    struct call call;
    const struct profile *profile = NULL;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, instances))
        return call.result;
    int result = count == NULL ? NVML_ERROR_INVALID_ARGUMENT : require_mig(&call);
    if (result == NVML_SUCCESS)
        result = profile_by_id(&call, profile_id, &profile);
    if (result == NVML_SUCCESS)
        *count = list_instances(&call, profile, instances);
    return call_end(&call, result);
}

static struct gpu_instance *find_by_id(struct gpu *gpu, unsigned id)
{
    for (unsigned slot = 0; slot < MAX_GPU_INSTANCES; slot++)
        if (gpu->gpu_instances[slot].serial != 0 && gpu->gpu_instances[slot].id == id)
            return &gpu->gpu_instances[slot];
    return NULL;
}

EXPORT int nvmlDeviceGetGpuInstanceById(void *device, unsigned id, void **instance)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, instance))
        return call.result;
    int result = require_mig(&call);
    if (result != NVML_SUCCESS)
        return call_end(&call, result);
    struct gpu_instance *found = find_by_id(call.gpu, id);
    if (found == NULL)
        return call_end(&call, NVML_ERROR_NOT_FOUND);
    *instance = call_gpu_instance_handle(&call, found);
    return call_end(&call, *instance != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY);
}

EXPORT int nvmlGpuInstanceGetInfo(void *instance, struct nvml_instance_info *info)
{
    struct call call;
    if (!call_begin_gpu_instance(&call, __func__, READ, instance, info))
        return call.result;
    const struct profile *profile = gpu_instance_profile(call.gpu, call.gpu_instance);
    *info = (struct nvml_instance_info){.device = call_gpu_handle(&call, call.index),
                                        .id = call.gpu_instance->id,
                                        .profile_id = profile->id,
                                        .placement = {call.gpu_instance->start, profile->size}};
    return call_end(&call, NVML_SUCCESS);
}
