/* SPDX-License-Identifier: Apache-2.0 */
/* The file that the processes of a container share: HAMi-core's layout v1 as it is (its monitor reads it), and behind it
 * a block of our own, which says who holds a slot.
 *
 * Invariant: a process records its use only in its own slot, and only it writes there; the container's use is the sum
 * of the slots. So a death at any instant leaves only the dead process's slot to clean up. Slots never move.
 *
 * A slot belongs to the process that holds the record lock on its byte, far behind the file's end. The kernel releases
 * the lock at any kind of death, in any pid namespace, and no forked child inherits it. A process that closed all its
 * descriptors has lost the lock: then its pid, start time and pid namespace identify it while it maps the region.
 *
 * HAMi-core's processes do not use these locks and may share the region (hami_core.h): a slot that names a process that
 * does not own it is left to that process. They move slots; the owner of a moved slot restores it (attach.h:
 * region_restore).
 *
 * Any process of the container may write anything in the file. The code here uses it only for figures. */
#ifndef VGPU_REGION_LAYOUT_H
#define VGPU_REGION_LAYOUT_H

#include <stdatomic.h>

#include "vgpu.h"

#define REGION_MAGIC 19920718 /* HAMi-core's */
#define REGION_MAJOR 1
#define REGION_MINOR 2
#define REGION_OWN_OFFSET 2011136              /* the next page */
#define REGION_OWN_MAGIC 0x31554750564d4148ull /* "HAMVPGU1" */

struct region_used { /* bytes of one process on one device */
    uint64_t context, module;
    _Atomic uint64_t data; /* the same as `total`: this library does not tell kinds apart */
    uint64_t offset;
    _Atomic uint64_t total; /* the figure that counts */
    uint64_t unused[3];
};

struct region_utilization {
    uint64_t decoder, encoder, sm, unused[3];
};

struct region_process {
    _Atomic int32_t pid;
    int32_t host_pid;
    struct region_used used[VGPU_DEVICES];
    uint64_t monitor_used[VGPU_DEVICES];
    struct region_utilization utilization[VGPU_DEVICES];
    _Atomic int32_t status; /* 0 free, 1 runs */
    int32_t padding;
    _Atomic uint64_t sequence; /* HAMi-core's: odd while it writes; this library leaves it at 0 */
    uint64_t unused[2];
};

/* glibc's sem_t of 64-bit machines (nptl/sem_init.c), which HAMi-core takes and gives around its changes. Nothing of ours
 * waits for it. */
struct region_semaphore {
    uint32_t value, waiters;
    int32_t shared; /* 128: between processes */
    int32_t unused[5];
};

struct region_v1 {
    _Atomic int32_t initialized; /* REGION_MAGIC */
    uint32_t major, minor;
    int32_t sm_initialized;
    uint64_t owner_pid;
    struct region_semaphore semaphore;
    uint64_t device_count;
    char uuids[VGPU_DEVICES][96];
    _Atomic uint64_t limit[VGPU_DEVICES]; /* that of `region_own` */
    uint64_t sm_limit[VGPU_DEVICES];
    struct region_process processes[VGPU_SLOTS];
    _Atomic int32_t process_count; /* one more than the highest slot that was ever taken */
    int32_t utilization_switch, recent_kernel, priority;
    uint64_t last_kernel_time;
    struct region_semaphore second_semaphore;
};

struct region_owner {
    _Atomic uint64_t state; /* 0 free, else taken */
    uint64_t start_time;    /* of the process, in clock ticks since boot (proc(5), field 22) */
    uint64_t namespace;     /* inode of its pid namespace */
    int64_t pid;
};

struct region_own {
    _Atomic uint64_t magic;
    uint64_t abi;
    _Atomic uint64_t limit[VGPU_DEVICES]; /* bytes, 0 none; only ever made smaller by a process that attaches */
    struct region_owner owners[VGPU_SLOTS];
};

struct region {
    struct region_v1 *shared;
    struct region_own *own;
    _Atomic int slot;                       /* ours */
    struct region_process *_Atomic process; /* it */
    int32_t pid;                            /* what stands there as long as HAMi-core did not move it */
    atomic_flag tidying;                    /* two threads of one process would both get a slot's lock */
};

#endif
