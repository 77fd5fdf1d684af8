/* SPDX-License-Identifier: Apache-2.0 */
/* What this process has open: counted inits, one node, one lock. */
#ifndef HAMI_SIM_SESSION_H
#define HAMI_SIM_SESSION_H

#include "node/store.h"

int session_init(void);
int session_shutdown(void);

/* Takes the locks of the process and of the node; the store to work on, or NULL and why not. */
struct store *session_enter(int *result);
void session_leave(struct store *store);

#endif
