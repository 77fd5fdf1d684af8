/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: arrays and mipmapped arrays. */
#include "cuda_abi.h"
#include "driver.h"
#include "memory/array_size.h"
#include "memory/charge.h"
#include "memory/device.h"

static bool charge_array(struct charge *charge, const struct cu_array3d *array, unsigned levels)
{
    if (!charge_current(charge, 0))
        return false;
    return charge->device == DEVICE_NONE || charge_adjust(charge, array_size(array, levels, charge->ordinal));
}

/* After the driver's answer: kept, or undone when it cannot be. */
static int keep(const struct charge *charge, enum allocation_space space, void **made, int result)
{
    if (charge_keep(charge, space, result == CU_SUCCESS ? (uint64_t)(uintptr_t)*made : 0, result))
        return result;
    if (space == SPACE_ARRAY)
        ((int (*)(void *))(uintptr_t)driver_real(HOOK_cuArrayDestroy))(*made);
    else
        ((int (*)(void *))(uintptr_t)driver_real(HOOK_cuMipmappedArrayDestroy))(*made);
    return CU_ERROR_OUT_OF_MEMORY;
}

VGPU_EXPORT int cuArrayCreate_v2(void **made, const struct cu_array *array)
{
    struct charge charge;
    if (made == NULL || array == NULL)
        return REAL(cuArrayCreate_v2)(made, array);
    const struct cu_array3d whole = {
        .width = array->width, .height = array->height, .format = array->format, .channels = array->channels};
    if (!charge_array(&charge, &whole, 0))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, SPACE_ARRAY, made, REAL(cuArrayCreate_v2)(made, array));
}

VGPU_EXPORT int cuArray3DCreate_v2(void **made, const struct cu_array3d *array)
{
    struct charge charge;
    if (made == NULL || array == NULL)
        return REAL(cuArray3DCreate_v2)(made, array);
    if (!charge_array(&charge, array, 0))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, SPACE_ARRAY, made, REAL(cuArray3DCreate_v2)(made, array));
}

VGPU_EXPORT int cuMipmappedArrayCreate(void **made, const struct cu_array3d *array, unsigned levels)
{
    struct charge charge;
    if (made == NULL || array == NULL || levels == 0)
        return REAL(cuMipmappedArrayCreate)(made, array, levels);
    if (!charge_array(&charge, array, levels))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, SPACE_MIPMAP, made, REAL(cuMipmappedArrayCreate)(made, array, levels));
}

VGPU_EXPORT int cuArrayDestroy(void *array)
{
    struct allocation entry;
    bool known = charge_begin_free(&entry, SPACE_ARRAY, (uint64_t)(uintptr_t)array);
    int result = REAL(cuArrayDestroy)(array);
    charge_end_free(known, &entry, SPACE_ARRAY, (uint64_t)(uintptr_t)array, result);
    return result;
}

VGPU_EXPORT int cuMipmappedArrayDestroy(void *array)
{
    struct allocation entry;
    bool known = charge_begin_free(&entry, SPACE_MIPMAP, (uint64_t)(uintptr_t)array);
    int result = REAL(cuMipmappedArrayDestroy)(array);
    charge_end_free(known, &entry, SPACE_MIPMAP, (uint64_t)(uintptr_t)array, result);
    return result;
}
