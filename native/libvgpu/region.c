/* SPDX-License-Identifier: Apache-2.0 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "foreign.h"
#include "identity.h"
#include "log.h"
#include "region_file.h"

_Static_assert(sizeof(struct region_process) == 1960, "HAMi's slot");
_Static_assert(offsetof(struct region_process, monitor_used) == 1032, "HAMi's slot");
_Static_assert(offsetof(struct region_process, status) == 1928, "HAMi's slot");
_Static_assert(offsetof(struct region_v1, limit) == 1600, "HAMi's region");
_Static_assert(offsetof(struct region_v1, processes) == 1856, "HAMi's region");
_Static_assert(offsetof(struct region_v1, process_count) == 2008896, "HAMi's region");
_Static_assert(sizeof(struct region_v1) == 2008952, "HAMi's region");

#define REGION_SIZE (REGION_OWN_OFFSET + sizeof(struct region_own))
#define DEFAULT_CACHE "/tmp/cudevshr.cache"
#define OVERRIDES "/overrideEnv"
#define NO_SLOT (-1)
#define ATTACH_TRIES 200 /* half a millisecond each */

static struct vgpu_environment environment;

/* What a forked child must not have; the kernel empties the page for it. */
struct local {
    atomic_int state; /* 0 nothing, 1 somebody attaches, 2 attached, 3 cannot */
    struct region region;
};

static struct local *_Atomic local;
static char path[VGPU_PATH];

static const char *look_up(const char *name)
{
    return getenv(name);
}

static void read_environment(void)
{
    static char overrides[16384];
    int from = open(OVERRIDES, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = from >= 0 ? read(from, overrides, sizeof overrides - 1) : -1;
    overrides[size > 0 ? size : 0] = '\0';
    if (from >= 0)
        close(from);
    vgpu_environment_read(&environment, look_up, size > 0 ? overrides : NULL);
    snprintf(path, sizeof path, "%s", environment.cache[0] != '\0' ? environment.cache : DEFAULT_CACHE);
}

const struct vgpu_environment *region_environment(void)
{
    static atomic_int state; /* 0 unread, 1 somebody reads, 2 read */
    int unread = 0;
    if (VGPU_LIKELY(atomic_load_explicit(&state, memory_order_acquire) == 2))
        return &environment;
    if (atomic_compare_exchange_strong(&state, &unread, 1)) {
        read_environment();
        atomic_store_explicit(&state, 2, memory_order_release);
    }
    while (atomic_load_explicit(&state, memory_order_acquire) != 2)
        sched_yield();
    return &environment;
}

/* Every process writes the same values, so that no order and no lock is needed; the magic comes last. */
static void fill_header(struct region_v1 *shared)
{
    if (atomic_load_explicit(&shared->initialized, memory_order_acquire) == REGION_MAGIC)
        return;
    shared->major = REGION_MAJOR;
    shared->minor = REGION_MINOR;
    for (int device = 0; device < VGPU_DEVICES; device++) {
        atomic_store(&shared->limit[device], environment.memory_limit[device]);
        shared->sm_limit[device] = environment.sm_limit[device];
    }
    shared->utilization_switch = 1;
    shared->recent_kernel = 2;
    shared->priority = environment.priority;
    CRASH_POINT("header");
    atomic_store_explicit(&shared->initialized, REGION_MAGIC, memory_order_release);
}

static void lower(_Atomic uint64_t *limit, uint64_t ours)
{
    uint64_t held = atomic_load(limit);
    while (ours != 0 && (held == 0 || ours < held))
        if (atomic_compare_exchange_weak(limit, &held, ours))
            break;
}

/* The strictest limit of all who share the region holds, those of HAMi-core too, whose is the one in the header. Its
 * monitor and its processes read it there: both places only ever get smaller, and so end up the same in whatever order
 * processes come. */
static void fill_limits(struct region_v1 *shared, struct region_own *own)
{
    for (int device = 0; device < VGPU_DEVICES; device++) {
        lower(&own->limit[device], environment.memory_limit[device]);
        lower(&own->limit[device], atomic_load(&shared->limit[device]));
        CRASH_POINT("limit");
        lower(&shared->limit[device], atomic_load(&own->limit[device]));
    }
    own->abi = 1;
    atomic_store(&own->magic, REGION_OWN_MAGIC);
}

/* Empties a slot that names `pid`, or nobody; false when it names somebody else: HAMi-core moves slots. All of it: HAMi's
 * readers wait for as long as `sequence` is odd, and show the rest as the next process's. */
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
    process->host_pid = 0;
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
    if (foreign_in(region, slot, pid))
        return false;
    return atomic_load(&owner->state) == 0 || is_previous_image(owner) || !speaks_for_itself(owner);
}

static void raise_count(struct region_v1 *shared, int32_t wanted)
{
    int32_t count = atomic_load(&shared->process_count);
    while (count < wanted && !atomic_compare_exchange_weak(&shared->process_count, &count, wanted))
        continue;
}

/* HAMi-core takes the slot behind the last one, and counts it afterwards. So ours bears our pid before it is counted, and
 * when it does not any more then, HAMi-core came at the same instant and has it. */
