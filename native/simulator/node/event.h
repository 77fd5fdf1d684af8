/* SPDX-License-Identifier: Apache-2.0 */
/* Events of a node: a ring in the shared state that every process reads at its own pace. */
#ifndef HAMI_SIM_EVENT_H
#define HAMI_SIM_EVENT_H

#include "node/node.h"

enum {
    EVENT_SINGLE_BIT_ECC = 0x1,
    EVENT_DOUBLE_BIT_ECC = 0x2,
    EVENT_PSTATE = 0x4,
    EVENT_XID = 0x8,
    EVENT_CLOCK = 0x10,
    EVENT_MIG_CONFIG_CHANGE = 0x100,
    EVENTS_SUPPORTED = EVENT_SINGLE_BIT_ECC | EVENT_DOUBLE_BIT_ECC | EVENT_XID | EVENT_MIG_CONFIG_CHANGE
};

/* Puts an event into the ring; its sequence number is given here. */
void event_add(struct node *node, struct event event);

/* The oldest event after `sequence` that is still in the ring; NULL if there is none. */
const struct event *event_after(const struct node *node, uint64_t sequence);

#endif
