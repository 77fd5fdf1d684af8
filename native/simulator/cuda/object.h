/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver hands out as handles. Cells of one size in one range of addresses: whether a handle is good can be
 * told of any value, without following it anywhere else. */
#ifndef HAMI_CUDA_OBJECT_H
#define HAMI_CUDA_OBJECT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum object_kind {
    OBJECT_FREE,
    OBJECT_CONTEXT,
    OBJECT_STREAM,
    OBJECT_EVENT,
    OBJECT_MODULE,
    OBJECT_FUNCTION,
    OBJECT_POOL,
    OBJECT_ARRAY,
    OBJECT_MIPMAP,
    OBJECT_PHYSICAL,
    OBJECT_GRAPH,
    OBJECT_NODE,
    OBJECT_EXEC,
    OBJECT_EXTERNAL,
    OBJECT_LINK,
    OBJECT_USER
};

enum { OBJECT_CELL = 512 };

/* The first member of everything that is handed out. */
struct object {
    enum object_kind kind;
    uint32_t reserved;
};

/* The cells that were ever taken; both are NULL before the first. */
extern _Atomic(char *) object_base, object_end;

/* Zeroed but for its kind; NULL if memory is short. */
void *object_new(enum object_kind kind);
void object_free(void *object);
/* Walks all objects of a kind: NULL starts, NULL ends. With the driver's lock held. */
void *object_next(enum object_kind kind, void *after);

/* The object of that kind, or NULL for anything else. */
static inline void *object_check(const void *handle, enum object_kind kind)
{
    const char *cell = (const char *)handle;
    const char *end = atomic_load_explicit(&object_end, memory_order_acquire);
    const char *base = atomic_load_explicit(&object_base, memory_order_relaxed);
    if (cell == NULL || cell < base || cell >= end || ((size_t)(cell - base) & (OBJECT_CELL - 1)) != 0)
        return NULL;
    return ((const struct object *)handle)->kind == kind ? (void *)(uintptr_t)handle : NULL;
}

#endif
