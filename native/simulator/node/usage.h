/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and time that processes use on simulated GPUs, counted where a call costs nanoseconds.
 *
 * Invariant: a process writes only its own slots, so its memory is released when it dies, at any point. The sum over
 * the slots of a device never exceeds its capacity, and a request that fits is never refused. */
#ifndef HAMI_SIM_USAGE_H
#define HAMI_SIM_USAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { MAX_SLOTS = 1024, MAX_LANES = 32 * 9 };

/* One process on one GPU or GPU instance. Free while `pid` is 0. */
struct usage_slot {
    _Alignas(64) _Atomic uint32_t pid;
    uint32_t gpu;
    uint64_t start_time, gpu_instance; /* the serial; 0 = the whole GPU */
    _Atomic uint64_t bytes;            /* held */
    _Atomic uint64_t asking;           /* being asked for: counts until it is held or given up */
    _Atomic uint64_t busy_ns, launches;
    _Atomic uint32_t evicted; /* a reset or a reboot took the device away while the process lives on */
};

/* Slots by index; lanes are the timelines of the GPUs and their instances. */
struct usage {
    _Atomic uint32_t used; /* no slot at or beyond this index was ever taken */
    struct usage_slot slots[MAX_SLOTS];
    _Atomic uint64_t busy_until_ns[MAX_LANES]; /* on CLOCK_MONOTONIC */
};

struct node;
struct store;

/* What memory is counted for; a capacity of 0 is unknown and thereby none. */
struct usage_place {
    uint32_t gpu;
    uint64_t gpu_instance, capacity;
};

/* With the lock of the store held. NULL if every slot is taken. */
struct usage_slot *usage_claim(struct usage *usage, uint32_t pid, const struct usage_place *place);
void usage_release(struct usage_slot *slot);

/* With the lock held: frees the slots of the dead, and evicts those that no process of the node stands for. */
void usage_settle(struct usage *usage, const struct node *node);

/* With the lock held: writes what is in use now into the node's processes. */
void usage_refresh(struct usage *usage, struct node *node);

/* Bytes in use on a place by processes that live; that the owner of `own` lives is known. */
uint64_t usage_sum(struct usage *usage, const struct usage_place *place, const struct usage_slot *own);

/* Counts `bytes` as held by a slot; false if they do not fit beside what others hold. With the lock held. */
bool usage_charge_locked(struct usage *usage, struct usage_slot *slot, uint64_t bytes, const struct usage_place *place);

/* The same without the lock, for the many times that there is room; false is no answer yet. */
bool usage_charge_quickly(struct usage *usage, struct usage_slot *slot, uint64_t bytes, uint64_t capacity);
void usage_uncharge(struct usage_slot *slot, uint64_t bytes);

#endif
