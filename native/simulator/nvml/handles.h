/* SPDX-License-Identifier: Apache-2.0 */
/* Handles that callers hold. Invariant: a handle always means the same object. When the object is destroyed, or the
 * library is shut down, the handle is invalid, even if its place is filled again. So handle memory is never reused. */
#ifndef HAMI_SIM_HANDLES_H
#define HAMI_SIM_HANDLES_H

#include <stdint.h>

enum handle_kind { HANDLE_GPU, HANDLE_GPU_INSTANCE, HANDLE_COMPUTE_INSTANCE, HANDLE_MIG_DEVICE, HANDLE_KINDS };

/* nvidia-smi crashes on handles that are not aligned memory; what it may look at beyond our fields is zero. */
struct handle {
    uint64_t serial;
    uint32_t epoch, kind, gpu, slot;
    uint8_t zero[40];
};

/* Makes every handle given so far invalid: called at each first nvmlInit. */
void handles_new_epoch(void);

/* The handle of an object: the same one as long as the object lives. NULL if memory is short. */
struct handle *handle_for(enum handle_kind kind, uint32_t gpu, uint32_t slot, uint64_t serial);

/* NULL unless `pointer` is a handle of this epoch; any pointer at all may be asked about. */
const struct handle *handle_check(const void *pointer);

#endif
