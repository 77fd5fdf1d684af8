/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's files about MIG below the node's root directory: capabilities, minors, devices (reference 2.6). */
#ifndef HAMI_SIM_CAPABILITIES_H
#define HAMI_SIM_CAPABILITIES_H

#include "node/node.h"

/* Makes the files say what the node has; nothing without a root. What they said before does not matter, so a caller
 * that dies in between is made good by the next change. */
void capabilities_write_all(const struct node *node);
void capabilities_write_gpu(const struct node *node, unsigned index);

#endif
