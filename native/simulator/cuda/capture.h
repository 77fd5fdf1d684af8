/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stream's recording stands: what an event carries to other streams. */
#ifndef HAMI_CUDA_CAPTURE_H
#define HAMI_CUDA_CAPTURE_H

#include "cuda/graph.h"
#include "cuda/stream.h"

struct capture_point {
    struct graph *graph; /* NULL: none */
    uint64_t id;
    struct node_object *after;
};

/* The stream goes on after that point, in that recording; a CUDA result. */
int capture_join(struct stream *stream, const struct capture_point *point);

#endif
