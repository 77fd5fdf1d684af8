/* SPDX-License-Identifier: Apache-2.0 */
/* What every hook that gives or takes memory does: take the bytes, let the driver act, keep or give back. */
#ifndef VGPU_CHARGE_H
#define VGPU_CHARGE_H

#include "memory/allocations.h"
#include "vgpu.h"

#define LINEAR_UNIT 512 /* CUDA aligns what it gives so */
#define GRAPH_UNIT ((uint64_t)2 << 20)

struct charge {
    int device; /* below 0: nothing is counted, or not yet */
    int ordinal;
    uint64_t bytes, context;
};

/* Bytes rounded up to a unit; what would wrap stays as large as it is. */
static inline uint64_t charge_rounded(uint64_t bytes, uint64_t unit)
{
    uint64_t rounded = (bytes + unit - 1) / unit * unit;
    return rounded >= bytes ? rounded : bytes;
}

/* Takes bytes on the current context's device, or on a device by its ordinal; false over the limit. */
bool charge_current(struct charge *charge, uint64_t bytes);
bool charge_device(struct charge *charge, int ordinal, uint64_t bytes);

/* The same on a device by its index; below 0 nothing is counted. */
bool charge_index(struct charge *charge, int index, uint64_t bytes);

/* The same from a pool (NULL: the device's current one), which may keep some of the bytes already. */
bool charge_pool(struct charge *charge, int index, const void *pool, uint64_t bytes);

/* What pools of a device keep may be another amount now. */
void charge_settle(int index);

/* The real size is known now; false when it is more and that is over the limit. */
bool charge_adjust(struct charge *charge, uint64_t bytes);

/* The driver has answered: after a failure the bytes are given back, else they are kept under the key. False when there
 * is no room to remember them; they are given back then, and the caller must undo. */
bool charge_keep(const struct charge *charge, enum allocation_space space, uint64_t key, int result);

/* The same for an allocation's pointer, which is undone here when it cannot be remembered. Gives the result on. */
int charge_keep_pointer(const struct charge *charge, const unsigned long long *pointer, int result);

void charge_drop(const struct charge *charge);

/* Around a free: the key's entry is removed before the driver can give the same number to another thread. */
bool charge_begin_free(struct allocation *entry, enum allocation_space space, uint64_t key);
void charge_end_free(bool known, const struct allocation *entry, enum allocation_space space, uint64_t key, int result);

/* A reference more or less of what is kept under the key; with the last one its bytes are given back. */
void charge_refer(enum allocation_space space, uint64_t key, int change);

/* Everything in a context ended with it. */
void charge_end_context(uint64_t context);

#endif
