/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: what devices there are and what they can do. */
#include "cuda/context.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "node/node.h"
#include "node/pci.h"
#include "node/store.h"
#include "node/telemetry.h"
#include "node/usage.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ATTRIBUTES = 148, LAST_KNOWN = 147 };

/* The attributes that are the same for every board since Ampere; what is not named is 0, "no". */
static const int common[ATTRIBUTES] = {
    [1] = 1024,    [2] = 1024,    [3] = 1024,     [4] = 64,          [5] = 2147483647, [6] = 65535,  [7] = 65535,
    [8] = 49152,   [9] = 65536,   [10] = 32,      [11] = 2147483647, [12] = 65536,     [14] = 512,   [15] = 1,
    [19] = 1,      [21] = 131072, [22] = 131072,  [23] = 65536,      [24] = 16384,     [25] = 16384, [26] = 16384,
    [27] = 32768,  [28] = 32768,  [29] = 2048,    [30] = 512,        [31] = 1,         [32] = 1,     [40] = 3,
    [41] = 1,      [42] = 32768,  [43] = 2048,    [44] = 1,          [45] = 32768,     [46] = 32768, [47] = 8192,
    [48] = 8192,   [49] = 32768,  [51] = 32,      [52] = 32768,      [53] = 32768,     [54] = 2046,  [55] = 32768,
    [56] = 131072, [57] = 65536,  [58] = 16384,   [59] = 16384,      [60] = 16384,     [61] = 32768, [62] = 2048,
    [63] = 32768,  [64] = 32768,  [65] = 2048,    [66] = 32768,      [67] = 32768,     [68] = 2046,  [69] = 268435456,
    [70] = 131072, [71] = 65000,  [72] = 2097120, [73] = 32768,      [74] = 32768,     [77] = 32768, [78] = 1,
    [79] = 1,      [80] = 1,      [82] = 65536,   [83] = 1,          [87] = 2,         [89] = 1,     [90] = 1,
    [91] = 1,      [95] = 1,      [96] = 1,       [99] = 1,          [102] = 1,        [103] = 1,    [106] = 32,
    [111] = 1024,  [115] = 1,     [119] = 1,      [121] = 1,         [126] = 1,        [129] = 1,    [131] = -1,
    [134] = -1,
};

struct architecture_limits {
    uint32_t capability;
    int shared_a_block, shared_a_multiprocessor, threads_a_multiprocessor, l2_bytes;
};
static const struct architecture_limits limits[] = {
    {80, 166912, 167936, 2048, 41943040},
    {90, 232448, 233472, 2048, 52428800},
    {100, 232448, 233472, 2048, 132644864},
    {120, 101376, 102400, 1536, 134217728},
};

static const struct architecture_limits *limits_of(const struct device *device)
{
    for (size_t row = 0; row < sizeof limits / sizeof limits[0]; row++)
        if (limits[row].capability == device->capability)
            return &limits[row];
    return &limits[0];
}

static int attribute_of_board(const struct device *device, int attribute)
{
    struct gpu *gpu = &store_current(&driver.store)->gpus[device->place.gpu];
    const struct datasheet *sheet = telemetry_datasheet(gpu);
    switch (attribute) {
    case 13:
        return sheet != NULL ? (int)sheet->graphics_clock_mhz * 1000 : 0;
    case 33:
        return (int)pci_bus(device->place.gpu);
    case 36:
        return sheet != NULL ? (int)sheet->memory_clock_mhz * 1000 : 0;
    case 37:
        return sheet != NULL ? (int)sheet->memory_bus_bits : 0;
    case 139:
        return (int)gpu_variant(gpu)->pci_device_id;
    default:
        return common[attribute];
    }
}

static int attribute_of(const struct device *device, int attribute)
{
    const struct architecture_limits *own = limits_of(device);
    switch (attribute) {
    case 16:
        return (int)device->multiprocessors;
    case 38:
        return own->l2_bytes;
    case 39:
        return own->threads_a_multiprocessor;
    case 75:
        return (int)device->capability / 10;
    case 76:
        return (int)device->capability % 10;
    case 81:
        return own->shared_a_multiprocessor;
    case 97:
        return own->shared_a_block;
    case 120:
    case 127:
        return device->capability >= 90;
    default:
        return attribute_of_board(device, attribute);
    }
}

CUDA_API int cuDeviceGetCount(int *count)
{
    ENTER();
    if (count == NULL)
        return CU_ERROR_INVALID_VALUE;
    *count = (int)driver.device_count;
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGet(int *device, int ordinal)
{
    ENTER();
    if (device == NULL)
        return CU_ERROR_INVALID_VALUE;
    if (device_at(ordinal) == NULL)
        return CU_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetName(char *name, int length, int index)
{
    ENTER();
    const struct device *device = device_at(index);
    if (name == NULL || length <= 0 || device == NULL)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)length, "%s", device->name);
    return CU_SUCCESS;
}

static int give_uuid(struct cu_uuid *uuid, int index)
{
    if (uuid == NULL || device_at(index) == NULL)
        return uuid == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    *uuid = device_at(index)->uuid;
    return CU_SUCCESS;
}

