/* SPDX-License-Identifier: Apache-2.0 */
/* Only in test builds: when a labelled point (`label:number`) is passed, the process dies by SIGKILL at that of
 * VGPU_CRASH_AT and stops by SIGSTOP at that of VGPU_STOP_AT. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vgpu.h"

#ifdef VGPU_CRASH_POINTS
static bool is_due(const char *wanted, const char *label, atomic_int *passed)
{
    size_t length = strlen(label);
    return wanted != NULL && strncmp(wanted, label, length) == 0 && wanted[length] == ':' &&
           atomic_fetch_add(passed, 1) + 1 == atoi(wanted + length + 1);
}

void vgpu_crash_point(const char *label)
{
    static atomic_int deaths, stops;
    if (is_due(getenv("VGPU_CRASH_AT"), label, &deaths))
        kill(getpid(), SIGKILL);
    if (is_due(getenv("VGPU_STOP_AT"), label, &stops))
        /* To this thread: it would run on for a moment if another one took the signal. */
        raise(SIGSTOP);
}
#endif
