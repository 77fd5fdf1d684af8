/* SPDX-License-Identifier: Apache-2.0 */
#include "region/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "region/file.h"
#include "region/slots.h"

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
#define RESTORE_TRIES 10000
#define ATTACH_TRIES 200 /* half a millisecond each */

static struct vgpu_environment environment;

struct region_local *_Atomic region_local;
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
    static atomic_int state; /* 0 unread, 1 being read, 2 read */
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

/* One holder may take it. An existing semaphore is kept: HAMi-core may hold it already. */
static void make_semaphore(struct region_semaphore *semaphore)
{
    if (semaphore->shared == 0)
        *semaphore = (struct region_semaphore){.value = 1, .shared = 128};
}

/* Every process writes the same values, so no order or lock is needed; the magic comes last. */
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
    make_semaphore(&shared->semaphore);
    make_semaphore(&shared->second_semaphore);
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

/* The strictest limit of all processes that share the region applies, HAMi-core's included, which is in the header. Its
 * monitor and processes read it there. Both places only ever decrease, so they converge in any order of processes. */
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

static bool map(struct region *region)
{
    char *mapped = region_file_map(REGION_SIZE);
    if (mapped == NULL)
        return false;
    region->shared = (struct region_v1 *)mapped;
    region->own = (struct region_own *)(mapped + REGION_OWN_OFFSET);
    return true;
}

/* Without a file, limits apply to this process alone, which is better than no limits. */
static bool map_private(struct region *region)
{
    char *mapped = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return false;
    region->shared = (struct region_v1 *)mapped;
    region->own = (struct region_own *)(mapped + REGION_OWN_OFFSET);
    region->slot = 0;
    region->process = &region->shared->processes[0];
    region->pid = getpid();
    slots_show(region->shared, 0);
    fill_header(region->shared);
    fill_limits(region->shared, region->own);
    return true;
}

static bool attach(struct region *region)
{
    if (region_file_ensure(path, REGION_SIZE) && (region->shared != NULL || map(region))) {
        fill_header(region->shared);
        fill_limits(region->shared, region->own);
        region->slot = SLOT_NONE;
        region->pid = getpid();
        slots_reap(region, true);
        if (slots_claim(region))
            return true;
        vgpu_log(VGPU_ERROR, "'%s' has no free slot for another process", path);
    } else {
        vgpu_log(VGPU_ERROR, "cannot share limits through '%s': %s; they hold for this process alone", path,
                 strerror(errno));
    }
    return map_private(region);
}

/* The page of this process; a child finds it empty. */
static struct region_local *local_page(void)
{
    struct region_local *page = atomic_load(&region_local);
    if (page != NULL)
        return page;
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, sizeof *page, MADV_WIPEONFORK) != 0)
        vgpu_log(VGPU_WARNING, "this kernel is older than 4.14: forked children share their parent's figures");
    struct region_local *none = NULL;
    if (atomic_compare_exchange_strong(&region_local, &none, page))
        return page;
    munmap(page, sizeof *page);
    return none;
}

struct region *region_attach(void)
{
    struct region_local *page = local_page();
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

int region_reap(void)
{
    struct region *region = region_get();
    if (region == NULL || !region_file_held() || atomic_flag_test_and_set(&region->tidying))
        return 0;
    int reaped = slots_reap(region, false);
    atomic_flag_clear(&region->tidying);
    return reaped;
}

void region_restore(struct region *region)
{
    for (int tries = 0; atomic_flag_test_and_set(&region->tidying); tries++) {
        if (tries == RESTORE_TRIES)
            return;
        sched_yield();
    }
    region_file_ensure(path, REGION_SIZE);
    slots_restore(region);
    atomic_flag_clear(&region->tidying);
}
