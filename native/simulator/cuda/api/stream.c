/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: streams. */
#include "cuda/api/stream.h"

#include "cuda/api/memory.h"
#include "cuda/capture.h"
#include "cuda/context.h"
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/object.h"
#include "cuda/stream.h"

#include <stdlib.h>
#include <string.h>

static uint64_t next_id = 1;

struct stream *stream_new(struct context *context, unsigned flags, int priority)
{
    struct stream *stream = object_new(OBJECT_STREAM);
    if (stream == NULL)
        return NULL;
    stream->context = context;
    stream->flags = flags;
    stream->priority = priority;
    stream->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
    return stream;
}

static void end_stream(struct stream *stream)
{
    stream_wait(stream);
    capture_drop(stream);
    object_free(stream);
}

void streams_end_context(struct context *context)
{
    for (struct stream *stream = object_next(OBJECT_STREAM, NULL); stream != NULL;
         stream = object_next(OBJECT_STREAM, stream))
        if (stream->context == context && stream != context->legacy && stream != context->per_thread)
            end_stream(stream);
    object_free(context->legacy);
    object_free(context->per_thread);
    context->legacy = context->per_thread = NULL;
}

static int create(void **handle, unsigned flags, int priority)
{
    if (handle == NULL || flags > 1)
        return CU_ERROR_INVALID_VALUE;
    struct stream *stream = stream_new(thread.current, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority);
    if (stream == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    *handle = stream;
    return CU_SUCCESS;
}

CUDA_API int cuStreamCreate(void **handle, unsigned flags)
{
    ENTER_CONTEXT();
    return create(handle, flags, 0);
}

CUDA_API int cuStreamCreateWithPriority(void **handle, unsigned flags, int priority)
{
    ENTER_CONTEXT();
    return create(handle, flags, priority);
}

CUDA_API int cuStreamDestroy_v2(void *handle)
{
    ENTER_CONTEXT();
    struct stream *stream = object_check(handle, OBJECT_STREAM);
    if (stream == NULL || stream->is_special)
        return CU_ERROR_INVALID_HANDLE;
    end_stream(stream);
    return CU_SUCCESS;
}

CUDA_API int cuStreamDestroy(void *handle)
{
    return cuStreamDestroy_v2(handle);
}

CUDA_API int cuStreamQuery(void *handle)
{
    ENTER_CONTEXT();
    struct stream *stream = stream_find(handle);
    if (stream == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (stream->capture != NULL)
        return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return stream_is_done(stream) ? CU_SUCCESS : CU_ERROR_NOT_READY;
}

CUDA_API int cuStreamSynchronize(void *handle)
{
    ENTER_CONTEXT();
    struct stream *stream = stream_find(handle);
    if (stream == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (stream->capture != NULL)
        return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    stream_wait(stream);
    return CU_SUCCESS;
}

CUDA_API int cuCtxSynchronize(void)
{
    ENTER_CONTEXT();
    context_wait(thread.current);
    return CU_SUCCESS;
}

CUDA_API int cuCtxSynchronize_v2(void *handle)
{
    ENTER();
    struct context *context = handle == NULL ? thread.current : context_check(handle);
    if (!context_is_usable(context))
        return CU_ERROR_INVALID_CONTEXT;
    context_wait(context);
    return CU_SUCCESS;
}

CUDA_API int cuStreamGetPriority(void *handle, int *priority)
{
    ENTER_CONTEXT();
    const struct stream *stream = stream_find(handle);
    if (stream == NULL || priority == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    *priority = stream->priority;
    return CU_SUCCESS;
}

CUDA_API int cuStreamGetFlags(void *handle, unsigned *flags)
{
    ENTER_CONTEXT();
    const struct stream *stream = stream_find(handle);
    if (stream == NULL || flags == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    *flags = stream->flags;
    return CU_SUCCESS;
}

CUDA_API int cuStreamGetId(void *handle, unsigned long long *id)
{
    ENTER_CONTEXT();
    const struct stream *stream = stream_find(handle);
    if (stream == NULL || id == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    *id = stream->id;
    return CU_SUCCESS;
}

CUDA_API int cuStreamGetCtx(void *handle, void **context)
{
    ENTER_CONTEXT();
    const struct stream *stream = stream_find(handle);
    if (stream == NULL || context == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    *context = stream->context;
    return CU_SUCCESS;
}

/* The second version also tells of a green context, of which there are none. */
CUDA_API int cuStreamGetCtx_v2(void *handle, void **context, void **green)
{
    if (green != NULL)
        *green = NULL;
    return cuStreamGetCtx(handle, context);
}

CUDA_API int cuStreamGetDevice(void *handle, int *device)
{
    ENTER_CONTEXT();
    const struct stream *stream = stream_find(handle);
    if (stream == NULL || device == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    *device = (int)stream->context->device->index;
    return CU_SUCCESS;
}

CUDA_API int cuStreamCopyAttributes(void *target, void *source)
{
    ENTER_CONTEXT();
    bool good = stream_find(target) != NULL && stream_find(source) != NULL;
    return good ? CU_SUCCESS : CU_ERROR_INVALID_HANDLE;
}

CUDA_API int cuLaunchHostFunc(void *handle, void (*function)(void *data), void *data)
{
    ENTER_CONTEXT();
    struct stream *stream = stream_find(handle);
    if (stream == NULL || function == NULL)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    struct node_object *node = capture_node(stream, CU_NODE_HOST);
    if (node != NULL)
        return node_set_host(node, function, data);
    return stream->capture != NULL ? CU_ERROR_OUT_OF_MEMORY : stream_call_host(stream, function, data);
}

struct callback {
    void (*function)(void *stream, int status, void *data);
    void *stream, *data;
};

static void call_back(void *data)
{
    struct callback callback = *(struct callback *)data;
    free(data);
    callback.function(callback.stream, CU_SUCCESS, callback.data);
}

CUDA_API int cuStreamAddCallback(void *handle, void (*function)(void *, int, void *), void *data, unsigned flags)
{
    ENTER_CONTEXT();
    struct stream *stream = stream_find(handle);
    if (stream == NULL || function == NULL || flags != 0)
        return stream == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_VALUE;
    if (stream->capture != NULL)
        return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    struct callback *callback = malloc(sizeof *callback);
    if (callback == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    *callback = (struct callback){function, handle, data};
    int result = stream_call_host(stream, call_back, callback);
    if (result != CU_SUCCESS)
        free(callback);
    return result;
}

/* Words in memory that streams write and wait for. Waiting is true at once or stops the stream for ever on hardware;
 * here it is not waited for. */
static int write_value(void *handle, cu_pointer address, uint64_t value, size_t size)
{
    if (stream_find(handle) == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (address % size != 0 || !can_touch(address, size, false))
        return CU_ERROR_INVALID_VALUE;
    memcpy((void *)(uintptr_t)address, &value, size);
    return CU_SUCCESS;
}

CUDA_API int cuStreamWriteValue32_v2(void *stream, cu_pointer address, uint32_t value, unsigned flags)
{
    ENTER_CONTEXT();
    return flags > 1 ? CU_ERROR_INVALID_VALUE : write_value(stream, address, value, sizeof value);
}

CUDA_API int cuStreamWriteValue64_v2(void *stream, cu_pointer address, uint64_t value, unsigned flags)
{
    ENTER_CONTEXT();
    return flags > 1 ? CU_ERROR_INVALID_VALUE : write_value(stream, address, value, sizeof value);
}
