/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that record into a graph what they are asked to do. */
#ifndef HAMI_CUDA_CAPTURE_H
#define HAMI_CUDA_CAPTURE_H

#include "cuda/graph.h"
#include "cuda/stream.h"

/* Where a stream's recording stands: what an event carries to other streams. */
struct capture_point {
    struct graph *graph; /* NULL: none */
    uint64_t id;
    struct node_object *after;
};

/* The stream goes on after that point, in that recording; a CUDA result. */
int capture_join(struct stream *stream, const struct capture_point *point);

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

/* The recording into a graph is over, on every stream of it. */
void capture_end(struct graph *graph);

#endif
