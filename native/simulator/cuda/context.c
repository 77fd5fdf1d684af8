/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/context.h"

#include "cuda/object.h"

#include <pthread.h>
#include <stdlib.h>

_Thread_local struct thread thread __attribute__((tls_model("initial-exec")));
static pthread_key_t stack_key;
static pthread_once_t stack_once = PTHREAD_ONCE_INIT;

bool context_is_usable(const struct context *context)
{
    return context != NULL && !context->is_destroyed;
}

int context_refuse(void)
{
    return thread.current == NULL ? CU_ERROR_INVALID_CONTEXT : CU_ERROR_CONTEXT_IS_DESTROYED;
}

struct context *context_check(const void *handle)
{
    struct context *context = object_check(handle, OBJECT_CONTEXT);
    return context_is_usable(context) ? context : NULL;
}

static void make_key(void)
{
    pthread_key_create(&stack_key, free);
}

int context_push(struct context *context)
{
    pthread_once(&stack_once, make_key);
    if (thread.depth == thread.room) {
        unsigned room = thread.room != 0 ? thread.room * 2 : 8;
        struct context **stack = realloc(thread.stack, room * sizeof *stack);
        if (stack == NULL)
            return CU_ERROR_OUT_OF_MEMORY;
        thread.stack = stack;
        thread.room = room;
        pthread_setspecific(stack_key, stack);
    }
    thread.stack[thread.depth++] = context;
    thread.current = context;
    return CU_SUCCESS;
}

struct context *context_pop(void)
{
    struct context *popped = thread.stack[--thread.depth];
    thread.current = thread.depth != 0 ? thread.stack[thread.depth - 1] : NULL;
    return popped;
}
