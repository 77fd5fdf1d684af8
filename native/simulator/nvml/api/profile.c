/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: GPU instance profiles, their placements and what room is left. */
#include "nvml/api/profile.h"

#include <stdio.h>
#include <string.h>

int profile_by_id(const struct call *call, unsigned id, const struct profile **profile)
{
    *profile = board_profile_by_id(gpu_board(call->gpu), id);
    if (*profile != NULL)
        return (*profile)->known ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
    return board_any_profile_id(id) ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT;
}

static int profile_by_enum(const struct call *call, unsigned nvml_enum, const struct profile **profile)
{
    if (nvml_enum >= GPU_INSTANCE_PROFILE_COUNT)
        return NVML_ERROR_INVALID_ARGUMENT;
    *profile = board_profile_by_enum(gpu_board(call->gpu), nvml_enum);
    return *profile != NULL && (*profile)->known ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

static void fill_v1(const struct gpu *gpu, const struct profile *profile, struct nvml_profile_v1 *info)
{
    *info = (struct nvml_profile_v1){profile->id,
                                     profile->peer_to_peer,
                                     profile->slices,
                                     profile->max_instances,
                                     profile->multiprocessors,
                                     profile->copy_engines,
                                     profile->engines.decoders,
                                     profile->engines.encoders,
                                     profile->engines.jpeg,
                                     profile->engines.ofa,
                                     profile_memory_mib(gpu, profile)};
}

static void write_name(const struct gpu *gpu, const struct profile *profile, char name[NAME_SIZE])
{
    char own[NAME_SIZE];
    profile_name(gpu, profile, own);
    snprintf(name, NAME_SIZE, PROFILE_NAME_PREFIX "%.64s", own);
}

static void fill_v2(const struct gpu *gpu, const struct profile *profile, struct nvml_profile_v2 *info)
{
    *info = (struct nvml_profile_v2){info->version,
                                     profile->id,
                                     profile->peer_to_peer,
                                     profile->slices,
                                     profile->max_instances,
                                     profile->multiprocessors,
                                     profile->copy_engines,
                                     profile->engines.decoders,
                                     profile->engines.encoders,
                                     profile->engines.jpeg,
                                     profile->engines.ofa,
                                     profile_memory_mib(gpu, profile),
                                     ""};
    write_name(gpu, profile, info->name);
}

static void fill_v3(const struct gpu *gpu, const struct profile *profile, struct nvml_profile_v3 *info)
{
    unsigned capabilities =
        (profile->peer_to_peer ? PROFILE_CAPABILITY_P2P : 0) | (profile->graphics ? PROFILE_CAPABILITY_GRAPHICS : 0);
    *info = (struct nvml_profile_v3){info->version,
                                     profile->id,
                                     profile->slices,
                                     profile->max_instances,
                                     profile->multiprocessors,
                                     profile->copy_engines,
                                     profile->engines.decoders,
                                     profile->engines.encoders,
                                     profile->engines.jpeg,
                                     profile->engines.ofa,
                                     profile_memory_mib(gpu, profile),
                                     "",
                                     capabilities};
    write_name(gpu, profile, info->name);
}

/* The structure says in its first field what it is. */
static int fill_versioned(const struct gpu *gpu, const struct profile *profile, unsigned *info)
{
    if (*info == STRUCT_VERSION(struct nvml_profile_v2, 2))
        fill_v2(gpu, profile, (struct nvml_profile_v2 *)info);
    else if (*info == STRUCT_VERSION(struct nvml_profile_v3, 3))
        fill_v3(gpu, profile, (struct nvml_profile_v3 *)info);
    else
        return NVML_ERROR_INVALID_ARGUMENT;
    return NVML_SUCCESS;
}

EXPORT int nvmlDeviceGetGpuInstanceProfileInfo(void *device, unsigned profile_enum, struct nvml_profile_v1 *info)
{
    struct call call;
    const struct profile *profile;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, info))
        return call.result;
    int result = profile_by_enum(&call, profile_enum, &profile);
    if (result == NVML_SUCCESS)
        fill_v1(call.gpu, profile, info);
    return call_end(&call, result);
}

EXPORT int nvmlDeviceGetGpuInstanceProfileInfoV(void *device, unsigned profile_enum, unsigned *info)
{
    struct call call;
    const struct profile *profile;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, info))
        return call.result;
    int result = profile_by_enum(&call, profile_enum, &profile);
    return call_end(&call, result != NVML_SUCCESS ? result : fill_versioned(call.gpu, profile, info));
}

EXPORT int nvmlDeviceGetGpuInstanceProfileInfoByIdV(void *device, unsigned profile_id, unsigned *info)
{
    struct call call;
    const struct profile *profile;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, info))
        return call.result;
    int result = profile_by_id(&call, profile_id, &profile);
    return call_end(&call, result != NVML_SUCCESS ? result : fill_versioned(call.gpu, profile, info));
}

/* Every legal placement, occupied or not. `count` is an output alone: nvidia-smi passes 0 and expects entries. */
static int list_placements(const struct call *call, unsigned id, struct nvml_placement *placements, unsigned *count)
{
    const struct profile *profile;
    int result = profile_by_id(call, id, &profile);
    if (result != NVML_SUCCESS)
        return result;
    for (unsigned index = 0; placements != NULL && index < profile->start_count; index++)
        placements[index] = (struct nvml_placement){profile->starts[index], profile->size};
    *count = profile->start_count;
    return NVML_SUCCESS;
}

EXPORT int nvmlDeviceGetGpuInstancePossiblePlacements_v2(void *device, unsigned profile_id,
                                                         struct nvml_placement *placements, unsigned *count)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, count))
        return call.result;
    int result = call_privilege(&call);
    return call_end(&call, result != NVML_SUCCESS ? result : list_placements(&call, profile_id, placements, count));
}

/* The first version wanted MIG mode on. */
EXPORT int nvmlDeviceGetGpuInstancePossiblePlacements(void *device, unsigned profile_id,
                                                      struct nvml_placement *placements, unsigned *count)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, count))
        return call.result;
    int result = require_mig(&call);
    return call_end(&call, result != NVML_SUCCESS ? result : list_placements(&call, profile_id, placements, count));
}

int require_mig(const struct call *call)
{
    int result = call_privilege(call);
    if (result == NVML_SUCCESS && !call->gpu->mig_current)
        result = NVML_ERROR_NOT_SUPPORTED;
    return result;
}

EXPORT int nvmlDeviceGetGpuInstanceRemainingCapacity(void *device, unsigned profile_id, unsigned *count)
{
    struct call call;
    const struct profile *profile = NULL;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, count))
        return call.result;
    int result = require_mig(&call);
    if (result == NVML_SUCCESS)
        result = profile_by_id(&call, profile_id, &profile);
    if (result == NVML_SUCCESS) {
        struct layout layout = gpu_layout(call.gpu);
        *count = rules_remaining(&layout, profile);
    }
    return call_end(&call, result);
}
