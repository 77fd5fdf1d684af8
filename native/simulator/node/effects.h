/* SPDX-License-Identifier: Apache-2.0 */
/* What a change of the node brings with it beyond the state itself: events. */
#ifndef HAMI_SIM_EFFECTS_H
#define HAMI_SIM_EFFECTS_H

#include "node/node.h"

void effect_mode_changed(struct node *node, uint32_t gpu);
void effect_instances_changed(struct node *node, uint32_t gpu, uint32_t gpu_instance_id, uint32_t compute_instance_id);

#endif
