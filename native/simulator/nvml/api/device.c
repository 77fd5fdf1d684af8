/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: which devices there are and what they are called. */
#include "node/pci.h"
#include "nvml/call.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static int get_count(const char *function, unsigned *count)
{
    struct call call;
    if (!call_begin(&call, function, READ, count))
        return call.result;
    *count = call.node->gpu_count;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetCount(unsigned *count)
{
    return get_count(__func__, count);
}

EXPORT int nvmlDeviceGetCount_v2(unsigned *count)
{
    return get_count(__func__, count);
}

static int give_handle(struct call *call, void *handle, void **device)
{
    *device = handle;
    return call_end(call, handle != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY);
}

static int get_by_index(const char *function, unsigned index, void **device)
{
    struct call call;
    if (!call_begin(&call, function, READ, device))
        return call.result;
    if (index >= call.node->gpu_count)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    if (call.node->gpus[index].lost)
        return call_end(&call, NVML_ERROR_GPU_IS_LOST);
    return give_handle(&call, call_gpu_handle(&call, index), device);
}

EXPORT int nvmlDeviceGetHandleByIndex(unsigned index, void **device)
{
    return get_by_index(__func__, index, device);
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    return get_by_index(__func__, index, device);
}

/* The compute instance that a MIG UUID means: today's form, or that of drivers before R470. */
static struct compute_instance *find_mig(struct gpu *gpu, const char *uuid)
{
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        struct compute_instance *instance = &gpu->compute_instances[slot];
        char own[UUID_SIZE], parent[UUID_SIZE], old[UUID_SIZE * 2];
        if (instance->serial == 0)
            continue;
        mig_uuid(gpu, instance, own);
        gpu_uuid(gpu, parent);
        snprintf(old, sizeof old, "MIG-%s/%u/%u", parent, gpu_instance_of(gpu, instance)->id, instance->id);
        if (strcasecmp(uuid, own) == 0 || strcasecmp(uuid, old) == 0)
            return instance;
    }
    return NULL;
}

static void *find_by_uuid(struct call *call, const char *uuid)
{
    for (call->index = 0; call->index < call->node->gpu_count; call->index++) {
        char own[UUID_SIZE];
        call->gpu = &call->node->gpus[call->index];
        gpu_uuid(call->gpu, own);
        if (strcasecmp(uuid, own) == 0)
            return call_gpu_handle(call, call->index);
        struct compute_instance *instance = find_mig(call->gpu, uuid);
        if (instance != NULL)
            return call_mig_handle(call, instance);
    }
    return NULL;
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    struct call call;
    if (!call_begin(&call, __func__, READ, uuid))
        return call.result;
    if (device == NULL)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    void *handle = find_by_uuid(&call, uuid);
    if (handle == NULL)
        return call_end(&call, NVML_ERROR_NOT_FOUND);
    return call.gpu->lost ? call_end(&call, NVML_ERROR_GPU_IS_LOST) : give_handle(&call, handle, device);
}

static int get_by_bus(const char *function, const char *text, void **device)
{
    struct call call;
    unsigned index;
    if (!call_begin(&call, function, READ, text))
        return call.result;
    if (device == NULL || !pci_parse(text, &index))
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    if (index >= call.node->gpu_count)
        return call_end(&call, NVML_ERROR_NOT_FOUND);
    if (call.node->gpus[index].lost)
        return call_end(&call, NVML_ERROR_GPU_IS_LOST);
    return give_handle(&call, call_gpu_handle(&call, index), device);
}

EXPORT int nvmlDeviceGetHandleByPciBusId(const char *text, void **device)
{
    return get_by_bus(__func__, text, device);
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *text, void **device)
{
    return get_by_bus(__func__, text, device);
}

EXPORT int nvmlDeviceGetHandleBySerial(const char *serial, void **device)
{
    struct call call;
    if (!call_begin(&call, __func__, READ, serial))
        return call.result;
    /* No board of the simulator has a serial number: none is invented. */
    return call_end(&call, device == NULL ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED);
}

