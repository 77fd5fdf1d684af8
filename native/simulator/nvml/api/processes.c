/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: processes on a GPU or a MIG device, in three versions of two structures and three kinds. */
#include "node/process.h"
#include "nvml/call.h"

struct listing {
    unsigned room, found;
    struct nvml_process *entries;
    struct nvml_process_v1 *old_entries;
};

static void list_one(const struct call *call, const struct process *process, struct listing *listing)
{
    struct nvml_process entry = {.pid = process->pid, .used_memory = process->memory_bytes};
    process_find_ids(call->gpu, process, &entry);
    if (listing->found < listing->room) {
        if (listing->entries != NULL)
            listing->entries[listing->found] = entry;
        if (listing->old_entries != NULL)
            listing->old_entries[listing->found] = (struct nvml_process_v1){entry.pid, entry.used_memory};
    }
    listing->found++;
}

static int list(const char *function, void *device, enum process_kind kind, unsigned *count, struct listing listing)
{
    struct call call;
    if (!call_begin_device(&call, function, READ, TARGET_GPU | TARGET_MIG, device, count))
        return call.result;
    struct process_scope scope = {.gpu = call.index,
                                  .compute_instance = call.compute_instance ? call.compute_instance->serial : 0};
    listing.room = listing.entries != NULL || listing.old_entries != NULL ? *count : 0;
    for (unsigned row = 0; row < call.node->process_count; row++) {
        const struct process *process = &call.node->processes[row];
        if (process->kind == kind && process_in_scope(process, &scope) && process_is_alive(process))
            list_one(&call, process, &listing);
    }
    *count = listing.found;
    return call_end(&call, listing.found > listing.room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}

#define PROCESS_LIST(name, kind)                                                                                       \
    EXPORT int name(void *device, unsigned *count, struct nvml_process_v1 *entries)                                    \
    {                                                                                                                  \
        return list(__func__, device, kind, count, (struct listing){.old_entries = entries});                          \
    }                                                                                                                  \
    EXPORT int name##_v2(void *device, unsigned *count, struct nvml_process *entries)                                  \
    {                                                                                                                  \
        return list(__func__, device, kind, count, (struct listing){.entries = entries});                              \
    }                                                                                                                  \
    EXPORT int name##_v3(void *device, unsigned *count, struct nvml_process *entries)                                  \
    {                                                                                                                  \
        return list(__func__, device, kind, count, (struct listing){.entries = entries});                              \
    }

PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses, PROCESS_COMPUTE)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses, PROCESS_GRAPHICS)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses, PROCESS_MPS)
