/* SPDX-License-Identifier: Apache-2.0 */
/* This process's part in the region: it attaches once, and again after a fork. */
#ifndef VGPU_REGION_ATTACH_H
#define VGPU_REGION_ATTACH_H

#include <stdatomic.h>

#include "region/environment.h"
#include "region/layout.h"

/* What a forked child must not have; the kernel empties the page for it. */
struct region_local {
    atomic_int state; /* 0 not attached, 1 being attached, 2 attached, 3 cannot */
    struct region region;
};

extern struct region_local *_Atomic region_local;
struct region *region_attach(void);

/* The region, attached by this process; NULL when it could not be (the log says why). Cheap once attached, and again
 * after a fork. */
static inline struct region *region_get(void)
{
    struct region_local *page = atomic_load_explicit(&region_local, memory_order_acquire);
    if (VGPU_LIKELY(page != NULL && atomic_load_explicit(&page->state, memory_order_acquire) == 2))
        return &page->region;
    return region_attach();
}

/* The settings of this process. */
const struct vgpu_environment *region_environment(void);

/* Frees slots of dead processes, HAMi-core's too; returns how many. Never blocks. */
int region_reap(void);

/* Our slot does not name us: HAMi-core moved what stood there to another when it closed a gap. Puts it right. */
void region_restore(struct region *region);

#endif
