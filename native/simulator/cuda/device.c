/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.h"

#include "cuda/devices.h"
#include "cuda/lock.h"
#include "node/board.h"
#include "node/memory.h"
#include "node/node.h"
#include "node/process.h"
#include "node/rules.h"
#include "node/store.h"
#include "node/usage.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Multiprocessors of whole boards, where NVIDIA's data sheets say other than the widest MIG profile. */
static const struct {
    unsigned pci_device_id, multiprocessors;
} whole_boards[] = {{0x20B010DE, 108}, {0x20B110DE, 108}, {0x20F110DE, 108}, {0x20B210DE, 108}, {0x20B510DE, 108},
                    {0x20F310DE, 108}, {0x20F510DE, 108}, {0x20F610DE, 108}, {0x20B710DE, 56},  {0x233010DE, 132},
                    {0x233110DE, 114}, {0x232110DE, 132}, {0x234210DE, 132}, {0x232910DE, 78},  {0x233510DE, 132},
                    {0x233B10DE, 132}, {0x290110DE, 148}, {0x294110DE, 152}, {0x2BB510DE, 188}};

static uint32_t whole_multiprocessors(const struct gpu *gpu)
{
    uint32_t most = 1;
    for (size_t row = 0; row < sizeof whole_boards / sizeof whole_boards[0]; row++)
        if (whole_boards[row].pci_device_id == gpu_variant(gpu)->pci_device_id)
            return whole_boards[row].multiprocessors;
    for (unsigned row = 0; row < gpu_board(gpu)->profile_count; row++)
        if (gpu_board(gpu)->profiles[row].multiprocessors > most)
            most = gpu_board(gpu)->profiles[row].multiprocessors;
    return most;
}

/* CUDA must tell some capacity where the data has no total: what the widest instance has. */
static uint64_t widest_memory(const struct gpu *gpu)
{
    uint64_t most = 0;
    for (unsigned row = 0; row < gpu_board(gpu)->profile_count; row++) {
        const struct profile *profile = &gpu_board(gpu)->profiles[row];
        if (profile->known && profile_memory_mib(gpu, profile) > most)
            most = profile_memory_mib(gpu, profile);
    }
    return most * MIB;
}

static uint32_t capability_of(enum architecture architecture)
{
    static const uint32_t capabilities[] = {
        [ARCHITECTURE_AMPERE] = 80,
        [ARCHITECTURE_HOPPER] = 90,
        [ARCHITECTURE_BLACKWELL] = 100,
        [ARCHITECTURE_BLACKWELL_GB202] = 120,
    };
    return capabilities[architecture];
}

/* `GPU-` or `MIG-` and hexadecimal digits. */
static struct cu_uuid uuid_bytes(const char *text)
{
    struct cu_uuid uuid = {{0}};
    unsigned digit = 0;
    for (const char *place = text + 4; *place != '\0' && digit < 32; place++) {
        const char *found = strchr("0123456789abcdef", *place);
        if (found == NULL)
            continue;
        unsigned value = (unsigned)(found - "0123456789abcdef");
        uuid.bytes[digit / 2] = (unsigned char)(uuid.bytes[digit / 2] | (digit % 2 == 0 ? value << 4 : value));
        digit++;
    }
    return uuid;
}

void device_describe(struct device *device, struct node *node, struct gpu *gpu, struct compute_instance *instance)
{
    char uuid[UUID_SIZE];
    struct gpu_instance *parent = instance != NULL ? gpu_instance_of(gpu, instance) : NULL;
    struct memory_use use = memory_use(node, gpu, parent);
    device->place = (struct usage_place){gpu_index(node, gpu), parent != NULL ? parent->serial : 0,
                                         use.known ? use.total : widest_memory(gpu)};
    device->lane = device->place.gpu * (MAX_GPU_INSTANCES + 1) + (instance != NULL ? instance->gpu_instance + 1 : 0);
    device->capability = capability_of(gpu_board(gpu)->architecture);
    if (instance == NULL) {
        device->multiprocessors = whole_multiprocessors(gpu);
        gpu_uuid(gpu, uuid);
        if (!gpu_name(gpu, device->name, sizeof device->name))
            snprintf(device->name, sizeof device->name, "%s", gpu_board(gpu)->key);
    } else {
        device->compute_instance = instance->serial;
        device->multiprocessors =
            rules_compute_multiprocessors(gpu_board(gpu), gpu_instance_profile(gpu, parent), instance->slices);
        mig_uuid(gpu, instance, uuid);
        if (!mig_name(gpu, instance, device->name, sizeof device->name))
            snprintf(device->name, sizeof device->name, "%s", gpu_board(gpu)->key);
    }
    device->uuid = uuid_bytes(uuid);
}

