/* SPDX-License-Identifier: Apache-2.0 */
#include "capture.h"

#include <stdatomic.h>

#include "../include/cuda_abi.h"
#include "allocations.h"
#include "charge.h"
#include "device.h"
#include "hook_table.h"

typedef int (*is_capturing)(void *stream, int *status);
typedef int (*capture_info)(void *stream, int *status, uint64_t *id, void **graph, const void **nodes, size_t *count);
typedef int (*capture_info_3)(void *stream, int *status, uint64_t *id, void **graph, const void **nodes,
                              const void **edges, size_t *count);

bool capture_is_active(void *stream)
{
    is_capturing ask = DRIVER(cuStreamIsCapturing, is_capturing);
    int status = CU_CAPTURE_NONE;
    return device_controlled() && ask != NULL && ask(stream, &status) == CU_SUCCESS && status == CU_CAPTURE_ACTIVE;
}

static void *graph_of(void *stream)
{
    capture_info ask = DRIVER(cuStreamGetCaptureInfo_v2, capture_info);
    capture_info_3 ask_3 = ask == NULL ? DRIVER(cuStreamGetCaptureInfo_v3, capture_info_3) : NULL;
    int status = CU_CAPTURE_NONE;
    uint64_t id;
    void *graph = NULL;
    if (ask != NULL && ask(stream, &status, &id, &graph, NULL, NULL) == CU_SUCCESS)
        return graph;
    if (ask_3 != NULL && ask_3(stream, &status, &id, &graph, NULL, NULL, NULL) == CU_SUCCESS)
        return graph;
    return NULL;
}

int capture_allocated(void *stream, uint64_t bytes, int result)
{
    int ordinal;
    uint64_t context;
    void *graph = result == CU_SUCCESS ? graph_of(stream) : NULL;
    int device = graph != NULL ? device_current(&ordinal, &context) : -1;
    if (device >= 0)
        allocations_grow(SPACE_GRAPH, (uint64_t)(uintptr_t)graph, device, charge_rounded(bytes, GRAPH_UNIT));
    return result;
}
