/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: compute instances. Each one is a MIG device. */
#include "node/effects.h"
#include "node/process.h"
#include "nvml/api/compute_profile.h"

#include <string.h>

static struct compute_instance *free_slot(struct gpu *gpu)
{
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++)
        if (gpu->compute_instances[slot].serial == 0)
            return &gpu->compute_instances[slot];
    return NULL;
}

static bool id_is_taken(const struct gpu *gpu, uint32_t parent, unsigned id)
{
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        const struct compute_instance *instance = &gpu->compute_instances[slot];
        if (instance->serial != 0 && instance->gpu_instance == parent && instance->id == id)
            return true;
    }
    return false;
}

static bool index_is_taken(const struct gpu *gpu, unsigned index)
{
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++)
        if (gpu->compute_instances[slot].serial != 0 && gpu->compute_instances[slot].mig_index == index)
            return true;
    return false;
}

/* Ids and MIG indices are the lowest free ones and stay with their instance: destroying one leaves a hole. */
static int create_at(struct call *call, const struct compute_profile *compute, unsigned start, void **handle)
{
    struct compute_instance *instance = free_slot(call->gpu);
    uint32_t parent = (uint32_t)(call->gpu_instance - call->gpu->gpu_instances);
    unsigned id = 0, index = 0;
    if (instance == NULL)
        return NVML_ERROR_INSUFFICIENT_RESOURCES;
    while (id_is_taken(call->gpu, parent, id))
        id++;
    while (index_is_taken(call->gpu, index))
        index++;
    *instance = (struct compute_instance){.serial = node_take_serial(call->node),
                                          .gpu_instance = parent,
                                          .id = id,
                                          .profile_id = compute->id,
                                          .start = start,
                                          .slices = compute->slices,
                                          .mig_index = index};
    effect_instances_changed(call->node, call->index, call->gpu_instance->id, id);
    *handle = call_compute_instance_handle(call, instance);
    return *handle != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

static bool placement_exists(const struct compute_profile *compute, const struct nvml_placement *placement)
{
    return placement->size == compute->slices && placement->start % compute->slices == 0 &&
           placement->start / compute->slices < compute->max_instances;
}

static int create(struct call *call, unsigned profile_id, const struct nvml_placement *placement, void **handle)
{
    const struct compute_profile *compute = NULL;
    int result = require_mig(call);
    if (result == NVML_SUCCESS)
        result = compute_profile_by_id(call, profile_id, &compute);
    if (result == NVML_SUCCESS && placement != NULL && !placement_exists(compute, placement))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result != NVML_SUCCESS)
        return result;
    struct compute_layout layout = gpu_compute_layout(call->gpu, call->gpu_instance);
    const struct profile *profile = gpu_instance_profile(call->gpu, call->gpu_instance);
    int start = NO_START;
    if (placement == NULL)
        start = rules_compute_default_start(&layout, profile, profile_id);
    else if (rules_compute_fits(&layout, profile, profile_id, placement->start))
        start = (int)placement->start;
    return start == NO_START ? NVML_ERROR_INSUFFICIENT_RESOURCES : create_at(call, compute, (unsigned)start, handle);
}

EXPORT int nvmlGpuInstanceCreateComputeInstance(void *gpu_instance, unsigned profile_id, void **instance)
{
    struct call call;
    if (!call_begin_gpu_instance(&call, __func__, WRITE, gpu_instance, instance))
        return call.result;
    return call_end(&call, create(&call, profile_id, NULL, instance));
}

EXPORT int nvmlGpuInstanceCreateComputeInstanceWithPlacement(void *gpu_instance, unsigned profile_id,
                                                             const struct nvml_placement *placement, void **instance)
{
    struct call call;
    if (!call_begin_gpu_instance(&call, __func__, WRITE, gpu_instance, instance))
        return call.result;
    return call_end(&call,
                    placement == NULL ? NVML_ERROR_INVALID_ARGUMENT : create(&call, profile_id, placement, instance));
}

