/* SPDX-License-Identifier: Apache-2.0 */
#include "node/effects.h"

#include "node/event.h"

void effect_mode_changed(struct node *node, uint32_t gpu)
{
    event_add(node, (struct event){.type = EVENT_MIG_CONFIG_CHANGE,
                                   .gpu = gpu,
                                   .gpu_instance_id = WHOLE_GPU,
                                   .compute_instance_id = WHOLE_GPU});
}

void effect_instances_changed(struct node *node, uint32_t gpu, uint32_t gpu_instance_id, uint32_t compute_instance_id)
{
    event_add(node, (struct event){.type = EVENT_MIG_CONFIG_CHANGE,
                                   .gpu = gpu,
                                   .gpu_instance_id = gpu_instance_id,
                                   .compute_instance_id = compute_instance_id});
}
