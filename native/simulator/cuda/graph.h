/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: nodes in an order, and copies of them to launch. */
#ifndef HAMI_CUDA_GRAPH_H
#define HAMI_CUDA_GRAPH_H

#include "cuda/arena.h"
#include "cuda/object.h"
#include "cuda/user_object.h"

struct graph {
    struct object object;
    struct held *held;
    struct node_object *first, *last;
    size_t count;
    uint64_t capture_id; /* not 0 while a stream records into it */
    bool is_owned;       /* by a child node */
};

struct node_object {
    struct object object;
    struct graph *graph; /* NULL in an executable graph */
    struct node_object *next;
    struct node_object **after;
    size_t after_count;
    struct node_object *origin; /* in an executable graph and in a clone: what it was made from */
    struct block *block;        /* of an allocation */
    struct graph *child;
    bool is_disabled, is_placed;
    struct cu_node content;
};

struct exec {
    struct object object;
    struct node_object *first, *last;
    unsigned long long flags;
    struct held *held;
};

struct graph *graph_new(void);
void graph_free(struct graph *graph);
struct node_object *node_new(struct graph *graph, const struct cu_node *content, struct node_object **after,
                             size_t count);
void node_free(struct node_object *node);

/* Memory of allocation nodes: its address is fixed with the node, it counts while it is live. */
int graph_memory_reserve(struct node_object *node);
int graph_memory_start(struct block *block);
void graph_memory_free(struct block *block);
void graph_memory_hold(struct block *block);
void graph_memory_drop(struct block *block);
void graph_memory_trim(struct device *device);
void graph_memory_end(struct device *device);

#endif
