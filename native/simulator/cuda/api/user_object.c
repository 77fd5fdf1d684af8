/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: objects of the user's whose life graphs share. The last reference has them destroyed by the driver's thread. */
#include "cuda/graph.h"
#include "cuda/stream.h"

#include <stdlib.h>

enum { NO_DESTRUCTOR_SYNC = 1, GRAPH_MOVE = 1 };

struct user_object {
    struct object object;
    void (*destroy)(void *data);
    void *data;
    unsigned references;
};

static void drop(struct user_object *object, unsigned count)
{
    object->references -= count;
    if (object->references != 0)
        return;
    host_call_soon(object->destroy, object->data);
    object_free(object);
}

static bool hold(struct held **list, struct user_object *object, unsigned count)
{
    struct held *held = malloc(sizeof *held);
    if (held == NULL)
        return false;
    *held = (struct held){*list, object, count};
    *list = held;
    return true;
}

bool held_copy(struct held **target, const struct held *source)
{
    for (; source != NULL; source = source->next) {
        if (!hold(target, source->object, source->count))
            return false;
        source->object->references += source->count;
    }
    return true;
}

void held_drop(struct held **list)
{
    while (*list != NULL) {
        struct held *held = *list;
        *list = held->next;
        drop(held->object, held->count);
        free(held);
    }
}

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
        drop(object, count);
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
    if (good && !hold(&graph->held, object, count))
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
        drop(object, count);
        result = CU_SUCCESS;
        break;
    }
    driver_unlock();
    return result;
}
