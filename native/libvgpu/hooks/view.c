/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: how much memory there is, by CUDA and by NVML. */
#include <stdatomic.h>
#include <string.h>

#include "cuda_abi.h"
#include "driver.h"
#include "memory/accounting.h"
#include "memory/device.h"
#include "memory/view.h"

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_memory_2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

struct nvml_process_1 {
    unsigned pid;
    unsigned long long used;
};

struct nvml_process_2 {
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
};

VGPU_EXPORT int cuMemGetInfo_v2(size_t *free, size_t *total)
{
    struct view view;
    int result = REAL(cuMemGetInfo_v2)(free, total);
    if (result != CU_SUCCESS || !device_controlled())
        return result;
    int device = device_current_index();
    if (view_of(device, total != NULL ? *total : UINT64_MAX, free != NULL ? *free : UINT64_MAX, &view)) {
        if (free != NULL)
            *free = view.free;
        if (total != NULL)
            *total = view.total;
    }
    return device_error(device);
}

VGPU_EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int ordinal)
{
    struct view view;
    int result = REAL(cuDeviceTotalMem_v2)(bytes, ordinal);
    if (result == CU_SUCCESS && bytes != NULL && device_controlled() &&
        view_of(device_index(ordinal), *bytes, UINT64_MAX, &view))
        *bytes = view.total;
    return result;
}

VGPU_EXPORT int nvmlDeviceGetMemoryInfo(void *device, struct nvml_memory *memory)
{
    struct view view;
    int result = REAL(nvmlDeviceGetMemoryInfo)(device, memory);
    if (result == 0 && device_controlled() && view_of(device_of_nvml(device), memory->total, memory->free, &view))
        *memory = (struct nvml_memory){view.total, view.free, view.total - view.free};
    return result;
}

VGPU_EXPORT int nvmlDeviceGetMemoryInfo_v2(void *device, struct nvml_memory_2 *memory)
{
    struct view view;
    int result = REAL(nvmlDeviceGetMemoryInfo_v2)(device, memory);
    if (result == 0 && device_controlled() && view_of(device_of_nvml(device), memory->total, memory->free, &view)) {
        memory->total = view.total;
        memory->reserved = 0;
        memory->free = view.free;
        memory->used = view.total - view.free;
    }
    return result;
}

/* Keeps those of the container's processes, each with what it uses here; the others are none of its business. */
static void keep_own(void *device, unsigned *count, void *infos, size_t size)
{
    int index = device_of_nvml(device);
    unsigned kept = 0;
    if (index < 0 || accounting_limit(index) == 0)
        return;
    for (unsigned i = 0; i < *count; i++) {
        char *from = (char *)infos + i * size;
        struct nvml_process_1 head;
        uint64_t bytes;
        memcpy(&head, from, sizeof head);
        if (!accounting_used_by(index, (int)head.pid, &bytes))
            continue;
        head.used = bytes;
        memmove((char *)infos + kept * size, from, size);
        memcpy((char *)infos + kept * size, &head, sizeof head);
        kept++;
    }
    *count = kept;
}

typedef int (*list_processes)(void *device, unsigned *count, void *infos);

static int list(list_processes real, void *device, unsigned *count, void *infos, size_t size)
{
    int result = real(device, count, infos);
    if (result == 0 && count != NULL && infos != NULL && device_controlled())
        keep_own(device, count, infos, size);
    return result;
}

#define PROCESS_LIST(symbol, info)                                                                                     \
    VGPU_EXPORT int symbol(void *device, unsigned *count, void *infos)                                                 \
    {                                                                                                                  \
        return list(REAL(symbol), device, count, infos, sizeof(info));                                                 \
    }
#define PROCESS_LISTS(kind)                                                                                            \
    PROCESS_LIST(nvmlDeviceGet##kind##RunningProcesses, struct nvml_process_1)                                         \
    PROCESS_LIST(nvmlDeviceGet##kind##RunningProcesses_v2, struct nvml_process_2)                                      \
    PROCESS_LIST(nvmlDeviceGet##kind##RunningProcesses_v3, struct nvml_process_2)

PROCESS_LISTS(Compute)
PROCESS_LISTS(Graphics)
PROCESS_LISTS(MPSCompute)
