/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: compute instance profiles inside a GPU instance, their placements and what room is left. */
#include "nvml/api/compute_profile.h"

#include <stdio.h>

int compute_profile_by_id(const struct call *call, unsigned id, const struct compute_profile **compute)
{
    const struct profile *profile = gpu_instance_profile(call->gpu, call->gpu_instance);
    if (id >= COMPUTE_INSTANCE_PROFILE_COUNT)
        return NVML_ERROR_INVALID_ARGUMENT;
    *compute = rules_compute_profile(profile, id);
    if (*compute == NULL || rules_compute_multiprocessors(gpu_board(call->gpu), profile, (*compute)->slices) == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    return NVML_SUCCESS;
}

static struct nvml_compute_profile_v1 facts(const struct call *call, const struct compute_profile *compute)
{
    const struct profile *profile = gpu_instance_profile(call->gpu, call->gpu_instance);
    return (struct nvml_compute_profile_v1){
        compute->id,
        compute->slices,
        compute->max_instances,
        rules_compute_multiprocessors(gpu_board(call->gpu), profile, compute->slices),
        profile->copy_engines,
        profile->engines.decoders,
        profile->engines.encoders,
        profile->engines.jpeg,
        profile->engines.ofa};
}

static void write_name(const struct call *call, const struct compute_profile *compute, char name[NAME_SIZE])
{
    const struct profile *profile = gpu_instance_profile(call->gpu, call->gpu_instance);
    char own[NAME_SIZE];
    profile_name(call->gpu, profile, own);
    if (compute->slices == profile->slices)
        snprintf(name, NAME_SIZE, PROFILE_NAME_PREFIX "%.64s", own);
    else
        snprintf(name, NAME_SIZE, PROFILE_NAME_PREFIX "%uc.%.64s", compute->slices, own);
}

static void fill_v2(const struct call *call, const struct compute_profile *compute,
                    struct nvml_compute_profile_v2 *info)
{
    struct nvml_compute_profile_v1 f = facts(call, compute);
    *info = (struct nvml_compute_profile_v2){
        info->version, f.id,   f.slices, f.instances, f.multiprocessors, f.copy_engines, f.decoders,
        f.encoders,    f.jpeg, f.ofa,    ""};
    write_name(call, compute, info->name);
}

static void fill_v3(const struct call *call, const struct compute_profile *compute,
                    struct nvml_compute_profile_v3 *info)
{
    struct nvml_compute_profile_v1 f = facts(call, compute);
    bool graphics = gpu_instance_profile(call->gpu, call->gpu_instance)->graphics;
    *info = (struct nvml_compute_profile_v3){info->version,
                                             f.id,
                                             f.slices,
                                             f.instances,
                                             f.multiprocessors,
                                             f.copy_engines,
                                             f.decoders,
                                             f.encoders,
                                             f.jpeg,
                                             f.ofa,
                                             "",
                                             graphics ? COMPUTE_CAPABILITY_GRAPHICS : 0};
    write_name(call, compute, info->name);
}

static int fill_versioned(const struct call *call, const struct compute_profile *compute, unsigned *info)
{
    if (*info == STRUCT_VERSION(struct nvml_compute_profile_v2, 2))
        fill_v2(call, compute, (struct nvml_compute_profile_v2 *)info);
    else if (*info == STRUCT_VERSION(struct nvml_compute_profile_v3, 3))
        fill_v3(call, compute, (struct nvml_compute_profile_v3 *)info);
    else
        return NVML_ERROR_INVALID_ARGUMENT;
    return NVML_SUCCESS;
}

static int by_enum(const struct call *call, unsigned id, unsigned engine, const struct compute_profile **compute)
{
    return engine >= COMPUTE_ENGINE_PROFILE_COUNT ? NVML_ERROR_INVALID_ARGUMENT
                                                  : compute_profile_by_id(call, id, compute);
}

EXPORT int nvmlGpuInstanceGetComputeInstanceProfileInfo(void *instance, unsigned profile, unsigned engine,
                                                        struct nvml_compute_profile_v1 *info)
{
    struct call call;
    const struct compute_profile *compute;
    if (!call_begin_gpu_instance(&call, __func__, READ, instance, info))
        return call.result;
    int result = by_enum(&call, profile, engine, &compute);
    if (result == NVML_SUCCESS)
        *info = facts(&call, compute);
    return call_end(&call, result);
}

EXPORT int nvmlGpuInstanceGetComputeInstanceProfileInfoV(void *instance, unsigned profile, unsigned engine,
                                                         unsigned *info)
{
    struct call call;
    const struct compute_profile *compute;
    if (!call_begin_gpu_instance(&call, __func__, READ, instance, info))
        return call.result;
    int result = by_enum(&call, profile, engine, &compute);
    return call_end(&call, result != NVML_SUCCESS ? result : fill_versioned(&call, compute, info));
}

EXPORT int nvmlGpuInstanceGetComputeInstanceRemainingCapacity(void *instance, unsigned profile_id, unsigned *count)
{
    struct call call;
    const struct compute_profile *compute;
    if (!call_begin_gpu_instance(&call, __func__, READ, instance, count))
        return call.result;
    int result = call_privilege(&call);
    if (result == NVML_SUCCESS)
        result = compute_profile_by_id(&call, profile_id, &compute);
    if (result == NVML_SUCCESS) {
        struct compute_layout layout = gpu_compute_layout(call.gpu, call.gpu_instance);
        *count = rules_compute_remaining(&layout, gpu_instance_profile(call.gpu, call.gpu_instance), profile_id);
    }
    return call_end(&call, result);
}

EXPORT int nvmlGpuInstanceGetComputeInstancePossiblePlacements(void *instance, unsigned profile_id,
                                                               struct nvml_placement *placements, unsigned *count)
{
    struct call call;
    const struct compute_profile *compute;
    if (!call_begin_gpu_instance(&call, __func__, READ, instance, count))
        return call.result;
    int result = call_privilege(&call);
    if (result == NVML_SUCCESS)
        result = compute_profile_by_id(&call, profile_id, &compute);
    if (result != NVML_SUCCESS)
        return call_end(&call, result);
    for (unsigned index = 0; placements != NULL && index < compute->max_instances; index++)
        placements[index] = (struct nvml_placement){index * compute->slices, compute->slices};
    *count = compute->max_instances;
    return call_end(&call, NVML_SUCCESS);
}
