/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA's devices as indices of the region, by which limits are numbered: the order of the GPUs in the container, which is
 * NVML's, whatever CUDA_VISIBLE_DEVICES leaves of them. */
#ifndef VGPU_DEVICE_H
#define VGPU_DEVICE_H

#include "vgpu.h"

/* False when nothing is to be limited or counted: no limit, no region named, or CUDA_DISABLE_CONTROL. */
bool device_controlled(void);

/* The index of a CUDA ordinal; -1 for what is no device, or beyond those that a region can have. */
int device_index(int ordinal);

/* The index of the current context's device, its ordinal and the context itself; -1 without a context. */
int device_current(int *ordinal, uint64_t *context);

/* The index of the current context's device alone. */
int device_current_index(void);

/* The index of a device handle of NVML; -1 when it is not in the region. */
int device_of_nvml(void *handle);

#endif
