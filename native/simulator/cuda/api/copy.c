/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: copies and fills of lines. They are done when the call returns; where a stream is captured they become nodes. */
#include "cuda/api/copy.h"

#include "cuda/api/memory.h"
#include "cuda/capture.h"
#include "cuda/context.h"
#include "cuda/frame.h"
#include "cuda/stream.h"

#include <string.h>

static void *host_of(cu_pointer address)
{
    return (void *)(uintptr_t)address;
}

/* Which sides must be device memory. */
enum sides { TARGET_ON_DEVICE = 1, SOURCE_ON_DEVICE = 2, BOTH_ON_DEVICE = 3, ANYWHERE = 0 };

static int check_line(cu_pointer target, cu_pointer source, size_t size, enum sides sides)
{
    if (size == 0)
        return CU_SUCCESS;
    if (target == 0 || source == 0)
        return CU_ERROR_INVALID_VALUE;
    bool good = can_touch(target, size, (sides & TARGET_ON_DEVICE) == 0) &&
                can_touch(source, size, (sides & SOURCE_ON_DEVICE) == 0);
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

static int copy_line(cu_pointer target, cu_pointer source, size_t size, enum sides sides)
{
    int result = check_line(target, source, size, sides);
    if (result == CU_SUCCESS && size != 0)
        memmove(host_of(target), host_of(source), size);
    return result;
}

static int copy_line_on(void *handle, cu_pointer target, cu_pointer source, size_t size, enum sides sides)
{
    struct stream *stream = stream_find(handle);
    if (stream == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (stream->capture == NULL)
        return copy_line(target, source, size, sides);
    int result = check_line(target, source, size, sides);
    struct cu_memcpy3d copy = {.source_type = CU_MEMORY_UNIFIED,
                               .source_device = source,
                               .target_type = CU_MEMORY_UNIFIED,
                               .target_device = target,
                               .width = size,
                               .height = 1,
                               .depth = 1};
    return result == CU_SUCCESS ? capture_copy(stream, &copy) : result;
}

static cu_pointer address(const void *host)
{
    return (cu_pointer)(uintptr_t)host;
}

CUDA_API int cuMemcpyHtoD_v2(cu_pointer target, const void *source, size_t size)
{
    ENTER_CONTEXT();
    return copy_line(target, address(source), size, TARGET_ON_DEVICE);
}

CUDA_API int cuMemcpyDtoH_v2(void *target, cu_pointer source, size_t size)
{
    ENTER_CONTEXT();
    return copy_line(address(target), source, size, SOURCE_ON_DEVICE);
}

CUDA_API int cuMemcpyDtoD_v2(cu_pointer target, cu_pointer source, size_t size)
{
    ENTER_CONTEXT();
    return copy_line(target, source, size, BOTH_ON_DEVICE);
}

CUDA_API int cuMemcpy(cu_pointer target, cu_pointer source, size_t size)
{
    ENTER_CONTEXT();
    return copy_line(target, source, size, ANYWHERE);
}

CUDA_API int cuMemcpyPeer(cu_pointer target, void *target_context, cu_pointer source, void *source_context, size_t size)
{
    ENTER_CONTEXT();
    if (context_check(target_context) == NULL || context_check(source_context) == NULL)
        return CU_ERROR_INVALID_CONTEXT;
    return copy_line(target, source, size, BOTH_ON_DEVICE);
}

CUDA_API int cuMemcpyHtoDAsync_v2(cu_pointer target, const void *source, size_t size, void *stream)
{
    ENTER_CONTEXT();
    return copy_line_on(stream, target, address(source), size, TARGET_ON_DEVICE);
}

CUDA_API int cuMemcpyDtoHAsync_v2(void *target, cu_pointer source, size_t size, void *stream)
{
    ENTER_CONTEXT();
    return copy_line_on(stream, address(target), source, size, SOURCE_ON_DEVICE);
}

CUDA_API int cuMemcpyDtoDAsync_v2(cu_pointer target, cu_pointer source, size_t size, void *stream)
{
    ENTER_CONTEXT();
    return copy_line_on(stream, target, source, size, BOTH_ON_DEVICE);
}

CUDA_API int cuMemcpyAsync(cu_pointer target, cu_pointer source, size_t size, void *stream)
{
    ENTER_CONTEXT();
    return copy_line_on(stream, target, source, size, ANYWHERE);
}

CUDA_API int cuMemcpyPeerAsync(cu_pointer target, void *target_context, cu_pointer source, void *source_context,
                               size_t size, void *stream)
{
    ENTER_CONTEXT();
    if (context_check(target_context) == NULL || context_check(source_context) == NULL)
        return CU_ERROR_INVALID_CONTEXT;
    return copy_line_on(stream, target, source, size, BOTH_ON_DEVICE);
}

/* Fills: `element` bytes of the value at a time, `width` elements a row. */
void fill_rows(const struct cu_memset_node *fill)
{
    for (size_t row = 0; row < fill->height; row++) {
        unsigned char *target = host_of(fill->target + row * fill->pitch);
        if (fill->element_size == 1) {
            memset(target, (int)fill->value, fill->width);
            continue;
        }
        for (size_t column = 0; column < fill->width; column++)
            memcpy(target + column * fill->element_size, &fill->value, fill->element_size);
    }
}

int check_fill(const struct cu_memset_node *fill)
{
    unsigned element = fill->element_size;
    if (element != 1 && element != 2 && element != 4)
        return CU_ERROR_INVALID_VALUE;
    if (fill->width == 0 || fill->height == 0)
        return CU_SUCCESS;
    size_t row = fill->width * element;
    if (fill->target % element != 0 || fill->width > SIZE_MAX / element ||
        (fill->height > 1 && (fill->pitch < row || fill->pitch % element != 0)) ||
        (fill->height > 1 && fill->pitch > SIZE_MAX / fill->height))
        return CU_ERROR_INVALID_VALUE;
    size_t extent = fill->height == 1 ? row : fill->pitch * (fill->height - 1) + row;
    return can_touch(fill->target, extent, false) ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

static int fill(const struct cu_memset_node *wanted)
{
    int result = check_fill(wanted);
    if (result == CU_SUCCESS)
        fill_rows(wanted);
    return result;
}

static int fill_on(void *handle, const struct cu_memset_node *wanted)
{
    struct stream *stream = stream_find(handle);
    if (stream == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (stream->capture == NULL)
        return fill(wanted);
    int result = check_fill(wanted);
    return result == CU_SUCCESS ? capture_fill(stream, wanted) : result;
}

static struct cu_memset_node line(cu_pointer target, unsigned value, unsigned element, size_t count)
{
    return (struct cu_memset_node){
        .target = target, .value = value, .element_size = element, .width = count, .height = 1};
}

static struct cu_memset_node plane(cu_pointer target, size_t pitch, unsigned value, unsigned element, size_t width,
                                   size_t height)
{
    return (struct cu_memset_node){target, pitch, value, element, width, height, NULL};
}

CUDA_API int cuMemsetD8_v2(cu_pointer target, unsigned char value, size_t count)
{
    ENTER_CONTEXT();
    return fill(&(struct cu_memset_node){target, 0, value, 1, count, 1, NULL});
}

CUDA_API int cuMemsetD16_v2(cu_pointer target, unsigned short value, size_t count)
{
    ENTER_CONTEXT();
    return fill(&(struct cu_memset_node){target, 0, value, 2, count, 1, NULL});
}

CUDA_API int cuMemsetD32_v2(cu_pointer target, unsigned value, size_t count)
{
    ENTER_CONTEXT();
    return fill(&(struct cu_memset_node){target, 0, value, 4, count, 1, NULL});
}

CUDA_API int cuMemsetD8Async(cu_pointer target, unsigned char value, size_t count, void *stream)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = line(target, value, 1, count);
    return fill_on(stream, &wanted);
}

CUDA_API int cuMemsetD16Async(cu_pointer target, unsigned short value, size_t count, void *stream)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = line(target, value, 2, count);
    return fill_on(stream, &wanted);
}

CUDA_API int cuMemsetD32Async(cu_pointer target, unsigned value, size_t count, void *stream)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = line(target, value, 4, count);
    return fill_on(stream, &wanted);
}

CUDA_API int cuMemsetD2D8_v2(cu_pointer target, size_t pitch, unsigned char value, size_t width, size_t height)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = plane(target, pitch, value, 1, width, height);
    return fill(&wanted);
}

CUDA_API int cuMemsetD2D16_v2(cu_pointer target, size_t pitch, unsigned short value, size_t width, size_t height)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = plane(target, pitch, value, 2, width, height);
    return fill(&wanted);
}

CUDA_API int cuMemsetD2D32_v2(cu_pointer target, size_t pitch, unsigned value, size_t width, size_t height)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = plane(target, pitch, value, 4, width, height);
    return fill(&wanted);
}

CUDA_API int cuMemsetD2D8Async(cu_pointer target, size_t pitch, unsigned char value, size_t width, size_t height,
                               void *stream)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = plane(target, pitch, value, 1, width, height);
    return fill_on(stream, &wanted);
}

CUDA_API int cuMemsetD2D16Async(cu_pointer target, size_t pitch, unsigned short value, size_t width, size_t height,
                                void *stream)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = plane(target, pitch, value, 2, width, height);
    return fill_on(stream, &wanted);
}

CUDA_API int cuMemsetD2D32Async(cu_pointer target, size_t pitch, unsigned value, size_t width, size_t height,
                                void *stream)
{
    ENTER_CONTEXT();
    struct cu_memset_node wanted = plane(target, pitch, value, 4, width, height);
    return fill_on(stream, &wanted);
}
