/* SPDX-License-Identifier: Apache-2.0 */
/* Code: modules and libraries are one thing, as are functions and kernels. Nothing of it runs. */
#ifndef HAMI_CUDA_API_MODULE_H
#define HAMI_CUDA_API_MODULE_H

#include "cuda/context.h"
#include "cuda/object.h"

enum { FUNCTION_ATTRIBUTES = 16, FUNCTION_NAME = 256 };

struct function {
    struct object object;
    struct module *module;
    struct function *next; /* of its module */
    int attributes[FUNCTION_ATTRIBUTES];
    char name[FUNCTION_NAME];
};

static inline struct function *function_check(const void *handle)
{
    return object_check(handle, OBJECT_FUNCTION);
}

/* A context ended: its modules and variables are freed. */
void modules_end_context(struct context *context);

#endif
