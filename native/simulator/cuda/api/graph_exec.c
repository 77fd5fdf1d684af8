/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: graphs ready to run, and running them. */
#include "cuda/api/copy.h"
#include "cuda/api/copy_nd.h"
#include "cuda/api/function.h"
#include "cuda/arena.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/stream.h"
#include "cuda/user_object.h"

#include <string.h>

enum { KNOWN_FLAGS = 15 };

static void free_nodes(struct exec *exec)
{
    held_drop(&exec->held);
    while (exec->first != NULL) {
        struct node_object *node = exec->first;
        exec->first = node->next;
        node_free(node);
    }
}

static bool copy_node(struct exec *exec, struct node_object *original)
{
    struct node_object *node = node_new(NULL, &original->content, NULL, 0);
    if (node == NULL)
        return false;
    node->origin = original;
    node->block = original->block;
    if (node->block != NULL)
        graph_memory_hold(node->block);
    *(exec->last != NULL ? &exec->last->next : &exec->first) = node;
    exec->last = node;
    return true;
}

static bool is_ready(const struct node_object *node)
{
    for (size_t index = 0; index < node->after_count; index++)
        if (!node->after[index]->is_placed)
            return false;
    return !node->is_placed;
}

static int copy_graph(struct exec *exec, struct graph *graph);

