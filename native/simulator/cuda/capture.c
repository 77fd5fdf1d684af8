/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/capture.h"

#include "cuda/graph.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/stream.h"

#include <string.h>

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

void capture_end(struct graph *graph)
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
        capture_end(graph);
        graph_free(graph);
    }
    driver_unlock();
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