EXPORT int nvmlDeviceGetName(void *device, char *name, unsigned length)
{
    struct call call;
    char text[NAME_SIZE * 2];
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG, device, name))
        return call.result;
    bool known = call.compute_instance != NULL ? mig_name(call.gpu, call.compute_instance, text, sizeof text)
                                               : gpu_name(call.gpu, text, sizeof text);
    if (!known)
        return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
    if (strlen(text) >= length)
        return call_end(&call, NVML_ERROR_INSUFFICIENT_SIZE);
    memcpy(name, text, strlen(text) + 1);
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length)
{
    struct call call;
    char text[UUID_SIZE];
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG, device, uuid))
        return call.result;
    if (call.compute_instance != NULL)
        mig_uuid(call.gpu, call.compute_instance, text);
    else
        gpu_uuid(call.gpu, text);
    if (strlen(text) >= length)
        return call_end(&call, NVML_ERROR_INSUFFICIENT_SIZE);
    memcpy(uuid, text, strlen(text) + 1);
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetIndex(void *device, unsigned *index)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG | TARGET_LOST_TOO, device, index))
        return call.result;
    *index = call.compute_instance != NULL ? call.compute_instance->mig_index : call.index;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetMinorNumber(void *device, unsigned *minor)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG_UNSUPPORTED | TARGET_LOST_TOO, device, minor))
        return call.result;
    *minor = call.index;
    return call_end(&call, NVML_SUCCESS);
}

static int get_pci_info(const char *function, void *device, const void *required, struct nvml_pci_info *info)
{
    struct call call;
    if (!call_begin_device(&call, function, READ, TARGET_GPU | TARGET_MIG_UNSUPPORTED | TARGET_LOST_TOO, device,
                           required))
        return call.result;
    unsigned device_id = gpu_variant(call.gpu)->pci_device_id;
    *info = (struct nvml_pci_info){.bus = pci_bus(call.index), .device_id = device_id};
    pci_format(call.index, info->bus_id_legacy, info->bus_id);
    return call_end(&call, device_id != 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
}

EXPORT int nvmlDeviceGetPciInfo_v3(void *device, struct nvml_pci_info *info)
{
    return get_pci_info(__func__, device, info, info);
}

EXPORT int nvmlDeviceGetPciInfo_v2(void *device, struct nvml_pci_info_v1 *info)
{
    struct nvml_pci_info full = {.bus = 0};
    int result = get_pci_info(__func__, device, info, &full);
    if (result != NVML_SUCCESS)
        return result;
    *info = (struct nvml_pci_info_v1){.bus = full.bus, .device_id = full.device_id};
    memcpy(info->bus_id, full.bus_id_legacy, sizeof info->bus_id);
    return NVML_SUCCESS;
}

EXPORT int nvmlDeviceGetPciInfo(void *device, struct nvml_pci_info_v1 *info)
{
    return nvmlDeviceGetPciInfo_v2(device, info);
}

/* 3D controller without a display, as data centre boards are listed. */
EXPORT int nvmlDeviceGetPciInfoExt(void *device, struct nvml_pci_info_ext *info)
{
    enum { CLASS_DISPLAY = 3, SUBCLASS_3D = 2 };
    struct nvml_pci_info full = {.bus = 0};
    int result = get_pci_info(__func__, device, info, &full);
    if (result != NVML_SUCCESS)
        return result;
    if (info->version != STRUCT_VERSION(struct nvml_pci_info_ext, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    *info = (struct nvml_pci_info_ext){.version = info->version,
                                       .bus = full.bus,
                                       .device_id = full.device_id,
                                       .base_class = CLASS_DISPLAY,
                                       .sub_class = SUBCLASS_3D};
    memcpy(info->bus_id, full.bus_id, sizeof info->bus_id);
    return NVML_SUCCESS;
}
