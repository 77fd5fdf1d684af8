/* SPDX-License-Identifier: Apache-2.0 */
#include "region/hami_core.h"

#include <unistd.h>

#include "region/file.h"
#include "region/identity.h"

/* The pid alone says that a slot is taken, as to HAMi-core itself: at its exit it empties that first, and no more. */
bool hami_core_has(const struct region *region, int slot, int32_t *pid)
{
    const struct region_owner *owner = &region->own->owners[slot];
    *pid = atomic_load(&region->shared->processes[slot].pid);
    return *pid != 0 && (atomic_load(&owner->state) == 0 || owner->pid != *pid);
}

static bool has_figures(const struct region_process *process)
{
    for (int device = 0; device < VGPU_DEVICES; device++)
        if (atomic_load(&process->used[device].total) != 0)
            return true;
    return false;
}

/* A process that attached maps the file until it ends. If our own mapping is not found, this test proves nothing: some
 * file systems show another device there. */
static bool maps_surely_not(int64_t pid)
{
    return region_file_mapped_by(getpid()) && !region_file_mapped_by(pid);
}

/* A slot without owner that names this process, which has none yet, is that of its image before an exec or of one of
 * its pid in a former container. */
static bool lives(int64_t pid, bool thorough)
{
    return identity_exists(pid) && !(thorough && (pid == getpid() || maps_surely_not(pid)));
}

/* HAMi-core does not say to which pid namespace a pid belongs: the process is dead when neither number exists here. */
bool hami_core_is_over(const struct region_process *process, int32_t pid, bool thorough)
{
    if (pid == 0)
        return has_figures(process);
    int32_t host_pid = process->host_pid;
    return !lives(pid, thorough) && (host_pid == 0 || host_pid == pid || !lives(host_pid, thorough));
}
