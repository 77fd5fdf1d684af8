/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: what kind of product a GPU is. */
#include "nvml/call.h"

/* nvml.h's numbers of architectures and brands; compute capabilities as CUDA's programming guide lists them. */
enum { BRAND_NVIDIA = 14, BRAND_NVIDIA_RTX = 13 };

static const struct {
    unsigned nvml_architecture;
    int major, minor;
    unsigned brand;
} products[] = {
    [ARCHITECTURE_AMPERE] = {7, 8, 0, BRAND_NVIDIA},
    [ARCHITECTURE_HOPPER] = {9, 9, 0, BRAND_NVIDIA},
    [ARCHITECTURE_BLACKWELL] = {10, 10, 0, BRAND_NVIDIA},
    [ARCHITECTURE_BLACKWELL_GB202] = {10, 12, 0, BRAND_NVIDIA_RTX},
};

EXPORT int nvmlDeviceGetArchitecture(void *device, unsigned *architecture)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG, device, architecture))
        return call.result;
    *architecture = products[gpu_board(call.gpu)->architecture].nvml_architecture;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG, device, major))
        return call.result;
    if (minor == NULL)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    *major = products[gpu_board(call.gpu)->architecture].major;
    *minor = products[gpu_board(call.gpu)->architecture].minor;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetBrand(void *device, unsigned *brand)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG, device, brand))
        return call.result;
    *brand = products[gpu_board(call.gpu)->architecture].brand;
    return call_end(&call, NVML_SUCCESS);
}
