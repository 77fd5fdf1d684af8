/* SPDX-License-Identifier: Apache-2.0 */
/* How much of each device's limit is used. Devices are indices of the region (hamid's limits), not CUDA's ordinals. */
#ifndef VGPU_ACCOUNTING_H
#define VGPU_ACCOUNTING_H

#include "vgpu.h"

/* Counts bytes before the driver allocates them; returns false and counts nothing if they would exceed the limit. */
bool accounting_reserve(int device, uint64_t bytes);

/* Counts bytes that the driver has already allocated, even over the limit. */
void accounting_force(int device, uint64_t bytes);

/* Gives bytes back that were reserved. */
void accounting_release(int device, uint64_t bytes);

/* Bytes that the container uses, without those of the dead. */
uint64_t accounting_used(int device);

/* Bytes that the process with this pid uses there; false when the container has no such process. */
bool accounting_used_by(int device, int pid, uint64_t *bytes);

/* The limit in bytes; 0: none. */
uint64_t accounting_limit(int device);

#endif
