/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: arrays and mipmapped arrays. Sizes follow the block-linear layout: lines of 64 bytes, eight rows high, in
 * pages of 64 KiB. */
#include "cuda/api/array.h"

#include "cuda/api/memory.h"
#include "cuda/arena.h"
#include "cuda/context.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/object.h"

#include <string.h>

enum { LINE_BYTES = 64, BLOCK_ROWS = 8, PAGE_BYTES = 65536, MAX_LEVELS = 17, KNOWN_FLAGS = 0xFF };

static unsigned format_bytes(int format)
{
    switch (format) {
    case CU_FORMAT_UNSIGNED_INT8:
    case CU_FORMAT_SIGNED_INT8:
        return 1;
    case CU_FORMAT_UNSIGNED_INT16:
    case CU_FORMAT_SIGNED_INT16:
    case CU_FORMAT_HALF:
        return 2;
    case CU_FORMAT_UNSIGNED_INT32:
    case CU_FORMAT_SIGNED_INT32:
    case CU_FORMAT_FLOAT:
        return 4;
    default:
        return 0;
    }
}

/* Finds pitch and size of an array of this shape; INVALID_VALUE if there is none such. */
static int lay_out(struct array *array)
{
    const struct cu_array3d *shape = &array->shape;
    unsigned bytes = format_bytes(shape->format);
    bool cube = (shape->flags & CU_ARRAY_CUBEMAP) != 0;
    if (bytes == 0 || (shape->channels != 1 && shape->channels != 2 && shape->channels != 4) || shape->width == 0 ||
        (shape->flags & ~(unsigned)KNOWN_FLAGS) != 0 ||
        (shape->depth != 0 && shape->height == 0 && !(shape->flags & CU_ARRAY_LAYERED)) ||
        (cube && (shape->width != shape->height || shape->depth % 6 != 0 || shape->depth == 0)))
        return CU_ERROR_INVALID_VALUE;
    if (shape->width > 131072 || shape->height > 131072 || shape->depth > 16384)
        return CU_ERROR_INVALID_VALUE;
    array->element_size = (size_t)bytes * shape->channels;
    array->row_pitch = round_up(shape->width * array->element_size, LINE_BYTES);
    array->rows = shape->height != 0 ? round_up(shape->height, BLOCK_ROWS) : 1;
    size_t planes = shape->depth != 0 ? shape->depth : 1;
    array->size = round_up(array->row_pitch * array->rows * planes, PAGE_BYTES);
    return CU_SUCCESS;
}

char *array_at(const struct array *array, size_t x_bytes, size_t y, size_t z)
{
    if (array->block == NULL)
        return NULL;
    return (char *)(uintptr_t)array->block->address + array->offset + (z * array->rows + y) * array->row_pitch +
           x_bytes;
}

static int back_with_memory(struct array *array, uint64_t size)
{
    if ((array->shape.flags & (CU_ARRAY_DEFERRED | CU_ARRAY_SPARSE)) != 0)
        return CU_SUCCESS;
    return allocate(size, BLOCK_HIDDEN, &array->block);
}

