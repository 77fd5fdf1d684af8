/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/array_size.h"

#include "driver.h"
#include "memory/charge.h"

#define PAGE ((uint64_t)64 << 10)

typedef int (*create_array)(void **made, const struct cu_array3d *array);
typedef int (*create_mipmap)(void **made, const struct cu_array3d *array, unsigned levels);
typedef int (*destroy)(void *made);
typedef int (*requirements)(struct cu_array_memory *memory, void *made, int ordinal);

static uint64_t element_size(const struct cu_array3d *array)
{
    switch (array->format) {
    case CU_FORMAT_UNSIGNED_INT8:
    case CU_FORMAT_SIGNED_INT8:
        return array->channels;
    case CU_FORMAT_UNSIGNED_INT32:
    case CU_FORMAT_SIGNED_INT32:
    case CU_FORMAT_FLOAT:
        return (uint64_t)array->channels * 4;
    default:
        return (uint64_t)array->channels * 2;
    }
}

static uint64_t estimate(const struct cu_array3d *array, unsigned levels)
{
    uint64_t width = array->width, height = array->height, depth = array->depth, bytes = 0;
    for (unsigned level = 0; level < (levels != 0 ? levels : 1) && level < 32; level++) {
        uint64_t plane, all;
        if (__builtin_mul_overflow(charge_rounded(width * element_size(array), 64), height != 0 ? height : 1, &plane) ||
            __builtin_mul_overflow(plane, depth != 0 ? depth : 1, &all) || __builtin_add_overflow(bytes, all, &bytes))
            return UINT64_MAX / 2;
        width = width > 1 ? width / 2 : 1;
        height = height > 1 ? height / 2 : height;
        depth = depth > 1 && (array->flags & CU_ARRAY_LAYERED) == 0 ? depth / 2 : depth;
    }
    return charge_rounded(bytes, PAGE);
}

static bool ask_array(const struct cu_array3d *array, int ordinal, struct cu_array_memory *memory)
{
    requirements ask = DRIVER(cuArrayGetMemoryRequirements, requirements);
    create_array create = (create_array)(uintptr_t)driver_real(HOOK_cuArray3DCreate_v2);
    destroy end = (destroy)(uintptr_t)driver_real(HOOK_cuArrayDestroy);
    void *made;
    if (ask == NULL || create(&made, array) != CU_SUCCESS)
        return false;
    bool told = ask(memory, made, ordinal) == CU_SUCCESS;
    end(made);
    return told;
}

static bool ask_mipmap(const struct cu_array3d *array, unsigned levels, int ordinal, struct cu_array_memory *memory)
{
    requirements ask = DRIVER(cuMipmappedArrayGetMemoryRequirements, requirements);
    create_mipmap create = (create_mipmap)(uintptr_t)driver_real(HOOK_cuMipmappedArrayCreate);
    destroy end = (destroy)(uintptr_t)driver_real(HOOK_cuMipmappedArrayDestroy);
    void *made;
    if (ask == NULL || create(&made, array, levels) != CU_SUCCESS)
        return false;
    bool told = ask(memory, made, ordinal) == CU_SUCCESS;
    end(made);
    return told;
}

uint64_t array_size(const struct cu_array3d *array, unsigned levels, int ordinal)
{
    struct cu_array_memory memory = {.size = 0};
    struct cu_array3d deferred = *array;
    /* Memory for these comes from cuMemCreate, where it is counted. */
    if ((array->flags & (CU_ARRAY_SPARSE | CU_ARRAY_DEFERRED)) != 0)
        return 0;
    deferred.flags |= CU_ARRAY_DEFERRED;
    bool told = levels != 0 ? ask_mipmap(&deferred, levels, ordinal, &memory) : ask_array(&deferred, ordinal, &memory);
    return told ? memory.size : estimate(array, levels);
}
