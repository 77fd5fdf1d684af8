/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: what functions are like, and launching them. */
#include "cuda/api/function.h"

#include "cuda/api/module.h"
#include "cuda/capture.h"
#include "cuda/context.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/object.h"
#include "cuda/stream.h"

#include <string.h>

static int get_attribute(int *value, int attribute, void *handle)
{
    const struct function *function = function_check(handle);
    if (value == NULL || attribute < 0 || attribute >= FUNCTION_ATTRIBUTES)
        return CU_ERROR_INVALID_VALUE;
    if (function == NULL)
        return CU_ERROR_INVALID_HANDLE;
    *value = function->attributes[attribute];
    return CU_SUCCESS;
}

/* Those that can be set: dynamic shared memory, carve-out, clusters. */
static int set_attribute(void *handle, int attribute, int value)
{
    struct function *function = function_check(handle);
    if (attribute < 8 || attribute >= FUNCTION_ATTRIBUTES)
        return CU_ERROR_INVALID_VALUE;
    if (function == NULL)
        return CU_ERROR_INVALID_HANDLE;
    function->attributes[attribute] = value;
    return CU_SUCCESS;
}

CUDA_API int cuFuncGetAttribute(int *value, int attribute, void *function)
{
    ENTER();
    return get_attribute(value, attribute, function);
}

CUDA_API int cuFuncSetAttribute(void *function, int attribute, int value)
{
    ENTER();
    return set_attribute(function, attribute, value);
}

CUDA_API int cuKernelGetAttribute(int *value, int attribute, void *kernel, int device)
{
    ENTER();
    return device_at(device) != NULL ? get_attribute(value, attribute, kernel) : CU_ERROR_INVALID_DEVICE;
}

CUDA_API int cuKernelSetAttribute(int attribute, int value, void *kernel, int device)
{
    ENTER();
    return device_at(device) != NULL ? set_attribute(kernel, attribute, value) : CU_ERROR_INVALID_DEVICE;
}

CUDA_API int cuFuncSetCacheConfig(void *function, int config)
{
    ENTER();
    if (config < 0 || config > 3)
        return CU_ERROR_INVALID_VALUE;
    return function_check(function) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_HANDLE;
}

CUDA_API int cuFuncSetSharedMemConfig(void *function, int config)
{
    ENTER();
    if (config < 0 || config > 2)
        return CU_ERROR_INVALID_VALUE;
    return function_check(function) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_HANDLE;
}

static int get_name(const char **name, void *handle)
{
    const struct function *function = function_check(handle);
    if (name == NULL || function == NULL)
        return name == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *name = function->name;
    return CU_SUCCESS;
}

CUDA_API int cuFuncGetName(const char **name, void *function)
{
    ENTER();
    return get_name(name, function);
}

CUDA_API int cuKernelGetName(const char **name, void *kernel)
{
    ENTER();
    return get_name(name, kernel);
}

static int give_same(void **given, void *handle)
{
    if (given == NULL || function_check(handle) == NULL)
        return given == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *given = handle;
    return CU_SUCCESS;
}

CUDA_API int cuKernelGetFunction(void **function, void *kernel)
{
    ENTER_CONTEXT();
    return give_same(function, kernel);
}

CUDA_API int cuKernelGetLibrary(void **library, void *kernel)
{
    ENTER();
    const struct function *function = function_check(kernel);
    if (library == NULL || function == NULL)
        return library == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *library = function->module;
    return CU_SUCCESS;
}

CUDA_API int cuFuncIsLoaded(int *state, void *function)
{
    ENTER();
    if (state == NULL || function_check(function) == NULL)
        return state == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *state = 1;
    return CU_SUCCESS;
}

CUDA_API int cuFuncLoad(void *function)
{
    ENTER();
    return function_check(function) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_HANDLE;
}

/* Parameters are not read from the code: none is known. */
CUDA_API int cuFuncGetParamInfo(void *function, size_t index, size_t *offset, size_t *size)
{
    ENTER();
    (void)index, (void)offset, (void)size;
    return function_check(function) != NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
}

CUDA_API int cuKernelGetParamInfo(void *kernel, size_t index, size_t *offset, size_t *size)
{
    ENTER();
    (void)index, (void)offset, (void)size;
    return function_check(kernel) != NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
}

enum { THREADS_A_BLOCK = 1024, BLOCKS_A_MULTIPROCESSOR = 32 };

static int occupancy(int *blocks, void *handle, int threads)
{
    if (blocks == NULL || threads <= 0 || threads > THREADS_A_BLOCK)
        return CU_ERROR_INVALID_VALUE;
    if (function_check(handle) == NULL)
        return CU_ERROR_INVALID_HANDLE;
    int most = 2 * THREADS_A_BLOCK / threads;
    *blocks = most < BLOCKS_A_MULTIPROCESSOR ? most : BLOCKS_A_MULTIPROCESSOR;
    return CU_SUCCESS;
}

CUDA_API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads, size_t shared)
{
    ENTER_CONTEXT();
    (void)shared;
    return occupancy(blocks, function, threads);
}

CUDA_API int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, void *function, int threads,
                                                                  size_t shared, unsigned flags)
{
    ENTER_CONTEXT();
    (void)shared;
    return flags > 1 ? CU_ERROR_INVALID_VALUE : occupancy(blocks, function, threads);
}