static int create(struct array **handle, const struct cu_array3d *shape)
{
    if (handle == NULL || shape == NULL)
        return CU_ERROR_INVALID_VALUE;
    struct array *array = object_new(OBJECT_ARRAY);
    if (array == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    array->shape = *shape;
    array->device = device_of_current();
    array->context = thread.current;
    int result = lay_out(array);
    if (result == CU_SUCCESS)
        result = back_with_memory(array, array->size);
    if (result == CU_SUCCESS)
        *handle = array;
    else
        object_free(array);
    return result;
}

CUDA_API int cuArray3DCreate_v2(struct array **handle, const struct cu_array3d *shape)
{
    ENTER_CONTEXT();
    return create(handle, shape);
}

CUDA_API int cuArrayCreate_v2(struct array **handle, const struct cu_array *shape)
{
    ENTER_CONTEXT();
    if (shape == NULL)
        return CU_ERROR_INVALID_VALUE;
    struct cu_array3d wide = {shape->width, shape->height, 0, shape->format, shape->channels, 0};
    return create(handle, &wide);
}

static void end_array(struct array *array)
{
    if (array->block != NULL && array->parent == NULL) {
        uint64_t charged = array->block->charged;
        arena_give(array->block);
        device_give(array->device, charged);
    }
    object_free(array);
}

CUDA_API int cuArrayDestroy(void *handle)
{
    ENTER();
    struct array *array = object_check(handle, OBJECT_ARRAY);
    if (array == NULL || array->parent != NULL)
        return array == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    end_array(array);
    return CU_SUCCESS;
}

CUDA_API int cuArray3DGetDescriptor_v2(struct cu_array3d *shape, void *handle)
{
    ENTER();
    const struct array *array = object_check(handle, OBJECT_ARRAY);
    if (shape == NULL || array == NULL)
        return shape == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *shape = array->shape;
    return CU_SUCCESS;
}

CUDA_API int cuArrayGetDescriptor_v2(struct cu_array *shape, void *handle)
{
    ENTER();
    const struct array *array = object_check(handle, OBJECT_ARRAY);
    if (shape == NULL || array == NULL)
        return shape == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *shape = (struct cu_array){array->shape.width, array->shape.height, array->shape.format, array->shape.channels};
    return CU_SUCCESS;
}

/* A mipmap is one piece of memory; its levels are arrays within. */
struct mipmap {
    struct object object;
    struct context *context;
    struct block *block;
    struct device *device;
    unsigned levels, flags;
    uint64_t size;
    struct array *level[MAX_LEVELS];
};

static size_t halved(size_t extent, unsigned level)
{
    return extent == 0 ? 0 : extent >> level != 0 ? extent >> level : 1;
}

static int add_level(struct mipmap *mipmap, const struct cu_array3d *shape, unsigned level)
{
    struct array *array = mipmap->level[level] = object_new(OBJECT_ARRAY);
    if (array == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    array->shape = *shape;
    array->shape.width = halved(shape->width, level);
    array->shape.height = halved(shape->height, level);
    if ((shape->flags & (CU_ARRAY_LAYERED | CU_ARRAY_CUBEMAP)) == 0)
        array->shape.depth = halved(shape->depth, level);
    array->device = mipmap->device;
    array->context = mipmap->context;
    array->parent = mipmap;
    array->offset = mipmap->size;
    int result = lay_out(array);
    mipmap->size += array->size;
    return result;
}

static void end_mipmap(struct mipmap *mipmap)
{
    for (unsigned level = 0; level < mipmap->levels; level++)
        object_free(mipmap->level[level]);
    if (mipmap->block != NULL) {
        uint64_t charged = mipmap->block->charged;
        arena_give(mipmap->block);
        device_give(mipmap->device, charged);
    }
    object_free(mipmap);
}

static unsigned most_levels(const struct cu_array3d *shape)
{
    size_t widest = shape->width > shape->height ? shape->width : shape->height;
    if ((shape->flags & CU_ARRAY_LAYERED) == 0 && shape->depth > widest)
        widest = shape->depth;
    unsigned levels = 1;
    while (widest >> levels != 0)
        levels++;
    return levels < MAX_LEVELS ? levels : MAX_LEVELS;
}

static int fill_mipmap(struct mipmap *mipmap, const struct cu_array3d *shape)
{
    int result = CU_SUCCESS;
    for (unsigned level = 0; level < mipmap->levels && result == CU_SUCCESS; level++)
        result = add_level(mipmap, shape, level);
    if (result == CU_SUCCESS && (shape->flags & (CU_ARRAY_DEFERRED | CU_ARRAY_SPARSE)) == 0)
        result = allocate(mipmap->size, BLOCK_HIDDEN, &mipmap->block);
    for (unsigned level = 0; level < mipmap->levels && result == CU_SUCCESS; level++)
        mipmap->level[level]->block = mipmap->block;
    return result;
}

CUDA_API int cuMipmappedArrayCreate(struct mipmap **handle, const struct cu_array3d *shape, unsigned levels)
{
    ENTER_CONTEXT();
    if (handle == NULL || shape == NULL || levels == 0 || shape->width == 0)
        return CU_ERROR_INVALID_VALUE;
    struct mipmap *mipmap = object_new(OBJECT_MIPMAP);
    if (mipmap == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    mipmap->context = thread.current;
    mipmap->device = device_of_current();
    mipmap->flags = shape->flags;
    mipmap->levels = levels < most_levels(shape) ? levels : most_levels(shape);
    int result = fill_mipmap(mipmap, shape);
    if (result == CU_SUCCESS)
        *handle = mipmap;
    else
        end_mipmap(mipmap);
    return result;
}

CUDA_API int cuMipmappedArrayDestroy(void *handle)
{
    ENTER();
    struct mipmap *mipmap = object_check(handle, OBJECT_MIPMAP);
    if (mipmap == NULL)
        return CU_ERROR_INVALID_HANDLE;
    end_mipmap(mipmap);
    return CU_SUCCESS;
}

CUDA_API int cuMipmappedArrayGetLevel(void **array, void *handle, unsigned level)
{
    ENTER();
    const struct mipmap *mipmap = object_check(handle, OBJECT_MIPMAP);
    if (array == NULL || mipmap == NULL || level >= mipmap->levels)
        return mipmap == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    *array = mipmap->level[level];
    return CU_SUCCESS;
}

/* Only of those whose memory is mapped later, as the driver has it. */
static int give_requirements(struct cu_array_memory *memory, unsigned flags, uint64_t size, int device)
{
    if (memory == NULL || (flags & CU_ARRAY_DEFERRED) == 0)
        return CU_ERROR_INVALID_VALUE;
    if (device_at(device) == NULL)
        return CU_ERROR_INVALID_DEVICE;
    *memory = (struct cu_array_memory){.size = size, .alignment = PAGE_BYTES};
    return CU_SUCCESS;
}

CUDA_API int cuArrayGetMemoryRequirements(struct cu_array_memory *memory, void *handle, int device)
{
    ENTER();
    const struct array *array = object_check(handle, OBJECT_ARRAY);
    return array == NULL ? CU_ERROR_INVALID_HANDLE : give_requirements(memory, array->shape.flags, array->size, device);
}

CUDA_API int cuMipmappedArrayGetMemoryRequirements(struct cu_array_memory *memory, void *handle, int device)
{
    ENTER();
    const struct mipmap *mipmap = object_check(handle, OBJECT_MIPMAP);
    return mipmap == NULL ? CU_ERROR_INVALID_HANDLE : give_requirements(memory, mipmap->flags, mipmap->size, device);
}

void arrays_end_context(struct context *context)
{
    for (struct mipmap *mipmap = object_next(OBJECT_MIPMAP, NULL); mipmap != NULL;
         mipmap = object_next(OBJECT_MIPMAP, mipmap))
        if (mipmap->context == context)
            end_mipmap(mipmap);
    for (struct array *array = object_next(OBJECT_ARRAY, NULL); array != NULL; array = object_next(OBJECT_ARRAY, array))
        if (array->context == context)
            end_array(array);
}
