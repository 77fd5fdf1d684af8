/* SPDX-License-Identifier: Apache-2.0 */
#include "region/slots.h"

#include <string.h>
#include <unistd.h>

#include "region/file.h"
#include "region/hami_core.h"
#include "region/identity.h"

/* Empties a slot that names `pid` or no process; false when it names another one: HAMi-core moves slots. It clears
 * every field: HAMi's readers wait while `sequence` is odd, and would show leftovers as the next process's. */
static bool empty_slot(struct region_process *process, int32_t pid)
{
    if (!atomic_compare_exchange_strong(&process->pid, &pid, 0) && pid != 0)
        return false;
    atomic_store(&process->status, 0);
    atomic_store(&process->sequence, 0);
    for (int device = 0; device < VGPU_DEVICES; device++) {
        struct region_used *used = &process->used[device];
        atomic_store(&used->total, 0);
        atomic_store(&used->data, 0);
        used->context = used->module = used->offset = 0;
        memset(used->unused, 0, sizeof used->unused);
        CRASH_POINT("empty");
    }
    memset(process->monitor_used, 0, sizeof process->monitor_used);
    memset(process->utilization, 0, sizeof process->utilization);
    memset(process->unused, 0, sizeof process->unused);
    process->host_pid = process->padding = 0;
    return true;
}

/* True when the process that the slot names is alive and maps the region, although it holds no lock. */
static bool speaks_for_itself(const struct region_owner *owner)
{
    return owner->namespace == identity_namespace() && identity_start_time(owner->pid) == owner->start_time &&
           region_file_mapped_by(owner->pid);
}

static bool is_previous_image(const struct region_owner *owner)
{
    return owner->pid == getpid() && owner->namespace == identity_namespace() &&
           owner->start_time == identity_start_time(owner->pid);
}

static bool is_takeable(const struct region *region, int slot, int32_t *pid)
{
    const struct region_owner *owner = &region->own->owners[slot];
    if (hami_core_has(region, slot, pid))
        return false;
    return atomic_load(&owner->state) == 0 || is_previous_image(owner) || !speaks_for_itself(owner);
}

/* Behind the last slot there is nothing to empty, and HAMi-core may be about to take it. */
static bool is_blank(const struct region_process *process)
{
    static const struct region_process blank;
    return memcmp(process, &blank, sizeof blank) == 0;
}

static void raise_count(struct region_v1 *shared, int32_t wanted)
{
    int32_t count = atomic_load(&shared->process_count);
    while (count < wanted && !atomic_compare_exchange_weak(&shared->process_count, &count, wanted))
        continue;
}

/* HAMi-core takes the slot behind the last one, and counts it afterwards. So ours bears our pid before it is counted, and
 * when it does not any more then, HAMi-core came at the same instant and has it. */
bool slots_show(struct region_v1 *shared, int slot)
{
    struct region_process *process = &shared->processes[slot];
    int32_t self = getpid(), named = 0;
    if (!atomic_compare_exchange_strong(&process->pid, &named, self) && named != self)
        return false;
    process->host_pid = self;
    atomic_store(&process->status, 1);
    CRASH_POINT("taken");
    raise_count(shared, slot + 1);
    return atomic_load(&process->pid) == self;
}

static void leave_slot(const struct region *region, int slot)
{
    atomic_store(&region->own->owners[slot].state, 0);
    region_file_unlock(slot);
}

static bool take_slot(struct region *region, int slot)
{
    struct region_owner *owner = &region->own->owners[slot];
    int32_t pid;
    if (!region_file_lock(slot))
        return false;
    if (!is_takeable(region, slot, &pid)) {
        region_file_unlock(slot);
        return false;
    }
    CRASH_POINT("locked");
    if (!is_blank(&region->shared->processes[slot]) && !empty_slot(&region->shared->processes[slot], pid)) {
        region_file_unlock(slot);
        return false;
    }
    owner->pid = getpid();
    owner->start_time = identity_start_time(owner->pid);
    owner->namespace = identity_namespace();
    CRASH_POINT("named");
    atomic_store(&owner->state, 1);
    if (!slots_show(region->shared, slot)) {
        leave_slot(region, slot);
        return false;
    }
    region->slot = slot;
    region->process = &region->shared->processes[slot];
    return true;
}

/* First the slot that the program before an exec left, then any slot that is free or whose owner is dead. */
bool slots_claim(struct region *region)
{
    for (int slot = 0; slot < VGPU_SLOTS; slot++)
        if (atomic_load(&region->own->owners[slot].state) != 0 && is_previous_image(&region->own->owners[slot]) &&
            take_slot(region, slot))
            return true;
    for (int slot = 0; slot < VGPU_SLOTS; slot++)
        if (take_slot(region, slot))
            return true;
    return false;
}

static bool is_alive(const struct region *region, int slot)
{
    return region_file_is_locked(slot) || speaks_for_itself(&region->own->owners[slot]);
}

/* True when no process uses the slot any more; `pid` becomes the pid in it. A process that attaches checks only slots
 * without owner, but thoroughly: of the others it takes one, and the rest can wait. */
static bool is_over(const struct region *region, int slot, bool attaching, int32_t *pid)
{
    const struct region_owner *owner = &region->own->owners[slot];
    const struct region_process *process = &region->shared->processes[slot];
    if (atomic_load(&owner->state) == 0) {
        *pid = atomic_load(&process->pid);
        return hami_core_is_over(process, *pid, attaching);
    }
    *pid = (int32_t)owner->pid;
    return !attaching && !is_alive(region, slot);
}

static bool reap(struct region *region, int slot, int32_t pid)
{
    if (!region_file_lock(slot))
        return false;
    CRASH_POINT("reap");
    empty_slot(&region->shared->processes[slot], pid);
    atomic_store(&region->own->owners[slot].state, 0);
    CRASH_POINT("reaped");
    region_file_unlock(slot);
    return true;
}

int slots_reap(struct region *region, bool attaching)
{
    int32_t pid;
    int reaped = 0, count = atomic_load(&region->shared->process_count);
    /* Twice: a dead owner's slot may hold an entry that HAMi-core moved there, whose process has ended too. */
    for (int slot = 0; slot < count && slot < VGPU_SLOTS; slot++)
        for (int turn = 0; turn < 2 && slot != region->slot && is_over(region, slot, attaching, &pid); turn++)
            reaped += reap(region, slot, pid);
    return reaped;
}

/* Copies back what HAMi-core moved. For an instant it counts twice, but never zero times. */
static void fetch_moved(struct region *region, int from)
{
    struct region_process *moved = &region->shared->processes[from];
    struct region_process *ours = region->process;
    for (int device = 0; device < VGPU_DEVICES; device++) {
        atomic_fetch_add(&ours->used[device].total, atomic_load(&moved->used[device].total));
        atomic_fetch_add(&ours->used[device].data, atomic_load(&moved->used[device].data));
    }
    empty_slot(moved, region->pid);
}

void slots_restore(struct region *region)
{
    int32_t pid = 0, before = region->slot;
    if (atomic_compare_exchange_strong(&region->process->pid, &pid, region->pid))
        slots_show(region->shared, before);
    else if (pid == region->pid)
        return;
    else if (region_file_held() && slots_claim(region))
        leave_slot(region, before);
    for (int slot = 0; slot < VGPU_SLOTS; slot++)
        if (hami_core_has(region, slot, &pid) && pid == region->pid)
            fetch_moved(region, slot);
}
