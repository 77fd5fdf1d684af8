/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_API_VIRTUAL_H
#define HAMI_CUDA_API_VIRTUAL_H

#include "cuda/arena.h"

/* Whether `size` bytes at an address of a reserved range are mapped and may be touched. */
bool range_is_mapped(const struct block *block, cu_pointer address, size_t size);

#endif
