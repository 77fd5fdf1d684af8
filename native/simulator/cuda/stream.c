/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/stream.h"

#include "cuda/clock.h"
#include "cuda/context.h"
#include "cuda/devices.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/pool.h"

#include <pthread.h>
#include <stdlib.h>

enum { QUEUE_LENGTH = 1024 };

/* Functions of the host wait here for their turn; one thread of the driver calls them, as on hardware. */
struct host_call {
    struct host_call *next;
    struct stream *stream;
    uint64_t time_ns;
    void (*function)(void *data);
    void *data;
};
static pthread_mutex_t host_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t host_changed = PTHREAD_COND_INITIALIZER;
static struct host_call *host_calls;
static bool has_thread;

static void raise_to(_Atomic uint64_t *value, uint64_t target)
{
    uint64_t seen = atomic_load_explicit(value, memory_order_relaxed);
    while (seen < target && !atomic_compare_exchange_weak(value, &seen, target))
        continue;
}

uint64_t stream_end(struct stream *stream)
{
    uint64_t end = atomic_load_explicit(&stream->end_ns, memory_order_relaxed);
    struct context *context = stream->context;
    if (stream->is_legacy)
        return atomic_load_explicit(&context->end_ns, memory_order_relaxed);
    uint64_t legacy = atomic_load_explicit(&context->legacy->end_ns, memory_order_relaxed);
    return (stream->flags & 1) == 0 && legacy > end ? legacy : end;
}

void stream_not_before(struct stream *stream, uint64_t time_ns)
{
    raise_to(&stream->end_ns, time_ns);
    raise_to(&stream->context->end_ns, time_ns);
}

/* Kernels of all processes use the device's time one after another. */
static uint64_t take_time(struct device *device, uint64_t earliest, uint64_t duration)
{
    _Atomic uint64_t *lane = &driver.store.file->usage.busy_until_ns[device->lane];
    uint64_t seen = atomic_load(lane), end;
    do {
        end = (seen > earliest ? seen : earliest) + duration;
    } while (!atomic_compare_exchange_weak(lane, &seen, end));
    return end;
}

void stream_run_for(struct stream *stream, uint64_t duration)
{
    struct device *device = stream->context->device;
    uint64_t now = clock_ns(), before = stream_end(stream);
    /* A full queue makes the caller wait, as on hardware. */
    if (before > now + QUEUE_LENGTH * duration) {
        sleep_until(before - QUEUE_LENGTH * duration);
        now = clock_ns();
    }
    uint64_t end = take_time(device, before > now ? before : now, duration);
    atomic_fetch_add_explicit(&device->slot->busy_ns, duration, memory_order_relaxed);
    stream_not_before(stream, end);
}

static struct host_call *take_call(void)
{
    while (host_calls == NULL)
        pthread_cond_wait(&host_changed, &host_lock);
    struct host_call *call = host_calls;
    host_calls = call->next;
    return call;
}

static void *call_in_turn(void *nothing)
{
    (void)nothing;
    for (;;) {
        pthread_mutex_lock(&host_lock);
        struct host_call *call = take_call();
        pthread_mutex_unlock(&host_lock);
        if (call->time_ns > clock_ns())
            sleep_until(call->time_ns);
        call->function(call->data);
        pthread_mutex_lock(&host_lock);
        if (call->stream != NULL)
            call->stream->waiting_functions--;
        pthread_cond_broadcast(&host_changed);
        pthread_mutex_unlock(&host_lock);
        free(call);
    }
    return NULL;
}

static bool start_thread(void)
{
    pthread_t id;
    if (!has_thread && pthread_create(&id, NULL, call_in_turn, NULL) == 0) {
        pthread_detach(id);
        has_thread = true;
    }
    return has_thread;
}

/* In the order of time; equals in the order of asking. */
static void enqueue(struct host_call *call)
{
    struct host_call **place = &host_calls;
    while (*place != NULL && (*place)->time_ns <= call->time_ns)
        place = &(*place)->next;
    call->next = *place;
    *place = call;
}

static int call_at(uint64_t time_ns, struct stream *stream, void (*function)(void *data), void *data)
{
    struct host_call *call = malloc(sizeof *call);
    if (call == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    *call = (struct host_call){.stream = stream, .time_ns = time_ns, .function = function, .data = data};
    pthread_mutex_lock(&host_lock);
    bool started = start_thread();
    if (started) {
        if (stream != NULL)
            stream->waiting_functions++;
        enqueue(call);
        pthread_cond_broadcast(&host_changed);
    }
    pthread_mutex_unlock(&host_lock);
    if (!started)
        free(call);
    return started ? CU_SUCCESS : CU_ERROR_OPERATING_SYSTEM;
}

int stream_call_host(struct stream *stream, void (*function)(void *data), void *data)
{
    uint64_t end = stream_end(stream), now = clock_ns();
    return call_at(end > now ? end : now, stream, function, data);
}

int host_call_soon(void (*function)(void *data), void *data)
{
    return call_at(clock_ns(), NULL, function, data);
}

bool stream_is_done(struct stream *stream)
{
    uint64_t end = stream_end(stream);
    pthread_mutex_lock(&host_lock);
    bool called = stream->waiting_functions == 0;
    pthread_mutex_unlock(&host_lock);
    return called && (end == 0 || end <= clock_ns());
}

void stream_wait(struct stream *stream)
{
    uint64_t end = stream_end(stream);
    if (end != 0)
        sleep_until(end);
    pthread_mutex_lock(&host_lock);
    while (stream->waiting_functions != 0)
        pthread_cond_wait(&host_changed, &host_lock);
    pthread_mutex_unlock(&host_lock);
    pools_settle(stream->context->device);
}

void context_wait(struct context *context)
{
    uint64_t end = atomic_load(&context->end_ns);
    if (end != 0)
        sleep_until(end);
    driver_lock();
    struct stream *stream = object_next(OBJECT_STREAM, NULL);
    driver_unlock();
    while (stream != NULL) {
        if (stream->context == context)
            stream_wait(stream);
        driver_lock();
        stream = object_next(OBJECT_STREAM, stream);
        driver_unlock();
    }
    pools_settle(context->device);
}