/* The place may have gone since cuInit: its serial is never given again. */
static bool still_there(struct node *node, const struct device *device)
{
    struct gpu *gpu = &node->gpus[device->place.gpu];
    if (gpu->lost)
        return false;
    if (device->compute_instance == 0)
        return !gpu->mig_current;
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++)
        if (gpu->compute_instances[slot].serial == device->compute_instance)
            return true;
    return false;
}

static int join(struct device *device)
{
    struct usage *usage = &driver.store.file->usage;
    uint32_t pid = (uint32_t)getpid();
    struct node *node = store_begin_change(&driver.store);
    process_purge(node);
    usage_settle(usage, node);
    if (!still_there(node, device))
        return CU_ERROR_DEVICE_UNAVAILABLE;
    struct usage_slot *slot = node->process_count < MAX_PROCESSES ? usage_claim(usage, pid, &device->place) : NULL;
    if (slot == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    struct process *process = &node->processes[node->process_count++];
    *process = (struct process){.start_time = slot->start_time,
                                .pid = pid,
                                .gpu = device->place.gpu,
                                .gpu_instance = device->place.gpu_instance,
                                .compute_instance = device->compute_instance,
                                .kind = PROCESS_COMPUTE,
                                .slot = (uint32_t)(slot - usage->slots)};
    process_name(pid, process->name);
    store_commit(&driver.store);
    device->slot = slot;
    return CU_SUCCESS;
}

int device_attach(struct device *device)
{
    int result = CU_SUCCESS;
    driver_lock();
    if (device->slot == NULL) {
        result = store_lock(&driver.store) == NVML_SUCCESS ? CU_SUCCESS : CU_ERROR_DEVICE_UNAVAILABLE;
        if (result == CU_SUCCESS) {
            result = join(device);
            store_unlock(&driver.store);
        }
    }
    driver_unlock();
    return result;
}

static void leave(struct device *device)
{
    uint32_t index = (uint32_t)(device->slot - driver.store.file->usage.slots), kept = 0;
    struct node *node = store_begin_change(&driver.store);
    for (unsigned row = 0; row < node->process_count; row++)
        if (node->processes[row].slot != index)
            node->processes[kept++] = node->processes[row];
    node->process_count = kept;
    store_commit(&driver.store);
    usage_release(device->slot);
    device->slot = NULL;
}

void device_detach(struct device *device)
{
    driver_lock();
    bool idle = device->slot != NULL && device->contexts == 0 && atomic_load(&device->slot->bytes) == 0;
    if (idle && store_lock(&driver.store) == NVML_SUCCESS) {
        leave(device);
        store_unlock(&driver.store);
    }
    driver_unlock();
}

static int charge_slowly(struct device *device, uint64_t bytes)
{
    struct usage *usage = &driver.store.file->usage;
    driver_lock();
    int result = store_lock(&driver.store) == NVML_SUCCESS ? CU_SUCCESS : CU_ERROR_DEVICE_UNAVAILABLE;
    if (result == CU_SUCCESS) {
        usage_settle(usage, store_current(&driver.store));
        if (atomic_load(&device->slot->evicted))
            result = CU_ERROR_DEVICE_UNAVAILABLE;
        else if (!usage_charge_locked(usage, device->slot, bytes, &device->place))
            result = CU_ERROR_OUT_OF_MEMORY;
        store_unlock(&driver.store);
    }
    driver_unlock();
    return result;
}

int device_charge(struct device *device, uint64_t bytes)
{
    if (device->slot == NULL) {
        int result = device_attach(device);
        if (result != CU_SUCCESS)
            return result;
    }
    if (!atomic_load_explicit(&device->slot->evicted, memory_order_relaxed) &&
        usage_charge_quickly(&driver.store.file->usage, device->slot, bytes, device->place.capacity))
        return CU_SUCCESS;
    return charge_slowly(device, bytes);
}

void device_give(struct device *device, uint64_t bytes)
{
    if (bytes != 0)
        usage_uncharge(device->slot, bytes);
}
