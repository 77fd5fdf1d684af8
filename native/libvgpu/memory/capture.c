/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/capture.h"

#include "cuda_abi.h"
#include "driver.h"
#include "memory/allocations.h"
#include "memory/charge.h"
#include "memory/device.h"

typedef int (*is_capturing)(void *stream, int *status);
typedef int (*capture_info)(void *stream, int *status, uint64_t *id, void **graph, const void **nodes, size_t *count);
typedef int (*capture_info_3)(void *stream, int *status, uint64_t *id, void **graph, const void **nodes,
                              const void **edges, size_t *count);

static int ask_graph(void *stream, void **graph)
{
    capture_info ask = DRIVER(cuStreamGetCaptureInfo_v2, capture_info);
    capture_info_3 ask_3 = ask == NULL ? DRIVER(cuStreamGetCaptureInfo_v3, capture_info_3) : NULL;
    int status = CU_CAPTURE_NONE;
    uint64_t id;
    if (ask != NULL)
        return ask(stream, &status, &id, graph, NULL, NULL);
    return ask_3 != NULL ? ask_3(stream, &status, &id, graph, NULL, NULL, NULL) : CU_ERROR_NOT_SUPPORTED;
}

int capture_ask(void *stream, struct capture *capture)
{
    is_capturing ask = DRIVER(cuStreamIsCapturing, is_capturing);
    int status = CU_CAPTURE_NONE;
    int result = ask != NULL ? ask(stream, &status) : CU_SUCCESS;
    *capture = (struct capture){.active = result == CU_SUCCESS && status == CU_CAPTURE_ACTIVE};
    if (VGPU_LIKELY(!capture->active))
        return result;
    capture->device = device_of_stream(stream);
    result = device_error(capture->device);
    return result == CU_SUCCESS ? ask_graph(stream, &capture->graph) : result;
}

int capture_allocated(const struct capture *capture, uint64_t bytes, int result)
{
    if (result == CU_SUCCESS && capture->device >= 0)
        allocations_grow(allocations_on(SPACE_GRAPH, capture->device), (uint64_t)(uintptr_t)capture->graph,
                         capture->device, charge_rounded(bytes, GRAPH_UNIT));
    return result;
}
