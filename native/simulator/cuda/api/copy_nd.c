/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: copies of planes and boxes between host, device and arrays. */
#include "cuda/api/copy_nd.h"

#include "cuda/api/array.h"
#include "cuda/api/memory.h"
#include "cuda/capture.h"
#include "cuda/frame.h"
#include "cuda/object.h"
#include "cuda/stream.h"

#include <string.h>

/* One end of a copy: where each of its rows starts. */
struct end {
    const struct array *array;
    cu_pointer base;
    size_t x, y, z, pitch, height;
    bool host_too;
};

static bool find_end(struct end *end, int type, const void *host, cu_pointer device, void *array)
{
    end->host_too = type == CU_MEMORY_HOST || type == CU_MEMORY_UNIFIED;
    if (type == CU_MEMORY_ARRAY) {
        end->array = object_check(array, OBJECT_ARRAY);
        return end->array != NULL && end->array->block != NULL;
    }
    end->base = type == CU_MEMORY_HOST ? (cu_pointer)(uintptr_t)host : device;
    return type >= CU_MEMORY_HOST && type <= CU_MEMORY_UNIFIED && end->base != 0;
}

static char *row_at(const struct end *end, size_t row, size_t plane)
{
    if (end->array != NULL)
        return array_at(end->array, end->x, end->y + row, end->z + plane);
    return (char *)(uintptr_t)end->base + end->x + ((end->z + plane) * end->height + end->y + row) * end->pitch;
}

static size_t planes_of(const struct array *array)
{
    return array->shape.depth != 0 ? array->shape.depth : 1;
}

static bool end_holds(const struct end *end, const struct cu_memcpy3d *copy)
{
    if (end->array != NULL) {
        const struct array *array = end->array;
        size_t rows = array->shape.height != 0 ? array->shape.height : 1;
        return end->x + copy->width <= array->shape.width * array->element_size && end->y + copy->height <= rows &&
               end->z + copy->depth <= planes_of(array);
    }
    bool rows_apart = copy->height == 1 || end->pitch >= copy->width;
    bool planes_apart = copy->depth == 1 || end->height >= copy->height;
    if (!rows_apart || !planes_apart)
        return false;
    char *first = row_at(end, 0, 0), *last = row_at(end, copy->height - 1, copy->depth - 1);
    return can_touch((cu_pointer)(uintptr_t)first, (size_t)(last - first) + copy->width, end->host_too);
}

