/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_API_COPY_H
#define HAMI_CUDA_API_COPY_H

#include "cuda_abi.h"

/* Checks what fills rows of memory, a CUDA result; and fills them. */
int check_fill(const struct cu_memset_node *fill);
void fill_rows(const struct cu_memset_node *fill);

#endif
