/* SPDX-License-Identifier: Apache-2.0 */
/* Where a node's state lies and how it changes: two copies and a generation under one lock.
 *
 * Invariant: a change is written into the spare copy and takes effect by one store of the generation. A process that
 * is killed at any point leaves the old state or the new one, never half a change, and the robust lock passes on. */
#ifndef HAMI_SIM_STORE_H
#define HAMI_SIM_STORE_H

#include "node/node.h"
#include "node/usage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct store_header {
    char magic[8];
    uint32_t version, header_size;
    uint64_t node_size;
    uint32_t fingerprint, lock_size;
    char boot_id[40]; /* the lock is good for this boot ... */
    uint64_t inode;   /* ... and this file: a copy or a reboot leaves dead owners that robust locks miss */
    pthread_mutex_t lock;
    _Atomic uint32_t generation;
    _Atomic uint32_t event_signal; /* futex word: changes with every event */
    _Atomic uint32_t fault_calls[MAX_FAULTS];
};

struct store_file {
    struct store_header header;
    struct usage usage;
    struct node nodes[2];
};

struct store {
    struct store_file *file; /* NULL = not open */
    int descriptor;          /* -1 = a private node in memory */
    uint32_t sound_generation;
    bool checked;
};

#define STORE_CLOSED ((struct store){.file = NULL, .descriptor = -1})

/* All return an NVML result; on failure `message` says why in words. */
int store_create(const char *path, const struct spec *spec, char *message, size_t size);
int store_open(struct store *store, const char *path, char *message, size_t size);
int store_open_private(struct store *store, const struct spec *spec, char *message, size_t size);
void store_close(struct store *store);

/* Takes the lock. A private node has none: its only process has the lock of the session. */
int store_lock(struct store *store);
void store_unlock(struct store *store);

/* With the lock held: the state as it is; a spare copy to change; and the change made true. */
struct node *store_current(struct store *store);
struct node *store_begin_change(struct store *store);
void store_commit(struct store *store);

#endif
