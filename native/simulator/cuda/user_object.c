/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/user_object.h"

#include "cuda/object.h"
#include "cuda/stream.h"

#include <stdlib.h>

void user_object_drop(struct user_object *object, unsigned count)
{
    object->references -= count;
    if (object->references != 0)
        return;
    host_call_soon(object->destroy, object->data);
    object_free(object);
}

bool held_add(struct held **list, struct user_object *object, unsigned count)
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
        if (!held_add(target, source->object, source->count))
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
        user_object_drop(held->object, held->count);
        free(held);
    }
}
