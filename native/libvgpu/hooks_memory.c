/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: linear memory, pitched, managed, and in the order of streams. A NULL for the answer is the driver's to refuse. */
#include "../include/cuda_abi.h"
#include "capture.h"
#include "charge.h"
#include "hook_table.h"

VGPU_EXPORT int cuMemFree_v2(cu_pointer pointer)
{
    struct allocation entry;
    bool known = charge_begin_free(&entry, SPACE_POINTER, pointer);
    int result = REAL(cuMemFree_v2)(pointer);
    charge_end_free(known, &entry, SPACE_POINTER, pointer, result);
    return result;
}

/* After a successful allocation: kept, or undone when it cannot be. */
static int keep(const struct charge *charge, cu_pointer *pointer, int result)
{
    if (charge_keep(charge, SPACE_POINTER, result == CU_SUCCESS ? *pointer : 0, result))
        return result;
    REAL(cuMemFree_v2)(*pointer);
    return CU_ERROR_OUT_OF_MEMORY;
}

VGPU_EXPORT int cuMemAlloc_v2(cu_pointer *pointer, size_t bytes)
{
    struct charge charge;
    if (pointer == NULL)
        return REAL(cuMemAlloc_v2)(pointer, bytes);
    if (!charge_current(&charge, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, pointer, REAL(cuMemAlloc_v2)(pointer, bytes));
}

VGPU_EXPORT int cuMemAllocManaged(cu_pointer *pointer, size_t bytes, unsigned flags)
{
    struct charge charge;
    if (pointer == NULL)
        return REAL(cuMemAllocManaged)(pointer, bytes, flags);
    if (!charge_current(&charge, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, pointer, REAL(cuMemAllocManaged)(pointer, bytes, flags));
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
    return keep(&charge, pointer, result);
}

typedef int (*alloc_async)(cu_pointer *pointer, size_t bytes, void *stream);
typedef int (*alloc_from_pool)(cu_pointer *pointer, size_t bytes, void *pool, void *stream);
typedef int (*free_async)(cu_pointer pointer, void *stream);

/* In a capture nothing is allocated: the graph's memory counts when it is instantiated. */
static int allocate_async(alloc_async real, cu_pointer *pointer, size_t bytes, void *stream)
{
    struct charge charge;
    if (pointer == NULL)
        return real(pointer, bytes, stream);
    if (capture_is_active(stream))
        return capture_allocated(stream, bytes, real(pointer, bytes, stream));
    if (!charge_current(&charge, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    charge.context = 0; /* it belongs to its pool */
    return keep(&charge, pointer, real(pointer, bytes, stream));
}

static int allocate_from(alloc_from_pool real, cu_pointer *pointer, size_t bytes, void *pool, void *stream)
{
    struct charge charge;
    if (pointer == NULL)
        return real(pointer, bytes, pool, stream);
    if (capture_is_active(stream))
        return capture_allocated(stream, bytes, real(pointer, bytes, pool, stream));
    if (!charge_current(&charge, charge_rounded(bytes, LINEAR_UNIT)))
        return CU_ERROR_OUT_OF_MEMORY;
    charge.context = 0;
    return keep(&charge, pointer, real(pointer, bytes, pool, stream));
}

/* A free in a capture happens at each launch, if ever; the bytes stay counted until then. */
static int release_async(free_async real, cu_pointer pointer, void *stream)
{
    struct allocation entry;
    if (capture_is_active(stream))
        return real(pointer, stream);
    bool known = charge_begin_free(&entry, SPACE_POINTER, pointer);
    int result = real(pointer, stream);
    charge_end_free(known, &entry, SPACE_POINTER, pointer, result);
    return result;
}

VGPU_EXPORT int cuMemAllocAsync(cu_pointer *pointer, size_t bytes, void *stream)
{
    return allocate_async(REAL(cuMemAllocAsync), pointer, bytes, stream);
}

VGPU_EXPORT int cuMemAllocAsync_ptsz(cu_pointer *pointer, size_t bytes, void *stream)
{
    return allocate_async(REAL(cuMemAllocAsync_ptsz), pointer, bytes, stream);
}

VGPU_EXPORT int cuMemAllocFromPoolAsync(cu_pointer *pointer, size_t bytes, void *pool, void *stream)
{
    return allocate_from(REAL(cuMemAllocFromPoolAsync), pointer, bytes, pool, stream);
}

VGPU_EXPORT int cuMemAllocFromPoolAsync_ptsz(cu_pointer *pointer, size_t bytes, void *pool, void *stream)
{
    return allocate_from(REAL(cuMemAllocFromPoolAsync_ptsz), pointer, bytes, pool, stream);
}

VGPU_EXPORT int cuMemFreeAsync(cu_pointer pointer, void *stream)
{
    return release_async(REAL(cuMemFreeAsync), pointer, stream);
}

VGPU_EXPORT int cuMemFreeAsync_ptsz(cu_pointer pointer, void *stream)
{
    return release_async(REAL(cuMemFreeAsync_ptsz), pointer, stream);
}
