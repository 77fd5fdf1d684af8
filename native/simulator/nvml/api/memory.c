/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: memory of GPUs and MIG devices. Nothing is reserved: no figure for it is known per board. */
#include "node/memory.h"
#include "nvml/call.h"

static bool begin_memory(struct call *call, const char *function, void *device, void *info, struct memory_use *use)
{
    if (!call_begin_device(call, function, READ, TARGET_GPU | TARGET_MIG, device, info))
        return false;
    *use = memory_use(call->node, call->gpu, call->gpu_instance);
    if (!use->known)
        call_end(call, NVML_ERROR_NOT_SUPPORTED);
    return use->known;
}

EXPORT int nvmlDeviceGetMemoryInfo(void *device, struct nvml_memory *info)
{
    struct call call;
    struct memory_use use;
    if (!begin_memory(&call, __func__, device, info, &use))
        return call.result;
    *info = (struct nvml_memory){use.total, use.total - use.used, use.used};
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(void *device, struct nvml_memory_v2 *info)
{
    struct call call;
    struct memory_use use;
    if (!begin_memory(&call, __func__, device, info, &use))
        return call.result;
    if (info->version != STRUCT_VERSION(struct nvml_memory_v2, 2))
        return call_end(&call, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    *info = (struct nvml_memory_v2){info->version, use.total, 0, use.total - use.used, use.used};
    return call_end(&call, NVML_SUCCESS);
}