static int place(struct exec *exec, struct node_object *node)
{
    node->is_placed = true;
    if (node->child != NULL)
        return copy_graph(exec, node->child);
    return copy_node(exec, node) ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

/* Nodes in an order that respects the edges; INVALID_VALUE if there is a cycle. */
static int copy_graph(struct exec *exec, struct graph *graph)
{
    size_t placed = 0;
    int result = CU_SUCCESS;
    for (struct node_object *node = graph->first; node != NULL; node = node->next)
        node->is_placed = false;
    while (placed != graph->count && result == CU_SUCCESS) {
        size_t before = placed;
        for (struct node_object *node = graph->first; node != NULL && result == CU_SUCCESS; node = node->next)
            if (is_ready(node)) {
                result = place(exec, node);
                placed++;
            }
        if (before == placed)
            result = CU_ERROR_INVALID_VALUE;
    }
    return result;
}

static int instantiate(struct exec **handle, void *graph_handle, unsigned long long flags)
{
    struct graph *graph = object_check(graph_handle, OBJECT_GRAPH);
    if (handle == NULL || graph == NULL || (flags & ~(unsigned long long)KNOWN_FLAGS) != 0)
        return CU_ERROR_INVALID_VALUE;
    struct exec *exec = object_new(OBJECT_EXEC);
    if (exec == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    exec->flags = flags;
    driver_lock();
    int result = held_copy(&exec->held, graph->held) ? copy_graph(exec, graph) : CU_ERROR_OUT_OF_MEMORY;
    driver_unlock();
    if (result == CU_SUCCESS) {
        *handle = exec;
        return CU_SUCCESS;
    }
    driver_lock();
    free_nodes(exec);
    driver_unlock();
    object_free(exec);
    return result;
}

CUDA_API int cuGraphInstantiateWithFlags(struct exec **exec, void *graph, unsigned long long flags)
{
    ENTER_CONTEXT();
    return instantiate(exec, graph, flags);
}

CUDA_API int cuGraphInstantiate_v2(struct exec **exec, void *graph, void **error_node, char *log, size_t size)
{
    ENTER_CONTEXT();
    if (error_node != NULL)
        *error_node = NULL;
    if (log != NULL && size != 0)
        log[0] = '\0';
    return instantiate(exec, graph, 0);
}

CUDA_API int cuGraphInstantiate(struct exec **exec, void *graph, void **error_node, char *log, size_t size)
{
    return cuGraphInstantiate_v2(exec, graph, error_node, log, size);
}

CUDA_API int cuGraphInstantiateWithParams(struct exec **exec, void *graph, struct cu_instantiate *parameters)
{
    ENTER_CONTEXT();
    if (parameters == NULL)
        return CU_ERROR_INVALID_VALUE;
    int result = instantiate(exec, graph, parameters->flags);
    parameters->error_node = NULL;
    parameters->result = result == CU_SUCCESS ? 0 : 1;
    return result;
}

CUDA_API int cuGraphExecGetFlags(void *handle, unsigned long long *flags)
{
    ENTER();
    const struct exec *exec = object_check(handle, OBJECT_EXEC);
    if (exec == NULL || flags == NULL)
        return CU_ERROR_INVALID_VALUE;
    *flags = exec->flags;
    return CU_SUCCESS;
}

CUDA_API int cuGraphExecDestroy(void *handle)
{
    ENTER();
    struct exec *exec = object_check(handle, OBJECT_EXEC);
    if (exec == NULL)
        return CU_ERROR_INVALID_VALUE;
    driver_lock();
    free_nodes(exec);
    object_free(exec);
    driver_unlock();
    return CU_SUCCESS;
}

/* Memory that an earlier launch left unfreed makes the next launch fail, or is freed if the graph requests that. */
static int prepare_memory(struct exec *exec)
{
    for (struct node_object *node = exec->first; node != NULL; node = node->next) {
        if (node->block == NULL || node->block->charged == 0)
            continue;
        if ((exec->flags & CU_INSTANTIATE_AUTO_FREE_ON_LAUNCH) == 0)
            return CU_ERROR_INVALID_VALUE;
        graph_memory_free(node->block);
    }
    return CU_SUCCESS;
}

/* All or nothing: what a launch cannot have in full it does not start. */
static int start_memory(struct exec *exec)
{
    int result = prepare_memory(exec);
    for (struct node_object *node = exec->first; node != NULL && result == CU_SUCCESS; node = node->next)
        if (node->block != NULL)
            result = graph_memory_start(node->block);
    for (struct node_object *node = exec->first; node != NULL && result == CU_ERROR_OUT_OF_MEMORY; node = node->next)
        if (node->block != NULL)
            graph_memory_free(node->block);
    return result;
}

static int run_node(const struct node_object *node, struct stream *stream)
{
    struct block *block;
    switch (node->content.type) {
    case CU_NODE_KERNEL:
        stream_run(stream);
        return CU_SUCCESS;
    case CU_NODE_MEMCPY:
        return copy_3d(&node->content.memcpy.copy);
    case CU_NODE_MEMSET:
        if (check_fill(&node->content.memset) != CU_SUCCESS)
            return CU_ERROR_ILLEGAL_ADDRESS; /* what it was to fill is gone */
        fill_rows(&node->content.memset);
        return CU_SUCCESS;
    case CU_NODE_HOST:
        return stream_call_host(stream, node->content.host.function, node->content.host.data);
    case CU_NODE_MEM_FREE:
        block = arena_find_start(node->content.freed);
        if (block != NULL && block->kind == BLOCK_GRAPH)
            graph_memory_free(block);
        return CU_SUCCESS;
    default:
        return CU_SUCCESS;
    }
}

CUDA_API int cuGraphLaunch(void *handle, void *stream_handle)
{
    ENTER_CONTEXT();
    struct exec *exec = object_check(handle, OBJECT_EXEC);
    struct stream *stream = stream_find(stream_handle);
    if (exec == NULL || stream == NULL)
        return exec == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    if (stream->capture != NULL)
        return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    driver_lock();
    int result = start_memory(exec);
    driver_unlock();
    for (struct node_object *node = exec->first; node != NULL && result == CU_SUCCESS; node = node->next)
        if (!node->is_disabled)
            result = run_node(node, stream);
    return result;
}

CUDA_API int cuGraphUpload(void *handle, void *stream)
{
    ENTER_CONTEXT();
    bool good = object_check(handle, OBJECT_EXEC) != NULL;
    if (!good || stream_find(stream) == NULL)
        return good ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    return CU_SUCCESS;
}

static struct node_object *node_of(void *handle, void *origin)
{
    struct exec *exec = object_check(handle, OBJECT_EXEC);
    for (struct node_object *node = exec != NULL ? exec->first : NULL; node != NULL; node = node->next)
        if (node->origin == origin)
            return node;
    return NULL;
}

CUDA_API int cuGraphNodeSetEnabled(void *exec, void *origin, unsigned enabled)
{
    ENTER();
    struct node_object *node = node_of(exec, origin);
    if (node == NULL || (node->content.type != CU_NODE_KERNEL && node->content.type != CU_NODE_MEMCPY &&
                         node->content.type != CU_NODE_MEMSET))
        return CU_ERROR_INVALID_VALUE;
    node->is_disabled = enabled == 0;
    return CU_SUCCESS;
}

CUDA_API int cuGraphNodeGetEnabled(void *exec, void *origin, unsigned *enabled)
{
    ENTER();
    const struct node_object *node = node_of(exec, origin);
    if (node == NULL || enabled == NULL)
        return CU_ERROR_INVALID_VALUE;
    *enabled = !node->is_disabled;
    return CU_SUCCESS;
}

CUDA_API int cuGraphExecKernelNodeSetParams_v2(void *exec, void *origin, const struct cu_kernel_node *launch)
{
    ENTER();
    struct node_object *node = node_of(exec, origin);
    if (node == NULL || launch == NULL || node->content.type != CU_NODE_KERNEL)
        return CU_ERROR_INVALID_VALUE;
    int result = check_launch(launch);
    if (result == CU_SUCCESS)
        node->content.kernel = *launch;
    return result;
}
