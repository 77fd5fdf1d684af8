/* SPDX-License-Identifier: Apache-2.0 */
/* Maps CUDA's devices to the region's indices, which number the limits: the order of the container's GPUs in NVML, even
 * if CUDA_VISIBLE_DEVICES hides some of them. */
#ifndef VGPU_DEVICE_H
#define VGPU_DEVICE_H

#include <stdatomic.h>

#include "vgpu.h"

extern atomic_int device_control; /* 0 not yet known, below it no, above it yes */
bool device_decide_control(void);

/* False when nothing is to be limited or counted: no limit, no region named, or CUDA_DISABLE_CONTROL. */
static inline bool device_controlled(void)
{
    int known = atomic_load_explicit(&device_control, memory_order_relaxed);
    return VGPU_LIKELY(known != 0) ? known > 0 : device_decide_control();
}

/* The index of a CUDA ordinal, or DEVICE_NONE. */
int device_index(int ordinal);

#define DEVICE_NONE (-1) /* no device, or beyond those that a region can have */

#define DEVICE_REFUSED (-1000)

/* Where the driver does not say which device it is, its error takes the place of an index. */
static inline int device_refused(int error)
{
    return DEVICE_REFUSED - error;
}

/* The driver's error in such an index; 0 in any other. */
static inline int device_error(int index)
{
    return index <= DEVICE_REFUSED ? DEVICE_REFUSED - index : 0;
}

/* The index of the current context's device, its ordinal and the context itself, which say nothing with an error. */
int device_current(int *ordinal, uint64_t *context);

/* The index of the current context's device alone. */
int device_current_index(void);

/* The index of the device that a stream works on; the current one for the streams that are no objects. */
int device_of_stream(void *stream);

/* A context ended: its address may become that of another one, on another device. */
void device_forget_contexts(void);

/* The index of a device handle of NVML; -1 when it is not in the region. */
int device_of_nvml(void *handle);

#endif