static int find_ends(const struct cu_memcpy3d *copy, struct end *source, struct end *target)
{
    *source = (struct end){.x = copy->source_x,
                           .y = copy->source_y,
                           .z = copy->source_z,
                           .pitch = copy->source_pitch,
                           .height = copy->source_height};
    *target = (struct end){.x = copy->target_x,
                           .y = copy->target_y,
                           .z = copy->target_z,
                           .pitch = copy->target_pitch,
                           .height = copy->target_height};
    bool good = find_end(source, copy->source_type, copy->source_host, copy->source_device, copy->source_array) &&
                find_end(target, copy->target_type, copy->target_host, copy->target_device, copy->target_array) &&
                end_holds(source, copy) && end_holds(target, copy);
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

static bool is_empty(const struct cu_memcpy3d *copy)
{
    return copy->width == 0 || copy->height == 0 || copy->depth == 0;
}

int check_copy_3d(const struct cu_memcpy3d *copy)
{
    struct end source, target;
    return is_empty(copy) ? CU_SUCCESS : find_ends(copy, &source, &target);
}

int copy_3d(const struct cu_memcpy3d *copy)
{
    struct end source, target;
    if (is_empty(copy))
        return CU_SUCCESS;
    int result = find_ends(copy, &source, &target);
    for (size_t plane = 0; result == CU_SUCCESS && plane < copy->depth; plane++)
        for (size_t row = 0; row < copy->height; row++)
            memmove(row_at(&target, row, plane), row_at(&source, row, plane), copy->width);
    return result;
}

static int copy_on(void *handle, const struct cu_memcpy3d *copy)
{
    struct stream *stream = stream_find(handle);
    if (stream == NULL || copy == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    if (stream->capture == NULL)
        return copy_3d(copy);
    int result = check_copy_3d(copy);
    return result == CU_SUCCESS ? capture_copy(stream, copy) : result;
}

static struct cu_memcpy3d widen(const struct cu_memcpy2d *flat)
{
    return (struct cu_memcpy3d){.source_x = flat->source_x,
                                .source_y = flat->source_y,
                                .source_type = flat->source_type,
                                .source_host = flat->source_host,
                                .source_device = flat->source_device,
                                .source_array = flat->source_array,
                                .source_pitch = flat->source_pitch,
                                .target_x = flat->target_x,
                                .target_y = flat->target_y,
                                .target_type = flat->target_type,
                                .target_host = flat->target_host,
                                .target_device = flat->target_device,
                                .target_array = flat->target_array,
                                .target_pitch = flat->target_pitch,
                                .width = flat->width,
                                .height = flat->height,
                                .depth = 1};
}

CUDA_API int cuMemcpy3D_v2(const struct cu_memcpy3d *copy)
{
    ENTER_CONTEXT();
    return copy_on(CU_LEGACY_STREAM, copy);
}

CUDA_API int cuMemcpy3DAsync_v2(const struct cu_memcpy3d *copy, void *stream)
{
    ENTER_CONTEXT();
    return copy_on(stream, copy);
}

CUDA_API int cuMemcpy3DPeer(const struct cu_memcpy3d *copy)
{
    ENTER_CONTEXT();
    return copy_on(CU_LEGACY_STREAM, copy);
}

CUDA_API int cuMemcpy3DPeerAsync(const struct cu_memcpy3d *copy, void *stream)
{
    ENTER_CONTEXT();
    return copy_on(stream, copy);
}

static int copy_2d(void *stream, const struct cu_memcpy2d *flat)
{
    if (flat == NULL)
        return CU_ERROR_INVALID_VALUE;
    struct cu_memcpy3d copy = widen(flat);
    return copy_on(stream, &copy);
}

CUDA_API int cuMemcpy2D_v2(const struct cu_memcpy2d *copy)
{
    ENTER_CONTEXT();
    return copy_2d(CU_LEGACY_STREAM, copy);
}

CUDA_API int cuMemcpy2DUnaligned_v2(const struct cu_memcpy2d *copy)
{
    ENTER_CONTEXT();
    return copy_2d(CU_LEGACY_STREAM, copy);
}

CUDA_API int cuMemcpy2DAsync_v2(const struct cu_memcpy2d *copy, void *stream)
{
    ENTER_CONTEXT();
    return copy_2d(stream, copy);
}

/* Lines into and out of arrays count bytes from the array's start, row after row. */
struct other_end {
    cu_pointer address;
    int type;
};

static struct other_end on_host(const void *address)
{
    return (struct other_end){(cu_pointer)(uintptr_t)address, CU_MEMORY_UNIFIED};
}

static struct other_end on_device(cu_pointer address)
{
    return (struct other_end){address, CU_MEMORY_DEVICE};
}

static int copy_array(void *stream, void *handle, size_t offset, struct other_end other, size_t size, bool into)
{
    const struct array *array = object_check(handle, OBJECT_ARRAY);
    if (array == NULL)
        return CU_ERROR_INVALID_HANDLE;
    size_t row = array->shape.width * array->element_size;
    if (size == 0)
        return CU_SUCCESS;
    if (offset % row + size > row && (offset % row != 0 || size % row != 0))
        return CU_ERROR_INVALID_VALUE;
    bool one = offset % row + size <= row;
    struct cu_memcpy3d copy = {.width = one ? size : row, .height = one ? 1 : size / row, .depth = 1};
    copy.source_pitch = copy.target_pitch = copy.width;
    *(into ? &copy.target_x : &copy.source_x) = offset % row;
    *(into ? &copy.target_y : &copy.source_y) = offset / row;
    *(into ? &copy.target_array : &copy.source_array) = handle;
    *(into ? &copy.source_device : &copy.target_device) = other.address;
    copy.source_type = into ? other.type : CU_MEMORY_ARRAY;
    copy.target_type = into ? CU_MEMORY_ARRAY : other.type;
    return copy_on(stream, &copy);
}

CUDA_API int cuMemcpyHtoA_v2(void *array, size_t offset, const void *source, size_t size)
{
    ENTER_CONTEXT();
    return copy_array(CU_LEGACY_STREAM, array, offset, on_host(source), size, true);
}

CUDA_API int cuMemcpyAtoH_v2(void *target, void *array, size_t offset, size_t size)
{
    ENTER_CONTEXT();
    return copy_array(CU_LEGACY_STREAM, array, offset, on_host(target), size, false);
}

CUDA_API int cuMemcpyDtoA_v2(void *array, size_t offset, cu_pointer source, size_t size)
{
    ENTER_CONTEXT();
    return copy_array(CU_LEGACY_STREAM, array, offset, on_device(source), size, true);
}

CUDA_API int cuMemcpyAtoD_v2(cu_pointer target, void *array, size_t offset, size_t size)
{
    ENTER_CONTEXT();
    return copy_array(CU_LEGACY_STREAM, array, offset, on_device(target), size, false);
}

CUDA_API int cuMemcpyHtoAAsync_v2(void *array, size_t offset, const void *source, size_t size, void *stream)
{
    ENTER_CONTEXT();
    return copy_array(stream, array, offset, on_host(source), size, true);
}

CUDA_API int cuMemcpyAtoHAsync_v2(void *target, void *array, size_t offset, size_t size, void *stream)
{
    ENTER_CONTEXT();
    return copy_array(stream, array, offset, on_host(target), size, false);
}
