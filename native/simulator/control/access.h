/* SPDX-License-Identifier: Apache-2.0 */
/* How the control functions reach a node: a state file by path, or the one that this process has open. */
#ifndef HAMI_SIM_ACCESS_H
#define HAMI_SIM_ACCESS_H

#include "nvml/call.h"

struct access_scope {
    struct store *store; /* what is locked */
    struct store own;    /* opened for this scope alone */
    bool writes;
    struct node *node;
};

/* On failure the scope is closed already. */
int access_begin(struct access_scope *scope, const char *state, enum access access, char *message, size_t size);

/* Commits if `result` is SUCCESS, closes, returns `result`. */
int access_end(struct access_scope *scope, int result);

/* A text for people: NULL buffers are allowed. */
int explain(char *message, size_t size, int result, const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
