/* SPDX-License-Identifier: Apache-2.0 */
/* What a device is, and how this process becomes its client. */
#ifndef HAMI_CUDA_DEVICE_H
#define HAMI_CUDA_DEVICE_H

#include "cuda/devices.h"

/* What the board says of a device. */
void device_describe(struct device *device, struct node *node, struct gpu *gpu, struct compute_instance *instance);

/* Makes this process a client of the device in the node; a CUDA result. */
int device_attach(struct device *device);
/* Ends that once no context and no memory is left. */
void device_detach(struct device *device);
/* Counts memory as held, or OUT_OF_MEMORY. */
int device_charge(struct device *device, uint64_t bytes);
void device_give(struct device *device, uint64_t bytes);

#endif
