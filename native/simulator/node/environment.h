/* SPDX-License-Identifier: Apache-2.0 */
/* The node that the environment names: HAMI_SIM_STATE or HAMI_SIM_NODE. */
#ifndef HAMI_SIM_ENVIRONMENT_H
#define HAMI_SIM_ENVIRONMENT_H

#include "node/store.h"

/* Opens what the environment names; `message` says what is wrong with it. */
int environment_open(struct store *store, char *message, size_t size);

/* Whether the node has a driver now. */
int environment_check_driver(struct store *store);

#endif
