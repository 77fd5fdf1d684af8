/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_CONTEXT_H
#define HAMI_CUDA_CONTEXT_H

#include "cuda/driver.h"
#include "cuda/object.h"

enum { LIMITS = 10, SCHEDULING_MASK = 7, CONTEXT_FLAGS_MASK = 0xFF, API_VERSION = 3020 };

/* What runs in order on a device. */
struct stream {
    struct object object;
    struct context *context;
    _Atomic uint64_t end_ns; /* when its last work is done */
    unsigned flags;
    int priority;
    uint64_t id;
    bool is_legacy, is_special;
    unsigned waiting_functions; /* of cuLaunchHostFunc; under their own lock */
    struct graph *capture;      /* NULL: what is called is done */
    uint64_t capture_id; /* not 0 where the recording began */
    struct node_object *capture_last;
};

struct context {
    struct object object;
    struct device *device;
    unsigned flags;
    bool is_primary, is_destroyed;
    unsigned references; /* of a primary one */
    uint64_t id, charged;
    size_t limits[LIMITS];
    int cache_config;
    unsigned peers; /* devices whose access is on, as bits */
    _Atomic uint64_t end_ns; /* when everything in it is done */
    struct stream *legacy, *per_thread;
};

static inline struct device *device_of_current(void)
{
    return thread.current->device;
}

/* A good context of any kind that is not destroyed, or NULL. */
struct context *context_check(const void *handle);

/* Called when a context goes: each subject frees what is its own. */
void memory_end_context(struct context *context);
void streams_end_context(struct context *context);
void modules_end_context(struct context *context);
void arrays_end_context(struct context *context);
void pools_end_device(struct device *device);

struct stream *stream_new(struct context *context, unsigned flags, int priority);

#endif
