/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of the user's whose life graphs share. The last reference has them destroyed by the driver's thread. */
#ifndef HAMI_CUDA_USER_OBJECT_H
#define HAMI_CUDA_USER_OBJECT_H

#include "cuda/object.h"

#include <stdbool.h>

struct user_object {
    struct object object;
    void (*destroy)(void *data);
    void *data;
    unsigned references;
};

/* References to objects of the user's that a graph keeps alive. */
struct held {
    struct held *next;
    struct user_object *object;
    unsigned count;
};

/* Gives references up. */
void user_object_drop(struct user_object *object, unsigned count);

/* Adds to a list, which has the references from now on; false if memory is short. */
bool held_add(struct held **list, struct user_object *object, unsigned count);
/* What one holds the other shall hold too; false if memory is short. And letting go of everything. */
bool held_copy(struct held **target, const struct held *source);
void held_drop(struct held **list);

#endif
