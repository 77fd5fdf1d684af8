/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: virtual memory. Physical memory lives as long as a handle or a mapping of it does. */
#include "cuda_abi.h"
#include "driver.h"
#include "memory/charge.h"
#include "memory/device.h"

VGPU_EXPORT int cuMemRelease(uint64_t handle)
{
    struct allocation entry = {.references = 1};
    bool known = device_controlled() && allocations_refer(SPACE_PHYSICAL, handle, -1, &entry);
    int result = REAL(cuMemRelease)(handle);
    if (known && entry.references == 0) {
        entry.references = 1;
        charge_end_free(known, &entry, SPACE_PHYSICAL, handle, result);
    } else if (known && result != CU_SUCCESS) {
        charge_refer(SPACE_PHYSICAL, handle, 1);
    }
    return result;
}

VGPU_EXPORT int cuMemCreate(uint64_t *handle, size_t size, const struct cu_allocation *properties, uint64_t flags)
{
    struct charge charge;
    if (handle == NULL || properties == NULL || properties->location.type != CU_LOCATION_DEVICE)
        return REAL(cuMemCreate)(handle, size, properties, flags);
    if (!charge_device(&charge, properties->location.id, size))
        return CU_ERROR_OUT_OF_MEMORY;
    int result = REAL(cuMemCreate)(handle, size, properties, flags);
    if (charge_keep(&charge, SPACE_PHYSICAL, result == CU_SUCCESS ? *handle : 0, result))
        return result;
    REAL(cuMemRelease)(*handle);
    return CU_ERROR_OUT_OF_MEMORY;
}

VGPU_EXPORT int cuMemRetainAllocationHandle(uint64_t *handle, void *address)
{
    int result = REAL(cuMemRetainAllocationHandle)(handle, address);
    if (result == CU_SUCCESS)
        charge_refer(SPACE_PHYSICAL, *handle, 1);
    return result;
}

static void remember_mapping(cu_pointer pointer, size_t size, uint64_t handle)
{
    struct allocation entry = {.bytes = size, .context = handle, .device = -1, .references = 1};
    struct allocation replaced = {.bytes = 0};
    if (!allocations_put(SPACE_MAPPING, pointer, entry, &replaced))
        charge_refer(SPACE_PHYSICAL, handle, -1);
    else if (replaced.bytes != 0)
        charge_refer(SPACE_PHYSICAL, replaced.context, -1);
}

VGPU_EXPORT int cuMemMap(cu_pointer pointer, size_t size, size_t offset, uint64_t handle, uint64_t flags)
{
    /* Before the driver's call: another thread may release the handle meanwhile. */
    charge_refer(SPACE_PHYSICAL, handle, 1);
    int result = REAL(cuMemMap)(pointer, size, offset, handle, flags);
    if (result != CU_SUCCESS)
        charge_refer(SPACE_PHYSICAL, handle, -1);
    else if (device_controlled())
        remember_mapping(pointer, size, handle);
    return result;
}

VGPU_EXPORT int cuMemUnmap(cu_pointer pointer, size_t size)
{
    struct allocation mapping;
    int result = REAL(cuMemUnmap)(pointer, size);
    cu_pointer end = pointer + size;
    while (result == CU_SUCCESS && pointer < end && charge_begin_free(&mapping, SPACE_MAPPING, pointer)) {
        charge_refer(SPACE_PHYSICAL, mapping.context, -1);
        pointer += mapping.bytes;
    }
    return result;
}
