/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: streams that record into a graph what they are asked to do. */
#include "cuda/capture.h"

#include <string.h>

static uint64_t next_id = 1;

static struct node_object *record(struct stream *stream, const struct cu_node *content)
{
    struct node_object *last = stream->capture_last;
    driver_lock();
    struct node_object *node = node_new(stream->capture, content, &last, last != NULL);
    if (node != NULL)
        stream->capture_last = node;
    driver_unlock();
    return node;
}

static int record_of(struct stream *stream, int type, const void *content, size_t size)
{
    struct cu_node whole = {.type = type};
    memcpy(whole.words, content, size);
    return record(stream, &whole) != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

struct node_object *capture_node(struct stream *stream, int type)
{
    struct cu_node content = {.type = type};
    return stream->capture != NULL ? record(stream, &content) : NULL;
}

int node_set_host(struct node_object *node, void (*function)(void *data), void *data)
{
    node->content.host = (struct cu_host_node){function, data};
    return CU_SUCCESS;
}

int capture_launch(struct stream *stream, const struct cu_kernel_node *launch)
{
    return record_of(stream, CU_NODE_KERNEL, launch, sizeof *launch);
}

int capture_copy(struct stream *stream, const struct cu_memcpy3d *copy)
{
    struct cu_memcpy_node content = {.context = stream->context, .copy = *copy};
    return record_of(stream, CU_NODE_MEMCPY, &content, sizeof content);
}

int capture_fill(struct stream *stream, const struct cu_memset_node *fill)
{
    return record_of(stream, CU_NODE_MEMSET, fill, sizeof *fill);
}

int capture_allocation(struct stream *stream, cu_pointer *pointer, size_t size)
{
    struct cu_node content = {.type = CU_NODE_MEM_ALLOC};
    content.memory.pool.type = CU_ALLOCATION_PINNED;
    content.memory.pool.location = (struct cu_location){CU_LOCATION_DEVICE, (int)stream->context->device->index};
    content.memory.bytes = size;
    struct node_object *node = record(stream, &content);
    int result = node != NULL ? graph_memory_reserve(node) : CU_ERROR_OUT_OF_MEMORY;
    if (result == CU_SUCCESS)
        *pointer = node->content.memory.pointer;
    return result;
}

int capture_free(struct stream *stream, cu_pointer pointer)
{
    return record_of(stream, CU_NODE_MEM_FREE, &pointer, sizeof pointer);
}

static void leave_all(struct graph *graph)
{
    for (struct stream *stream = object_next(OBJECT_STREAM, NULL); stream != NULL;
         stream = object_next(OBJECT_STREAM, stream))
        if (stream->capture == graph) {
            stream->capture = NULL;
            stream->capture_last = NULL;
        }
    graph->capture_id = 0;
}

void capture_drop(struct stream *stream)
{
    struct graph *graph = stream->capture;
    driver_lock();
    if (graph != NULL && stream->capture_id != 0) {
        leave_all(graph);
        graph_free(graph);
    }
    driver_unlock();
}

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
    leave_all(*graph);
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

int capture_join(struct stream *stream, const struct capture_point *point)
{
    struct graph *graph = object_check(point->graph, OBJECT_GRAPH);
    if (graph == NULL || graph->capture_id != point->id)
        return CU_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (stream->capture == NULL) {
        stream->capture = graph;
        stream->capture_last = point->after;
        return CU_SUCCESS;
    }
    if (stream->capture != graph)
        return 904; /* STREAM_CAPTURE_MERGE */
    struct node_object *both[2] = {stream->capture_last, point->after};
    struct cu_node content = {.type = CU_NODE_EMPTY};
    if (both[1] == NULL || both[0] == both[1])
        return CU_SUCCESS;
    driver_lock();
    struct node_object *node =
        both[0] != NULL ? node_new(graph, &content, both, 2) : node_new(graph, &content, &both[1], 1);
    if (node != NULL)
        stream->capture_last = node;
    driver_unlock();
    return node != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}
