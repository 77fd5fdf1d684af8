/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory a GPU or a MIG device has and how much of it processes hold. */
#ifndef HAMI_SIM_MEMORY_H
#define HAMI_SIM_MEMORY_H

#include "node/node.h"

struct memory_use {
    bool known; /* the board's data may not say the total */
    uint64_t total, used;
};

enum { MIB = 1024 * 1024 };

/* `instance` NULL: the whole GPU. The compute instances of a GPU instance share its memory. */
struct memory_use memory_use(const struct node *node, const struct gpu *gpu, const struct gpu_instance *instance);

#endif