static int potential(int *grid, int *threads, void *handle, int most)
{
    if (grid == NULL || threads == NULL || most < 0)
        return CU_ERROR_INVALID_VALUE;
    if (function_check(handle) == NULL)
        return CU_ERROR_INVALID_HANDLE;
    *threads = most != 0 && most < THREADS_A_BLOCK ? most : THREADS_A_BLOCK;
    *grid = (int)device_of_current()->multiprocessors * (2 * THREADS_A_BLOCK / *threads);
    return CU_SUCCESS;
}

CUDA_API int cuOccupancyMaxPotentialBlockSize(int *grid, int *threads, void *function, void *shared_of, size_t shared,
                                              int most)
{
    ENTER_CONTEXT();
    (void)shared_of, (void)shared;
    return potential(grid, threads, function, most);
}

CUDA_API int cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *threads, void *function, void *shared_of,
                                                       size_t shared, int most, unsigned flags)
{
    ENTER_CONTEXT();
    (void)shared_of, (void)shared;
    return flags > 1 ? CU_ERROR_INVALID_VALUE : potential(grid, threads, function, most);
}

CUDA_API int cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, void *function, int blocks, int threads)
{
    ENTER_CONTEXT();
    if (bytes == NULL || blocks <= 0 || threads <= 0 || threads > THREADS_A_BLOCK)
        return CU_ERROR_INVALID_VALUE;
    if (function_check(function) == NULL)
        return CU_ERROR_INVALID_HANDLE;
    *bytes = 49152 / (size_t)blocks;
    return CU_SUCCESS;
}

static bool is_shape(unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z)
{
    return grid_x != 0 && grid_y != 0 && grid_z != 0 && grid_x <= 2147483647u && grid_y <= 65535 && grid_z <= 65535 &&
           x != 0 && y != 0 && z != 0 && x <= 1024 && y <= 1024 && z <= 64 && (uint64_t)x * y * z <= THREADS_A_BLOCK;
}

int check_launch(const struct cu_kernel_node *launch)
{
    const void *code = launch->function != NULL ? launch->function : launch->kernel;
    if (function_check(code) == NULL)
        return CU_ERROR_INVALID_HANDLE;
    bool good =
        is_shape(launch->grid_x, launch->grid_y, launch->grid_z, launch->block_x, launch->block_y, launch->block_z);
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

static int launch_on(struct stream *stream, const struct cu_kernel_node *launch)
{
    if (stream == NULL)
        return CU_ERROR_INVALID_HANDLE;
    int result = check_launch(launch);
    if (result != CU_SUCCESS)
        return result;
    if (stream->capture != NULL)
        return capture_launch(stream, launch);
    stream_run(stream);
    return CU_SUCCESS;
}

CUDA_API int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y,
                            unsigned z, unsigned shared, void *stream, void **parameters, void **extra)
{
    ENTER_CONTEXT();
    struct stream *queue = stream_find(stream);
    /* The path of nearly every launch: without a recording, nothing is gathered. */
    if (queue != NULL && queue->capture == NULL && function_check(function) != NULL &&
        is_shape(grid_x, grid_y, grid_z, x, y, z)) {
        stream_run(queue);
        return CU_SUCCESS;
    }
    struct cu_kernel_node launch = {function, grid_x, grid_y, grid_z, x, y, z, shared, parameters, extra, NULL, NULL};
    return launch_on(queue, &launch);
}

static int launch_config(const struct cu_launch_config *config, void *function, void **parameters, void **extra)
{
    if (config == NULL || (config->attribute_count != 0 && config->attributes == NULL))
        return CU_ERROR_INVALID_VALUE;
    struct cu_kernel_node launch = {function,
                                    config->grid_x,
                                    config->grid_y,
                                    config->grid_z,
                                    config->block_x,
                                    config->block_y,
                                    config->block_z,
                                    config->shared_bytes,
                                    parameters,
                                    extra,
                                    NULL,
                                    NULL};
    return launch_on(stream_find(config->stream), &launch);
}

CUDA_API int cuLaunchKernelEx(const struct cu_launch_config *config, void *function, void **parameters, void **extra)
{
    ENTER_CONTEXT();
    return launch_config(config, function, parameters, extra);
}

CUDA_API int cuLaunchCooperativeKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x,
                                       unsigned y, unsigned z, unsigned shared, void *stream, void **parameters)
{
    ENTER_CONTEXT();
    /* Every block must be resident at once. */
    uint64_t blocks = (uint64_t)grid_x * grid_y * grid_z;
    if (blocks > (uint64_t)device_of_current()->multiprocessors * BLOCKS_A_MULTIPROCESSOR)
        return 720; /* COOPERATIVE_LAUNCH_TOO_LARGE */
    struct cu_kernel_node launch = {function, grid_x, grid_y, grid_z, x, y, z, shared, parameters, NULL, NULL, NULL};
    return launch_on(stream_find(stream), &launch);
}

CUDA_API int cuLaunchCooperativeKernelMultiDevice(struct cu_launch_params *list, unsigned count, unsigned flags)
{
    ENTER();
    if (list == NULL || count == 0 || flags > 3)
        return CU_ERROR_INVALID_VALUE;
    for (unsigned index = 0; index < count; index++) {
        const struct cu_launch_params *one = &list[index];
        struct cu_kernel_node launch = {one->function,   one->grid_x,  one->grid_y,  one->grid_z,
                                        one->block_x,    one->block_y, one->block_z, one->shared_bytes,
                                        one->parameters, NULL,         NULL,         NULL};
        int result = launch_on(object_check(one->stream, OBJECT_STREAM), &launch);
        if (result != CU_SUCCESS)
            return result;
    }
    return CU_SUCCESS;
}