/* The first version names the GPU also for a MIG device. */
CUDA_API int cuDeviceGetUuid(struct cu_uuid *uuid, int index)
{
    ENTER();
    const struct device *device = device_at(index);
    struct device whole = {.index = 0};
    if (uuid == NULL || device == NULL || device->compute_instance == 0)
        return give_uuid(uuid, index);
    struct node *node = store_current(&driver.store);
    device_describe(&whole, node, &node->gpus[device->place.gpu], NULL);
    *uuid = whole.uuid;
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetUuid_v2(struct cu_uuid *uuid, int index)
{
    ENTER();
    return give_uuid(uuid, index);
}

CUDA_API int cuDeviceGetLuid(char *luid, unsigned *node_mask, int index)
{
    ENTER();
    (void)luid, (void)node_mask;
    return device_at(index) != NULL ? CU_ERROR_NOT_SUPPORTED : CU_ERROR_INVALID_DEVICE;
}

CUDA_API int cuDeviceTotalMem_v2(size_t *bytes, int index)
{
    ENTER();
    if (bytes == NULL || device_at(index) == NULL)
        return bytes == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    *bytes = device_at(index)->place.capacity;
    return CU_SUCCESS;
}

static unsigned clamp(uint64_t bytes)
{
    return bytes > UINT32_MAX ? UINT32_MAX : (unsigned)bytes;
}

/* The interface of CUDA 2 has room for 32 bits. */
CUDA_API int cuDeviceTotalMem(unsigned *bytes, int index)
{
    ENTER();
    if (bytes == NULL || device_at(index) == NULL)
        return bytes == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    *bytes = clamp(device_at(index)->place.capacity);
    return CU_SUCCESS;
}

CUDA_API int cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    ENTER_CONTEXT();
    const struct device *device = device_of_current();
    const struct usage_place *place = &device->place;
    uint64_t used = usage_sum(&driver.store.file->usage, place, device->slot);
    if (free_bytes != NULL)
        *free_bytes = place->capacity > used ? place->capacity - used : 0;
    if (total != NULL)
        *total = place->capacity;
    return free_bytes != NULL || total != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

CUDA_API int cuMemGetInfo(unsigned *free_bytes, unsigned *total)
{
    size_t wide_free, wide_total;
    int result = cuMemGetInfo_v2(&wide_free, &wide_total);
    if (result == CU_SUCCESS && free_bytes != NULL)
        *free_bytes = clamp(wide_free);
    if (result == CU_SUCCESS && total != NULL)
        *total = clamp(wide_total);
    return result;
}

CUDA_API int cuDeviceGetAttribute(int *value, int attribute, int index)
{
    ENTER();
    const struct device *device = device_at(index);
    if (value == NULL || attribute < 1 || attribute > LAST_KNOWN)
        return CU_ERROR_INVALID_VALUE;
    if (device == NULL)
        return CU_ERROR_INVALID_DEVICE;
    *value = attribute_of(device, attribute);
    return CU_SUCCESS;
}

CUDA_API int cuDeviceComputeCapability(int *major, int *minor, int index)
{
    ENTER();
    const struct device *device = device_at(index);
    if (major == NULL || minor == NULL || device == NULL)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    *major = (int)device->capability / 10;
    *minor = (int)device->capability % 10;
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetProperties(int *properties, int index)
{
    ENTER();
    const struct device *device = device_at(index);
    static const int fields[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    if (properties == NULL || device == NULL)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    for (size_t field = 0; field < sizeof fields / sizeof fields[0]; field++)
        properties[field] = attribute_of(device, fields[field]);
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetPCIBusId(char *id, int length, int index)
{
    ENTER();
    const struct device *device = device_at(index);
    char legacy[16], full[32];
    if (id == NULL || length <= 0 || device == NULL)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    pci_format(device->place.gpu, legacy, full);
    snprintf(id, (size_t)length, "%s", legacy);
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetByPCIBusId(int *device, const char *id)
{
    ENTER();
    unsigned gpu;
    if (device == NULL || id == NULL || !pci_parse(id, &gpu))
        return CU_ERROR_INVALID_VALUE;
    for (unsigned index = 0; index < driver.device_count; index++)
        if (driver.devices[index].place.gpu == gpu) {
            *device = (int)index;
            return CU_SUCCESS;
        }
    return CU_ERROR_INVALID_DEVICE;
}

/* No device reaches another one's memory: they hang on the host's bridge, as in NVML's view. */
CUDA_API int cuDeviceCanAccessPeer(int *can, int index, int peer)
{
    ENTER();
    if (can == NULL || device_at(index) == NULL || device_at(peer) == NULL)
        return can == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_DEVICE;
    *can = 0;
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetP2PAttribute(int *value, int attribute, int index, int peer)
{
    ENTER();
    if (value == NULL || attribute < 1 || attribute > 5 || index == peer)
        return CU_ERROR_INVALID_VALUE;
    if (device_at(index) == NULL || device_at(peer) == NULL)
        return CU_ERROR_INVALID_DEVICE;
    *value = 0;
    return CU_SUCCESS;
}

CUDA_API int cuCtxEnablePeerAccess(void *peer, unsigned flags)
{
    ENTER_CONTEXT();
    const struct context *other = context_check(peer);
    if (flags != 0 || other == NULL)
        return flags != 0 ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_CONTEXT;
    return other == thread.current ? CU_ERROR_INVALID_DEVICE : CU_ERROR_PEER_ACCESS_UNSUPPORTED;
}

CUDA_API int cuCtxDisablePeerAccess(void *peer)
{
    ENTER_CONTEXT();
    return context_check(peer) != NULL ? CU_ERROR_PEER_ACCESS_NOT_ENABLED : CU_ERROR_INVALID_CONTEXT;
}

CUDA_API int cuDeviceGetExecAffinitySupport(int *supported, int type, int index)
{
    ENTER();
    if (supported == NULL || type != 0 || device_at(index) == NULL)
        return device_at(index) == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    *supported = 0;
    return CU_SUCCESS;
}
