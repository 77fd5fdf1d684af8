/* SPDX-License-Identifier: Apache-2.0 */
/* Which GPU or MIG device a UUID means; a GPU also goes by its index. */
#ifndef HAMI_SIM_PLACE_H
#define HAMI_SIM_PLACE_H

#include "node/node.h"

struct place {
    struct gpu *gpu;                   /* NULL: no such device */
    struct compute_instance *instance; /* NULL: the whole GPU */
};

struct place place_find(struct node *node, const char *uuid);

#endif
