/* SPDX-License-Identifier: Apache-2.0 */
/* Only in test builds: dies by SIGKILL when the labelled point of VGPU_CRASH_AT (`label:number`) is passed. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vgpu.h"

#ifdef VGPU_CRASH_POINTS
void vgpu_crash_point(const char *label)
{
    static atomic_int passed;
    const char *wanted = getenv("VGPU_CRASH_AT");
    size_t length = strlen(label);
    if (wanted == NULL || strncmp(wanted, label, length) != 0 || wanted[length] != ':')
        return;
    if (atomic_fetch_add(&passed, 1) + 1 == atoi(wanted + length + 1))
        kill(getpid(), SIGKILL);
}
#endif
