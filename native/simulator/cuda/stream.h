/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual timeline: work takes time on its stream and on the device that all processes share; the host waits for
 * the end of it and nothing is computed. Work that takes no time costs a few nanoseconds. */
#ifndef HAMI_CUDA_STREAM_H
#define HAMI_CUDA_STREAM_H

#include "cuda/context.h"

struct graph;
struct node_object;

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
    uint64_t capture_id;        /* not 0 where the recording began */
    struct node_object *capture_last;
};

/* The stream that a handle means in the current context: also NULL and the two special ones. NULL: no stream. */
static inline struct stream *stream_find(void *handle)
{
    if (handle == NULL || handle == CU_LEGACY_STREAM)
        return thread.current->legacy;
    if (handle == CU_PER_THREAD_STREAM)
        return thread.current->per_thread;
    return object_check(handle, OBJECT_STREAM);
}

void stream_run_for(struct stream *stream, uint64_t duration);

/* Runs a kernel for the device's kernel time. One thread writes the counter nearly always, so a lost count is worth
 * less than a locked instruction. */
static inline void stream_run(struct stream *stream)
{
    struct device *device = stream->context->device;
    _Atomic uint64_t *launches = &device->slot->launches;
    uint32_t duration_us = device_kernel_us(device);
    atomic_store_explicit(launches, atomic_load_explicit(launches, memory_order_relaxed) + 1, memory_order_relaxed);
    if (duration_us != 0)
        stream_run_for(stream, duration_us * 1000ull);
}

/* Nothing on the stream starts before this time. */
void stream_not_before(struct stream *stream, uint64_t time_ns);
/* When what is on the stream now is done. */
uint64_t stream_end(struct stream *stream);
/* Waits for it, host functions included. */
void stream_wait(struct stream *stream);
void context_wait(struct context *context);
/* Calls a function of the host after what is on the stream now. */
int stream_call_host(struct stream *stream, void (*function)(void *data), void *data);
/* Calls a function of the host soon, from the driver's own thread. */
int host_call_soon(void (*function)(void *data), void *data);
bool stream_is_done(struct stream *stream);

#endif
