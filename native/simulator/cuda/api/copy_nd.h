/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_API_COPY_ND_H
#define HAMI_CUDA_API_COPY_ND_H

#include "cuda_abi.h"

/* Checks a copy, and does it; a CUDA result. */
int check_copy_3d(const struct cu_memcpy3d *copy);
int copy_3d(const struct cu_memcpy3d *copy);

#endif
