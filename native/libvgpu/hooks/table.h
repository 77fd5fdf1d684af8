/* SPDX-License-Identifier: Apache-2.0 */
/* The table of hooks: by symbol, and by what cuGetProcAddress calls them. */
#ifndef VGPU_HOOKS_TABLE_H
#define VGPU_HOOKS_TABLE_H

#include <stdbool.h>

/* The hook for a symbol, or -1. */
int hook_by_symbol(const char *symbol);

/* The hook for what cuGetProcAddress was asked for and what the driver answered, or -1. */
int hook_by_request(const char *base, int version, bool per_thread, void *answered);

/* Our function. */
void *hook_ours(int hook);

/* The application found the driver's function at this address. */
void hook_found(int hook, void *real);

#endif
