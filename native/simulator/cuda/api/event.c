/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: events, points on the timelines of streams. */
#include "cuda/capture.h"
#include "cuda/clock.h"
#include "cuda/context.h"
#include "cuda/frame.h"
#include "cuda/object.h"
#include "cuda/stream.h"

enum { EVENT_FLAGS = 7, DISABLE_TIMING = 2, INTERPROCESS = 4 };

struct event_object {
    struct object object;
    struct context *context;
    unsigned flags;
    uint64_t time_ns;           /* when it is, or 0: never recorded */
    struct capture_point point; /* where it stands if a stream that records recorded it */
};

CUDA_API int cuEventCreate(void **handle, unsigned flags)
{
    ENTER_CONTEXT();
    if (handle == NULL || (flags & ~(unsigned)EVENT_FLAGS) != 0 ||
        ((flags & INTERPROCESS) != 0 && (flags & DISABLE_TIMING) == 0))
        return CU_ERROR_INVALID_VALUE;
    struct event_object *event = object_new(OBJECT_EVENT);
    if (event == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    event->context = thread.current;
    event->flags = flags;
    *handle = event;
    return CU_SUCCESS;
}

CUDA_API int cuEventDestroy_v2(void *handle)
{
    ENTER();
    struct event_object *event = object_check(handle, OBJECT_EVENT);
    if (event == NULL)
        return CU_ERROR_INVALID_HANDLE;
    object_free(event);
    return CU_SUCCESS;
}

CUDA_API int cuEventDestroy(void *handle)
{
    return cuEventDestroy_v2(handle);
}

static int record(void *handle, void *stream_handle, unsigned flags)
{
    struct event_object *event = object_check(handle, OBJECT_EVENT);
    struct stream *stream = stream_find(stream_handle);
    if (event == NULL || stream == NULL || flags > 1)
        return flags > 1 ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    if (stream->context != event->context)
        return CU_ERROR_INVALID_HANDLE;
    event->point = (struct capture_point){NULL, 0, NULL};
    if (stream->capture != NULL) {
        event->point = (struct capture_point){stream->capture, stream->capture->capture_id, stream->capture_last};
        return CU_SUCCESS;
    }
    uint64_t end = stream_end(stream), now = clock_ns();
    event->time_ns = end > now ? end : now;
    return CU_SUCCESS;
}

CUDA_API int cuEventRecord(void *handle, void *stream)
{
    ENTER_CONTEXT();
    return record(handle, stream, 0);
}

CUDA_API int cuEventRecordWithFlags(void *handle, void *stream, unsigned flags)
{
    ENTER_CONTEXT();
    return record(handle, stream, flags);
}

CUDA_API int cuEventQuery(void *handle)
{
    ENTER();
    const struct event_object *event = object_check(handle, OBJECT_EVENT);
    if (event == NULL)
        return CU_ERROR_INVALID_HANDLE;
    return event->time_ns <= clock_ns() ? CU_SUCCESS : CU_ERROR_NOT_READY;
}

CUDA_API int cuEventSynchronize(void *handle)
{
    ENTER();
    const struct event_object *event = object_check(handle, OBJECT_EVENT);
    if (event == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (event->time_ns != 0)
        sleep_until(event->time_ns);
    return CU_SUCCESS;
}

CUDA_API int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end)
{
    ENTER();
    const struct event_object *first = object_check(start, OBJECT_EVENT), *second = object_check(end, OBJECT_EVENT);
    if (milliseconds == NULL)
        return CU_ERROR_INVALID_VALUE;
    if (first == NULL || second == NULL || ((first->flags | second->flags) & DISABLE_TIMING) != 0 ||
        first->time_ns == 0 || second->time_ns == 0)
        return CU_ERROR_INVALID_HANDLE;
    uint64_t now = clock_ns();
    if (first->time_ns > now || second->time_ns > now)
        return CU_ERROR_NOT_READY;
    *milliseconds = (float)((double)(int64_t)(second->time_ns - first->time_ns) / 1e6);
    return CU_SUCCESS;
}

CUDA_API int cuEventElapsedTime(float *milliseconds, void *start, void *end)
{
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

CUDA_API int cuStreamWaitEvent(void *stream_handle, void *handle, unsigned flags)
{
    ENTER_CONTEXT();
    const struct event_object *event = object_check(handle, OBJECT_EVENT);
    struct stream *stream = stream_find(stream_handle);
    if (event == NULL || stream == NULL || flags > 1)
        return flags > 1 ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    if (event->point.graph != NULL)
        return capture_join(stream, &event->point);
    if (stream->capture != NULL)
        return 905; /* STREAM_CAPTURE_ISOLATION: nothing outside can be waited for */
    if (event->time_ns > clock_ns())
        stream_not_before(stream, event->time_ns);
    return CU_SUCCESS;
}

CUDA_API int cuCtxRecordEvent(void *context_handle, void *handle)
{
    ENTER();
    struct context *context = context_check(context_handle);
    struct event_object *event = object_check(handle, OBJECT_EVENT);
    if (context == NULL || event == NULL)
        return context == NULL ? CU_ERROR_INVALID_CONTEXT : CU_ERROR_INVALID_HANDLE;
    uint64_t end = atomic_load(&context->end_ns), now = clock_ns();
    event->time_ns = end > now ? end : now;
    return CU_SUCCESS;
}

CUDA_API int cuCtxWaitEvent(void *context_handle, void *handle)
{
    ENTER();
    struct context *context = context_check(context_handle);
    const struct event_object *event = object_check(handle, OBJECT_EVENT);
    if (context == NULL || event == NULL)
        return context == NULL ? CU_ERROR_INVALID_CONTEXT : CU_ERROR_INVALID_HANDLE;
    if (event->time_ns > clock_ns())
        stream_not_before(context->legacy, event->time_ns);
    return CU_SUCCESS;
}