static bool show_slot(struct region_v1 *shared, int slot)
{
    struct region_process *process = &shared->processes[slot];
    int32_t self = getpid();
    process->host_pid = self;
    atomic_store(&process->pid, self);
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
    if (!empty_slot(&region->shared->processes[slot], pid)) {
        region_file_unlock(slot);
        return false;
    }
    owner->pid = getpid();
    owner->start_time = identity_start_time(owner->pid);
    owner->namespace = identity_namespace();
    CRASH_POINT("named");
    atomic_store(&owner->state, 1);
    if (!show_slot(region->shared, slot)) {
        leave_slot(region, slot);
        return false;
    }
    region->slot = slot;
    return true;
}

/* A slot for this process: first what its image before an exec left, then any that is free or whose owner is dead. */
static bool claim(struct region *region)
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

/* True when nobody uses the slot any more; `pid` becomes what it says then. A process that attaches asks for those without
 * owner alone, but thoroughly: of the others it takes one, and the rest can wait. */
static bool is_over(const struct region *region, int slot, bool attaching, int32_t *pid)
{
    const struct region_owner *owner = &region->own->owners[slot];
    const struct region_process *process = &region->shared->processes[slot];
    if (atomic_load(&owner->state) == 0) {
        *pid = atomic_load(&process->pid);
        return foreign_is_over(process, *pid, attaching);
    }
    *pid = (int32_t)owner->pid;
    return !attaching && !region_lives(slot);
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

static int reap_all(struct region *region, bool attaching)
{
    int32_t pid;
    int reaped = 0, count = atomic_load(&region->shared->process_count);
    for (int slot = 0; slot < count && slot < VGPU_SLOTS; slot++)
        if (slot != region->slot && is_over(region, slot, attaching, &pid))
            reaped += reap(region, slot, pid);
    return reaped;
}

static bool map(struct region *region)
{
    char *mapped = region_file_map(REGION_SIZE);
    if (mapped == NULL)
        return false;
    region->shared = (struct region_v1 *)mapped;
    region->own = (struct region_own *)(mapped + REGION_OWN_OFFSET);
    return true;
}

/* Without a file, limits hold for this process alone: better than for nobody. */
static bool map_private(struct region *region)
{
    char *mapped = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return false;
    region->shared = (struct region_v1 *)mapped;
    region->own = (struct region_own *)(mapped + REGION_OWN_OFFSET);
    region->slot = 0;
    atomic_store(&region->shared->process_count, 1);
    fill_header(region->shared);
    fill_limits(region->shared, region->own);
    return true;
}

static bool attach(struct region *region)
{
    if (region_file_ensure(path, REGION_SIZE) && (region->shared != NULL || map(region))) {
        fill_header(region->shared);
        fill_limits(region->shared, region->own);
        region->slot = NO_SLOT;
        reap_all(region, true);
        if (claim(region))
            return true;
        vgpu_log(VGPU_ERROR, "'%s' has no free slot for another process", path);
    } else {
        vgpu_log(VGPU_ERROR, "cannot share limits through '%s': %s; they hold for this process alone", path,
                 strerror(errno));
    }
    return map_private(region);
}

/* The page of this process; a child finds it empty. */
static struct local *local_page(void)
{
    struct local *page = atomic_load(&local);
    if (page != NULL)
        return page;
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, sizeof *page, MADV_WIPEONFORK) != 0)
        vgpu_log(VGPU_WARNING, "this kernel is older than 4.14: forked children share their parent's figures");
    struct local *none = NULL;
    if (atomic_compare_exchange_strong(&local, &none, page))
        return page;
    munmap(page, sizeof *page);
    return none;
}

static struct region *attach_once(void)
{
    struct local *page = local_page();
    int nothing = 0;
    if (page == NULL)
        return NULL;
    region_environment();
    if (atomic_compare_exchange_strong(&page->state, &nothing, 1)) {
        bool done = attach(&page->region);
        atomic_store_explicit(&page->state, done ? 2 : 3, memory_order_release);
    }
    for (int tries = 0; atomic_load_explicit(&page->state, memory_order_acquire) == 1; tries++)
        if (tries < ATTACH_TRIES)
            sched_yield();
        else
            usleep(500);
    return atomic_load(&page->state) == 2 ? &page->region : NULL;
}

struct region *region_get(void)
{
    struct local *page = atomic_load_explicit(&local, memory_order_acquire);
    if (VGPU_LIKELY(page != NULL && atomic_load_explicit(&page->state, memory_order_acquire) == 2))
        return &page->region;
    return attach_once();
}

bool region_lives(int slot)
{
    struct region *region = region_get();
    if (region == NULL || atomic_load(&region->own->owners[slot].state) == 0)
        return false;
    if (slot == region->slot || !region_file_ensure(path, REGION_SIZE) || region_file_is_locked(slot))
        return true;
    return speaks_for_itself(&region->own->owners[slot]);
}

/* Two threads of one process would both get the lock. */
static atomic_flag reaping = ATOMIC_FLAG_INIT;

int region_reap(void)
{
    struct region *region = region_get();
    if (region == NULL || !region_file_held() || atomic_flag_test_and_set(&reaping))
        return 0;
    int reaped = reap_all(region, false);
    atomic_flag_clear(&reaping);
    return reaped;
}
