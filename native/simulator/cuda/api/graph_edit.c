/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: changing graphs and the ones that are ready to run. */
#include "cuda/api/copy.h"
#include "cuda/api/copy_nd.h"
#include "cuda/api/function.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/lock.h"
#include "cuda/object.h"

#include <stdlib.h>
#include <string.h>

static bool is_before(const struct node_object *node, const struct node_object *after, size_t *place)
{
    for (*place = 0; *place < node->after_count; (*place)++)
        if (node->after[*place] == after)
            return true;
    return false;
}

static int check_edges(void *handle, void *const *from, void *const *to, size_t count)
{
    const struct graph *graph = object_check(handle, OBJECT_GRAPH);
    if (graph == NULL || (count != 0 && (from == NULL || to == NULL)))
        return CU_ERROR_INVALID_VALUE;
    for (size_t index = 0; index < count; index++) {
        const struct node_object *first = object_check(from[index], OBJECT_NODE);
        const struct node_object *second = object_check(to[index], OBJECT_NODE);
        if (first == NULL || second == NULL || first == second || first->graph != graph || second->graph != graph)
            return CU_ERROR_INVALID_VALUE;
    }
    return CU_SUCCESS;
}

static int add_edge(struct node_object *from, struct node_object *to)
{
    size_t place;
    if (is_before(to, from, &place))
        return CU_ERROR_INVALID_VALUE;
    struct node_object **grown = realloc(to->after, (to->after_count + 1) * sizeof(struct node_object *));
    if (grown == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    to->after = grown;
    to->after[to->after_count++] = from;
    return CU_SUCCESS;
}

static int remove_edge(struct node_object *from, struct node_object *to)
{
    size_t place;
    if (!is_before(to, from, &place))
        return CU_ERROR_INVALID_VALUE;
    to->after[place] = to->after[--to->after_count];
    return CU_SUCCESS;
}

static int change_edges(void *graph, void *const *from, void *const *to, size_t count,
                        int (*change)(struct node_object *from, struct node_object *to))
{
    driver_lock();
    int result = check_edges(graph, from, to, count);
    for (size_t index = 0; index < count && result == CU_SUCCESS; index++)
        result = change(from[index], to[index]);
    driver_unlock();
    return result;
}

CUDA_API int cuGraphAddDependencies(void *graph, void *const *from, void *const *to, size_t count)
{
    ENTER();
    return change_edges(graph, from, to, count, add_edge);
}

CUDA_API int cuGraphAddDependencies_v2(void *graph, void *const *from, void *const *to, const void *edges, size_t count)
{
    ENTER();
    (void)edges;
    return change_edges(graph, from, to, count, add_edge);
}

CUDA_API int cuGraphRemoveDependencies(void *graph, void *const *from, void *const *to, size_t count)
{
    ENTER();
    return change_edges(graph, from, to, count, remove_edge);
}

CUDA_API int cuGraphRemoveDependencies_v2(void *graph, void *const *from, void *const *to, const void *edges,
                                          size_t count)
{
    ENTER();
    (void)edges;
    return change_edges(graph, from, to, count, remove_edge);
}

static void unlink_node(struct graph *graph, struct node_object *node)
{
    struct node_object *before = NULL;
    for (struct node_object *other = graph->first; other != NULL; other = other->next) {
        remove_edge(node, other);
        if (other->next == node)
            before = other;
    }
    *(before != NULL ? &before->next : &graph->first) = node->next;
    if (graph->last == node)
        graph->last = before;
    graph->count--;
}

/* Memory nodes stay: what they are the address of may be in use. */
CUDA_API int cuGraphDestroyNode(void *handle)
{
    ENTER();
    int result = CU_ERROR_INVALID_VALUE;
    driver_lock();
    struct node_object *node = object_check(handle, OBJECT_NODE);
    if (node != NULL && node->graph != NULL && node->graph->capture_id == 0) {
        result = node->content.type == CU_NODE_MEM_ALLOC || node->content.type == CU_NODE_MEM_FREE
                     ? CU_ERROR_NOT_SUPPORTED
                     : CU_SUCCESS;
        if (result == CU_SUCCESS) {
            unlink_node(node->graph, node);
            node_free(node);
        }
    }
    driver_unlock();
    return result;
}

static int list_after(void *handle, void **nodes, size_t *count)
{
    struct node_object *node = object_check(handle, OBJECT_NODE);
    size_t found = 0, place;
    if (node == NULL || node->graph == NULL || count == NULL)
        return CU_ERROR_INVALID_VALUE;
    for (struct node_object *other = node->graph->first; other != NULL; other = other->next) {
        if (!is_before(other, node, &place))
            continue;
        if (nodes != NULL && found < *count)
            nodes[found] = other;
        found++;
    }
    for (size_t index = found; nodes != NULL && index < *count; index++)
        nodes[index] = NULL;
    if (nodes == NULL || found < *count)
        *count = found;
    return CU_SUCCESS;
}

CUDA_API int cuGraphNodeGetDependentNodes(void *node, void **nodes, size_t *count)
{
    ENTER();
    return list_after(node, nodes, count);
}

CUDA_API int cuGraphNodeGetDependentNodes_v2(void *node, void **nodes, void *edges, size_t *count)
{
    ENTER();
    int result = list_after(node, nodes, count);
    if (result == CU_SUCCESS && edges != NULL)
        memset(edges, 0, *count * 8);
    return result;
}

/* What a node does may change, but not its kind, and not a kind that has memory or graphs of its own. */
static int set_content(void *handle, int type, const void *content, size_t size)
{
    struct node_object *node = object_check(handle, OBJECT_NODE);
    if (node == NULL || content == NULL || node->content.type != type)
        return CU_ERROR_INVALID_VALUE;
    struct cu_node draft = node->content;
    memcpy(draft.words, content, size);
    int result = type == CU_NODE_KERNEL   ? check_launch(&draft.kernel)
                 : type == CU_NODE_MEMSET ? check_fill(&draft.memset)
                 : type == CU_NODE_MEMCPY ? check_copy_3d(&draft.memcpy.copy)
                                          : CU_SUCCESS;
    if (result == CU_SUCCESS)
        node->content = draft;
    return result;
}

CUDA_API int cuGraphKernelNodeSetParams_v2(void *node, const struct cu_kernel_node *launch)
{
    ENTER();
    return set_content(node, CU_NODE_KERNEL, launch, sizeof *launch);
}

CUDA_API int cuGraphKernelNodeSetParams(void *node, const struct cu_kernel_node *launch)
{
    ENTER();
    return set_content(node, CU_NODE_KERNEL, launch, offsetof(struct cu_kernel_node, kernel));
}

CUDA_API int cuGraphMemsetNodeSetParams(void *node, const struct cu_memset_node *fill)
{
    ENTER();
    return set_content(node, CU_NODE_MEMSET, fill, offsetof(struct cu_memset_node, context));
}

CUDA_API int cuGraphHostNodeSetParams(void *node, const struct cu_host_node *host)
{
    ENTER();
    return host != NULL && host->function == NULL ? CU_ERROR_INVALID_VALUE
                                                  : set_content(node, CU_NODE_HOST, host, sizeof *host);
}

struct update_result {
    int result;
    void *error_node, *error_from;
};
enum { UPDATE_SUCCESS, UPDATE_ERROR, UPDATE_TOPOLOGY_CHANGED, UPDATE_TYPE_CHANGED };

/* The same kinds in the same order are the same graph as far as a launch can tell. */
static int compare(const struct exec *exec, const struct graph *graph, void **differs)
{
    const struct node_object *ready = exec->first;
    struct node_object *node = graph->first;
    for (; ready != NULL && node != NULL; ready = ready->next, node = node->next)
        if (ready->content.type != node->content.type || node->child != NULL) {
            *differs = node;
            return UPDATE_TYPE_CHANGED;
        }
    *differs = node;
    return ready == NULL && node == NULL ? UPDATE_SUCCESS : UPDATE_TOPOLOGY_CHANGED;
}

CUDA_API int cuGraphExecUpdate_v2(void *handle, void *graph_handle, struct update_result *told)
{
    ENTER_CONTEXT();
    struct exec *exec = object_check(handle, OBJECT_EXEC);
    struct graph *graph = object_check(graph_handle, OBJECT_GRAPH);
    if (exec == NULL || graph == NULL || told == NULL)
        return CU_ERROR_INVALID_VALUE;
    *told = (struct update_result){.result = UPDATE_SUCCESS};
    driver_lock();
    told->result = compare(exec, graph, &told->error_node);
    struct node_object *node = graph->first;
    for (struct node_object *ready = exec->first; told->result == UPDATE_SUCCESS && ready != NULL;
         ready = ready->next, node = node->next) {
        if (node->block == NULL)
            ready->content = node->content;
        ready->origin = node;
    }
    driver_unlock();
    return told->result == UPDATE_SUCCESS ? CU_SUCCESS : 910; /* GRAPH_EXEC_UPDATE_FAILURE */
}

CUDA_API int cuGraphExecUpdate(void *exec, void *graph, void **error_node, int *result)
{
    struct update_result told = {.result = UPDATE_ERROR};
    int code = cuGraphExecUpdate_v2(exec, graph, &told);
    if (error_node != NULL)
        *error_node = told.error_node;
    if (result != NULL)
        *result = told.result;
    return code;
}
