/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of processes that have no owner record: those of HAMi-core, whose processes may share a region with ours while
 * one library replaces the other on a node. */
#ifndef VGPU_REGION_HAMI_CORE_H
#define VGPU_REGION_HAMI_CORE_H

#include "region/layout.h"

/* True when the slot names a process other than its owner's; `pid` becomes the one that it names, 0 for none. */
bool hami_core_has(const struct region *region, int slot, int32_t *pid);

/* True when the process that a slot without owner names by `pid` has certainly ended. `thorough` also checks whether
 * the process with that pid maps the region: the pid may be from a former container. It is for a process without a
 * slot. */
bool hami_core_is_over(const struct region_process *process, int32_t pid, bool thorough);

#endif
