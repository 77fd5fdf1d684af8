/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA arrays and mipmaps: shape, real size, and memory that copies reach through coordinates. */
#ifndef HAMI_CUDA_API_ARRAY_H
#define HAMI_CUDA_API_ARRAY_H

#include "cuda/arena.h"
#include "cuda/context.h"
#include "cuda/object.h"

struct array {
    struct object object;
    struct cu_array3d shape;
    struct device *device;
    struct context *context;
    struct block *block; /* NULL: nothing is mapped to it yet */
    uint64_t size;
    size_t element_size, row_pitch, rows; /* rows: of one plane */
    void *parent;                         /* the mipmap whose level it is */
    uint64_t offset;                      /* within its block */
};

/* Where a position in an array lies, or NULL if it has no memory. */
char *array_at(const struct array *array, size_t x_bytes, size_t y, size_t z);

/* A context ended: its arrays are freed. */
void arrays_end_context(struct context *context);

#endif
