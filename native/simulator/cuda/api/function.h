/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_API_FUNCTION_H
#define HAMI_CUDA_API_FUNCTION_H

#include "cuda_abi.h"

/* Whether a kernel can be launched so; a CUDA result. */
int check_launch(const struct cu_kernel_node *launch);

#endif
