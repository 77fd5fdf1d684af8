/* SPDX-License-Identifier: Apache-2.0 */
#include "node/event.h"

void event_add(struct node *node, struct event event)
{
    event.sequence = node->next_event++;
    node->events[event.sequence % MAX_EVENTS] = event;
}

const struct event *event_after(const struct node *node, uint64_t sequence)
{
    uint64_t oldest = node->next_event > MAX_EVENTS ? node->next_event - MAX_EVENTS : 1;
    uint64_t wanted = sequence + 1 > oldest ? sequence + 1 : oldest;
    return wanted < node->next_event ? &node->events[wanted % MAX_EVENTS] : NULL;
}
