/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: MIG devices, the handles that stand for compute instances. */
#include "nvml/call.h"

#include <string.h>

EXPORT int nvmlDeviceIsMigDeviceHandle(void *device, unsigned *is_mig)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG, device, is_mig))
        return call.result;
    *is_mig = call.compute_instance != NULL;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetGpuInstanceId(void *device, unsigned *id)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_MIG, device, id))
        return call.result;
    *id = call.gpu_instance->id;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetComputeInstanceId(void *device, unsigned *id)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_MIG, device, id))
        return call.result;
    *id = call.compute_instance->id;
    return call_end(&call, NVML_SUCCESS);
}

/* As many as there are compute slices; zero while MIG is off. */
EXPORT int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, count))
        return call.result;
    *count = call.gpu->mig_current ? gpu_board(call.gpu)->compute_slices : 0;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **mig)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, mig))
        return call.result;
    if (!call.gpu->mig_current)
        return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
    if (index >= gpu_board(call.gpu)->compute_slices)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        const struct compute_instance *instance = &call.gpu->compute_instances[slot];
        if (instance->serial != 0 && instance->mig_index == index) {
            *mig = call_mig_handle(&call, instance);
            return call_end(&call, *mig != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY);
        }
    }
    return call_end(&call, NVML_ERROR_NOT_FOUND);
}

EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *mig, void **device)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_MIG, mig, device))
        return call.result;
    *device = call_gpu_handle(&call, call.index);
    return call_end(&call, *device != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY);
}

/* For MIG devices alone: hardware answers NOT_SUPPORTED for a whole GPU. */
static int get_attributes(const char *function, void *device, void *attributes, size_t size)
{
    struct call call;
    if (!call_begin_device(&call, function, READ, TARGET_GPU | TARGET_MIG, device, attributes))
        return call.result;
    if (call.compute_instance == NULL)
        return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
    const struct profile *profile = gpu_instance_profile(call.gpu, call.gpu_instance);
    unsigned slices = call.compute_instance->slices;
    struct nvml_attributes full = {rules_compute_multiprocessors(gpu_board(call.gpu), profile, slices),
                                   profile->copy_engines,
                                   profile->engines.decoders,
                                   profile->engines.encoders,
                                   profile->engines.jpeg,
                                   profile->engines.ofa,
                                   profile->slices,
                                   slices,
                                   profile_memory_mib(call.gpu, profile)};
    memcpy(attributes, &full, size);
    return call_end(&call, NVML_SUCCESS);
}

/* The first version's structure ends after the engines. */
EXPORT int nvmlDeviceGetAttributes(void *device, void *attributes)
{
    return get_attributes(__func__, device, attributes, offsetof(struct nvml_attributes, gpu_instance_slices));
}

EXPORT int nvmlDeviceGetAttributes_v2(void *device, struct nvml_attributes *attributes)
{
    return get_attributes(__func__, device, attributes, sizeof *attributes);
}
