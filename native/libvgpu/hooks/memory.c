/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: linear memory, pitched and managed. A NULL for the answer is the driver's to refuse. */
#include "cuda_abi.h"
#include "driver.h"
#include "memory/charge.h"

VGPU_EXPORT int cuMemFree_v2(cu_pointer pointer)
{
    struct allocation entry;
    bool known = charge_begin_free(&entry, SPACE_POINTER, pointer);
    int result = REAL(cuMemFree_v2)(pointer);
    charge_end_free(known, &entry, SPACE_POINTER, pointer, result);
    return result;
}

VGPU_EXPORT int cuMemAlloc_v2(cu_pointer *pointer, size_t bytes)
{
    struct charge charge;
    if (pointer == NULL)
        return REAL(cuMemAlloc_v2)(pointer, bytes);
    if (!charge_current(&charge, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    return charge_keep_pointer(&charge, pointer, REAL(cuMemAlloc_v2)(pointer, bytes));
}

VGPU_EXPORT int cuMemAllocManaged(cu_pointer *pointer, size_t bytes, unsigned flags)
{
    struct charge charge;
    if (pointer == NULL)
        return REAL(cuMemAllocManaged)(pointer, bytes, flags);
    if (!charge_current(&charge, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    return charge_keep_pointer(&charge, pointer, REAL(cuMemAllocManaged)(pointer, bytes, flags));
}

/* The pitch is the driver's to choose: what any choice takes at least is taken first, the rest when it is known. */
VGPU_EXPORT int cuMemAllocPitch_v2(cu_pointer *pointer, size_t *pitch, size_t width, size_t height, unsigned element)
{
    struct charge charge;
    size_t least;
    if (pointer == NULL || pitch == NULL)
        return REAL(cuMemAllocPitch_v2)(pointer, pitch, width, height, element);
    if (__builtin_mul_overflow(charge_rounded(width, LINEAR_UNIT), height, &least))
        least = SIZE_MAX / 2;
    if (!charge_current(&charge, least))
        return CU_ERROR_OUT_OF_MEMORY;
    int result = REAL(cuMemAllocPitch_v2)(pointer, pitch, width, height, element);
    if (result == CU_SUCCESS && !charge_adjust(&charge, charge_rounded(*pitch * height, LINEAR_UNIT))) {
        charge_drop(&charge);
        REAL(cuMemFree_v2)(*pointer);
        return CU_ERROR_OUT_OF_MEMORY;
    }
    return charge_keep_pointer(&charge, pointer, result);
}
