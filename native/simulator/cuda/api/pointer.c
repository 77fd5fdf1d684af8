/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: what an address is. */
#include "cuda/api/host.h"
#include "cuda/arena.h"
#include "cuda/context.h"
#include "cuda/devices.h"
#include "cuda/frame.h"

#include <string.h>

/* What is known of an address, however it came about. */
struct knowledge {
    struct context *context;
    uint64_t base, size, id;
    unsigned memory_type, device;
    bool is_managed, is_known;
    void *pool;
    uint64_t host;
};

static struct knowledge know_block(const struct block *block)
{
    struct device *device = block->device != NULL ? block->device : device_of_current();
    bool is_managed = block->kind == BLOCK_MANAGED;
    return (struct knowledge){.context = block->context != NULL ? block->context : device->primary,
                              .base = block->address,
                              .size = block->size,
                              .id = block->id,
                              .memory_type = CU_MEMORY_DEVICE,
                              .device = device->index,
                              .is_managed = is_managed,
                              .is_known = true,
                              .pool = block->kind == BLOCK_POOL ? block->owner : NULL};
}

static struct knowledge know(cu_pointer pointer)
{
    const struct block *block = arena_find(pointer);
    const struct host_range *range = block == NULL ? host_find((const void *)(uintptr_t)pointer) : NULL;
    if (block != NULL)
        return know_block(block);
    if (range == NULL)
        return (struct knowledge){.is_known = false};
    return (struct knowledge){.context = range->context,
                              .base = (uint64_t)(uintptr_t)range->start,
                              .size = range->size,
                              .memory_type = CU_MEMORY_HOST,
                              .device = device_of_current()->index,
                              .is_known = true};
}

static int put(void *target, const void *value, size_t size)
{
    memcpy(target, value, size);
    return CU_SUCCESS;
}

static int put_number(void *target, unsigned value)
{
    return put(target, &value, sizeof value);
}

static int put_wide(void *target, uint64_t value)
{
    return put(target, &value, sizeof value);
}

static int tell(const struct knowledge *known, int attribute, cu_pointer pointer, void *value)
{
    bool on_host = known->memory_type == CU_MEMORY_HOST || known->is_managed;
    switch (attribute) {
    case 1:
        return put(value, &known->context, sizeof known->context);
    case 2:
        return put_number(value, known->memory_type);
    case 3:
        return put_wide(value, pointer);
    case 4:
        return on_host ? put_wide(value, pointer) : CU_ERROR_INVALID_VALUE;
    case 6:
        return put_number(value, 0);
    case 7:
        return put_wide(value, known->id);
    case 8:
        return put_number(value, known->is_managed);
    case 9:
        return put_number(value, known->device);
    case 10:
        return put_number(value, known->memory_type == CU_MEMORY_DEVICE && !known->is_managed && known->pool == NULL);
    case 11:
        return put_wide(value, known->base);
    case 12:
        return put_wide(value, known->size);
    case 13:
        return put_number(value, 1);
    case 14:
        return put_wide(value, 0);
    case 15:
        return put_number(value, 0);
    case 16:
        return put_number(value, 3);
    case 17:
        return put(value, &known->pool, sizeof known->pool);
    default:
        return CU_ERROR_INVALID_VALUE;
    }
}

CUDA_API int cuPointerGetAttribute(void *value, int attribute, cu_pointer pointer)
{
    ENTER_CONTEXT();
    struct knowledge known = know(pointer);
    return value == NULL || !known.is_known ? CU_ERROR_INVALID_VALUE : tell(&known, attribute, pointer, value);
}

/* For an address that nothing is known of every answer is zero; only the question must be good. */
CUDA_API int cuPointerGetAttributes(unsigned count, int *attributes, void **values, cu_pointer pointer)
{
    ENTER_CONTEXT();
    struct knowledge known = know(pointer);
    if (count == 0 || attributes == NULL || values == NULL)
        return CU_ERROR_INVALID_VALUE;
    for (unsigned index = 0; index < count; index++) {
        static const unsigned char bytes[] = {[1] = 8,  [2] = 4,  [3] = 8,  [4] = 8,  [6] = 4,  [7] = 8,
                                              [8] = 4,  [9] = 4,  [10] = 4, [11] = 8, [12] = 8, [13] = 4,
                                              [14] = 8, [15] = 4, [16] = 4, [17] = 8};
        int attribute = attributes[index];
        if (attribute < 1 || attribute >= (int)sizeof bytes || bytes[attribute] == 0 || values[index] == NULL)
            return CU_ERROR_INVALID_VALUE;
        memset(values[index], attribute == 9 ? 0xFE : 0, bytes[attribute]);
        if (known.is_known)
            tell(&known, attribute, pointer, values[index]);
    }
    return CU_SUCCESS;
}

CUDA_API int cuPointerSetAttribute(const void *value, int attribute, cu_pointer pointer)
{
    ENTER_CONTEXT();
    return value != NULL && attribute == 6 && arena_find(pointer) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}