EXPORT int nvmlComputeInstanceDestroy(void *instance)
{
    struct call call;
    if (!call_begin_compute_instance(&call, __func__, WRITE, instance, instance))
        return call.result;
    int result = require_mig(&call);
    if (result != NVML_SUCCESS)
        return call_end(&call, result);
    struct process_scope users = {.gpu = call.index, .compute_instance = call.compute_instance->serial};
    if (process_any_alive(call.node, &users))
        return call_end(&call, NVML_ERROR_IN_USE);
    effect_instances_changed(call.node, call.index, call.gpu_instance->id, call.compute_instance->id);
    *call.compute_instance = (struct compute_instance){0};
    if (call.node->process_count != 0)
        process_purge(call.node);
    return call_end(&call, NVML_SUCCESS);
}

/* The child with an id; NULL if there is none. */
static struct compute_instance *child_by_id(const struct call *call, unsigned id)
{
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        struct compute_instance *instance = &call->gpu->compute_instances[slot];
        if (instance->serial != 0 && instance->id == id && gpu_instance_of(call->gpu, instance) == call->gpu_instance)
            return instance;
    }
    return NULL;
}

EXPORT int nvmlGpuInstanceGetComputeInstances(void *gpu_instance, unsigned profile_id, void **instances,
                                              unsigned *count)
{
    struct call call;
    const struct compute_profile *compute;
    if (!call_begin_gpu_instance(&call, __func__, READ, gpu_instance, instances))
        return call.result;
    int result = count == NULL ? NVML_ERROR_INVALID_ARGUMENT : require_mig(&call);
    if (result == NVML_SUCCESS)
        result = compute_profile_by_id(&call, profile_id, &compute);
    if (result != NVML_SUCCESS)
        return call_end(&call, result);
    *count = 0;
    for (unsigned id = 0; id < MAX_COMPUTE_INSTANCES; id++) {
        const struct compute_instance *child = child_by_id(&call, id);
        if (child != NULL && child->profile_id == profile_id)
            instances[(*count)++] = call_compute_instance_handle(&call, child);
    }
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlGpuInstanceGetComputeInstanceById(void *gpu_instance, unsigned id, void **instance)
{
    struct call call;
    if (!call_begin_gpu_instance(&call, __func__, READ, gpu_instance, instance))
        return call.result;
    int result = require_mig(&call);
    if (result != NVML_SUCCESS)
        return call_end(&call, result);
    const struct compute_instance *child = child_by_id(&call, id);
    if (child == NULL)
        return call_end(&call, NVML_ERROR_NOT_FOUND);
    *instance = call_compute_instance_handle(&call, child);
    return call_end(&call, *instance != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY);
}

/* nvml.h calls `device` the parent, and nvidia-smi prints it as the GPU; the DRA driver takes it for the MIG device.
 * So there is a knob, and the parent is the default. */
static int get_info(const char *function, void *instance, struct nvml_compute_info *info, size_t size)
{
    struct call call;
    if (!call_begin_compute_instance(&call, function, READ, instance, info))
        return call.result;
    const struct compute_instance *own = call.compute_instance;
    void *device = call.gpu->info_device_is_mig ? call_mig_handle(&call, own) : call_gpu_handle(&call, call.index);
    struct nvml_compute_info full = {.device = device,
                                     .gpu_instance = call_gpu_instance_handle(&call, call.gpu_instance),
                                     .id = own->id,
                                     .profile_id = own->profile_id,
                                     .placement = {own->start, own->slices}};
    memcpy(info, &full, size);
    return call_end(&call, NVML_SUCCESS);
}

/* The first version's structure ends before the placement. */
EXPORT int nvmlComputeInstanceGetInfo(void *instance, struct nvml_compute_info *info)
{
    return get_info(__func__, instance, info, offsetof(struct nvml_compute_info, placement));
}

EXPORT int nvmlComputeInstanceGetInfo_v2(void *instance, struct nvml_compute_info *info)
{
    return get_info(__func__, instance, info, sizeof *info);
}
