/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for dlsym in a client that is one program with libvgpu: sanitizers call dlsym themselves before anything is
 * ready, so there ours cannot be the process's. The hooks come first, as they do where the library is preloaded. */
#undef dlsym
#include <dlfcn.h>

#include "hooks/table.h"

void *sanitized_dlsym(void *handle, const char *name);

void *sanitized_dlsym(void *handle, const char *name)
{
    int hook = hook_by_symbol(name);
    return hook >= 0 ? hook_ours(hook) : dlsym(handle, name);
}
