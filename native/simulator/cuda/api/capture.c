/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: the recording of streams. */
#include "cuda/capture.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/lock.h"
#include "cuda/stream.h"

static uint64_t next_id = 1;

static int begin(void *handle, int mode)
{
    struct stream *stream = stream_find(handle);
    if (stream == NULL || mode < 0 || mode > 2)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    if (stream->is_legacy)
        return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture != NULL)
        return CU_ERROR_ILLEGAL_STATE;
    struct graph *graph = graph_new();
    if (graph == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    graph->capture_id = stream->capture_id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
    stream->capture = graph;
    stream->capture_last = NULL;
    return CU_SUCCESS;
}

CUDA_API int cuStreamBeginCapture_v2(void *stream, int mode)
{
    ENTER_CONTEXT();
    return begin(stream, mode);
}

CUDA_API int cuStreamBeginCapture(void *stream)
{
    ENTER_CONTEXT();
    return begin(stream, 0);
}

/* Another stream's capture is joined by waiting for an event of it, and ended where it began. */
CUDA_API int cuStreamEndCapture(void *handle, struct graph **graph)
{
    ENTER_CONTEXT();
    struct stream *stream = stream_find(handle);
    if (stream == NULL || graph == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    if (stream->capture == NULL)
        return CU_ERROR_ILLEGAL_STATE;
    if (stream->capture_id == 0)
        return CU_ERROR_STREAM_CAPTURE_UNMATCHED;
    driver_lock();
    *graph = stream->capture;
    capture_end(*graph);
    stream->capture_id = 0;
    driver_unlock();
    return CU_SUCCESS;
}

CUDA_API int cuStreamIsCapturing(void *handle, int *status)
{
    ENTER_CONTEXT();
    const struct stream *stream = stream_find(handle);
    if (stream == NULL || status == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    *status = stream->capture != NULL ? CU_CAPTURE_ACTIVE : CU_CAPTURE_NONE;
    return CU_SUCCESS;
}

CUDA_API int cuThreadExchangeStreamCaptureMode(int *mode)
{
    ENTER();
    static _Thread_local int current;
    if (mode == NULL || *mode < 0 || *mode > 2)
        return CU_ERROR_INVALID_VALUE;
    int before = current;
    current = *mode;
    *mode = before;
    return CU_SUCCESS;
}

static int describe(void *handle, int *status, unsigned long long *id, void **graph, void ***after, size_t *count)
{
    struct stream *stream = stream_find(handle);
    if (stream == NULL || status == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    bool active = stream->capture != NULL;
    *status = active ? CU_CAPTURE_ACTIVE : CU_CAPTURE_NONE;
    if (id != NULL && active)
        *id = stream->capture->capture_id;
    if (graph != NULL)
        *graph = stream->capture;
    if (after != NULL)
        *after = (void **)(void *)&stream->capture_last;
    if (count != NULL)
        *count = stream->capture_last != NULL;
    return CU_SUCCESS;
}

CUDA_API int cuStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id)
{
    ENTER_CONTEXT();
    return describe(stream, status, id, NULL, NULL, NULL);
}

CUDA_API int cuStreamGetCaptureInfo_v2(void *stream, int *status, unsigned long long *id, void **graph, void ***after,
                                       size_t *count)
{
    ENTER_CONTEXT();
    return describe(stream, status, id, graph, after, count);
}

CUDA_API int cuStreamGetCaptureInfo_v3(void *stream, int *status, unsigned long long *id, void **graph, void ***after,
                                       const void **edges, size_t *count)
{
    ENTER_CONTEXT();
    if (edges != NULL)
        *edges = NULL;
    return describe(stream, status, id, graph, after, count);
}
