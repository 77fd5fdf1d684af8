/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: what is in a graph, and graph memory of devices. */
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/object.h"

#include <string.h>

CUDA_API int cuGraphNodeGetType(void *handle, int *type)
{
    ENTER();
    const struct node_object *node = object_check(handle, OBJECT_NODE);
    if (node == NULL || type == NULL)
        return CU_ERROR_INVALID_VALUE;
    *type = node->content.type;
    return CU_SUCCESS;
}

/* NULL asks how many there are; what is beyond the end of the list is NULL. */
static int list_nodes(void *handle, void **nodes, size_t *count, bool roots)
{
    const struct graph *graph = object_check(handle, OBJECT_GRAPH);
    size_t found = 0;
    if (graph == NULL || count == NULL)
        return CU_ERROR_INVALID_VALUE;
    for (struct node_object *node = graph->first; node != NULL; node = node->next) {
        if (roots && node->after_count != 0)
            continue;
        if (nodes != NULL && found < *count)
            nodes[found] = node;
        found++;
    }
    for (size_t index = found; nodes != NULL && index < *count; index++)
        nodes[index] = NULL;
    if (nodes == NULL || found < *count)
        *count = found;
    return CU_SUCCESS;
}

CUDA_API int cuGraphGetNodes(void *graph, void **nodes, size_t *count)
{
    ENTER();
    return list_nodes(graph, nodes, count, false);
}

CUDA_API int cuGraphGetRootNodes(void *graph, void **nodes, size_t *count)
{
    ENTER();
    return list_nodes(graph, nodes, count, true);
}

static int list_edges(void *handle, void **from, void **to, size_t *count)
{
    const struct graph *graph = object_check(handle, OBJECT_GRAPH);
    size_t found = 0;
    if (graph == NULL || count == NULL || (from == NULL) != (to == NULL))
        return CU_ERROR_INVALID_VALUE;
    for (struct node_object *node = graph->first; node != NULL; node = node->next)
        for (size_t index = 0; index < node->after_count; index++, found++)
            if (from != NULL && found < *count) {
                from[found] = node->after[index];
                to[found] = node;
            }
    if (from == NULL || found < *count)
        *count = found;
    return CU_SUCCESS;
}

CUDA_API int cuGraphGetEdges(void *graph, void **from, void **to, size_t *count)
{
    ENTER();
    return list_edges(graph, from, to, count);
}

/* Data of edges is not kept: a caller who asks for it gets zeros, the plain kind. */
CUDA_API int cuGraphGetEdges_v2(void *graph, void **from, void **to, void *edges, size_t *count)
{
    ENTER();
    int result = list_edges(graph, from, to, count);
    if (result == CU_SUCCESS && edges != NULL)
        memset(edges, 0, *count * 8);
    return result;
}

static int list_before(void *handle, void **nodes, size_t *count)
{
    const struct node_object *node = object_check(handle, OBJECT_NODE);
    if (node == NULL || count == NULL)
        return CU_ERROR_INVALID_VALUE;
    for (size_t index = 0; nodes != NULL && index < *count; index++)
        nodes[index] = index < node->after_count ? node->after[index] : NULL;
    if (nodes == NULL || node->after_count < *count)
        *count = node->after_count;
    return CU_SUCCESS;
}

CUDA_API int cuGraphNodeGetDependencies(void *node, void **nodes, size_t *count)
{
    ENTER();
    return list_before(node, nodes, count);
}

CUDA_API int cuGraphNodeGetDependencies_v2(void *node, void **nodes, void *edges, size_t *count)
{
    ENTER();
    int result = list_before(node, nodes, count);
    if (result == CU_SUCCESS && edges != NULL)
        memset(edges, 0, *count * 8);
    return result;
}

static int get_content(void *handle, int type, void *content, size_t size)
{
    const struct node_object *node = object_check(handle, OBJECT_NODE);
    if (node == NULL || content == NULL || node->content.type != type)
        return CU_ERROR_INVALID_VALUE;
    memcpy(content, node->content.words, size);
    return CU_SUCCESS;
}

CUDA_API int cuGraphMemAllocNodeGetParams(void *node, struct cu_memory_node *memory)
{
    ENTER();
    return get_content(node, CU_NODE_MEM_ALLOC, memory, sizeof *memory);
}

CUDA_API int cuGraphMemFreeNodeGetParams(void *node, cu_pointer *pointer)
{
    ENTER();
    return get_content(node, CU_NODE_MEM_FREE, pointer, sizeof *pointer);
}

CUDA_API int cuGraphKernelNodeGetParams_v2(void *node, struct cu_kernel_node *launch)
{
    ENTER();
    return get_content(node, CU_NODE_KERNEL, launch, sizeof *launch);
}

CUDA_API int cuGraphKernelNodeGetParams(void *node, struct cu_kernel_node *launch)
{
    ENTER();
    return get_content(node, CU_NODE_KERNEL, launch, offsetof(struct cu_kernel_node, kernel));
}

CUDA_API int cuGraphMemsetNodeGetParams(void *node, struct cu_memset_node *fill)
{
    ENTER();
    return get_content(node, CU_NODE_MEMSET, fill, offsetof(struct cu_memset_node, context));
}

CUDA_API int cuGraphHostNodeGetParams(void *node, struct cu_host_node *host)
{
    ENTER();
    return get_content(node, CU_NODE_HOST, host, sizeof *host);
}

CUDA_API int cuGraphMemcpyNodeGetParams(void *handle, struct cu_memcpy3d *copy)
{
    ENTER();
    const struct node_object *node = object_check(handle, OBJECT_NODE);
    if (node == NULL || copy == NULL || node->content.type != CU_NODE_MEMCPY)
        return CU_ERROR_INVALID_VALUE;
    *copy = node->content.memcpy.copy;
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGraphMemTrim(int index)
{
    ENTER();
    if (device_at(index) == NULL)
        return CU_ERROR_INVALID_DEVICE;
    graph_memory_trim(device_at(index));
    return CU_SUCCESS;
}

CUDA_API int cuDeviceGetGraphMemAttribute(int index, int attribute, void *value)
{
    ENTER();
    const struct device *device = device_at(index);
    if (device == NULL || value == NULL || attribute < CU_GRAPH_MEMORY_USED_CURRENT ||
        attribute > CU_GRAPH_MEMORY_RESERVED_HIGH)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    const _Atomic uint64_t *const counters[] = {&device->graph_used, &device->graph_used_high, &device->graph_reserved,
                                                &device->graph_reserved_high};
    uint64_t found = atomic_load(counters[attribute]);
    memcpy(value, &found, sizeof found);
    return CU_SUCCESS;
}

/* A high-water mark can only be set back to now. */
CUDA_API int cuDeviceSetGraphMemAttribute(int index, int attribute, const void *value)
{
    ENTER();
    struct device *device = device_at(index);
    uint64_t wanted = 0;
    if (device == NULL || value == NULL)
        return device == NULL ? CU_ERROR_INVALID_DEVICE : CU_ERROR_INVALID_VALUE;
    memcpy(&wanted, value, sizeof wanted);
    if (wanted != 0 || (attribute != CU_GRAPH_MEMORY_USED_HIGH && attribute != CU_GRAPH_MEMORY_RESERVED_HIGH))
        return CU_ERROR_INVALID_VALUE;
    if (attribute == CU_GRAPH_MEMORY_USED_HIGH)
        atomic_store(&device->graph_used_high, atomic_load(&device->graph_used));
    else
        atomic_store(&device->graph_reserved_high, atomic_load(&device->graph_reserved));
    return CU_SUCCESS;
}
