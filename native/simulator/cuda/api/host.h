/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_API_HOST_H
#define HAMI_CUDA_API_HOST_H

#include "cuda/context.h"

#include <stdbool.h>
#include <stddef.h>

/* Page-locked memory of the host: the range that an address lies in. */
struct host_range {
    char *start;
    size_t size;
    unsigned flags;
    bool is_registered; /* and not allocated by us */
    struct context *context;
};
struct host_range *host_find(const void *address);

#endif
