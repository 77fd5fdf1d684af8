/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts, and those that a thread has: the current one and the stack below it. */
#ifndef HAMI_CUDA_CONTEXT_H
#define HAMI_CUDA_CONTEXT_H

#include "cuda/devices.h"
#include "cuda/object.h"

enum { LIMITS = 10, SCHEDULING_MASK = 7, CONTEXT_FLAGS_MASK = 0xFF, API_VERSION = 3020 };

struct stream;

struct context {
    struct object object;
    struct device *device;
    unsigned flags;
    bool is_primary, is_destroyed;
    unsigned references; /* of a primary one */
    uint64_t id, charged;
    size_t limits[LIMITS];
    int cache_config;
    _Atomic uint64_t end_ns; /* when everything in it is done */
    struct stream *legacy, *per_thread;
};

struct thread {
    struct context *current;
    struct context **stack;
    unsigned depth, room;
};
extern _Thread_local struct thread thread;

static inline struct device *device_of_current(void)
{
    return thread.current->device;
}

bool context_is_usable(const struct context *context);
/* Why the thread's context is not usable. */
int context_refuse(void);

/* A good context of any kind that is not destroyed, or NULL. */
struct context *context_check(const void *handle);

/* Makes a context the thread's current one, on top of its stack; a CUDA result. */
int context_push(struct context *context);
/* Takes the current one off the stack, which is not empty. */
struct context *context_pop(void);

#endif
