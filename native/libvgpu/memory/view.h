/* SPDX-License-Identifier: Apache-2.0 */
/* What a container is shown of a device: its limit as the whole, what it uses, and the rest; the same to CUDA and NVML. */
#ifndef VGPU_VIEW_H
#define VGPU_VIEW_H

#include "vgpu.h"

struct view {
    uint64_t total, used, free;
};

/* The view of a device of the region, from what the driver says; false when it has no limit and the driver's is true. */
bool view_of(int device, uint64_t real_total, uint64_t real_free, struct view *view);

#endif
