/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: how GPUs are connected. All hang on one host bridge each, in one NUMA node; there is no NVLink. */
#include "nvml/api/values.h"

enum { TOPOLOGY_NODE = 40, P2P_NOT_SUPPORTED = 5, P2P_KINDS = 6 };

/* Checks a second handle in the way of the first: same session, so the same locks. */
static int check_other(void *device, const char *function)
{
    struct call call;
    if (!call_begin_device(&call, function, READ, TARGET_GPU, device, device))
        return call.result;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetTopologyCommonAncestor(void *first, void *second, unsigned *level)
{
    struct call call;
    int other = check_other(second, __func__);
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, first, level))
        return call.result;
    *level = first == second ? 0 : TOPOLOGY_NODE;
    return call_end(&call, other);
}

EXPORT int nvmlDeviceGetP2PStatus(void *first, void *second, unsigned kind, unsigned *status)
{
    struct call call;
    int other = check_other(second, __func__);
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, first, status))
        return call.result;
    *status = P2P_NOT_SUPPORTED;
    return call_end(&call, kind >= P2P_KINDS ? NVML_ERROR_INVALID_ARGUMENT : other);
}

/* Every GPU at that level, without the asking one; the count alone where no array is given. */
EXPORT int nvmlDeviceGetTopologyNearestGpus(void *device, unsigned level, unsigned *count, void **devices)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, count))
        return call.result;
    unsigned found = 0;
    for (unsigned index = 0; level == TOPOLOGY_NODE && index < call.node->gpu_count; index++) {
        if (index == call.index)
            continue;
        if (devices != NULL && found < *count)
            devices[found] = call_gpu_handle(&call, index);
        found++;
    }
    bool fits = devices == NULL || found <= *count;
    *count = found;
    return call_end(&call, fits ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE);
}

EXPORT int nvmlDeviceGetCpuAffinity(void *device, unsigned words, unsigned long *mask)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, mask))
        return call.result;
    for (unsigned index = 0; index < words; index++)
        mask[index] = index == 0 ? ~0ul : 0;
    return call_end(&call, words == 0 ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetMemoryAffinity(void *device, unsigned words, unsigned long *mask, unsigned scope)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, mask))
        return call.result;
    for (unsigned index = 0; index < words; index++)
        mask[index] = index == 0;
    return call_end(&call, words == 0  ? NVML_ERROR_INSUFFICIENT_SIZE
                           : scope > 1 ? NVML_ERROR_INVALID_ARGUMENT
                                       : NVML_SUCCESS);
}

EXPORT int nvmlDeviceOnSameBoard(void *first, void *second, int *same)
{
    struct call call;
    int other = check_other(second, __func__);
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, first, same))
        return call.result;
    *same = first == second;
    return call_end(&call, other);
}

EXPORT int nvmlUnitGetCount(unsigned *count)
{
    struct call call;
    if (!call_begin(&call, __func__, READ, count))
        return call.result;
    *count = 0;
    return call_end(&call, NVML_SUCCESS);
}
