/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: memory of graphs. What the nodes of a graph allocate is counted when it is instantiated, which is before any
 * launch can take it, and until that instance is destroyed. */
#include "../include/cuda_abi.h"
#include "charge.h"
#include "device.h"
#include "hook_table.h"

static uint64_t key(const void *handle)
{
    return (uint64_t)(uintptr_t)handle;
}

static void grow(void *graph, const struct cu_memory_node *memory)
{
    int device = device_controlled() ? device_index(memory->pool.location.id) : -1;
    if (device >= 0)
        allocations_grow(SPACE_GRAPH, key(graph), device, charge_rounded(memory->bytes, GRAPH_UNIT));
}

VGPU_EXPORT int cuGraphAddMemAllocNode(void **node, void *graph, const void *needs, size_t count,
                                       struct cu_memory_node *memory)
{
    int result = REAL(cuGraphAddMemAllocNode)(node, graph, needs, count, memory);
    if (result == CU_SUCCESS)
        grow(graph, memory);
    return result;
}

VGPU_EXPORT int cuGraphAddNode(void **node, void *graph, const void *needs, size_t count, struct cu_node *added)
{
    int result = REAL(cuGraphAddNode)(node, graph, needs, count, added);
    if (result == CU_SUCCESS && added->type == CU_NODE_MEM_ALLOC)
        grow(graph, &added->memory);
    return result;
}

VGPU_EXPORT int cuGraphAddNode_v2(void **node, void *graph, const void *needs, const void *edges, size_t count,
                                  struct cu_node *added)
{
    int result = REAL(cuGraphAddNode_v2)(node, graph, needs, edges, count, added);
    if (result == CU_SUCCESS && added->type == CU_NODE_MEM_ALLOC)
        grow(graph, &added->memory);
    return result;
}

VGPU_EXPORT int cuGraphClone(void **clone, void *graph)
{
    struct allocation entry;
    int result = REAL(cuGraphClone)(clone, graph);
    if (result == CU_SUCCESS && device_controlled() && allocations_get(SPACE_GRAPH, key(graph), &entry))
        allocations_grow(SPACE_GRAPH, key(*clone), entry.device, entry.bytes);
    return result;
}

VGPU_EXPORT int cuGraphDestroy(void *graph)
{
    struct allocation entry, replaced;
    bool known = charge_begin_free(&entry, SPACE_GRAPH, key(graph));
    int result = REAL(cuGraphDestroy)(graph);
    if (known && result != CU_SUCCESS)
        allocations_put(SPACE_GRAPH, key(graph), entry, &replaced);
    return result;
}

static bool charge_graph(struct charge *charge, void *graph)
{
    struct allocation entry;
    *charge = (struct charge){.device = -1};
    if (!device_controlled() || !allocations_get(SPACE_GRAPH, key(graph), &entry))
        return true;
    charge->device = entry.device;
    return charge_adjust(charge, entry.bytes);
}

static int keep(const struct charge *charge, void **instance, int result)
{
    if (charge_keep(charge, SPACE_EXEC, result == CU_SUCCESS ? key(*instance) : 0, result))
        return result;
    ((int (*)(void *))(uintptr_t)hook_real(HOOK_cuGraphExecDestroy))(*instance);
    return CU_ERROR_OUT_OF_MEMORY;
}

VGPU_EXPORT int cuGraphInstantiate(void **instance, void *graph, void **error, char *log, size_t size)
{
    struct charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiate)(instance, graph, error, log, size));
}

VGPU_EXPORT int cuGraphInstantiate_v2(void **instance, void *graph, void **error, char *log, size_t size)
{
    struct charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiate_v2)(instance, graph, error, log, size));
}

VGPU_EXPORT int cuGraphInstantiateWithFlags(void **instance, void *graph, unsigned long long flags)
{
    struct charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiateWithFlags)(instance, graph, flags));
}

VGPU_EXPORT int cuGraphInstantiateWithParams(void **instance, void *graph, struct cu_instantiate *parameters)
{
    struct charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiateWithParams)(instance, graph, parameters));
}

VGPU_EXPORT int cuGraphInstantiateWithParams_ptsz(void **instance, void *graph, struct cu_instantiate *parameters)
{
    struct charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiateWithParams_ptsz)(instance, graph, parameters));
}

VGPU_EXPORT int cuGraphExecDestroy(void *instance)
{
    struct allocation entry;
    bool known = charge_begin_free(&entry, SPACE_EXEC, key(instance));
    int result = REAL(cuGraphExecDestroy)(instance);
    charge_end_free(known, &entry, SPACE_EXEC, key(instance), result);
    return result;
}
