/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: building graphs. */
#include "cuda/api/copy.h"
#include "cuda/api/copy_nd.h"
#include "cuda/api/function.h"
#include "cuda/arena.h"
#include "cuda/context.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/user_object.h"

#include <stdlib.h>
#include <string.h>

static struct graph *graph_check(void *handle)
{
    return object_check(handle, OBJECT_GRAPH);
}

CUDA_API int cuGraphCreate(struct graph **handle, unsigned flags)
{
    ENTER();
    if (handle == NULL || flags != 0)
        return CU_ERROR_INVALID_VALUE;
    *handle = graph_new();
    return *handle != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuGraphDestroy(void *handle)
{
    ENTER();
    struct graph *graph = graph_check(handle);
    if (graph == NULL || graph->is_owned || graph->capture_id != 0) /* a stream still records into it */
        return CU_ERROR_INVALID_VALUE;
    driver_lock();
    graph_free(graph);
    driver_unlock();
    return CU_SUCCESS;
}

static struct node_object *counterpart(struct graph *clone, const struct node_object *original)
{
    for (struct node_object *node = clone->first; node != NULL; node = node->next)
        if (node->origin == original)
            return node;
    return NULL;
}

static struct graph *clone_graph(const struct graph *graph);

static bool clone_node(struct graph *clone, struct node_object *original)
{
    struct node_object *node = node_new(clone, &original->content, original->after, original->after_count);
    if (node == NULL)
        return false;
    node->origin = original;
    for (size_t index = 0; index < node->after_count; index++)
        node->after[index] = counterpart(clone, node->after[index]);
    if (original->child != NULL) {
        node->child = clone_graph(original->child);
        if (node->child == NULL)
            return false;
        node->child->is_owned = true;
    }
    return true;
}

static struct graph *clone_graph(const struct graph *graph)
{
    struct graph *clone = graph_new();
    if (clone != NULL && !held_copy(&clone->held, graph->held)) {
        graph_free(clone);
        return NULL;
    }
    for (struct node_object *node = graph->first; clone != NULL && node != NULL; node = node->next)
        if (!clone_node(clone, node)) {
            graph_free(clone);
            clone = NULL;
        }
    return clone;
}

static bool has_memory(const struct graph *graph)
{
    for (const struct node_object *node = graph->first; node != NULL; node = node->next)
        if (node->content.type == CU_NODE_MEM_ALLOC || node->content.type == CU_NODE_MEM_FREE ||
            (node->child != NULL && has_memory(node->child)))
            return true;
    return false;
}

/* A graph with memory nodes has addresses of its own and cannot be doubled. */
CUDA_API int cuGraphClone(struct graph **handle, void *original)
{
    ENTER();
    const struct graph *graph = graph_check(original);
    if (handle == NULL || graph == NULL)
        return CU_ERROR_INVALID_VALUE;
    if (has_memory(graph))
        return CU_ERROR_NOT_SUPPORTED;
    driver_lock();
    *handle = clone_graph(graph);
    driver_unlock();
    return *handle != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuGraphNodeFindInClone(void **found, void *original, void *clone)
{
    ENTER();
    struct graph *graph = graph_check(clone);
    if (found == NULL || graph == NULL || object_check(original, OBJECT_NODE) == NULL)
        return CU_ERROR_INVALID_VALUE;
    *found = counterpart(graph, original);
    return *found != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

static int check_memory(const struct cu_memory_node *memory)
{
    if (memory->bytes == 0 || memory->pool.type != CU_ALLOCATION_PINNED ||
        memory->pool.location.type != CU_LOCATION_DEVICE || memory->pool.handle_types != 0)
        return CU_ERROR_INVALID_VALUE;
    return device_at(memory->pool.location.id) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_DEVICE;
}

static int check_content(const struct cu_node *content)
{
    switch (content->type) {
    case CU_NODE_KERNEL:
        return check_launch(&content->kernel);
    case CU_NODE_MEMCPY:
        return check_copy_3d(&content->memcpy.copy);
    case CU_NODE_MEMSET:
        return check_fill(&content->memset);
    case CU_NODE_HOST:
        return content->host.function != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
    case CU_NODE_GRAPH:
        return graph_check(content->graph.graph) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
    case CU_NODE_EMPTY:
        return CU_SUCCESS;
    case CU_NODE_WAIT_EVENT:
    case CU_NODE_EVENT_RECORD:
        return object_check(content->event, OBJECT_EVENT) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
    case CU_NODE_MEM_ALLOC:
        return check_memory(&content->memory);
    case CU_NODE_MEM_FREE:
        return arena_find_start(content->freed) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
    default:
        return CU_ERROR_NOT_SUPPORTED;
    }
}

static int check_order(const struct graph *graph, void *const *after, size_t count)
{
    if (graph == NULL || (count != 0 && after == NULL))
        return CU_ERROR_INVALID_VALUE;
    for (size_t index = 0; index < count; index++) {
        const struct node_object *node = object_check(after[index], OBJECT_NODE);
        if (node == NULL || node->graph != graph)
            return CU_ERROR_INVALID_VALUE;
    }
    return CU_SUCCESS;
}

static int complete(struct node_object *node)
{
    if (node->content.type == CU_NODE_MEM_ALLOC)
        return graph_memory_reserve(node);
    if (node->content.type != CU_NODE_GRAPH)
        return CU_SUCCESS;
    node->child = clone_graph(node->content.graph.graph);
    if (node->child == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    node->child->is_owned = true;
    return CU_SUCCESS;
}

static int add_locked(void **handle, struct graph *graph, void *const *after, size_t count,
                      const struct cu_node *content)
{
    struct node_object draft = {.content = *content};
    int result = complete(&draft);
    if (result != CU_SUCCESS)
        return result;
    struct node_object *node = node_new(graph, &draft.content, (struct node_object **)(uintptr_t)after, count);
    if (node == NULL) {
        if (draft.block != NULL)
            graph_memory_drop(draft.block);
        if (draft.child != NULL)
            graph_free(draft.child);
        return CU_ERROR_OUT_OF_MEMORY;
    }
    node->block = draft.block;
    node->child = draft.child;
    *handle = node;
    return CU_SUCCESS;
}

static int add(void **handle, void *graph_handle, void *const *after, size_t count, const struct cu_node *content)
{
    struct graph *graph = graph_check(graph_handle);
    int result = handle == NULL ? CU_ERROR_INVALID_VALUE : check_order(graph, after, count);
    if (result == CU_SUCCESS)
        result = check_content(content);
    if (result != CU_SUCCESS)
        return result;
    driver_lock();
    result = add_locked(handle, graph, after, count, content);
    driver_unlock();
    return result;
}

CUDA_API int cuGraphAddNode_v2(void **node, void *graph, void *const *after, const void *edges, size_t count,
                               struct cu_node *content)
{
    ENTER();
    (void)edges; /* kinds of edges make no difference where nothing runs side by side */
    if (content == NULL)
        return CU_ERROR_INVALID_VALUE;
    int result = add(node, graph, after, count, content);
    if (result == CU_SUCCESS && content->type == CU_NODE_MEM_ALLOC)
        content->memory.pointer = ((struct node_object *)*node)->content.memory.pointer;
    return result;
}

CUDA_API int cuGraphAddNode(void **node, void *graph, void *const *after, size_t count, struct cu_node *content)
{
    return cuGraphAddNode_v2(node, graph, after, NULL, count, content);
}

/* What cuGraphAdd...Node takes, put into the common form. `size` is less than the whole for first versions. */
static int add_of(int type, void **node, void *graph, void *const *after, size_t count, const void *content,
                  size_t size)
{
    struct cu_node whole = {.type = type};
    if (content == NULL && size != 0)
        return CU_ERROR_INVALID_VALUE;
    if (size != 0)
        memcpy(whole.words, content, size);
    return add(node, graph, after, count, &whole);
}

CUDA_API int cuGraphAddKernelNode_v2(void **node, void *graph, void *const *after, size_t count,
                                     const struct cu_kernel_node *launch)
{
    ENTER();
    return add_of(CU_NODE_KERNEL, node, graph, after, count, launch, sizeof *launch);
}

CUDA_API int cuGraphAddKernelNode(void **node, void *graph, void *const *after, size_t count,
                                  const struct cu_kernel_node *launch)
{
    ENTER();
    return add_of(CU_NODE_KERNEL, node, graph, after, count, launch, offsetof(struct cu_kernel_node, kernel));
}

CUDA_API int cuGraphAddMemcpyNode(void **node, void *graph, void *const *after, size_t count,
                                  const struct cu_memcpy3d *copy, void *context)
{
    ENTER();
    struct cu_memcpy_node whole = {.context = context};
    if (copy == NULL || context_check(context) == NULL)
        return copy == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_CONTEXT;
    whole.copy = *copy;
    return add_of(CU_NODE_MEMCPY, node, graph, after, count, &whole, sizeof whole);
}

CUDA_API int cuGraphAddMemsetNode(void **node, void *graph, void *const *after, size_t count,
                                  const struct cu_memset_node *fill, void *context)
{
    ENTER();
    if (context_check(context) == NULL)
        return CU_ERROR_INVALID_CONTEXT;
    return add_of(CU_NODE_MEMSET, node, graph, after, count, fill, offsetof(struct cu_memset_node, context));
}

CUDA_API int cuGraphAddHostNode(void **node, void *graph, void *const *after, size_t count,
                                const struct cu_host_node *host)
{
    ENTER();
    return add_of(CU_NODE_HOST, node, graph, after, count, host, sizeof *host);
}

CUDA_API int cuGraphAddEmptyNode(void **node, void *graph, void *const *after, size_t count)
{
    ENTER();
    return add_of(CU_NODE_EMPTY, node, graph, after, count, NULL, 0);
}

CUDA_API int cuGraphAddChildGraphNode(void **node, void *graph, void *const *after, size_t count, void *child)
{
    ENTER();
    if (child == graph || (graph_check(child) != NULL && has_memory(child)))
        return child == graph ? CU_ERROR_INVALID_VALUE : CU_ERROR_NOT_SUPPORTED;
    return add_of(CU_NODE_GRAPH, node, graph, after, count, &child, sizeof child);
}

CUDA_API int cuGraphChildGraphNodeGetGraph(void *handle, void **graph)
{
    ENTER();
    const struct node_object *node = object_check(handle, OBJECT_NODE);
    if (node == NULL || node->child == NULL || graph == NULL)
        return CU_ERROR_INVALID_VALUE;
    *graph = node->child;
    return CU_SUCCESS;
}

CUDA_API int cuGraphAddEventRecordNode(void **node, void *graph, void *const *after, size_t count, void *event)
{
    ENTER();
    return add_of(CU_NODE_EVENT_RECORD, node, graph, after, count, &event, sizeof event);
}

CUDA_API int cuGraphAddEventWaitNode(void **node, void *graph, void *const *after, size_t count, void *event)
{
    ENTER();
    return add_of(CU_NODE_WAIT_EVENT, node, graph, after, count, &event, sizeof event);
}

CUDA_API int cuGraphAddMemAllocNode(void **node, void *graph, void *const *after, size_t count,
                                    struct cu_memory_node *memory)
{
    ENTER();
    int result = add_of(CU_NODE_MEM_ALLOC, node, graph, after, count, memory, sizeof *memory);
    if (result == CU_SUCCESS)
        memory->pointer = ((struct node_object *)*node)->content.memory.pointer;
    return result;
}

CUDA_API int cuGraphAddMemFreeNode(void **node, void *graph, void *const *after, size_t count, cu_pointer pointer)
{
    ENTER();
    return add_of(CU_NODE_MEM_FREE, node, graph, after, count, &pointer, sizeof pointer);
}
