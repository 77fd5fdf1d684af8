/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory an array will take, before it is made. */
#ifndef VGPU_ARRAY_SIZE_H
#define VGPU_ARRAY_SIZE_H

#include "cuda_abi.h"
#include "vgpu.h"

/* Bytes of an array, or with `levels` of a mipmapped one, on a device by its ordinal. As the driver tells of one without
 * memory behind it; a driver before CUDA 11.6 cannot, and gets what the elements take, in whole pages. */
uint64_t array_size(const struct cu_array3d *array, unsigned levels, int ordinal);

#endif
