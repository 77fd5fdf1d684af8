/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_VISIBLE_H
#define HAMI_CUDA_VISIBLE_H

#include "node/node.h"

/* The devices that CUDA_VISIBLE_DEVICES leaves, in its order; the lock of the store is held. */
void visible_devices(struct node *node);

#endif
