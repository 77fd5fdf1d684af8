/* SPDX-License-Identifier: Apache-2.0 */
/* Another simulated libcuda.so.1: two devices of 1 GiB, one context at a time, always at the same address, and the dozen
 * functions that a small client needs; nothing of NVML, no UUIDs, no cuGetProcAddress. With -DBARE it has one device and
 * cannot say what is current. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define API __attribute__((visibility("default")))
#define GIB ((size_t)1 << 30)
#ifdef BARE
#define DEVICES 1
#else
#define DEVICES 2
#endif

struct block {
    size_t bytes;
    int device;
};

static size_t used[DEVICES];
static int current = -1;

API int cuInit(unsigned flags)
{
    return flags == 0 ? 0 : 1;
}

API int cuDriverGetVersion(int *version)
{
    *version = 12040;
    return 0;
}

API int cuDeviceGetCount(int *count)
{
    *count = DEVICES;
    return 0;
}

API int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal >= 0 && ordinal < DEVICES ? 0 : 101;
}

API int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    *bytes = GIB;
    return device >= 0 && device < DEVICES ? 0 : 101;
}

API int cuCtxCreate_v2(void **context, unsigned flags, int device)
{
    if (flags != 0 || device < 0 || device >= DEVICES)
        return 101;
    *context = &current;
    current = device;
    return 0;
}

API int cuCtxDestroy_v2(void *context)
{
    if (context != &current || current < 0)
        return 201;
    current = -1;
    return 0;
}

#ifndef BARE
API int cuCtxGetCurrent(void **context)
{
    *context = current >= 0 ? &current : NULL;
    return 0;
}

API int cuCtxGetDevice(int *device)
{
    *device = current;
    return current >= 0 ? 0 : 201;
}
#endif

API int cuMemAlloc_v2(unsigned long long *pointer, size_t bytes)
{
    if (current < 0)
        return 201;
    struct block *block = bytes <= GIB - used[current] ? malloc(sizeof *block) : NULL;
    if (block == NULL)
        return 2;
    *block = (struct block){bytes, current};
    used[current] += bytes;
    *pointer = (unsigned long long)(uintptr_t)block;
    return 0;
}

API int cuMemFree_v2(unsigned long long pointer)
{
    struct block *block = (struct block *)(uintptr_t)pointer;
    if (block == NULL)
        return 0;
    used[block->device] -= block->bytes;
    free(block);
    return 0;
}

API int cuMemGetInfo_v2(size_t *free, size_t *total)
{
    if (current < 0)
        return 201;
    *free = GIB - used[current];
    *total = GIB;
    return 0;
}

/* What no interposer sees. */
API size_t foreign_used(int device)
{
    return used[device];
}
