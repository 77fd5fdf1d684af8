/* SPDX-License-Identifier: Apache-2.0 */
/* Injected faults: latency, a hang, an error or a SIGKILL of the caller at the n-th call of a function. */
#ifndef HAMI_SIM_FAULT_H
#define HAMI_SIM_FAULT_H

#include "node/store.h"

struct fault_effect {
    enum fault_action action;
    uint32_t value;
};

/* How many rules this process has of its own. */
extern unsigned fault_own_count;

/* Whether there is any rule at all: cheap, and good without a lock. */
static inline bool fault_is_possible(const struct node *node)
{
    return (fault_own_count | __atomic_load_n(&node->fault_count, __ATOMIC_RELAXED)) != 0;
}

/* With the locks held: counts this call against the rules and says whether one of them acts now. */
bool fault_due(struct store *store, const struct node *node, const char *function, unsigned gpu,
               struct fault_effect *effect);

/* Without any lock: sleeps, hangs, dies, or returns the error that the call answers. */
int fault_act(const struct fault_effect *effect);

/* Reads HAMI_SIM_FAULTS, the rules of this process alone; false and a text if it cannot be read. */
bool fault_read_environment(char *message, size_t size);

/* One rule: `FUNCTION[@GPU][#FIRST[+TIMES]]=latency:MS|hang|error:CODE|kill|kill-after`; a function may end in `*`. */
bool fault_parse(const char *text, struct fault *fault, char *message, size_t size);

#endif
