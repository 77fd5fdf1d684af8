/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of a region: taken, shown to HAMi's readers, emptied after a death, restored after HAMi-core moved them.
 * Only one thread of a process may call these at a time: the kernel's record locks do not exclude threads of one
 * process. */
#ifndef VGPU_REGION_SLOTS_H
#define VGPU_REGION_SLOTS_H

#include "region/layout.h"

#define SLOT_NONE (-1)

/* A slot for this process; false when there is none. */
bool slots_claim(struct region *region);

/* The slot names this process from now on; false when HAMi-core has it. */
bool slots_show(struct region_v1 *shared, int slot);

/* Empties slots that no process uses any more; returns how many. A process that attaches checks only slots without
 * owner, but thoroughly: of the others it takes one, and the rest can wait. */
int slots_reap(struct region *region, bool attaching);

/* Makes our slot name us again, if it does not, and fetches what HAMi-core moved out of it. */
void slots_restore(struct region *region);

#endif
