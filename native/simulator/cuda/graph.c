/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/graph.h"

#include "cuda/arena.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/pool.h"
#include "cuda/user_object.h"

#include <stdlib.h>
#include <string.h>

struct graph *graph_new(void)
{
    return object_new(OBJECT_GRAPH);
}

static void append(struct graph *graph, struct node_object *node)
{
    node->graph = graph;
    if (graph->last != NULL)
        graph->last->next = node;
    else
        graph->first = node;
    graph->last = node;
    graph->count++;
}

struct node_object *node_new(struct graph *graph, const struct cu_node *content, struct node_object **after,
                             size_t count)
{
    struct node_object *node = object_new(OBJECT_NODE);
    if (node == NULL)
        return NULL;
    node->content = *content;
    if (count != 0) {
        node->after = malloc(count * sizeof(struct node_object *));
        if (node->after == NULL) {
            object_free(node);
            return NULL;
        }
        memcpy(node->after, after, count * sizeof(struct node_object *));
        node->after_count = count;
    }
    if (graph != NULL)
        append(graph, node);
    return node;
}

void node_free(struct node_object *node)
{
    if (node->block != NULL)
        graph_memory_drop(node->block);
    if (node->child != NULL)
        graph_free(node->child);
    free(node->after);
    object_free(node);
}

void graph_free(struct graph *graph)
{
    while (graph->first != NULL) {
        struct node_object *node = graph->first;
        graph->first = node->next;
        node_free(node);
    }
    held_drop(&graph->held);
    object_free(graph);
}

int graph_memory_reserve(struct node_object *node)
{
    struct cu_memory_node *memory = &node->content.memory;
    struct block *block = arena_take(memory->bytes, BLOCK_GRAPH);
    if (block == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    block->device = device_at(memory->pool.location.id);
    block->flags = 1; /* holders */
    node->block = block;
    memory->pointer = block->address;
    return CU_SUCCESS;
}

void graph_memory_hold(struct block *block)
{
    driver_lock();
    block->flags++;
    driver_unlock();
}

void graph_memory_drop(struct block *block)
{
    driver_lock();
    if (--block->flags == 0)
        arena_give(block);
    driver_unlock();
}

static void raise_mark(_Atomic uint64_t *mark, uint64_t value)
{
    if (atomic_load(mark) < value)
        atomic_store(mark, value);
}

/* The device's graph memory grows in whole units and is kept until it is trimmed. */
int graph_memory_start(struct block *block)
{
    struct device *device = block->device;
    uint64_t bytes = round_up(block->size, ALLOCATION_UNIT);
    int result = CU_SUCCESS;
    driver_lock();
    uint64_t used = atomic_load(&device->graph_used) + bytes, reserved = atomic_load(&device->graph_reserved);
    if (used > reserved) {
        uint64_t more = round_up(used, VIRTUAL_UNIT) - reserved;
        result = device_take(device, more);
        if (result == CU_SUCCESS)
            atomic_store(&device->graph_reserved, reserved + more);
    }
    if (result == CU_SUCCESS) {
        block->charged = bytes;
        block->flags++;
        atomic_store(&device->graph_used, used);
        raise_mark(&device->graph_used_high, used);
        raise_mark(&device->graph_reserved_high, atomic_load(&device->graph_reserved));
    }
    driver_unlock();
    return result;
}

void graph_memory_free(struct block *block)
{
    driver_lock();
    if (block->charged != 0) {
        atomic_fetch_sub(&block->device->graph_used, block->charged);
        block->charged = 0;
        graph_memory_drop(block);
    }
    driver_unlock();
}

void graph_memory_trim(struct device *device)
{
    driver_lock();
    uint64_t needed = round_up(atomic_load(&device->graph_used), VIRTUAL_UNIT);
    uint64_t reserved = atomic_load(&device->graph_reserved);
    if (reserved > needed) {
        atomic_store(&device->graph_reserved, needed);
        device_give(device, reserved - needed);
    }
    driver_unlock();
}

static void end_block(struct block *block, void *device)
{
    if (block->kind == BLOCK_GRAPH && block->device == device)
        graph_memory_free(block);
}

void graph_memory_end(struct device *device)
{
    arena_visit(end_block, device);
    graph_memory_trim(device);
}
