/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: memory of graphs. What the nodes of a graph allocate is counted when it is instantiated, which is before any
 * launch can take it, and until that instance is destroyed. */
#include "cuda_abi.h"
#include "driver.h"
#include "memory/charge.h"
#include "memory/device.h"

static uint64_t key(const void *handle)
{
    return (uint64_t)(uintptr_t)handle;
}

static void grow(void *graph, const struct cu_memory_node *memory)
{
    int device = device_controlled() ? device_index(memory->pool.location.id) : DEVICE_NONE;
    if (device >= 0)
        allocations_grow(allocations_on(SPACE_GRAPH, device), key(graph), device,
                         charge_rounded(memory->bytes, GRAPH_UNIT));
}

/* A graph that holds all of another one has its memory too. */
static void grow_by(void *graph, void *other)
{
    struct allocation entry;
    for (int device = 0; device_controlled() && device < VGPU_DEVICES; device++)
        if (allocations_get(allocations_on(SPACE_GRAPH, device), key(other), &entry))
            allocations_grow(allocations_on(SPACE_GRAPH, device), key(graph), device, entry.bytes);
}

static void grow_by_node(void *graph, const struct cu_node *added)
{
    if (added->type == CU_NODE_MEM_ALLOC)
        grow(graph, &added->memory);
    else if (added->type == CU_NODE_GRAPH)
        grow_by(graph, added->graph.graph);
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
    if (result == CU_SUCCESS)
        grow_by_node(graph, added);
    return result;
}

VGPU_EXPORT int cuGraphAddNode_v2(void **node, void *graph, const void *needs, const void *edges, size_t count,
                                  struct cu_node *added)
{
    int result = REAL(cuGraphAddNode_v2)(node, graph, needs, edges, count, added);
    if (result == CU_SUCCESS)
        grow_by_node(graph, added);
    return result;
}

VGPU_EXPORT int cuGraphClone(void **clone, void *graph)
{
    int result = REAL(cuGraphClone)(clone, graph);
    if (result == CU_SUCCESS)
        grow_by(*clone, graph);
    return result;
}

/* What is known of a graph or an instance, by device. */
struct entries {
    bool known[VGPU_DEVICES];
    struct allocation on[VGPU_DEVICES];
};

static void take_entries(struct entries *entries, enum allocation_space space, const void *handle)
{
    for (int device = 0; device < VGPU_DEVICES; device++)
        entries->known[device] = charge_begin_free(&entries->on[device], allocations_on(space, device), key(handle));
}

VGPU_EXPORT int cuGraphDestroy(void *graph)
{
    struct entries entries;
    struct allocation replaced;
    take_entries(&entries, SPACE_GRAPH, graph);
    int result = REAL(cuGraphDestroy)(graph);
    for (int device = 0; result != CU_SUCCESS && device < VGPU_DEVICES; device++)
        if (entries.known[device])
            allocations_put(allocations_on(SPACE_GRAPH, device), key(graph), entries.on[device], &replaced);
    return result;
}

VGPU_EXPORT int cuGraphExecDestroy(void *instance)
{
    struct entries entries;
    take_entries(&entries, SPACE_EXEC, instance);
    int result = REAL(cuGraphExecDestroy)(instance);
    for (int device = 0; device < VGPU_DEVICES; device++)
        charge_end_free(entries.known[device], &entries.on[device], allocations_on(SPACE_EXEC, device), key(instance),
                        result);
    return result;
}

/* What an instance of a graph takes, by device. */
struct graph_charge {
    struct charge on[VGPU_DEVICES];
};

static bool charge_graph(struct graph_charge *charges, void *graph)
{
    for (int device = 0; device < VGPU_DEVICES; device++) {
        struct allocation entry = {.bytes = 0};
        bool known = device_controlled() && allocations_get(allocations_on(SPACE_GRAPH, device), key(graph), &entry);
        if (charge_index(&charges->on[device], known ? device : DEVICE_NONE, entry.bytes))
            continue;
        while (device-- > 0)
            charge_drop(&charges->on[device]);
        return false;
    }
    return true;
}

static int keep(const struct graph_charge *charges, void **instance, int result)
{
    bool kept = true;
    for (int device = 0; device < VGPU_DEVICES; device++)
        kept = charge_keep(&charges->on[device], allocations_on(SPACE_EXEC, device),
                           result == CU_SUCCESS ? key(*instance) : 0, result) &&
               kept;
    if (kept)
        return result;
    cuGraphExecDestroy(*instance);
    return CU_ERROR_OUT_OF_MEMORY;
}

VGPU_EXPORT int cuGraphInstantiate(void **instance, void *graph, void **error, char *log, size_t size)
{
    struct graph_charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiate)(instance, graph, error, log, size));
}

VGPU_EXPORT int cuGraphInstantiate_v2(void **instance, void *graph, void **error, char *log, size_t size)
{
    struct graph_charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiate_v2)(instance, graph, error, log, size));
}

VGPU_EXPORT int cuGraphInstantiateWithFlags(void **instance, void *graph, unsigned long long flags)
{
    struct graph_charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiateWithFlags)(instance, graph, flags));
}

VGPU_EXPORT int cuGraphInstantiateWithParams(void **instance, void *graph, struct cu_instantiate *parameters)
{
    struct graph_charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiateWithParams)(instance, graph, parameters));
}

VGPU_EXPORT int cuGraphInstantiateWithParams_ptsz(void **instance, void *graph, struct cu_instantiate *parameters)
{
    struct graph_charge charge;
    if (!charge_graph(&charge, graph))
        return CU_ERROR_OUT_OF_MEMORY;
    return keep(&charge, instance, REAL(cuGraphInstantiateWithParams_ptsz)(instance, graph, parameters));
}
