/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of this process alone, which a forked child finds empty: what its parent has is none of the child's. */
#ifndef VGPU_WIPED_H
#define VGPU_WIPED_H

#include <stddef.h>
#include <sys/mman.h>

static inline void *wiped_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    /* A kernel before 4.14 does not know this: a child then knows its parent's, which it cannot use. */
    madvise(memory, size, MADV_WIPEONFORK);
    return memory;
}

#endif
