/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs: nodes in an order, copies of them to launch, and streams that record instead of doing. */
#ifndef HAMI_CUDA_GRAPH_H
#define HAMI_CUDA_GRAPH_H

#include "cuda/arena.h"
#include "cuda/context.h"

/* References to objects of the user's that a graph keeps alive. */
struct held {
    struct held *next;
    struct user_object *object;
    unsigned count;
};

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

/* What one holds the other shall hold too; false if memory is short. And letting go of everything. */
bool held_copy(struct held **target, const struct held *source);
void held_drop(struct held **list);

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

/* What a stream does while it is captured: one more node after its last. NULL if it is not captured. */
struct node_object *capture_node(struct stream *stream, int type);
int capture_launch(struct stream *stream, const struct cu_kernel_node *launch);
int capture_copy(struct stream *stream, const struct cu_memcpy3d *copy);
int capture_fill(struct stream *stream, const struct cu_memset_node *fill);
int capture_allocation(struct stream *stream, cu_pointer *pointer, size_t size);
int capture_free(struct stream *stream, cu_pointer pointer);
int node_set_host(struct node_object *node, void (*function)(void *data), void *data);
/* The stream goes: what it recorded goes too. */
void capture_drop(struct stream *stream);

/* Checks and acts of other subjects. */
int check_launch(const struct cu_kernel_node *launch);
int check_fill(const struct cu_memset_node *fill);
void fill_rows(const struct cu_memset_node *fill);

#endif
