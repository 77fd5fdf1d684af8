/* SPDX-License-Identifier: Apache-2.0 */
/* Included before anything else in a client whose dlsym is sanitized_dlsym. */
#include <dlfcn.h>
void *sanitized_dlsym(void *handle, const char *name);
