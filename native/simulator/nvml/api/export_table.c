/* SPDX-License-Identifier: Apache-2.0 */
/* nvmlInternalGetExportTable, which NVIDIA's nvidia-smi asks for and nothing works without (reference 4.2). Known
 * are the slots of the handle of a GPU by index and of the process lists. The others answer that there is nothing. */
#include "node/process.h"
#include "nvml/call.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);

enum { TABLE_BYTES = 0x1000, SLOTS = TABLE_BYTES / sizeof(void *), SLOT_HANDLE_BY_INDEX = 81 };
enum { SLOT_COMPUTE = 213, SLOT_GRAPHICS = 214, SLOT_MPS = 215, LIST_CAPACITY = 500 };

/* What nvidia-smi's process box reads; it brings room for 500 of them (seen with 535 and 550). */
struct smi_process {
    unsigned pid, reserved;
    unsigned long long used_memory;
    unsigned gpu_instance_id, compute_instance_id;
    unsigned long long protected_memory;
    char name[4096];
};
static_assert(sizeof(struct smi_process) == 4128, "nvidia-smi's stride");

/* Bytes of the table's GUID as they lie in memory. */
static const unsigned char table_guid[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                             0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};

static int handle_by_index(unsigned index, void **device, unsigned version)
{
    (void)version;
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

/* Lists come back through a count in the second argument, and an unwritten one printed thousands of lines of garbage;
 * in other slots that argument is a constant text. The kernel writes the zero where it can be written. */
static int nothing(void *first, unsigned *count)
{
    (void)first;
    int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (zeros < 0)
        return NVML_SUCCESS;
    ssize_t written = read(zeros, count, sizeof *count);
    (void)written;
    close(zeros);
    return NVML_SUCCESS;
}

static void describe(const struct call *call, const struct process *process, struct smi_process *entry)
{
    struct nvml_process ids;
    process_find_ids(call->gpu, process, &ids);
    memset(entry, 0, offsetof(struct smi_process, name));
    entry->pid = process->pid;
    entry->used_memory = process->memory_bytes;
    entry->gpu_instance_id = ids.gpu_instance_id;
    entry->compute_instance_id = ids.compute_instance_id;
    memcpy(entry->name, process->name, sizeof process->name);
}

static int list(void *device, unsigned *count, struct smi_process *entries, enum process_kind kind)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG, device, count))
        return call.result;
    struct process_scope scope = {.gpu = call.index,
                                  .compute_instance = call.compute_instance ? call.compute_instance->serial : 0};
    *count = 0;
    for (unsigned row = 0; entries != NULL && row < call.node->process_count && *count < LIST_CAPACITY; row++) {
        const struct process *process = &call.node->processes[row];
        if (process->kind == kind && process_in_scope(process, &scope) && process_is_alive(process))
            describe(&call, process, &entries[(*count)++]);
    }
    return call_end(&call, NVML_SUCCESS);
}

static int list_compute(void *device, unsigned *count, struct smi_process *entries)
{
    return list(device, count, entries, PROCESS_COMPUTE);
}

static int list_graphics(void *device, unsigned *count, struct smi_process *entries)
{
    return list(device, count, entries, PROCESS_GRAPHICS);
}

static int list_mps(void *device, unsigned *count, struct smi_process *entries)
{
    return list(device, count, entries, PROCESS_MPS);
}

static void *table[SLOTS];

/* Filling is idempotent, so that threads may race here. */
static void fill_table(void)
{
    for (unsigned slot = 1; slot < SLOTS; slot++)
        table[slot] = (void *)(uintptr_t)nothing;
    table[SLOT_HANDLE_BY_INDEX] = (void *)(uintptr_t)handle_by_index;
    table[SLOT_COMPUTE] = (void *)(uintptr_t)list_compute;
    table[SLOT_GRAPHICS] = (void *)(uintptr_t)list_graphics;
    table[SLOT_MPS] = (void *)(uintptr_t)list_mps;
    table[0] = (void *)(uintptr_t)TABLE_BYTES;
}

EXPORT int nvmlInternalGetExportTable(const void **found, const void *guid)
{
    if (found == NULL || guid == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (memcmp(guid, table_guid, sizeof table_guid) != 0)
        return NVML_ERROR_NOT_FOUND;
    fill_table();
    *found = table;
    return NVML_SUCCESS;
}
