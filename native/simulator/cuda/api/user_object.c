/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: objects of the user's whose life graphs share. */
#include "cuda/frame.h"
#include "cuda/graph.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/user_object.h"

#include <stdlib.h>

enum { NO_DESTRUCTOR_SYNC = 1, GRAPH_MOVE = 1 };

CUDA_API int cuUserObjectCreate(struct user_object **handle, void *data, void (*destroy)(void *data), unsigned count,
                                unsigned flags)
{
    ENTER();
    if (handle == NULL || destroy == NULL || count == 0 || count > INT32_MAX || flags != NO_DESTRUCTOR_SYNC)
        return CU_ERROR_INVALID_VALUE;
    struct user_object *object = object_new(OBJECT_USER);
    if (object == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    object->destroy = destroy;
    object->data = data;
    object->references = count;
    *handle = object;
    return CU_SUCCESS;
}

CUDA_API int cuUserObjectRetain(void *handle, unsigned count)
{
    ENTER();
    driver_lock();
    struct user_object *object = object_check(handle, OBJECT_USER);
    bool good = object != NULL && count != 0 && count <= INT32_MAX - object->references;
    if (good)
        object->references += count;
    driver_unlock();
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

CUDA_API int cuUserObjectRelease(void *handle, unsigned count)
{
    ENTER();
    driver_lock();
    struct user_object *object = object_check(handle, OBJECT_USER);
    bool good = object != NULL && count != 0 && count <= object->references;
    if (good)
        user_object_drop(object, count);
    driver_unlock();
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

/* With the flag the caller's references become the graph's. */
CUDA_API int cuGraphRetainUserObject(void *graph_handle, void *handle, unsigned count, unsigned flags)
{
    ENTER();
    driver_lock();
    struct graph *graph = object_check(graph_handle, OBJECT_GRAPH);
    struct user_object *object = object_check(handle, OBJECT_USER);
    bool good = graph != NULL && object != NULL && count != 0 && count <= INT32_MAX - object->references &&
                flags <= GRAPH_MOVE && (flags == 0 || count <= object->references);
    int result = good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
    if (good && !held_add(&graph->held, object, count))
        result = CU_ERROR_OUT_OF_MEMORY;
    else if (good && flags == 0)
        object->references += count;
    driver_unlock();
    return result;
}

CUDA_API int cuGraphReleaseUserObject(void *graph_handle, void *handle, unsigned count)
{
    ENTER();
    int result = CU_ERROR_INVALID_VALUE;
    driver_lock();
    struct graph *graph = object_check(graph_handle, OBJECT_GRAPH);
    struct user_object *object = object_check(handle, OBJECT_USER);
    for (struct held **place = graph != NULL ? &graph->held : NULL; place != NULL && *place != NULL && object != NULL;
         place = &(*place)->next) {
        struct held *held = *place;
        if (held->object != object || count == 0 || held->count < count)
            continue;
        held->count -= count;
        if (held->count == 0) {
            *place = held->next;
            free(held);
        }
        user_object_drop(object, count);
        result = CU_SUCCESS;
        break;
    }
    driver_unlock();
    return result;
}
